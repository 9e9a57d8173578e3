"""Whether Services lead to the ports that Gateways open."""

from collections.abc import Iterator

from fairlead.models.core import Service
from fairlead.problems import Problem, Related, warning
from fairlead.resolve.dialect import Server
from fairlead.resolve.listeners import plans
from fairlead.resolve.scope import Proxy, Selection
from fairlead.resolve.selection import services_in_front
from fairlead.world import World


def problems(world: World, proxy: Proxy, selection: Selection) -> Iterator[Problem]:
    """Ports of servers that no Service in front of the proxies has; nothing where there is no Service at all."""
    services = services_in_front(world, proxy.namespace, proxy.labels)
    ports = {port.port for service in services for port in service.spec.ports}
    # A Gateway may name the port of the proxies' hosts itself, which then is one that a Service sends to.
    targets = {port.target_port for service in services for port in service.spec.ports}
    if not ports or any(isinstance(target, str) for target in targets):
        return
    for plan in plans(world, selection):
        for server in plan.servers:
            if not server.bind and server.port not in ports and server.port not in targets:
                yield _not_exposed(server, services, ports)


def _not_exposed(server: Server, services: list[Service], ports: set[int]) -> Problem:
    known = ", ".join(map(str, sorted(ports)))
    return warning(
        "port-not-exposed",
        f"port {server.port} of server {server.name} is none of {services[0].key}, which has {known}",
        key=server.declared_by,
        path=(*server.path, "port"),
        hint="add the port to the Service, or use one that it has",
        related=tuple(Related("this Service leads to the proxies", service.key) for service in services),
    )
