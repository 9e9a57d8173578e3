"""Virtual hosts: for each selection, where HTTPRoutes meet listeners.

The chain from objects to virtual hosts is incremental at each step: an HTTPRoute -> the listeners that it is attached
to -> for each selection, its virtual hosts -> for each virtual host, the HTTPRoutes that serve it. One more HTTPRoute
costs the work for itself.
"""

from collections.abc import Iterable, Mapping

from fairlead.derive import derived, derived_index, derived_map
from fairlead.problems import ObjectKey
from fairlead.resolve.dialect import HostRoutes, ServerProtocol, VirtualHostKey, route_table
from fairlead.resolve.gateway_api.attachment import attachments, by_gateway
from fairlead.resolve.gateway_api.gateways import EVERY_HOST, gateways_of, servers
from fairlead.resolve.gateway_api.http_routes import Place, http_routes, in_order
from fairlead.resolve.gateway_api.references import http_route_key
from fairlead.resolve.outcome import Outcome
from fairlead.resolve.scope import Selection
from fairlead.world import ObjectName, World


@derived
def _of_selection(world: World, selection: Selection) -> frozenset[ObjectName]:
    """The HTTPRoutes of the Gateways for the proxies of a selection."""
    groups = [by_gateway(world).get(gateway) or frozenset() for gateway in gateways_of(world, selection)]
    # Mostly there is one group, which then is shared instead of copied.
    return groups[0] if len(groups) == 1 else frozenset[ObjectName]().union(*groups)


@derived_map(_of_selection)
def _bindings(world: World, selection: Selection, name: ObjectName) -> Mapping[VirtualHostKey, Place] | None:
    """The virtual hosts of each HTTPRoute."""
    outcome = attachments(world).get(name)
    if outcome is None:
        return None
    gateways = gateways_of(world, selection)
    found: dict[VirtualHostKey, Place] = {}
    for attachment in outcome.value:
        if attachment.gateway in gateways:
            server = attachment.server
            table = route_table(selection, server)
            place = Place(selection.viewer, server.port, server.protocol is ServerProtocol.HTTPS)
            for domain in attachment.domains:
                found.setdefault(VirtualHostKey(table, domain), place)
    return found


@derived_index(_bindings)
def _routes_by_host(
    _world: World, _selection: Selection, _name: ObjectName, binding: Mapping[VirtualHostKey, Place]
) -> Iterable[VirtualHostKey]:
    return binding


@derived
def _hosts_of_listeners(world: World, selection: Selection) -> Mapping[VirtualHostKey, ObjectKey]:
    """The host names of listeners -> the Gateway; not the wildcard for all, since a table needs nothing for a 404."""
    return {
        VirtualHostKey(route_table(selection, server), host): server.gateway
        for server in servers(world, selection)
        for host in server.hosts
        if host != EVERY_HOST
    }


@derived
def _keys(world: World, selection: Selection) -> frozenset[VirtualHostKey]:
    # A listener without routes keeps its requests from less specific listeners: they are answered with 404.
    return frozenset(_routes_by_host(world, selection).keys() | _hosts_of_listeners(world, selection).keys())


@derived_map(_keys)
def virtual_hosts(world: World, selection: Selection, key: VirtualHostKey) -> frozenset[ObjectName]:
    """Virtual host -> the HTTPRoutes that serve it; none for a listener's host name without routes."""
    return _routes_by_host(world, selection).get(key) or frozenset()


def host_routes(world: World, selection: Selection, key: VirtualHostKey) -> Outcome[HostRoutes]:
    """The routes that HTTPRoutes have for a virtual host, those of all of them in order of their precedence."""
    names = sorted(_routes_by_host(world, selection).get(key) or ())
    if not names:
        gateway = _hosts_of_listeners(world, selection).get(key)
        return Outcome(HostRoutes(origin=(gateway,) if gateway is not None else ()))
    bindings = _bindings(world, selection)
    outcomes = [http_routes(world, name, binding[key]) for name in names if (binding := bindings.get(name)) is not None]
    routes = HostRoutes(
        routes=in_order(ranked for outcome in outcomes for ranked in outcome.value),
        origin=tuple(http_route_key(name) for name in names),
    )
    return Outcome(routes, tuple(problem for outcome in outcomes for problem in outcome.problems))
