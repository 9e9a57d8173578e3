"""At how many proxies each limit of requests is in force."""

from collections import Counter
from collections.abc import Iterable

from fairlead import translation
from fairlead.intent import HttpConnections
from fairlead.resolve import limits
from fairlead.resolve.scope import Proxy, Selection
from fairlead.resolve.selection import selection
from fairlead.world import World


def proxies_by_limit(world: World, proxies: Iterable[Proxy]) -> dict[str, int]:
    """Name of a limit -> the number of proxies with a route that it is for; 0 where there is none."""
    known = {
        rule.limit.name: 0
        for name in limits.rules(world).keys()  # noqa: SIM118  # no dict: keys() records the reading
        for rule in limits.rules(world).get(name) or ()
    }
    if not known:
        return {}
    counts: Counter[str] = Counter()
    for chosen, number in Counter(selection(world, proxy) for proxy in proxies).items():
        counts.update(dict.fromkeys(_in_use(world, chosen), number))
    return {name: counts[name] for name in sorted(known)}


def _in_use(world: World, chosen: Selection) -> set[str]:
    found: set[str] = set()
    if limits.to_be_used(world, chosen.shared):  # or else there would be an index that nobody else reads, nor drops
        found.update(translation.limits_in_use(world, chosen.shared).keys())
    if chosen.workload is not None:
        outcomes = translation.sidecar_outcomes(world, chosen)
        for key in outcomes.keys():  # noqa: SIM118  # no dict
            outcome = outcomes.get(key)
            for chain in () if outcome is None or outcome.value is None else outcome.value.filter_chains:
                if isinstance(chain.connections, HttpConnections) and chain.connections.inline is not None:
                    found.update(route.limit.limit for route in chain.connections.inline.routes if route.limit)
    return found
