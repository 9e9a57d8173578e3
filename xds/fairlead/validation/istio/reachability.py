"""Routes of a VirtualService that never match, because earlier ones take what they would."""

from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass, field

from fairlead.models.istio.virtual_service import (
    HTTPMatchRequest,
    HTTPRoute,
    L4MatchAttributes,
    StringMatch,
    TCPRoute,
    TLSRoute,
)
from fairlead.problems import FieldPath, Problem, warning

_EVERYTHING = HTTPMatchRequest()


@dataclass(slots=True)
class _Paths:
    """Which paths the matches so far take that share their other conditions."""

    all_from: str = ""
    """Name of the route that takes all paths; empty while there is none."""
    prefixes: dict[tuple[str, bool], str] = field(default_factory=dict)
    """Names of routes, by prefix and whether its case is ignored: then it is in lower case."""
    exact: dict[tuple[str, bool], str] = field(default_factory=dict)
    regexes: dict[str, str] = field(default_factory=dict)

    def add(self, match: HTTPMatchRequest, name: str) -> None:
        uri, ignore = match.uri, match.ignore_uri_case
        if uri is None or uri == StringMatch() or uri.prefix in {"", "/"} or uri.regex == ".*":
            self.all_from = self.all_from or name
        elif uri.prefix is not None:
            self.prefixes.setdefault((_fold(uri.prefix, ignore), ignore), name)
        elif uri.exact is not None:
            self.exact.setdefault((_fold(uri.exact, ignore), ignore), name)
        elif uri.regex is not None:
            self.regexes.setdefault(uri.regex, name)

    def taken_by(self, match: HTTPMatchRequest) -> str:
        """Name of the route that takes all that a match does; empty when there is none."""
        uri, ignore = match.uri, match.ignore_uri_case
        if self.all_from or uri is None:
            return self.all_from
        if uri.regex is not None:
            return self.regexes.get(uri.regex, "")
        path = uri.exact if uri.exact is not None else uri.prefix or ""
        # What ignores case takes what does not, but not the other way round.
        for ignored in (True,) if ignore else (False, True):
            text = _fold(path, ignored)
            if uri.exact is not None and (name := self.exact.get((text, ignored))):
                return name
            for end in range(1, len(text) + 1):
                if name := self.prefixes.get((text[:end], ignored)):
                    return name
        return ""


def _fold(path: str, ignore_case: bool) -> str:
    return path.lower() if ignore_case else path


def _other_conditions(match: HTTPMatchRequest) -> Hashable:
    """All conditions of a match but that of the path."""
    return (
        match.scheme,
        match.method,
        match.authority,
        frozenset(match.headers.items()),
        frozenset(match.without_headers.items()),
        frozenset(match.query_params.items()),
        match.port,
        frozenset(match.source_labels.items()),
        frozenset(match.gateways),
        match.source_namespace,
    )


_NO_CONDITIONS = _other_conditions(_EVERYTHING)


def http(routes: tuple[HTTPRoute, ...], path: FieldPath) -> Iterator[Problem]:
    """Matches of HTTP that are taken by an earlier one with the same other conditions, or with none."""
    seen: dict[Hashable, _Paths] = {}
    for index, route in enumerate(routes):
        where = (*path, index)
        matches = route.match or (_EVERYTHING,)
        taken = [_taken_by(match, seen) for match in matches]
        if all(taken):
            yield _unreachable_route(taken[0], where)
        else:
            for number, name in enumerate(taken):
                if name:
                    yield _unreachable_match(name, (*where, "match", number))
        if route.delegate is not None:
            continue  # what its delegate does not match goes on to later routes
        for match in matches:
            seen.setdefault(_other_conditions(match), _Paths()).add(match, _name(route.name, where))


def _taken_by(match: HTTPMatchRequest, seen: dict[Hashable, _Paths]) -> str:
    for conditions in (_other_conditions(match), _NO_CONDITIONS):
        paths = seen.get(conditions)
        if paths is not None and (name := paths.taken_by(match)):
            return name
    return ""


def connections(routes: Sequence[TCPRoute | TLSRoute], path: FieldPath) -> Iterator[Problem]:
    """Matches of connections that are taken by an equal one, or by a route for all connections."""
    seen: list[tuple[object, str]] = []
    everything = ""
    for index, route in enumerate(routes):
        where = (*path, index)
        name = _name("", where)
        taken = [everything or next((by for other, by in seen if other == match), "") for match in route.match]
        if everything or (taken and all(taken)):
            yield _unreachable_route(everything or taken[0], where)
        else:
            for number, by in enumerate(taken):
                if by:
                    yield _unreachable_match(by, (*where, "match", number))
        seen += [(match, name) for match in route.match]
        if isinstance(route, TCPRoute) and (not route.match or L4MatchAttributes() in route.match):
            everything = everything or name


def _name(name: str, path: FieldPath) -> str:
    """What a route is called in messages."""
    return f"{path[-2]}[{path[-1]}]" + (f" ({name!r})" if name else "")


def _unreachable_route(by: str, path: FieldPath) -> Problem:
    message = f"the route never matches: {by} before it takes everything that it would"
    return warning("unreachable-route", message, path=path, hint="move it up, or remove it")


def _unreachable_match(by: str, path: FieldPath) -> Problem:
    message = f"the match has no effect: {by} before it takes everything that it would"
    return warning("unreachable-match", message, path=path, hint="move its route up, or remove the match")
