"""At how many proxies each limit of requests is in force."""

from collections import Counter
from collections.abc import Iterable

from fairlead import diagnosis, translation
from fairlead.intent import HttpConnections, RuleName
from fairlead.resolve.governance import effect, rules
from fairlead.resolve.governance.kinds import KINDS
from fairlead.resolve.scope import Proxy, Selection
from fairlead.resolve.selection import selection
from fairlead.world import World


def proxies_by_limit(world: World, proxies: Iterable[Proxy]) -> dict[str, int]:
    """Name of a limit -> the number of proxies with a route that it is for; 0 where there is none."""
    known = {
        rule.name: 0
        for kind in KINDS
        for name in rules.rules(world, kind).keys()  # noqa: SIM118  # no dict: keys() records the reading
        for rule in rules.rules(world, kind).get(name) or ()
    }
    if not known:
        return {}
    counts: Counter[RuleName] = Counter()
    for chosen, number in Counter(selection(world, proxy) for proxy in proxies).items():
        counts.update(dict.fromkeys(_in_use(world, chosen), number))
    return {str(name): counts[name] for name in sorted(known)}


def _in_use(world: World, chosen: Selection) -> set[RuleName]:
    found: set[RuleName] = set()
    if effect.to_be_used(world, chosen.shared):  # or else there would be an index that nobody else reads, nor drops
        found.update(diagnosis.rules_in_use(world, chosen.shared).keys())
    if chosen.workload is not None:
        outcomes = translation.sidecar_outcomes(world, chosen)
        for key in outcomes.keys():  # noqa: SIM118  # no dict
            outcome = outcomes.get(key)
            for chain in () if outcome is None or outcome.value is None else outcome.value.filter_chains:
                if isinstance(chain.connections, HttpConnections) and chain.connections.inline is not None:
                    found.update(policy.name for route in chain.connections.inline.routes for policy in route.policies)
    return found
