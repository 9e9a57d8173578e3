"""Conditions of requests, and how requests are parted by them."""

import itertools
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

from fairlead.intent.matching import ValueMatch


@dataclass(frozen=True, slots=True)
class Requests:
    """Some of the requests: all conditions hold."""

    headers: tuple[ValueMatch, ...] = ()
    query_parameters: tuple[ValueMatch, ...] = ()

    @property
    def parts(self) -> tuple["Requests", ...]:
        """The conditions of headers and those of query parameters, each by themselves."""
        headers = (Requests(headers=self.headers),) if self.headers else ()
        parameters = (Requests(query_parameters=self.query_parameters),) if self.query_parameters else ()
        return headers + parameters


class Condition(NamedTuple):
    """Something that holds of a request, or does not."""

    requests: Requests
    """Either headers or query parameters."""
    holds: bool


def ways(holding: Iterable[Requests], failing: Iterable[Requests]) -> tuple[tuple[Condition, ...], ...]:
    """How a request can be among all of `holding`, and among none of `failing`.

    Not both of two conditions means: not the first, or the first and not the second. So there may be several ways,
    which exclude each other.
    """
    first = tuple(Condition(part, True) for requests in holding for part in requests.parts)
    return tuple((*first, *itertools.chain.from_iterable(way)) for way in itertools.product(*map(_ways_out, failing)))


def _ways_out(requests: Requests) -> Iterator[tuple[Condition, ...]]:
    parts = requests.parts
    for number, part in enumerate(parts):
        yield (*(Condition(before, True) for before in parts[:number]), Condition(part, False))
