"""Rules for HTTP routes of VirtualServices."""

import re
from collections.abc import Iterator
from typing import cast

import re2

from fairlead.models.istio.virtual_service import (
    Abort,
    CorsPolicy,
    Delay,
    Headers,
    HTTPDirectResponse,
    HTTPFaultInjection,
    HTTPRedirect,
    HTTPRetry,
    HTTPRewrite,
    HTTPRoute,
    Percent,
    StringMatch,
    VirtualServiceSpec,
)
from fairlead.problems import FieldPath, Problem, error, warning
from fairlead.validation import common
from fairlead.validation.istio import checks, destinations, headers, matches

_ACTIONS = {
    "route": "route",
    "redirect": "redirect",
    "direct_response": "directResponse",
    "delegate": "delegate",
}
_FORWARDING = {
    "timeout": "timeout",
    "retries": "retries",
    "mirror": "mirror",
    "mirrors": "mirrors",
}
"""Fields that mean something to requests that are forwarded only, with their names in the API."""

# envoyproxy.io/docs, "Router": x-envoy-retry-on and x-envoy-retry-grpc-on.
_RETRY_CONDITIONS = frozenset(
    """
    5xx gateway-error reset reset-before-request connect-failure envoy-ratelimited retriable-4xx refused-stream
    retriable-status-codes retriable-headers http3-post-connect-failure
    cancelled deadline-exceeded internal resource-exhausted unavailable
    """.split()  # noqa: SIM905  # legible as words
)
_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "CONNECT", "OPTIONS", "TRACE", "*"})
# grpc.github.io/grpc/core/md_doc_statuscodes.html
_GRPC_STATUSES = frozenset(
    """
    OK CANCELLED UNKNOWN INVALID_ARGUMENT DEADLINE_EXCEEDED NOT_FOUND ALREADY_EXISTS PERMISSION_DENIED
    RESOURCE_EXHAUSTED FAILED_PRECONDITION ABORTED OUT_OF_RANGE UNIMPLEMENTED INTERNAL UNAVAILABLE DATA_LOSS
    UNAUTHENTICATED
    """.split()  # noqa: SIM905  # legible as words
)
_REDIRECT_CODES = (301, 302, 303, 307, 308)
_MAX_BODY = 1024 * 1024
_LARGE_BODY = 100 * 1024
_SMALLEST_PERCENT = 0.0001  # Envoy counts in millionths


def http_route(route: HTTPRoute, path: FieldPath, spec: VirtualServiceSpec) -> Iterator[Problem]:
    """What is wrong with an HTTP route of `spec`."""
    yield from _action(route, path, delegated=not spec.hosts)
    for index, match in enumerate(route.match):
        where = (*path, "match", index)
        # A delegate is for the gateways of those that delegate to it.
        gateways_only = not spec.hosts or matches.is_bound_to_gateways(spec)
        yield from matches.http_match(match, where, gateways_only=gateways_only)
    yield from destinations.weighted(route.route, (*path, "route"))
    for index, choice in enumerate(route.route):
        yield from headers.changes(choice.headers, (*path, "route", index, "headers"))
    yield from headers.changes(route.headers, (*path, "headers"))
    if route.redirect is not None:
        yield from _redirect(route.redirect, (*path, "redirect"))
    if route.direct_response is not None:
        yield from _direct_response(route.direct_response, (*path, "directResponse"))
    if route.delegate is not None:
        yield from _delegate(route, path)
    if route.rewrite is not None:
        yield from _rewrite(route.rewrite, (*path, "rewrite"))
    yield from _authority(route.rewrite, route.headers, path)
    yield from checks.duration(route.timeout, (*path, "timeout"))
    if route.retries is not None:
        yield from retry_policy(route.retries, (*path, "retries"))
        limit = route.retries.per_try_timeout
        if route.timeout and limit and limit >= route.timeout:
            why = f"the timeout of the whole request, {checks.show_duration(route.timeout)}, ends it before"
            where = (*path, "retries", "perTryTimeout")
            yield checks.no_effect("perTryTimeout", why, where, "make it shorter than timeout")
    if route.fault is not None:
        yield from _fault(route.fault, (*path, "fault"))
    yield from _mirrors(route, path)
    if route.cors_policy is not None:
        yield from _cors(route.cors_policy, (*path, "corsPolicy"))


