"""The `http` routes of a VirtualService, as they are served at one place."""

from collections.abc import Iterable
from dataclasses import replace
from typing import NamedTuple

from fairlead.derive import derived
from fairlead.intent import (
    Action,
    Backend,
    Destination,
    DirectResponse,
    Forward,
    HashKey,
    Match,
    Mirror,
    PathMatch,
    PathMatchKind,
    PathRewrite,
    PathRewriteKind,
    Redirect,
    Route,
)
from fairlead.models.istio import virtual_service as model
from fairlead.problems import FieldPath
from fairlead.resolve import clusters, mesh
from fairlead.resolve.istio import policies
from fairlead.resolve.istio.delegation import WrittenRoute, written_routes
from fairlead.resolve.istio.destinations import reference
from fairlead.resolve.istio.matches import applies, request_match, takes_everything
from fairlead.resolve.istio.references import virtual_service_key
from fairlead.resolve.istio.source import Place, Source
from fairlead.resolve.outcome import Outcome
from fairlead.world import ObjectName, World

_ANY_PATH = PathMatch(PathMatchKind.PREFIX, "/")


@derived
def http_routes(world: World, name: ObjectName, place: Place) -> Outcome[tuple[Route, ...]]:
    """The routes of a VirtualService in its order: one for each match, up to the first that takes everything."""
    source = Source(world, place, virtual_service_key(name))
    routes: list[Route] = []
    for written in written_routes(source, name):
        if not routes or not takes_everything(routes[-1].match):
            routes.extend(_routes(written, source.of(written.key)))
        elif written.origin != routes[-1].origin:
            # Of routes in one VirtualService, validation tells.
            message = f"the route never matches: a route of {routes[-1].origin[-1]} before it takes everything"
            source.of(written.key).warn("unreachable-route", message, written.path, "move it up, or remove it")
    return Outcome(tuple(routes), tuple(source.problems))


def concatenate(parts: Iterable[tuple[Route, ...]]) -> tuple[Route, ...]:
    """Routes of several VirtualServices for one host: in order, but those that take everything come last."""
    routes = [route for part in parts for route in part]
    return tuple(sorted(routes, key=lambda route: takes_everything(route.match)))


class _Matched(NamedTuple):
    """One of a route's matches, which becomes a route of its own."""

    name: str
    match: Match
    stat_prefix: str = ""


def _routes(written: WrittenRoute, source: Source) -> list[Route]:
    """One route for each match that applies; what comes after a match that takes everything is left out."""
    route, path = written.route, written.path
    matches: list[_Matched] = []
    for index, asked in enumerate(route.match):
        if matches and takes_everything(matches[-1].match):
            break
        if applies(asked, source.place, source.namespace):
            found = request_match(asked, source, (*path, "match", index))
            if found is not None:
                name = f"{route.name}.{asked.name}" if asked.name else route.name
                matches.append(_Matched(name, found, asked.stat_prefix))
    if not route.match:
        matches.append(_Matched(route.name, Match()))
    return _with_actions(matches, written, source) if matches else []


def _with_actions(matches: list[_Matched], written: WrittenRoute, source: Source) -> list[Route]:
    route = written.route
    request, host = policies.request_headers(route.headers)
    response = policies.response_headers(route.headers)
    action: Action
    if route.redirect is not None:
        action = _redirect(route.redirect, source)
    elif route.direct_response is not None:
        action = _direct_response(route.direct_response)
    else:
        action = forward = _forward(route, host, source, written.path)
        if len(route.route) == 1:
            # There is nothing to choose, so what is said of the destination is said of the route.
            only = route.route[0]
            of_only, host_of_only = policies.request_headers(only.headers)
            request, response = request.then(of_only), response.then(policies.response_headers(only.headers))
            action = replace(forward, host=forward.host or host_of_only) if host_of_only else forward
    fault = policies.fault(route.fault) if route.fault is not None else None
    cors = policies.cors(route.cors_policy) if route.cors_policy is not None else None
    rewrites_prefix = isinstance(action, Forward | Redirect) and _replaces_prefix(action)
    return [
        Route(
            name=matched.name,
            match=_with_path(matched.match) if rewrites_prefix else matched.match,
            action=action,
            origin=written.origin,
            request_headers=request,
            response_headers=response,
            fault=fault,
            cors=cors,
            path=written.path,
            stat_prefix=matched.stat_prefix,
        )
        for matched in matches
    ]


def _with_path(match: Match) -> Match:
    return replace(match, path=_ANY_PATH) if match.path is None else match


