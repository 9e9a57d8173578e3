"""Filters of HTTPRoutes: what is done to requests and responses on their way."""

import re
from collections.abc import Iterable
from dataclasses import dataclass, field

from fairlead.intent import Cors, HeaderOperations, Mirror, StringMatch, StringMatchKind
from fairlead.models.gateway_api import (
    HTTPCORSFilter,
    HTTPHeader,
    HTTPHeaderFilter,
    HTTPRequestMirrorFilter,
    HTTPRequestRedirectFilter,
    HTTPRouteFilter,
    HTTPRouteFilterType,
    HTTPURLRewriteFilter,
)
from fairlead.problems import FieldPath
from fairlead.resolve.gateway_api.backends import SHARE_FAILS, BackendReader
from fairlead.resolve.gateway_api.source import Source

_MILLION = 1_000_000
_NANOSECONDS = 1_000_000_000
_OF_BACKENDS = {HTTPRouteFilterType.REQUEST_HEADER_MODIFIER, HTTPRouteFilterType.RESPONSE_HEADER_MODIFIER}
_OF_RULES = _OF_BACKENDS | {
    HTTPRouteFilterType.REQUEST_MIRROR,
    HTTPRouteFilterType.REQUEST_REDIRECT,
    HTTPRouteFilterType.URL_REWRITE,
    HTTPRouteFilterType.CORS,
}


@dataclass(frozen=True, slots=True)
class Filters:
    """What the filters of a rule, or of a backend, amount to."""

    request_headers: HeaderOperations = field(default_factory=HeaderOperations)
    response_headers: HeaderOperations = field(default_factory=HeaderOperations)
    redirect: HTTPRequestRedirectFilter | None = None
    rewrite: HTTPURLRewriteFilter | None = None
    cors: Cors | None = None
    mirrors: tuple[Mirror, ...] = ()


def filters_of_rule(filters: Iterable[HTTPRouteFilter], reader: BackendReader, path: FieldPath) -> Filters | None:
    """The filters of a rule; None when one of them is not supported, since nothing may get past it."""
    return _read(filters, _OF_RULES, reader, path, "requests are answered with 500")


def filters_of_backend(filters: Iterable[HTTPRouteFilter], reader: BackendReader, path: FieldPath) -> Filters | None:
    """The filters of a backend; None when one of them is not supported, since nothing may get past it."""
    return _read(filters, _OF_BACKENDS, reader, path, SHARE_FAILS)


def _read(
    filters: Iterable[HTTPRouteFilter],
    supported: set[HTTPRouteFilterType],
    reader: BackendReader,
    path: FieldPath,
    effect: str,
) -> Filters | None:
    request, response = HeaderOperations(), HeaderOperations()
    redirect, rewrite, cors = None, None, None
    mirrors: list[Mirror] = []
    is_complete = True
    for index, one in enumerate(filters):
        where = (*path, index)
        if one.type not in supported:
            is_complete = False
            _tell_unsupported(one, where, reader.source, effect)
        elif one.request_header_modifier is not None:
            request = request.then(_headers(one.request_header_modifier, (*where, "requestHeaderModifier"), reader))
        elif one.response_header_modifier is not None:
            response = response.then(_headers(one.response_header_modifier, (*where, "responseHeaderModifier"), reader))
        elif one.request_mirror is not None:
            mirrors.extend(_mirror(one.request_mirror, (*where, "requestMirror"), reader))
        elif one.cors is not None:
            cors = _cors(one.cors)
        redirect, rewrite = one.request_redirect or redirect, one.url_rewrite or rewrite
    if not is_complete:
        return None
    return Filters(request, response, redirect, rewrite, cors, tuple(mirrors))


def _tell_unsupported(one: HTTPRouteFilter, path: FieldPath, source: Source, effect: str) -> None:
    what = f"filters of type {one.type.value} are not supported here"
    if one.extension_ref is not None:
        reference = one.extension_ref
        what = f"there is no filter {reference.kind} {reference.name} of {reference.group or 'the core group'}"
    source.error("unsupported-value", f"{effect}, since {what}", path, "take the filter away")


def _headers(changes: HTTPHeaderFilter, path: FieldPath, reader: BackendReader) -> HeaderOperations:
    names = [header.name for header in (*changes.set, *changes.add)] + list(changes.remove)
    if any(_is_host(name) for name in names):
        # Envoy refuses the whole RouteConfiguration for one of these.
        hint = "use a filter of type URLRewrite with a hostname"
        reader.source.error("unsupported-value", "the header Host is left as it is", path, hint)
    return HeaderOperations(
        set=_values(changes.set),
        add=_values(changes.add),
        remove=tuple(name for name in changes.remove if not _is_host(name)),
    )


def _values(headers: Iterable[HTTPHeader]) -> tuple[tuple[str, str], ...]:
    # The intent's values have command operators between percent signs, those of this API are literal.
    return tuple((header.name, header.value.replace("%", "%%")) for header in headers if not _is_host(header.name))


def _is_host(name: str) -> bool:
    return name.lower() == "host"


def _mirror(mirror: HTTPRequestMirrorFilter, path: FieldPath, reader: BackendReader) -> Iterable[Mirror]:
    backend = reader.read(mirror.backend_ref, (*path, "backendRef"), "requests are not mirrored")
    share = _MILLION
    if mirror.percent is not None:
        share = mirror.percent * _MILLION // 100
    elif mirror.fraction is not None:
        share = mirror.fraction.numerator * _MILLION // mirror.fraction.denominator
    if backend is not None and share:
        yield Mirror(backend, share)


def _cors(policy: HTTPCORSFilter) -> Cors:
    return Cors(
        allow_origins=tuple(_origin(origin) for origin in policy.allow_origins),
        allow_methods=policy.allow_methods,
        allow_headers=policy.allow_headers,
        expose_headers=policy.expose_headers,
        max_age=policy.max_age * _NANOSECONDS,
        allow_credentials=policy.allow_credentials,
        forward_unmatched_preflights=False,
    )


def _origin(origin: str) -> StringMatch:
    """`*` alone is every origin; within one it stands for any part of a host name, with its dots."""
    if "*" not in origin:
        return StringMatch(StringMatchKind.EXACT, origin)
    if origin == "*":
        return StringMatch(StringMatchKind.REGEX, ".*")
    return StringMatch(StringMatchKind.REGEX, "[^/:]+".join(re.escape(part) for part in origin.split("*")))
