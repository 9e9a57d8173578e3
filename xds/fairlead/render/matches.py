"""What requests are matched by: texts, headers, query parameters, paths."""

from fairlead._pb.envoy.config.route.v3 import route_components_pb2 as route
from fairlead._pb.envoy.type.matcher.v3 import regex_pb2, string_pb2
from fairlead.intent import Match, PathMatch, PathMatchKind, StringMatch, StringMatchKind, ValueMatch

_ANY_PATH = PathMatch(PathMatchKind.PREFIX, "/")


def regex(pattern: str, *, ignore_case: bool = False) -> regex_pb2.RegexMatcher:
    """A regular expression in RE2's syntax, which is where `ignore_case` has to go: matchers have no field for it."""
    return regex_pb2.RegexMatcher(regex=f"(?i){pattern}" if ignore_case else pattern)


def string_matcher(match: StringMatch) -> string_pb2.StringMatcher:
    """A `StringMatcher`. Envoy refuses empty texts, except exact ones, so that those become what they mean."""
    match match.kind, match.value:
        case (StringMatchKind.EXACT, value) | (StringMatchKind.REGEX, "" as value):
            return string_pb2.StringMatcher(exact=value, ignore_case=match.ignore_case)
        case (StringMatchKind.REGEX, value):
            return string_pb2.StringMatcher(safe_regex=regex(value, ignore_case=match.ignore_case))
        case (_, ""):
            return string_pb2.StringMatcher(safe_regex=regex(".*"))
        case (StringMatchKind.PREFIX, value):
            return string_pb2.StringMatcher(prefix=value, ignore_case=match.ignore_case)
        case (StringMatchKind.SUFFIX, value):
            return string_pb2.StringMatcher(suffix=value, ignore_case=match.ignore_case)
        case (_, value):
            return string_pb2.StringMatcher(contains=value, ignore_case=match.ignore_case)


def header_matcher(match: ValueMatch) -> route.HeaderMatcher:
    """A `HeaderMatcher`."""
    if match.value is None:
        return route.HeaderMatcher(name=match.name, present_match=True, invert_match=match.invert)
    return route.HeaderMatcher(
        name=match.name,
        string_match=string_matcher(match.value),
        invert_match=match.invert,
        treat_missing_header_as_empty=match.invert,
    )


def query_parameter_matcher(match: ValueMatch) -> route.QueryParameterMatcher:
    """A `QueryParameterMatcher`; these cannot be inverted."""
    assert not match.invert, f"Envoy cannot invert the match of query parameter {match.name}"
    if match.value is None:
        return route.QueryParameterMatcher(name=match.name, present_match=True)
    return route.QueryParameterMatcher(name=match.name, string_match=string_matcher(match.value))


def write_match(message: route.RouteMatch, match: Match) -> None:
    """What requests a route takes."""
    if match.headers:
        message.headers.extend(map(header_matcher, match.headers))
    if match.query_parameters:
        message.query_parameters.extend(map(query_parameter_matcher, match.query_parameters))
    if match.connect:
        message.connect_matcher.SetInParent()
        return
    path = match.path or _ANY_PATH
    match path.kind:
        case PathMatchKind.EXACT:
            message.path = path.value
        case PathMatchKind.PREFIX:
            message.prefix = path.value
        case PathMatchKind.SEGMENT_PREFIX if path.value in {"", "/"}:
            message.prefix = "/"
        case PathMatchKind.SEGMENT_PREFIX:
            message.path_separated_prefix = path.value
        case PathMatchKind.REGEX:
            message.safe_regex.CopyFrom(regex(path.value, ignore_case=path.ignore_case))
    if path.ignore_case and path.kind is not PathMatchKind.REGEX:
        message.case_sensitive.value = False
