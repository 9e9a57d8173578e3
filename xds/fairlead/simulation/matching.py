"""Whether a route takes a request, and in words why not."""

import urllib.parse
from collections.abc import Iterable, Iterator

import re2

from fairlead._pb.envoy.config.route.v3.route_components_pb2 import (
    HeaderMatcher,
    QueryParameterMatcher,
    RouteMatch,
    VirtualHost,
)
from fairlead._pb.envoy.type.matcher.v3.string_pb2 import StringMatcher
from fairlead.simulation.names import domain_rank
from fairlead.simulation.values import Request

_PSEUDO_HEADERS = {":method": "method", ":authority": "host", ":scheme": "scheme", ":path": "path"}
"""How people call them."""


class Domains:
    """The domains of a route table, to be looked up by host names: one edit is no reason to look at all hosts."""

    def __init__(self, hosts: Iterable[VirtualHost]) -> None:
        self._hosts = {domain.lower(): (host, domain) for host in hosts for domain in host.domains}
        self._wildcards = sorted((name for name in self._hosts if name.endswith("*") and name != "*"), key=len)

    def find(self, name: str) -> tuple[VirtualHost, str] | None:
        """The virtual host that serves a host name, and the domain of it that matches."""
        name = name.lower()
        suffixes = (f"*{name[index:]}" for index in range(1, len(name)))
        prefixes = (pattern for pattern in reversed(self._wildcards) if domain_rank(pattern, name) is not None)
        for pattern in (name, *suffixes, *prefixes, "*"):
            if pattern in self._hosts:
                return self._hosts[pattern]
        return None


def mismatch(match: RouteMatch, request: Request) -> str:
    """The first condition that fails, in words; empty when the request matches."""
    path = request.path.partition("?")[0]
    tunnels = match.WhichOneof("path_specifier") == "connect_matcher"
    if tunnels is not (request.method == "CONNECT"):
        return "it takes CONNECT requests only" if tunnels else "it takes no CONNECT requests"
    if not _path_matches(match, path):
        return f"path {path} {_path_in_words(match, negated=True)}"
    values = headers_of(request)
    for header in match.headers:
        value = values.get(header.name.lower())
        if not header_matches(header, value):
            return _failure(_header_name(header), value, _header_in_words(header))
    parameters = parameters_of(request)
    for parameter in match.query_parameters:
        value = parameters.get(parameter.name)
        if not parameter_matches(parameter, value):
            return _failure(f"query parameter {parameter.name}", value, _parameter_in_words(parameter))
    return ""


def headers_of(request: Request) -> dict[str, str]:
    """All headers as the proxy sees them, the pseudo-headers included."""
    scheme = "https" if request.tls else "http"
    own = {":method": request.method, ":authority": request.host, ":scheme": scheme, ":path": request.path}
    return own | dict(request.headers)


def parameters_of(request: Request) -> dict[str, str]:
    """The parameters of the query."""
    return dict(urllib.parse.parse_qsl(request.path.partition("?")[2], keep_blank_values=True))


def in_words(match: RouteMatch) -> str:
    """What a route asks for; empty when it takes everything."""
    return ", ".join(_conditions(match))


def _conditions(match: RouteMatch) -> Iterator[str]:
    if match.WhichOneof("path_specifier") == "connect_matcher":
        yield "CONNECT requests"
    elif match.WhichOneof("path_specifier") != "prefix" or match.prefix != "/":
        yield f"path {_path_in_words(match, negated=False)}"
    for header in match.headers:
        yield f"{_header_name(header)} {_header_in_words(header)}"
    for parameter in match.query_parameters:
        yield f"query parameter {parameter.name} {_parameter_in_words(parameter)}"


def _failure(what: str, value: str | None, wanted: str) -> str:
    found = f"{what} is absent" if value is None else f"{what} is {value!r}" if value == "" else f"{what} is {value}"
    return f"{found}, and the route wants one that {wanted}" if wanted != "is present" else found


# --- Paths ------------------------------------------------------------------------------------------------------------


def _folds(match: RouteMatch) -> bool:
    return match.HasField("case_sensitive") and not match.case_sensitive.value