def _action(route: HTTPRoute, path: FieldPath, *, delegated: bool) -> Iterator[Problem]:
    actions = [name for field, name in _ACTIONS.items() if _is_set(getattr(route, field))]
    if not actions:
        hint = "add route, redirect, directResponse or delegate"
        yield error("missing-action", "the route says nothing about what to do with requests", path=path, hint=hint)
    for other in actions[1:]:
        message = f"the route has both {actions[0]} and {other}"
        yield error("conflicting-actions", message, path=(*path, other), hint="keep one of them")
    if delegated and route.delegate is not None:
        message = "a VirtualService without hosts is delegated to, and cannot delegate itself"
        yield error("nested-delegate", message, path=(*path, "delegate"))
    if actions and actions[0] in {"redirect", "directResponse"}:
        for name, value in (("fault", route.fault), ("rewrite", route.rewrite)):
            if value is not None:
                message = f"{name} cannot be combined with {actions[0]}"
                yield error("conflicting-fields", message, path=(*path, name), hint="leave it out")
        for field, name in _FORWARDING.items():
            if _is_set(getattr(route, field)):
                yield checks.no_effect(name, f"{actions[0]} forwards no requests", (*path, name), "leave it out")


def _is_set(value: object) -> bool:
    return value is not None and value != ()


def _delegate(route: HTTPRoute, path: FieldPath) -> Iterator[Problem]:
    delegate = route.delegate
    assert delegate is not None
    yield from checks.required(delegate.name, "the delegate's name", (*path, "delegate", "name"))
    if delegate.namespace:
        yield from checks.dns_label(delegate.namespace, "namespace", (*path, "delegate", "namespace"))


def _redirect(redirect: HTTPRedirect, path: FieldPath) -> Iterator[Problem]:
    changes = (redirect.uri, redirect.authority, redirect.scheme, redirect.prefix_rewrite, redirect.derive_port)
    if not any(changes) and redirect.port is None:
        hint = "set uri, prefixRewrite, authority, scheme, port or derivePort"
        yield error("empty-redirect", "the redirect leads to where it comes from", path=path, hint=hint)
    yield from common.at_most_one(redirect, ("port", "derive_port"), path)
    if redirect.uri and redirect.prefix_rewrite:
        message = "uri and prefixRewrite both change the path"
        yield error("conflicting-fields", message, path=(*path, "prefixRewrite"), hint="keep one of them")
    if redirect.port is not None:
        yield from common.port(redirect.port, (*path, "port"))
    if redirect.scheme not in {"", "http", "https"}:
        message = f"{redirect.scheme!r} is neither http nor https"
        yield error("invalid-value", message, path=(*path, "scheme"))
    if redirect.redirect_code and redirect.redirect_code not in _REDIRECT_CODES:
        message = f"Envoy cannot redirect with {redirect.redirect_code}"
        hint = f"use one of {', '.join(map(str, _REDIRECT_CODES))}"
        yield error("invalid-status", message, path=(*path, "redirectCode"), hint=hint)


def _direct_response(response: HTTPDirectResponse, path: FieldPath) -> Iterator[Problem]:
    yield from common.status(response.status, (*path, "status"))
    if response.body is None:
        return
    where = (*path, "body")
    yield from common.at_most_one(response.body, ("string", "bytes_"), where)
    size = len((response.body.string or "").encode()) or len(response.body.bytes_ or b"")
    if size > _MAX_BODY:
        message = f"the body has {size} bytes; Envoy takes at most {_MAX_BODY}"
        yield error("invalid-value", message, path=where)
    elif size > _LARGE_BODY:
        message = f"the body of {size} bytes is sent to every proxy with each change of its virtual host"
        yield warning("large-body", message, path=where, hint="serve it from a backend")


