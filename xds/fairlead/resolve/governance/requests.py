"""Conditions of requests, as ASM writes them."""

from collections.abc import Iterable

from fairlead.intent import Requests, StringMatch, StringMatchKind, ValueMatch
from fairlead.models.asm.governing import Governed, HeaderMatcher, QueryParameterMatcher, RequestMatcher


def only(config: Governed) -> Requests:
    """The requests that an entry of `configs` is for, of those that its routes take."""
    found = () if config.match is None else config.match.vhost.route.header_match
    return Requests(headers=tuple(map(_header, found)))


def matching(match: RequestMatcher) -> Requests:
    """Requests for which all that is written holds."""
    return Requests(tuple(map(_header, match.header_match)), tuple(map(_query_parameter, match.query_match)))


def headers_with_values(match: RequestMatcher) -> tuple[str, ...]:
    """Names of the headers of which each value counts for itself."""
    return _with_values(match.header_match, match)


def query_parameters_with_values(match: RequestMatcher) -> tuple[str, ...]:
    """Names of the query parameters of which each value counts for itself."""
    return _with_values(match.query_match, match)


def _with_values(
    matchers: Iterable[HeaderMatcher] | Iterable[QueryParameterMatcher], match: RequestMatcher
) -> tuple[str, ...]:
    return tuple(dict.fromkeys(item.name for item in matchers if item.distinct or match.distinct))


def _header(match: HeaderMatcher) -> ValueMatch:
    if match.present_match is not None:
        return ValueMatch(match.name, None, invert=match.invert_match == match.present_match)
    value = StringMatch(StringMatchKind.EXACT, "")
    for kind, text in (
        (StringMatchKind.REGEX, match.regex_match),
        (StringMatchKind.EXACT, match.exact_match),
        (StringMatchKind.PREFIX, match.prefix_match),
        (StringMatchKind.SUFFIX, match.suffix_match),
    ):
        if text is not None:
            value = StringMatch(kind, text)
    return ValueMatch(match.name, value, invert=match.invert_match != (match.is_exact_match_empty is False))


def _query_parameter(match: QueryParameterMatcher) -> ValueMatch:
    for kind, text in (
        (StringMatchKind.EXACT, match.exact_match),
        (StringMatchKind.PREFIX, match.prefix_match),
        (StringMatchKind.SUFFIX, match.suffix_match),
        (StringMatchKind.REGEX, match.regex_match),
        (StringMatchKind.CONTAINS, match.contains_match),
    ):
        if text is not None:
            return ValueMatch(match.name, StringMatch(kind, text, ignore_case=match.ignore_case))
    return ValueMatch(match.name, None)
