"""Destinations of VirtualServices: the backends that they mean."""

from fairlead.intent import Backend
from fairlead.models.istio.virtual_service import Destination
from fairlead.problems import FieldPath
from fairlead.resolve import destination_rules, services
from fairlead.resolve.istio.source import Source


def backend(destination: Destination, source: Source, path: FieldPath) -> Backend:
    """The backend of a destination. One that leads nowhere is answered with 503, and told of."""
    place = source.place
    host = services.qualify(destination.host, source.namespace)
    number = destination.port.number if destination.port is not None else None
    found = services.backend(source.world, place.namespace, host, number, destination.subset, place.ports[0])
    view = services.find(source.world, place.namespace, host)
    if view is None:
        source.warn(
            "unknown-service",
            f"no service {host} is known to proxies in namespace {place.namespace}, so requests are answered with 503",
            (*path, "host"),
            "add a Service or ServiceEntry of that name, or correct the name",
        )
    elif view.port(found.port) is None:
        known = ", ".join(str(port.number) for port in view.ports) or "none"
        source.warn(
            "unknown-port",
            f"{view.key} has no port {found.port}, so requests to {host} are answered with 503; its ports are {known}",
            (*path, "port", "number") if number is not None else (*path, "host"),
            "name one of the ports of the service",
        )
    elif destination_rules.subset_labels(source.world, place.viewer, found) is None:
        source.warn(
            "unknown-subset",
            f"no DestinationRule defines subset {found.subset} of {host}, so requests are answered with 503",
            (*path, "subset"),
            "define the subset in a DestinationRule for the host, or leave it out",
        )
    return found
