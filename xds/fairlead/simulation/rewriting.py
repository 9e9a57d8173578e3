"""What proxies change of a request: path, headers, and where redirects point."""

import re
from collections.abc import Iterable

import re2

from fairlead._pb.envoy.config.core.v3.base_pb2 import HeaderValueOption
from fairlead._pb.envoy.config.route.v3.route_components_pb2 import Route, RouteMatch
from fairlead.simulation.values import Request


def rewritten(route: Route, path_and_query: str) -> str:
    """Path and query as the backend sees them."""
    path, question, query = path_and_query.partition("?")
    action = route.route
    if action.prefix_rewrite:
        path = action.prefix_rewrite + path[_matched_part(route.match, path) :]
    elif action.HasField("regex_rewrite"):
        path = re2.sub(action.regex_rewrite.pattern.regex, action.regex_rewrite.substitution, path)
    return path + question + query


def location(route: Route, request: Request) -> str:
    """The URL that a redirect points to."""
    redirect = route.redirect
    scheme = "https" if redirect.https_redirect else redirect.scheme_redirect or ("https" if request.tls else "http")
    host = redirect.host_redirect or request.host
    path, question, query = request.path.partition("?")
    if redirect.path_redirect:
        path = redirect.path_redirect
    elif redirect.prefix_rewrite:
        path = redirect.prefix_rewrite + path[_matched_part(route.match, path) :]
    elif redirect.HasField("regex_rewrite"):
        path = re2.sub(redirect.regex_rewrite.pattern.regex, redirect.regex_rewrite.substitution, path)
    if redirect.strip_query:
        question = query = ""
    port = redirect.port_redirect
    return f"{scheme}://{host}{f':{port}' if port else ''}{path}{question}{query}"


def _matched_part(match: RouteMatch, path: str) -> int:
    """Length of the part of the path that a prefix rewrite replaces."""
    match match.WhichOneof("path_specifier"):
        case "prefix":
            return len(match.prefix)
        case "path_separated_prefix":
            return len(match.path_separated_prefix)
    return len(path)


def change(headers: dict[str, str], operations: Iterable[HeaderValueOption]) -> None:
    """Apply operations to headers, in their order."""
    for operation in operations:
        name, value = operation.header.key.lower(), re.sub(r"%%", "%", operation.header.value)
        appends = operation.append_action == HeaderValueOption.APPEND_IF_EXISTS_OR_ADD
        headers[name] = f"{headers[name]},{value}" if appends and name in headers else value
