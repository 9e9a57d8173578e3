"""Conditions of VirtualServices: those that a request decides, and those that are decided beforehand."""

from collections.abc import Iterator, Mapping

from fairlead.intent import Match, PathMatch, PathMatchKind, StringMatchKind, ValueMatch
from fairlead.intent import StringMatch as Comparison
from fairlead.models.istio.virtual_service import (
    HTTPMatchRequest,
    L4MatchAttributes,
    StringMatch,
    TLSMatchAttributes,
)
from fairlead.problems import FieldPath
from fairlead.resolve.istio.references import MESH, gateway_name
from fairlead.resolve.istio.source import MESH_GATEWAY, Place, Source

_EVERY_PATH = (
    None,
    PathMatch(PathMatchKind.PREFIX, "/"),
    PathMatch(PathMatchKind.PREFIX, "/", ignore_case=True),
    PathMatch(PathMatchKind.REGEX, ".*"),
)
_CLAIMS = "@request.auth.claims"


def takes_everything(match: Match) -> bool:
    """Whether no request gets past a route with this match."""
    return match.path in _EVERY_PATH and not match.headers and not match.query_parameters


def applies(match: HTTPMatchRequest | TLSMatchAttributes | L4MatchAttributes, place: Place, namespace: str) -> bool:
    """Whether the conditions that do not depend on the request hold at a place.

    Naming gateways takes the place of asking for the workload's labels and namespace, as in Istio.
    """
    if match.port and match.port not in place.ports:
        return False
    if match.gateways:
        named = {MESH_GATEWAY if item == MESH else gateway_name(item, namespace) for item in match.gateways}
        return not named.isdisjoint(place.gateways)
    if match.source_namespace and match.source_namespace != place.namespace:
        return False
    return match.source_labels.items() <= place.labels


def request_match(match: HTTPMatchRequest, source: Source, path: FieldPath) -> Match | None:
    """The conditions that a request decides; None when one of them cannot be asked."""
    for field, names in (("headers", match.headers), ("withoutHeaders", match.without_headers)):
        for name in names:
            if name.startswith(_CLAIMS):
                # Without its condition the route would take requests that it is not meant for.
                source.error(
                    "unsupported-value", f"the route is left out, since {name} is not known here", (*path, field, name)
                )
                return None
    headers = [*_value_matches(match.headers), *_value_matches(match.without_headers, invert=True)]
    headers.sort(key=lambda header: header.name)
    for name, asked in ((":method", match.method), (":authority", match.authority), (":scheme", match.scheme)):
        if asked is not None:
            headers.append(ValueMatch(name, comparison(asked)))
    return Match(
        path=_path_match(match),
        headers=tuple(headers),
        query_parameters=tuple(_value_matches(match.query_params)),
    )


def comparison(match: StringMatch) -> Comparison | None:
    """How a text is compared; None when any text will do, which Istio also writes as the regular expression `*`."""
    if match.exact is not None:
        return Comparison(StringMatchKind.EXACT, match.exact)
    if match.prefix is not None:
        return Comparison(StringMatchKind.PREFIX, match.prefix)
    if match.regex is not None and match.regex != "*":
        return Comparison(StringMatchKind.REGEX, match.regex)
    return None


def _value_matches(matches: Mapping[str, StringMatch], *, invert: bool = False) -> Iterator[ValueMatch]:
    for name, match in sorted(matches.items()):
        yield ValueMatch(name, comparison(match), invert)


_PATHS = {
    StringMatchKind.EXACT: PathMatchKind.EXACT,
    StringMatchKind.PREFIX: PathMatchKind.PREFIX,
    StringMatchKind.REGEX: PathMatchKind.REGEX,
}


def _path_match(match: HTTPMatchRequest) -> PathMatch | None:
    asked = comparison(match.uri) if match.uri is not None else None
    if asked is None or asked == Comparison(StringMatchKind.PREFIX, ""):
        return None
    kind = _PATHS[asked.kind]
    # Of a regular expression, ignoreUriCase asks nothing in Istio.
    return PathMatch(kind, asked.value, match.ignore_uri_case and kind is not PathMatchKind.REGEX)
