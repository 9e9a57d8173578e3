"""HTTPRoutes at listeners: which of them they are attached to, and for which host names.

A request belongs to one listener of a port, the one with the most specific host name (gateway-api.sigs.k8s.io,
`GatewaySpec.listeners`): routes that are attached to another listener never answer it, even when their own host names
are more specific.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

from fairlead.derive import Collection, derived_index, derived_map
from fairlead.models.gateway_api import Gateway, GatewayDefaultScope, HTTPRoute, ParentReference
from fairlead.problems import FieldPath, Problem
from fairlead.resolve.dialect import Server
from fairlead.resolve.gateway_api.gateways import GatewayListener, listeners_of
from fairlead.resolve.gateway_api.namespaces import may_attach
from fairlead.resolve.gateway_api.references import gateway_key
from fairlead.resolve.gateway_api.source import Source
from fairlead.resolve.hosts import covers, intersect, is_wildcard
from fairlead.resolve.outcome import Outcome
from fairlead.world import ObjectName, World


@dataclass(frozen=True, slots=True)
class Attachment:
    """An HTTPRoute at a listener that is served."""

    gateway: ObjectName
    server: Server
    domains: tuple[str, ...]
    """The host names, lower case, whose requests the listener passes on to the route."""


class _Reach(NamedTuple):
    """How far an HTTPRoute gets at one parent."""

    attachments: tuple[Attachment, ...]
    hostnames: frozenset[str]
    """Those of the route that requests can have, as far as the parent is concerned."""


def _http_routes(world: World) -> Collection[ObjectName, HTTPRoute]:
    return world.objects(HTTPRoute)


@derived_map(_http_routes)
def attachments(world: World, name: ObjectName) -> Outcome[tuple[Attachment, ...]] | None:
    """Where each HTTPRoute is attached, for whatever proxies."""
    route = world.objects(HTTPRoute).get(name)
    if route is None:
        return None
    source = Source(world, route.key)
    if route.spec.use_default_gateways is not GatewayDefaultScope.NONE:
        message = "useDefaultGateways has no effect, it is not supported"
        source.warn("unsupported-field", message, ("spec", "useDefaultGateways"), "name the Gateways in parentRefs")
    elif not route.spec.parent_refs:
        source.warn("no-parent", "the route is attached to nothing", ("spec",), "name a Gateway in parentRefs")
    found = [
        _at_parent(route, parent, ("spec", "parentRefs", index), source)
        for index, parent in enumerate(route.spec.parent_refs)
    ]
    reaches = [reach for reach in found if reach is not None]
    if len(reaches) == len(found) > 0:
        _tell_unreached(route, reaches, source)
    return Outcome(tuple(item for reach in reaches for item in reach.attachments), tuple(source.problems))


@derived_index(attachments)
def by_gateway(_world: World, _name: ObjectName, outcome: Outcome[tuple[Attachment, ...]]) -> Iterable[ObjectName]:
    """Gateway -> the HTTPRoutes that are attached to it."""
    return {attachment.gateway for attachment in outcome.value}


@derived_map(attachments)
def reviews(world: World, name: ObjectName) -> tuple[Problem, ...] | None:
    """What keeps each HTTPRoute from being attached to its parents."""
    outcome = attachments(world).get(name)
    return None if outcome is None or not outcome.problems else outcome.problems


# --- Parents ----------------------------------------------------------------------------------------------------------


def _at_parent(route: HTTPRoute, parent: ParentReference, path: FieldPath, source: Source) -> _Reach | None:
    """Where a route is attached at one parent; None when that parent does not take it, or is not ours to judge."""
    if (parent.group, parent.kind) != (Gateway.group, Gateway.kind):
        message = f"the route is not attached to {parent.kind} {parent.name}: only Gateways are supported as parents"
        source.warn("unsupported-value", message, (*path, "kind"))
        return None
    gateway = ObjectName(parent.namespace or source.key.namespace, parent.name)
    if source.world.objects(Gateway).get(gateway) is None:
        hint = "correct the name; a Gateway of another namespace needs parentRefs.namespace"
        source.warn("unknown-gateway", f"there is no {gateway_key(gateway)} that is without error", path, hint)
        return None
    listeners = listeners_of(source.world, gateway)
    if listeners is None:
        return None
    named = [
        listener
        for listener in listeners
        if parent.section_name in ("", listener.name) and parent.port in (None, listener.port)
    ]
    if not named:
        known = ", ".join(f"{listener.name} on port {listener.port}" for listener in listeners)
        message = f"the route is not attached to {gateway_key(gateway)}, NoMatchingParent: it has no such listener"
        source.error("no-matching-parent", message, path, f"the listeners are {known}")
        return None
    allowed = list(_allowing(named, gateway, source))
    if not allowed:
        _tell_not_allowed(named, gateway, path, source)
        return None
    reach = _reach(route.spec.hostnames, gateway, allowed, listeners)
    if reach is None:
        hosts = ", ".join(sorted({listener.host for listener in allowed}))
        message = (
            f"the route is not attached to {gateway_key(gateway)}, NoMatchingListenerHostname: "
            f"no host name of the route is one of {hosts}"
        )
        source.error("no-matching-listener-hostname", message, path, "change the hostnames of one of them")
    return reach


def _allowing(listeners: Iterable[GatewayListener], gateway: ObjectName, source: Source) -> Iterator[GatewayListener]:
    for listener in listeners:
        if listener.takes_http_routes and may_attach(
            source.world, listener.namespaces, source.key.namespace, gateway.namespace
        ):
            yield listener


def _tell_not_allowed(
    listeners: Iterable[GatewayListener], gateway: ObjectName, path: FieldPath, source: Source
) -> None:
    if any(listener.takes_http_routes for listener in listeners):
        why = f"it takes no routes from namespace {source.key.namespace} there"
        hint = "change allowedRoutes.namespaces of the listener"
    else:
        why, hint = "it takes no HTTPRoutes there", "use a listener of protocol HTTP or HTTPS that allows the kind"
    message = f"the route is not attached to {gateway_key(gateway)}, NotAllowedByListeners: {why}"
    source.error("not-allowed-by-listeners", message, path, hint)


# --- Host names -------------------------------------------------------------------------------------------------------


def _reach(
    hostnames: tuple[str, ...],
    gateway: ObjectName,
    allowed: Iterable[GatewayListener],
    listeners: Iterable[GatewayListener],
) -> _Reach | None:
    """The host names that a route and listeners have in common; None when there are none."""
    found: list[Attachment] = []
    reached: set[str] = set()
    is_met = False
    for listener in allowed:
        domains: list[str] = []
        for hostname in hostnames or (listener.host,):
            domain = next(intersect(hostname.lower(), frozenset((listener.host,))), None)
            if domain is None:
                continue
            is_met = True
            if listener.server is None or _owner(domain, listener.server, listeners) is listener:
                reached.add(hostname)
                domains.append(domain)
        if listener.server is not None and domains:
            found.append(Attachment(gateway, listener.server, tuple(dict.fromkeys(domains))))
    return _Reach(tuple(found), frozenset(reached)) if is_met else None


def _owner(domain: str, server: Server, listeners: Iterable[GatewayListener]) -> GatewayListener:
    """The listener of the server's port that requests for the domain belong to."""
    sharing = [
        listener
        for listener in listeners
        if listener.server is not None
        and (listener.server.port, listener.server.protocol) == (server.port, server.protocol)
        and covers(listener.host, domain)
    ]
    return max(sharing, key=lambda listener: (not is_wildcard(listener.host), len(listener.host)))


def _tell_unreached(route: HTTPRoute, reaches: Iterable[_Reach], source: Source) -> None:
    reached = frozenset().union(*(reach.hostnames for reach in reaches))
    for index, hostname in enumerate(route.spec.hostnames):
        if hostname not in reached:
            message = f"no listener passes requests for {hostname} on to the route"
            hint = "requests belong to the listener with the most specific hostname; attach the route to that one"
            source.warn("no-matching-listener-hostname", message, ("spec", "hostnames", index), hint)
