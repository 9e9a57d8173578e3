"""Routes of a VirtualService that never match, because earlier ones take what they would."""

from collections.abc import Hashable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from fairlead.models.istio.virtual_service import (
    HTTPMatchRequest,
    HTTPRoute,
    L4MatchAttributes,
    StringMatch,
    TCPRoute,
    TLSRoute,
)
from fairlead.problems import FieldPath, Problem, Related, warning

_EVERYTHING = HTTPMatchRequest()


class Taker(NamedTuple):
    """A route that comes first."""

    name: str
    """What it is called in messages."""
    path: FieldPath
    owner: Any = None
    """Whose it is, where routes of several objects are compared."""


@dataclass(slots=True)
class _Paths:
    """Which paths the matches so far take that share their other conditions."""

    all_from: Taker | None = None
    """The route that takes all paths."""
    prefixes: dict[tuple[str, bool], Taker] = field(default_factory=dict)
    """Routes by prefix and whether its case is ignored: then it is in lower case."""
    exact: dict[tuple[str, bool], Taker] = field(default_factory=dict)
    regexes: dict[str, Taker] = field(default_factory=dict)

    def add(self, match: HTTPMatchRequest, route: Taker) -> None:
        uri, ignore = match.uri, match.ignore_uri_case
        if uri is None or uri == StringMatch() or uri.prefix in {"", "/"} or uri.regex == ".*":
            self.all_from = self.all_from or route
        elif uri.prefix is not None:
            self.prefixes.setdefault((_fold(uri.prefix, ignore), ignore), route)
        elif uri.exact is not None:
            self.exact.setdefault((_fold(uri.exact, ignore), ignore), route)
        elif uri.regex is not None:
            self.regexes.setdefault(uri.regex, route)

    def taken_by(self, match: HTTPMatchRequest) -> Taker | None:
        """The route that takes all that a match does."""
        uri, ignore = match.uri, match.ignore_uri_case
        if self.all_from or uri is None:
            return self.all_from
        if uri.regex is not None:
            return self.regexes.get(uri.regex)
        path = uri.exact if uri.exact is not None else uri.prefix or ""
        # What ignores case takes what does not, but not the other way round.
        for ignored in (True,) if ignore else (False, True):
            text = _fold(path, ignored)
            if uri.exact is not None and (route := self.exact.get((text, ignored))):
                return route
            for end in range(1, len(text) + 1):
                if route := self.prefixes.get((text[:end], ignored)):
                    return route
        return None


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
    for _, problem, _ in _http([(None, routes)], path):
        yield problem


def across(parts: Iterable[tuple[Any, tuple[HTTPRoute, ...]]]) -> Iterator[tuple[Any, Problem, Taker]]:
    """The same for the `spec.http` of several objects whose routes are tried one after the other.

    Owner, problem, and the route of another owner that takes its requests. Routes that take every request come after
    those of all objects (`http_routes.concatenate`), so that they hide none.
    """
    for owner, problem, taker in _http(parts, ("spec", "http"), catch_all=False):
        if taker.owner != owner:
            yield owner, problem, taker


def _http(
    parts: Iterable[tuple[Any, tuple[HTTPRoute, ...]]], path: FieldPath, *, catch_all: bool = True
) -> Iterator[tuple[Any, Problem, Taker]]:
    seen: dict[Hashable, _Paths] = {}
    for owner, routes in parts:
        for index, route in enumerate(routes):
            where = (*path, index)
            matches = route.match or (_EVERYTHING,)
            takers = [_taken_by(match, seen) for match in matches]
            if (first := takers[0]) is not None and all(takers):
                yield owner, _unreachable_route(first, where), first
            else:
                for number, taker in enumerate(takers):
                    if taker is not None:
                        yield owner, _unreachable_match(taker, (*where, "match", number)), taker
            if route.delegate is not None:
                continue  # what its delegate does not match goes on to later routes
            for match in matches:
                if catch_all or not _takes_everything(match):
                    this = Taker(_name(route.name, where), where, owner)
                    seen.setdefault(_other_conditions(match), _Paths()).add(match, this)


def _takes_everything(match: HTTPMatchRequest) -> bool:
    paths = _Paths()
    paths.add(match, Taker("", ()))
    return paths.all_from is not None and _other_conditions(match) == _NO_CONDITIONS


def _taken_by(match: HTTPMatchRequest, seen: dict[Hashable, _Paths]) -> Taker | None:
    for conditions in (_other_conditions(match), _NO_CONDITIONS):
        paths = seen.get(conditions)
        if paths is not None and (taker := paths.taken_by(match)):
            return taker
    return None


def connections(routes: Sequence[TCPRoute | TLSRoute], path: FieldPath) -> Iterator[Problem]:
    """Matches of connections that are taken by an equal one, or by a route for all connections."""
    seen: list[tuple[object, Taker]] = []
    everything: Taker | None = None
    for index, route in enumerate(routes):
        where = (*path, index)
        this = Taker(_name("", where), where)
        taken = [everything or next((by for other, by in seen if other == match), None) for match in route.match]
        first = everything or next(iter(taken), None)
        if first is not None and all(taken):
            yield _unreachable_route(first, where)
        else:
            for number, by in enumerate(taken):
                if by is not None:
                    yield _unreachable_match(by, (*where, "match", number))
        seen += [(match, this) for match in route.match]
        if isinstance(route, TCPRoute) and (not route.match or L4MatchAttributes() in route.match):
            everything = everything or this


def _name(name: str, path: FieldPath) -> str:
    """What a route is called in messages."""
    return f"{path[-2]}[{path[-1]}]" + (f" ({name!r})" if name else "")


def _unreachable_route(by: Taker, path: FieldPath) -> Problem:
    message = f"the route never matches: {by.name} before it takes everything that it would"
    hint = "move it up, or remove it"
    return warning(
        "unreachable-route", message, path=path, hint=hint, related=(Related("this comes first", None, by.path),)
    )


def _unreachable_match(by: Taker, path: FieldPath) -> Problem:
    message = f"the match has no effect: {by.name} before it takes everything that it would"
    hint = "move its route up, or remove the match"
    return warning(
        "unreachable-match", message, path=path, hint=hint, related=(Related("this comes first", None, by.path),)
    )