def _rewrite(rewrite: HTTPRewrite, path: FieldPath) -> Iterator[Problem]:
    regex = rewrite.uri_regex_rewrite
    if not rewrite.uri and not rewrite.authority and regex is None:
        hint = "set uri, uriRegexRewrite or authority"
        yield error("missing-field", "the rewrite changes nothing", path=path, hint=hint)
    if regex is None:
        return
    where = (*path, "uriRegexRewrite")
    if rewrite.uri:
        message = "uri and uriRegexRewrite both change the path"
        yield error("conflicting-fields", message, path=where, hint="keep one of them")
    yield from checks.required(regex.match, "the regular expression", (*where, "match"))
    yield from checks.required(regex.rewrite, "the substitution", (*where, "rewrite"))
    if not regex.match:
        return
    faults = list(common.regex(regex.match, (*where, "match")))
    yield from faults
    if not any(fault.code == "invalid-regex" for fault in faults):
        yield from _substitution(regex.match, regex.rewrite, (*where, "rewrite"))


def _substitution(pattern: str, substitution: str, path: FieldPath) -> Iterator[Problem]:
    """RE2 leaves a path as it is when the substitution refers to a group that is not there."""
    groups = cast("int", re2.compile(pattern).groups)
    for reference in re.findall(r"\\(.?)", substitution, re.DOTALL):
        if reference == "\\":
            continue
        if not reference.isdecimal():
            message = f"the substitution {substitution!r} has a \\ before something else than a digit"
            yield error("invalid-substitution", message, path=path, hint=r"write \\ for a backslash")
        elif int(reference) > groups:
            message = f"the substitution refers to group {reference}, but the regular expression has {groups}"
            yield error("invalid-substitution", message, path=path)


def _authority(rewrite: HTTPRewrite | None, changes: Headers | None, path: FieldPath) -> Iterator[Problem]:
    """The authority can be written in one place of a route only."""
    places: list[FieldPath] = []
    if rewrite is not None and rewrite.authority:
        places.append((*path, "rewrite", "authority"))
    if changes is not None and changes.request is not None:
        for verb, values in (("set", changes.request.set), ("add", changes.request.add)):
            places += [(*path, "headers", "request", verb, name) for name in values if headers.is_authority(name)]
    for place in places[1:]:
        message = "the authority is rewritten more than once"
        yield error("conflicting-fields", message, path=place, hint="keep one of the places")


def retry_policy(retries: HTTPRetry, path: FieldPath) -> Iterator[Problem]:
    """When requests are sent again."""
    yield from checks.not_negative(retries.attempts, (*path, "attempts"))
    if retries.attempts == 0 and retries != HTTPRetry():
        message = "attempts is 0, which turns retries off, but the retries have other settings"
        hint = "set attempts, or leave the rest out"
        yield error("retries-off", message, path=path, hint=hint)
    yield from checks.duration(retries.per_try_timeout, (*path, "perTryTimeout"))
    yield from checks.duration(retries.backoff, (*path, "backoff"))
    for condition in (part.strip() for part in retries.retry_on.split(",")):
        code = condition.isdecimal() and 100 <= int(condition) <= 599
        if condition and not code and condition not in _RETRY_CONDITIONS:
            message = f"{condition!r} is neither a condition of Envoy nor a status code"
            hint = f"use status codes, or {', '.join(sorted(_RETRY_CONDITIONS))}"
            yield error("unknown-retry-condition", message, path=(*path, "retryOn"), hint=hint)


def _share(percentage: Percent | None, path: FieldPath) -> Iterator[Problem]:
    """A share of requests."""
    if percentage is not None:
        yield from common.percent(percentage.value, (*path, "value"))
        if 0 < percentage.value < _SMALLEST_PERCENT:
            message = f"{percentage.value:g} is less than Envoy can count, which is {_SMALLEST_PERCENT:g}"
            yield error("invalid-value", message, path=(*path, "value"))


def _fault(fault: HTTPFaultInjection, path: FieldPath) -> Iterator[Problem]:
    if fault.delay is None and fault.abort is None:
        hint = "add delay or abort"
        yield error("missing-field", "the fault is neither a delay nor an abort", path=path, hint=hint)
    if fault.delay is not None:
        yield from _delay(fault.delay, (*path, "delay"))
    if fault.abort is not None:
        yield from _abort(fault.abort, (*path, "abort"))


def _no_share(what: str, path: FieldPath) -> Problem:
    message = f"without percentage no request is {what}"
    return warning("missing-percentage", message, path=path, hint="set percentage.value, 100 for all requests")


