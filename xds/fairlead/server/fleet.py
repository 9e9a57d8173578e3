"""The proxies that are connected, and those that are not but should be, as inputs of derived values."""

from collections.abc import Iterable
from typing import Any

from fairlead.derive import Collection, Graph, Input, derived, derived_index, derived_map
from fairlead.problems import Problem
from fairlead.resolve.outcome import Outcome
from fairlead.resolve.scope import Proxy, Selection, Selector
from fairlead.resolve.selection import proxies_implied, selection, selection_problems, sources
from fairlead.world import World


class Fleet:
    """The proxies that are connected, beside the world."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.proxies: Input[Proxy, bool] = Input(world.graph)
        """Proxy -> True."""

    @property
    def graph(self) -> Graph:
        """The world's graph."""
        return self.world.graph


def _sources(fleet: Fleet) -> tuple[Collection[Any, Any], ...]:
    return sources(fleet.world)


@derived_map(lambda fleet: fleet.proxies, reads=_sources)
def selections(fleet: Fleet, proxy: Proxy) -> Outcome[Selection]:
    """Each connected proxy -> what applies to it."""
    return Outcome(selection(fleet.world, proxy), selection_problems(fleet.world, proxy))


@derived_index(selections)
def _connected(_fleet: Fleet, _proxy: Proxy, outcome: Outcome[Selection]) -> Iterable[Selector]:
    return outcome.value.selectors


@derived
def _implied(fleet: Fleet) -> frozenset[Proxy]:
    return frozenset(proxies_implied(fleet.world))


@derived_map(_implied, reads=_sources)
def expected(fleet: Fleet, proxy: Proxy) -> Outcome[Selection] | None:
    """The proxies that Gateways are meant for, as long as none is connected -> what would apply to them.

    So operators learn what is wrong before the proxies come.
    """
    selected = selection(fleet.world, proxy)
    for selector in selected.selectors:
        for other in _connected(fleet).get(selector) or ():
            found = selections(fleet).get(other)
            if found is not None and selected.selectors <= found.value.selectors:
                return None
        break  # a proxy that has them all has this one
    return Outcome(selected, selection_problems(fleet.world, proxy))


@derived_index(selections)
def _problems_of_connected(_fleet: Fleet, _proxy: Proxy, outcome: Outcome[Selection]) -> Iterable[Problem]:
    return outcome.problems


@derived_index(expected)
def _problems_of_expected(_fleet: Fleet, _proxy: Proxy, outcome: Outcome[Selection]) -> Iterable[Problem]:
    return outcome.problems


def selection_problem_indexes(fleet: Fleet) -> list[Collection[Problem, frozenset[Proxy]]]:
    """Why selections are not what users may think: problem -> the proxies."""
    return [_problems_of_connected(fleet), _problems_of_expected(fleet)]
