"""Conditions of HTTPRoutes, and which of several that hold at once decides."""

from collections.abc import Iterable
from typing import NamedTuple

from fairlead.intent import Match, PathMatch, PathMatchKind, StringMatch, StringMatchKind, ValueMatch
from fairlead.models.gateway_api import (
    HTTPHeaderMatch,
    HTTPPathMatch,
    HTTPQueryParamMatch,
    HTTPRoute,
    HTTPRouteMatch,
    PathMatchType,
    ValueMatchType,
)

_PATH_KINDS = {
    PathMatchType.EXACT: PathMatchKind.EXACT,
    PathMatchType.PATH_PREFIX: PathMatchKind.SEGMENT_PREFIX,
    PathMatchType.REGULAR_EXPRESSION: PathMatchKind.REGEX,
}
_VALUE_KINDS = {
    ValueMatchType.EXACT: StringMatchKind.EXACT,
    ValueMatchType.REGULAR_EXPRESSION: StringMatchKind.REGEX,
}

_PATH_ORDER = (PathMatchKind.EXACT, PathMatchKind.REGEX, PathMatchKind.SEGMENT_PREFIX)
"""The API leaves it open where regular expressions stand. After the prefixes none would match beside a prefix `/`."""


class Precedence(NamedTuple):
    """Sorts the matches of all HTTPRoutes of a host name: of those that hold the first one decides.

    The order is that of `HTTPRouteRule.matches` (gateway-api.sigs.k8s.io/reference/spec).
    """

    path_kind: int
    shortness_of_path: int
    has_no_method: bool
    fewness_of_headers: int
    fewness_of_query_parameters: int
    created: str
    """Of the HTTPRoute; those without a date are equally old, and go first."""
    name: str
    """`namespace/name` of the HTTPRoute."""
    rule: int
    match: int


def request_match(match: HTTPRouteMatch) -> Match:
    """What requests are asked for."""
    headers = list(_value_matches((header.name.lower(), header) for header in match.headers))
    if match.method is not None:
        headers.append(ValueMatch(":method", StringMatch(StringMatchKind.EXACT, match.method.value)))
    return Match(
        path=_path_match(match.path),
        headers=tuple(headers),
        query_parameters=_value_matches((parameter.name, parameter) for parameter in match.query_params),
    )


def precedence(route: HTTPRoute, rule: int, match: int, asked: HTTPRouteMatch) -> Precedence:
    """Where a match of a rule, both by their index, stands among all matches."""
    path = _path_match(asked.path)
    return Precedence(
        path_kind=_PATH_ORDER.index(path.kind),
        shortness_of_path=-len(path.value),
        has_no_method=asked.method is None,
        fewness_of_headers=-len({header.name.lower() for header in asked.headers}),
        fewness_of_query_parameters=-len({parameter.name for parameter in asked.query_params}),
        created=route.metadata.creation_timestamp or "",
        name=f"{route.metadata.namespace}/{route.metadata.name}",
        rule=rule,
        match=match,
    )


def _path_match(path: HTTPPathMatch) -> PathMatch:
    kind = _PATH_KINDS[path.type]
    return PathMatch(kind, path.value.rstrip("/") if kind is PathMatchKind.SEGMENT_PREFIX else path.value)


def _value_matches(
    conditions: Iterable[tuple[str, HTTPHeaderMatch | HTTPQueryParamMatch]],
) -> tuple[ValueMatch, ...]:
    """Of several conditions with one name the first one counts."""
    found: dict[str, ValueMatch] = {}
    for name, condition in conditions:
        found.setdefault(name, ValueMatch(name, StringMatch(_VALUE_KINDS[condition.type], condition.value)))
    return tuple(found.values())
