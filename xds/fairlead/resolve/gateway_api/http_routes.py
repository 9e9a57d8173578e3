"""The rules of an HTTPRoute, as they are served at one place."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

from fairlead.derive import derived
from fairlead.intent import (
    Action,
    Destination,
    DirectResponse,
    Forward,
    PathRewrite,
    PathRewriteKind,
    Redirect,
    Retry,
    Route,
)
from fairlead.models.gateway_api import (
    HTTPPathModifier,
    HTTPRequestRedirectFilter,
    HTTPRoute,
    HTTPRouteMatch,
    HTTPRouteRule,
    PathModifierType,
)
from fairlead.problems import FieldPath
from fairlead.resolve import clusters
from fairlead.resolve.gateway_api.backends import SHARE_FAILS, BackendReader
from fairlead.resolve.gateway_api.filters import Filters, filters_of_backend, filters_of_rule
from fairlead.resolve.gateway_api.matches import Precedence, precedence, request_match
from fairlead.resolve.gateway_api.source import Source
from fairlead.resolve.outcome import Outcome
from fairlead.resolve.scope import Viewer
from fairlead.world import ObjectName, World

_DEFAULT_PORTS = {"http": 80, "https": 443}
_DEFAULT_ATTEMPTS = 2
_SAFE_CONDITIONS = ("connect-failure", "refused-stream", "unavailable", "cancelled")
"""When a request is tried again without being asked for: as with Istio, where the backend has not begun with it."""
_CONDITIONS = ("connect-failure", "refused-stream", "reset")
"""With `retry`: connection errors and timeouts of a try, beside the status codes."""
_FAILURE = DirectResponse(500)


class Place(NamedTuple):
    """Where the rules of an HTTPRoute are served: all that they can depend on, apart from the world."""

    viewer: Viewer
    """The proxies as those who call services."""
    port: int
    """Of the listener, as declared."""
    tls: bool
    """Requests arrive by TLS."""


@dataclass(frozen=True, slots=True)
class RankedRoute:
    """A route, and where it stands among those of other HTTPRoutes."""

    precedence: Precedence
    route: Route


@derived
def http_routes(world: World, name: ObjectName, place: Place) -> Outcome[tuple[RankedRoute, ...]]:
    """One route for each match of each rule of an HTTPRoute, in the order of the object."""
    http_route = world.objects(HTTPRoute).get(name)
    if http_route is None:
        return Outcome(())
    source = Source(world, http_route.key)
    found = []
    for index, rule in enumerate(http_route.spec.rules):
        filters, action = _rule(rule, place, source, ("spec", "rules", index))
        for position, match in enumerate(rule.matches or (HTTPRouteMatch(),)):
            route = Route(
                name=f"{name.namespace}.{name.name}.{index}",
                match=request_match(match),
                action=action,
                origin=(http_route.key,),
                request_headers=filters.request_headers,
                response_headers=filters.response_headers,
                cors=filters.cors,
                path=("spec", "rules", index, *(("matches", position) if rule.matches else ())),
            )
            found.append(RankedRoute(precedence(http_route, index, position, match), route))
    return Outcome(tuple(found), tuple(source.problems))


def _rule(rule: HTTPRouteRule, place: Place, source: Source, path: FieldPath) -> tuple[Filters, Action]:
    if rule.session_persistence is not None:
        source.warn("unsupported-field", "sessions are not kept: it is not supported", (*path, "sessionPersistence"))
    reader = BackendReader(source, place.viewer)
    filters = filters_of_rule(rule.filters, reader, (*path, "filters"))
    if filters is None:
        return Filters(), _FAILURE
    if filters.redirect is not None:
        for field, given in (("timeouts", rule.timeouts), ("retry", rule.retry), ("filters", filters.mirrors or None)):
            if given is not None:
                what = "mirroring" if field == "filters" else field
                source.warn("no-effect", f"{what} has no effect on a rule that redirects", (*path, field))
        return filters, _redirect(filters.redirect, place)
    return filters, _forward(rule, filters, reader, path)


# --- Redirects --------------------------------------------------------------------------------------------------------


def _redirect(redirect: HTTPRequestRedirectFilter, place: Place) -> Redirect:
    own_scheme = "https" if place.tls else "http"
    scheme = redirect.scheme.value if redirect.scheme is not None else ""
    port: int | None = redirect.port or (_DEFAULT_PORTS[scheme] if scheme else place.port)
    request_names_port = not redirect.hostname and place.port != _DEFAULT_PORTS[own_scheme]
    if port == _DEFAULT_PORTS[scheme or own_scheme] and not request_names_port:
        port = None  # a location does not name it, unless it takes the place of another one
    return Redirect(
        status=redirect.status_code,
        scheme=scheme,
        host=redirect.hostname,
        port=port,
        path=_path_rewrite(redirect.path),
    )


def _path_rewrite(modifier: HTTPPathModifier | None) -> PathRewrite | None:
    if modifier is None:
        return None
    if modifier.type is PathModifierType.REPLACE_FULL_PATH:
        return PathRewrite(PathRewriteKind.FULL, modifier.replace_full_path or "/")
    return PathRewrite(PathRewriteKind.PREFIX, modifier.replace_prefix_match or "")


# --- Forwarding -------------------------------------------------------------------------------------------------------


def _forward(rule: HTTPRouteRule, filters: Filters, reader: BackendReader, path: FieldPath) -> Forward | DirectResponse:
    destinations = tuple(_destinations(rule, reader, (*path, "backendRefs")))
    backends = [found.backend for found in destinations if found.backend is not None]
    if not backends:
        return _FAILURE
    world = reader.source.world
    hash_keys = (key for backend in backends for key in clusters.hash_keys(world, reader.viewer, backend))
    sticky_by = tuple(dict.fromkeys(hash_keys))
    rewrite = filters.rewrite
    return Forward(
        destinations=destinations,
        timeout=(rule.timeouts.request if rule.timeouts is not None else None) or None,
        retry=_retry(rule, is_sticky=bool(sticky_by)),
        path_rewrite=_path_rewrite(rewrite.path) if rewrite is not None else None,
        host=rewrite.hostname if rewrite is not None else "",
        mirrors=filters.mirrors,
        hash_keys=sticky_by,
        unresolved_status=_FAILURE.status,
    )


def _destinations(rule: HTTPRouteRule, reader: BackendReader, path: FieldPath) -> Iterator[Destination]:
    """The backends with a share; one without backend where its share is a failure."""
    for index, reference in enumerate(rule.backend_refs):
        if not reference.weight:
            continue
        backend = reader.read(reference, (*path, index), SHARE_FAILS)
        filters = filters_of_backend(reference.filters, reader, (*path, index, "filters"))
        if backend is None or filters is None:
            yield Destination(None, reference.weight)
        else:
            yield Destination(
                backend=backend,
                weight=reference.weight,
                request_headers=filters.request_headers,
                response_headers=filters.response_headers,
            )


def _retry(rule: HTTPRouteRule, *, is_sticky: bool) -> Retry:
    per_try_timeout = (rule.timeouts.backend_request if rule.timeouts is not None else None) or None
    asked = rule.retry
    return Retry(
        attempts=_DEFAULT_ATTEMPTS if asked is None or asked.attempts is None else asked.attempts,
        conditions=_SAFE_CONDITIONS if asked is None else _CONDITIONS,
        status_codes=() if asked is None else tuple(asked.codes),
        per_try_timeout=per_try_timeout,
        backoff=(asked.backoff if asked is not None else None) or None,
        # Requests of a session belong to one endpoint.
        avoid_previous_hosts=not is_sticky,
    )


def in_order(routes: Iterable[RankedRoute]) -> tuple[Route, ...]:
    """The routes of all HTTPRoutes of a host name, the first that matches decides."""
    return tuple(ranked.route for ranked in sorted(routes, key=lambda ranked: ranked.precedence))
