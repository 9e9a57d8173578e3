"""What becomes of requests for hosts that nobody knows: they are answered with 502, or go where DNS says.

Istio lets connections to unknown services go on to where they were captured from. Here nothing is captured, but a
request names its host: the sidecar is a forward proxy for it. That is for the application alone, so only a listener
that nobody else reaches does it (istio.io/latest/docs/reference/config/networking/sidecar/#OutboundTrafficPolicy).
"""

import ipaddress
from typing import NamedTuple

from fairlead.derive import derived
from fairlead.intent import (
    ANY_HOST,
    Destination,
    DirectResponse,
    Forward,
    HeaderOperations,
    Match,
    Nanoseconds,
    PathMatch,
    PathMatchKind,
    Route,
    StringMatch,
    StringMatchKind,
    ValueMatch,
    VirtualHost,
)
from fairlead.models.istio import mesh_config
from fairlead.models.istio.sidecar import OutboundTrafficMode, Sidecar
from fairlead.problems import FieldPath, ObjectKey, Problem, warning
from fairlead.resolve import mesh
from fairlead.resolve.outcome import Outcome
from fairlead.resolve.scope import Selection
from fairlead.resolve.sidecar import scopes
from fairlead.resolve.sidecar.exposures import HTTP_PROXY_TABLE
from fairlead.resolve.sidecar.scopes import HTTP_PROXY, EgressListener
from fairlead.world import ObjectName, World

_EVERY_HOST = "*"
_EVERY_PATH = Match(PathMatch(PathMatchKind.PREFIX, "/"))
_BAD_GATEWAY = 502
_LOOP_DETECTED = 508
_UNIX = "unix://"
_LOOP_HEADER, _LOOP_NAME = "cdn-loop", "fairlead"
"""By which requests are told that come back again and again, as RFC 8586 has it."""
_TWICE = ValueMatch(_LOOP_HEADER, StringMatch(StringMatchKind.REGEX, f".*{_LOOP_NAME}.*{_LOOP_NAME}.*"))
"""Not once: an application may pass on what it was sent, and has a sidecar as well."""


class Policy(NamedTuple):
    """Whether unknown hosts are reached, and who says so."""

    allows_any: bool
    key: ObjectKey | None = None
    """None: nobody does, so that Istio's default counts."""
    path: FieldPath = ()


@derived
def _policy(world: World, sidecar: ObjectName | None) -> Policy:
    found = None if sidecar is None else world.objects(Sidecar).get(sidecar)
    policy = None if found is None else found.spec.outbound_traffic_policy
    if found is not None and policy is not None:
        # To go around the proxy that is asked for would be worse than not to go.
        allows_any = policy.mode is OutboundTrafficMode.ALLOW_ANY and policy.egress_proxy is None
        return Policy(allows_any, found.key, ("spec", "outboundTrafficPolicy", "mode"))
    mode = mesh.outbound_traffic_mode(world)
    if mode is None:
        return Policy(allows_any=True)
    allows_any = mode is not mesh_config.OutboundTrafficMode.REGISTRY_ONLY
    return Policy(allows_any, mesh.KEY, (*mesh.PATH, "outboundTrafficPolicy", "mode"))


def refresh_rate(world: World, selection: Selection, route_table: str) -> Nanoseconds | None:
    """How often unknown hosts that are asked for at a route table are resolved; None when they are not reached."""
    reached = _policy(world, selection.sidecar).allows_any and not _strangers_at(world, selection, route_table)
    return mesh.dns_refresh_rate(world) if reached else None


def _strangers_at(world: World, selection: Selection, route_table: str) -> str:
    """The address at which others than the application reach a route table, in words; empty when there is none."""
    if not selection.on_loopback:
        return "the sidecar's bind address is none of the loopback device"
    for listener in scopes.egress(world, selection):
        bind = listener.bind
        if _table(listener) == route_table and bind and not bind.startswith(_UNIX) and not is_loopback(bind):
            return f"{bind} is no address of the loopback device"
    return ""


def _table(listener: EgressListener) -> str:
    return HTTP_PROXY_TABLE if listener.protocol == HTTP_PROXY else str(listener.port)


def is_loopback(address: str) -> bool:
    """Whether only the machine itself reaches an IP address."""
    return ipaddress.ip_address(address).is_loopback


def virtual_host(world: World, selection: Selection, route_table: str) -> Outcome[VirtualHost]:
    """Where requests end whose host nobody knows."""
    policy = _policy(world, selection.sidecar)
    origin = () if policy.key is None else (policy.key,)
    if refresh_rate(world, selection, route_table) is not None:
        routes = _routes(origin, http_proxy=route_table == HTTP_PROXY_TABLE)
        host = VirtualHost("allow_any", (_EVERY_HOST,), routes, origin, attempt_count=mesh.attempt_count(world))
        return Outcome(host)
    blocked = Route("block_all", _EVERY_PATH, DirectResponse(_BAD_GATEWAY), origin)
    host = VirtualHost("block_all", (_EVERY_HOST,), (blocked,), origin)
    if policy.allows_any and policy.key is not None:
        return Outcome(host, (_not_allowed(policy, _strangers_at(world, selection, route_table)),))
    return Outcome(host)


def _routes(origin: tuple[ObjectKey, ...], *, http_proxy: bool) -> tuple[Route, ...]:
    onwards = Forward((Destination(ANY_HOST),))
    # A name may lead to the sidecar itself, as those of services do.
    loop = Route("loop", Match(_EVERY_PATH.path, headers=(_TWICE,)), DirectResponse(_LOOP_DETECTED), origin)
    mark = HeaderOperations(add=((_LOOP_HEADER, _LOOP_NAME),))
    requests = (loop, Route("allow_any", _EVERY_PATH, onwards, origin, request_headers=mark))
    tunnel = Route("connect", Match(connect=True), onwards, origin)
    return (tunnel, *requests) if http_proxy else requests


def _not_allowed(policy: Policy, why: str) -> Problem:
    return warning(
        "unsupported-value",
        f"requests to unknown hosts are answered with 502, since not only the application can send them: {why}",
        key=policy.key,
        path=policy.path,
        hint="bind 127.0.0.1 or another address of the loopback device: fairlead bootstrap --bind-address 127.0.0.2",
    )
