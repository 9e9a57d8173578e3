"""Destinations of VirtualServices: the backends that they mean."""

from dataclasses import replace
from typing import NamedTuple

from fairlead.intent import Backend
from fairlead.models.istio.virtual_service import Destination
from fairlead.problems import FieldPath, Problem, warning
from fairlead.resolve import destination_rules, services
from fairlead.resolve.istio.source import Source


class Reference(NamedTuple):
    """What a destination means."""

    backend: Backend
    missing: Problem | None
    """Why there is no such backend."""


def reference(destination: Destination, source: Source, path: FieldPath, *, effect: str = "") -> Reference:
    """The backend of a destination. Of one that leads nowhere, and of the `effect` of that, is told."""
    place = source.place
    host = services.qualify(destination.host, source.namespace)
    number = destination.port.number if destination.port is not None else None
    found = services.backend(source.world, place.namespace, host, number, destination.subset, place.ports[0])
    missing = _missing(found, source, path, names_port=number is not None)
    if missing is not None:
        message = f"{missing.message}, {effect or 'so that there is nothing to send requests to'}"
        source.problems.append(replace(missing, message=message))
    return Reference(found, missing)


def _missing(backend: Backend, source: Source, path: FieldPath, *, names_port: bool) -> Problem | None:
    namespace = source.place.namespace
    view = services.find(source.world, namespace, backend.host)
    if view is None:
        return warning(
            "unknown-service",
            f"no service {backend.host} is known to proxies in namespace {namespace}",
            key=source.key,
            path=(*path, "host"),
            hint="add a Service or ServiceEntry of that name, or correct the name",
        )
    if view.port(backend.port) is None:
        known = ", ".join(str(port.number) for port in view.ports) or "none"
        return warning(
            "unknown-port",
            f"{view.key} has no port {backend.port} (its ports are {known})",
            key=source.key,
            path=(*path, "port", "number") if names_port else (*path, "host"),
            hint="name one of the ports of the service",
        )
    if destination_rules.subset_labels(source.world, source.place.viewer, backend) is None:
        return warning(
            "unknown-subset",
            f"no DestinationRule defines subset {backend.subset} of {backend.host}",
            key=source.key,
            path=(*path, "subset"),
            hint="define the subset in a DestinationRule for the host, or leave it out",
        )
    return None
