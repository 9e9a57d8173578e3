"""Which requests end elsewhere: those that try each route of both states, simulated in both."""

from collections.abc import Iterable
from typing import NamedTuple

from fairlead.comparison.values import RequestChange
from fairlead.simulation import Request, Simulation, Verdict
from fairlead.simulation.probes import probes
from fairlead.simulation.words import outcome
from fairlead.snapshot.resource import Resource


class _End(NamedTuple):
    """Where a request ends, for comparison."""

    words: str
    path: str = ""
    """As the backend sees it, if that differs from what the client has sent."""
    host: str = ""
    request_headers: tuple[tuple[str, str], ...] = ()
    response_headers: tuple[tuple[str, str], ...] = ()
    rules: tuple[str, ...] = ()
    """Limits and the like."""


def request_changes(old: Iterable[Resource], new: Iterable[Resource]) -> tuple[tuple[RequestChange, ...], int]:
    """The requests that end elsewhere, and for how many routes none could be thought out."""
    before, after = Simulation(old), Simulation(new)
    of_old, of_new = list(probes(before)), list(probes(after))
    groups: dict[tuple[int, str, str, str], list[Request]] = {}
    for request in {_key(found): found for found in (*of_old, *of_new) if found is not None}.values():
        ends = [_end(simulation.send(request), request) for simulation in (before, after)]
        if ends[0] != ends[1]:
            words = _in_words(*ends)
            groups.setdefault((request.port, request.host, *words), []).append(request)
    changes = tuple(
        RequestChange(_shown(requests[0]), words_of_old, words_of_new, len(requests) - 1)
        for (_, _, words_of_old, words_of_new), requests in groups.items()
    )
    return changes, max(of_old.count(None), of_new.count(None))


def _key(request: Request) -> tuple[object, ...]:
    headers = tuple(sorted(request.headers.items()))
    return request.listener_address, request.port, request.tls, request.host, request.path, request.method, headers


def _end(verdict: Verdict, request: Request) -> _End:
    words = outcome(verdict)
    if verdict.location.endswith(request.path):
        # So that redirects of many paths are one kind.
        words = f"{words.removesuffix(request.path)}, with the same path"
    if verdict.failure:
        return _End(words)
    return _End(
        words=words,
        path="" if verdict.path == request.path else verdict.path,
        host="" if verdict.host == request.host else verdict.host,
        request_headers=tuple(sorted(verdict.request_headers.items())),
        response_headers=tuple(sorted(verdict.response_headers.items())),
        rules=tuple(verdict.rules),
    )


def _in_words(old: _End, new: _End) -> tuple[str, str]:
    """Where both end, with all that differs and nothing else besides."""
    if _fails(old) or _fails(new):
        return old.words, new.words
    words = [[old.words], [new.words]]
    for field in ("path", "host", "request_headers", "response_headers"):
        values = getattr(old, field), getattr(new, field)
        if values[0] != values[1]:
            for found, value in zip(words, values, strict=True):
                shown = value if isinstance(value, str) else ", ".join(f"{name}: {text}" for name, text in value)
                found.append(f"{field.replace('_', ' ')} {shown or 'unchanged'}")
    if old.rules != new.rules:
        for found, end, other in zip(words, (old, new), (new, old), strict=True):
            found.extend([rule for rule in end.rules if rule not in other.rules] or ["no such rule"])
    return "; ".join(words[0]), "; ".join(words[1])


def _fails(end: _End) -> bool:
    return end.words.startswith(("is refused", "fails"))


def _shown(request: Request) -> str:
    host = f"[{request.host}]" if ":" in request.host else request.host
    headers = "".join(f" {name}: {value};" for name, value in request.headers.items()).removesuffix(";")
    url = f"{'https' if request.tls else 'http'}://{host}:{request.port}{request.path}"
    at = f" at {request.listener_address}" if request.listener_address else ""
    return f"{request.method} {url}{at}" + (f" with{headers}" if headers else "")
