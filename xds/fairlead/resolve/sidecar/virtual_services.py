"""VirtualServices on the mesh: which one routes a host, for proxies that see it.

The most specific host decides; of several VirtualServices with the same host only the one that Istio lists first is
used, for they are not merged (istio.io/latest/docs/ops/best-practices/traffic-management).
"""

from collections.abc import Collection, Iterable

from fairlead.derive import Input, derived, derived_index
from fairlead.models.istio.virtual_service import VirtualService
from fairlead.problems import ObjectKey, Problem, warning
from fairlead.resolve.istio.references import MESH
from fairlead.resolve.istio.virtual_services import hosts_of, precedence
from fairlead.resolve.sidecar.scopes import EgressListener
from fairlead.world import ObjectName, World


def _virtual_services(world: World) -> Input[ObjectName, VirtualService]:
    return world.objects(VirtualService)


def is_on_mesh(virtual_service: VirtualService) -> bool:
    """Whether sidecars use it."""
    return not virtual_service.spec.gateways or MESH in virtual_service.spec.gateways


@derived_index(_virtual_services)
def by_host(_world: World, _name: ObjectName, virtual_service: VirtualService) -> Iterable[str]:
    """Full host name, lower case -> the VirtualServices on the mesh that have it."""
    return hosts_of(virtual_service) if is_on_mesh(virtual_service) else ()


@derived_index(_virtual_services)
def by_namespace(_world: World, name: ObjectName, virtual_service: VirtualService) -> Iterable[str]:
    """Namespace -> its VirtualServices on the mesh."""
    return (name.namespace,) if is_on_mesh(virtual_service) else ()


def _covering(world: World, host: str) -> tuple[tuple[str, frozenset[ObjectName]], ...]:
    """The VirtualServices whose hosts cover this one, from the most specific host to the least.

    Each domain asks the one above it, so that the services of a namespace share what is read of wildcards.
    """
    own = by_host(world).get(host)
    domain = host.removeprefix("*.").partition(".")[2]
    above = () if host == "*" else _covering_domain(world, f"*.{domain}" if domain else "*")
    return ((host, own), *above) if own else above


_covering_domain = derived(_covering)


def of_host(
    world: World, namespace: str, listeners: Collection[EgressListener], host: str, routes: str
) -> tuple[VirtualService | None, tuple[Problem, ...]]:
    """The VirtualService for a host, with routes of that kind (`http`, `tls` or `tcp`), and what others there are.

    `listeners` are those that the host is seen through: they decide which VirtualServices are seen.
    """
    for pattern, names in _covering(world, host):
        found = []
        for name in names:
            candidate = _virtual_services(world).get(name)
            if candidate is None or not getattr(candidate.spec, routes):
                continue
            order = precedence(world, candidate, namespace)
            if order is not None and any(listener.sees(name.namespace, host) for listener in listeners):
                found.append((order, candidate))
        if found:
            found.sort(key=lambda item: item[0])
            first = found[0][1]
            # A wildcard's conflict is told where the wildcard is all that somebody asks for.
            others = found[1:] if pattern == host else []
            return first, tuple(_duplicate(host, other, first.key) for _, other in others)
    return None, ()


def _duplicate(host: str, virtual_service: VirtualService, first: ObjectKey) -> Problem:
    return warning(
        "duplicate-host",
        f"sidecars do not use it for {host}, since {first} comes first; on the mesh they are not merged",
        key=virtual_service.key,
        path=("spec", "hosts"),
        hint="write the routes of both into one VirtualService",
    )