def _delay(delay: Delay, path: FieldPath) -> Iterator[Problem]:
    yield from common.at_most_one(delay, ("fixed_delay", "exponential_delay"), path)
    if delay.fixed_delay is None and delay.exponential_delay is None:
        yield warning("empty-fault", "the delay has no fixedDelay, and no effect", path=path)
    yield from checks.duration(delay.fixed_delay, (*path, "fixedDelay"))
    yield from _share(delay.percentage, (*path, "percentage"))
    if delay.percent:
        yield checks.deprecated("percent", (*path, "percent"), f"write percentage.value: {delay.percent}")
        yield from common.percent(delay.percent, (*path, "percent"))
    elif delay.percentage is None:
        yield _no_share("delayed", path)


def _abort(abort: Abort, path: FieldPath) -> Iterator[Problem]:
    kinds = ("http_status", "grpc_status", "http2_error")
    yield from common.at_most_one(abort, kinds, path)
    if all(getattr(abort, kind) is None for kind in kinds):
        hint = "set httpStatus or grpcStatus"
        yield warning("empty-fault", "the abort does not say with what, and has no effect", path=path, hint=hint)
    if abort.http_status is not None:
        yield from common.status(abort.http_status, (*path, "httpStatus"))
    if abort.grpc_status is not None and abort.grpc_status not in _GRPC_STATUSES:
        message = f"{abort.grpc_status!r} is no status of gRPC"
        yield error("invalid-status", message, path=(*path, "grpcStatus"), hint="write a name such as UNAVAILABLE")
    yield from _share(abort.percentage, (*path, "percentage"))
    if abort.percentage is None:
        yield _no_share("aborted", path)


def _mirrors(route: HTTPRoute, path: FieldPath) -> Iterator[Problem]:
    if route.mirror is not None:
        yield from destinations.destination(route.mirror, (*path, "mirror"))
    for index, mirror in enumerate(route.mirrors):
        where = (*path, "mirrors", index)
        yield from destinations.destination(mirror.destination, (*where, "destination"))
        yield from _share(mirror.percentage, (*where, "percentage"))
    if route.mirror is not None and route.mirrors:
        message = "mirror and mirrors exclude each other"
        yield error("conflicting-fields", message, path=(*path, "mirrors"), hint="move mirror into mirrors")
    for name, value in (("mirrorPercentage", route.mirror_percentage), ("mirrorPercent", route.mirror_percent)):
        if value is not None and route.mirror is None:
            hint = "set mirrors[].percentage" if route.mirrors else ""
            yield checks.no_effect(name, "there is no mirror", (*path, name), hint)
    yield from _share(route.mirror_percentage, (*path, "mirrorPercentage"))
    if route.mirror_percent is not None:
        where = (*path, "mirrorPercent")
        yield checks.deprecated("mirrorPercent", where, f"write mirrorPercentage.value: {route.mirror_percent}")
        yield from common.percent(route.mirror_percent, where)


def _cors(policy: CorsPolicy, path: FieldPath) -> Iterator[Problem]:
    if policy.allow_origin:
        where = (*path, "allowOrigin")
        yield checks.deprecated("allowOrigin", where, f"write allowOrigins with exact: {policy.allow_origin[0]}")
        if policy.allow_origins:
            yield checks.no_effect("allowOrigin", "allowOrigins is set", where)
    for index, origin in enumerate(policy.allow_origins):
        where = (*path, "allowOrigins", index)
        if origin == StringMatch() or origin.exact == "":
            message = "the origin matches nothing"
            yield error("missing-field", message, path=where, hint="write exact, prefix or regex")
        yield from matches.string_match(origin, where)
    for index, method in enumerate(policy.allow_methods):
        if method not in _METHODS:
            message = f"{method!r} is no method of HTTP"
            hint = f"write {method.upper()}" if method.upper() in _METHODS else ""
            yield error("invalid-value", message, path=(*path, "allowMethods", index), hint=hint)
    for field, names in (("allowHeaders", policy.allow_headers), ("exposeHeaders", policy.expose_headers)):
        for index, name in enumerate(names):
            if name != "*":
                yield from common.header_name(name, (*path, field, index))
    # It is sent as the header Access-Control-Max-Age, in seconds.
    yield from checks.duration(policy.max_age, (*path, "maxAge"), resolution=checks.SECOND)