def _replaces_prefix(action: Forward | Redirect) -> bool:
    rewrite = action.path_rewrite if isinstance(action, Forward) else action.path
    return rewrite is not None and rewrite.kind is PathRewriteKind.PREFIX


# --- Answers ----------------------------------------------------------------------------------------------------------

_DEFAULT_PORTS = {"http": 80, "https": 443}


def _redirect(redirect: model.HTTPRedirect, source: Source) -> Redirect:
    port = redirect.port or None
    if redirect.derive_port is model.RedirectPortSelection.FROM_REQUEST_PORT:
        port = source.place.ports[0]
    scheme = redirect.scheme or ("https" if source.place.tls else "http")
    path = None
    if redirect.uri:
        path = PathRewrite(PathRewriteKind.FULL, redirect.uri)
    elif redirect.prefix_rewrite:
        path = PathRewrite(PathRewriteKind.PREFIX, redirect.prefix_rewrite)
    return Redirect(
        status=redirect.redirect_code or 301,
        scheme=redirect.scheme,
        host=redirect.authority,
        port=None if port == _DEFAULT_PORTS.get(scheme) else port,
        path=path,
    )


def _direct_response(response: model.HTTPDirectResponse) -> DirectResponse:
    body = b""
    if response.body is not None:
        body = (response.body.string or "").encode() or response.body.bytes_ or b""
    return DirectResponse(response.status, body)


# --- Forwarding -------------------------------------------------------------------------------------------------------


def _forward(route: model.HTTPRoute, host: str, source: Source, path: FieldPath) -> Forward:
    rewrite = route.rewrite
    retries = route.retries if route.retries is not None else mesh.retry_policy(source.world)
    destinations = tuple(_destinations(route, source, path))
    hash_keys = _hash_keys([found.backend for found in destinations if found.backend is not None], source)
    return Forward(
        destinations=destinations,
        timeout=route.timeout or None,
        retry=policies.retry(retries, sticky=bool(hash_keys)),
        path_rewrite=_path_rewrite(rewrite) if rewrite is not None else None,
        host=(rewrite.authority if rewrite is not None else "") or host,
        mirrors=tuple(_mirrors(route, source, path)),
        hash_keys=hash_keys,
    )


def _destinations(route: model.HTTPRoute, source: Source, path: FieldPath) -> Iterable[Destination]:
    if len(route.route) == 1:
        only = reference(route.route[0].destination, source, (*path, "route", 0, "destination"))
        yield Destination(only.backend, missing=only.missing)
        return
    for index, share in enumerate(route.route):
        if share.weight:
            request, host = policies.request_headers(share.headers)
            found = reference(share.destination, source, (*path, "route", index, "destination"))
            yield Destination(
                backend=found.backend,
                weight=share.weight,
                request_headers=request,
                response_headers=policies.response_headers(share.headers),
                host=host,
                missing=found.missing,
            )


def _hash_keys(backends: Iterable[Backend], source: Source) -> tuple[HashKey, ...]:
    """What sticky requests are told apart by: DestinationRules say it, but proxies want it said by routes."""
    found = (key for each in backends for key in clusters.hash_keys(source.world, source.place.viewer, each))
    return tuple(dict.fromkeys(found))


def _path_rewrite(rewrite: model.HTTPRewrite) -> PathRewrite | None:
    if rewrite.uri_regex_rewrite is not None:
        regex = rewrite.uri_regex_rewrite
        return PathRewrite(PathRewriteKind.REGEX, regex.rewrite, regex.match)
    return PathRewrite(PathRewriteKind.PREFIX, rewrite.uri) if rewrite.uri else None


def _mirrors(route: model.HTTPRoute, source: Source, path: FieldPath) -> Iterable[Mirror]:
    if route.mirror is not None:
        percent: float = 100
        if route.mirror_percentage is not None:
            percent = route.mirror_percentage.value
        elif route.mirror_percent is not None:
            percent = route.mirror_percent
        if percent > 0:
            yield _mirror(route.mirror, percent, source, (*path, "mirror"))
    for index, policy in enumerate(route.mirrors):
        percent = policy.percentage.value if policy.percentage is not None else 100
        if percent > 0:
            yield _mirror(policy.destination, percent, source, (*path, "mirrors", index, "destination"))


def _mirror(destination: model.Destination, percent: float, source: Source, path: FieldPath) -> Mirror:
    found = reference(destination, source, path, effect="so that nothing is mirrored to it")
    return Mirror(found.backend, policies.share(percent))