def _path_matches(match: RouteMatch, path: str) -> bool:
    fold = _folds(match)

    def same_case(text: str) -> str:
        return text.lower() if fold else text

    match match.WhichOneof("path_specifier"):
        case "path":
            return same_case(path) == same_case(match.path)
        case "prefix":
            return same_case(path).startswith(same_case(match.prefix))
        case "path_separated_prefix":
            prefix = same_case(match.path_separated_prefix)
            return same_case(path) == prefix or same_case(path).startswith(prefix + "/")
        case "safe_regex":
            return re2.fullmatch(match.safe_regex.regex, path) is not None
        case "connect_matcher":
            return True  # the method decides
    return False


def _path_in_words(match: RouteMatch, *, negated: bool) -> str:
    case = " in any case" if _folds(match) else ""
    match match.WhichOneof("path_specifier"):
        case "path":
            return f"{'is not' if negated else 'is'} {match.path}{case}"
        case "prefix":
            return f"{'does not begin' if negated else 'begins'} with {match.prefix}{case}"
        case "path_separated_prefix":
            where = f"{match.path_separated_prefix} or below it"
            return f"{'is not' if negated else 'is'} {where}{case}"
        case "safe_regex":
            return f"{'does not match' if negated else 'matches'} the regular expression {match.safe_regex.regex}"
    return "is matched by what this simulation does not know"


# --- Headers and query parameters -------------------------------------------------------------------------------------


def _header_name(matcher: HeaderMatcher) -> str:
    return _PSEUDO_HEADERS.get(matcher.name) or f"header {matcher.name}"


def header_matches(matcher: HeaderMatcher, value: str | None) -> bool:
    """Whether a header has what is asked for; None when it is absent."""
    if value is None and matcher.treat_missing_header_as_empty:
        value = ""
    match matcher.WhichOneof("header_match_specifier"):
        case "string_match":
            if value is None:
                return False
            found = _text_matches(matcher.string_match, value)
        case "present_match":
            found = (value is not None) is matcher.present_match
        case _:
            found = value is not None
    return found is not matcher.invert_match


def _header_in_words(matcher: HeaderMatcher) -> str:
    match matcher.WhichOneof("header_match_specifier"):
        case "string_match":
            return _text_in_words(matcher.string_match, negated=matcher.invert_match)
        case "present_match" if not matcher.present_match:
            return "is present" if matcher.invert_match else "is absent"
    return "is absent" if matcher.invert_match else "is present"


def parameter_matches(matcher: QueryParameterMatcher, value: str | None) -> bool:
    """Whether a query parameter has what is asked for; None when it is absent."""
    if matcher.WhichOneof("query_parameter_match_specifier") == "string_match":
        return value is not None and _text_matches(matcher.string_match, value)
    return (value is not None) is matcher.present_match


def _parameter_in_words(matcher: QueryParameterMatcher) -> str:
    if matcher.WhichOneof("query_parameter_match_specifier") == "string_match":
        return _text_in_words(matcher.string_match, negated=False)
    return "is present" if matcher.present_match else "is absent"


def _text_matches(matcher: StringMatcher, text: str) -> bool:
    def same_case(value: str) -> str:
        return value.lower() if matcher.ignore_case else value

    match matcher.WhichOneof("match_pattern"):
        case "exact":
            return same_case(text) == same_case(matcher.exact)
        case "prefix":
            return same_case(text).startswith(same_case(matcher.prefix))
        case "suffix":
            return same_case(text).endswith(same_case(matcher.suffix))
        case "contains":
            return same_case(matcher.contains) in same_case(text)
        case "safe_regex":
            return re2.fullmatch(matcher.safe_regex.regex, text) is not None
    return False


def _text_in_words(matcher: StringMatcher, *, negated: bool) -> str:
    case = " in any case" if matcher.ignore_case else ""
    match matcher.WhichOneof("match_pattern"):
        case "exact":
            words = f"{'is not' if negated else 'is'} {matcher.exact or repr('')}"
        case "prefix":
            words = f"{'does not begin' if negated else 'begins'} with {matcher.prefix}"
        case "suffix":
            words = f"{'does not end' if negated else 'ends'} with {matcher.suffix}"
        case "contains":
            words = f"{'does not contain' if negated else 'contains'} {matcher.contains}"
        case _:
            verb = "does not match" if negated else "matches"
            words = f"{verb} the regular expression {matcher.safe_regex.regex}"
    return words + case
