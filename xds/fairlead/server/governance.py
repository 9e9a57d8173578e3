"""Where the rules of ASM are in force: at which proxies, or why at none."""

from collections.abc import Iterable
from dataclasses import dataclass, field

from fairlead import diagnosis
from fairlead.intent import RuleName
from fairlead.problems import format_path
from fairlead.render.rate_limit_configuration import rate_limit_configuration
from fairlead.resolve.governance import effect, global_limits, scheduling
from fairlead.resolve.scope import Proxy, Selection
from fairlead.resolve.selection import selection
from fairlead.status import RuleStatus
from fairlead.world import World

_NAMED = 10
"""Proxies that are told by their ids, at most."""
_NO_ROUTE = "no connected proxy has a route of the services that it is about"


@dataclass
class _Reach:
    """What has been found out of a rule, or a scheduling policy."""

    path: str
    reason: str
    """Why it is in force at no proxy, if it is."""
    selected: int = 0
    proxies: int = 0
    at: list[str] = field(default_factory=list)

    def is_in_force(self, proxies: list[str]) -> None:
        """At these, by their ids."""
        self.proxies += len(proxies)
        self.at += proxies[: _NAMED - len(self.at)]


def rule_statuses(world: World, proxies: Iterable[tuple[str, Proxy]]) -> tuple[RuleStatus, ...]:
    """The state of each rule, by its object; `proxies` are those that are connected, with their ids."""
    found = {
        # A rule stands for an entry of a list; what follows in its path is where it names a host.
        rule.name: _Reach(format_path(rule.path[:3]), f"no {effect.proxies_of(rule)} is connected")
        for rule in effect.all_rules(world)
    }
    policies = {RuleName(policy.origin, 0): _Reach("spec", _NO_ROUTE) for policy in scheduling.policies(world)}
    if not found and not policies:
        return ()
    ids: dict[Selection, list[str]] = {}
    connected = list(proxies)
    for proxy_id, proxy in connected:
        ids.setdefault(selection(world, proxy), []).append(proxy_id)
    for chosen, alike in ids.items():
        in_force = diagnosis.rules_in_force(world, chosen)
        for rule in effect.of_proxies(world, chosen.shared).values():
            reach = found[rule.name]
            if rule.name in in_force:
                reach.is_in_force(alike)
            elif reach.selected == 0:
                reach.reason = effect.without_effect(world, chosen.shared, rule).message
            reach.selected += len(alike)
        for name in in_force & policies.keys():
            policies[name].is_in_force(alike)
            policies[name].selected += len(alike)
    for rule in effect.all_rules(world):
        if found[rule.name].selected == 0:
            found[rule.name].reason += effect.others_with_labels(rule, [proxy for _, proxy in connected])
    found |= policies
    return tuple(_status(name, found[name]) for name in sorted(found))


def _status(name: RuleName, reach: _Reach) -> RuleStatus:
    reason = "" if reach.proxies else reach.reason
    return RuleStatus(str(name.key), reach.path, reach.selected, reach.proxies, tuple(sorted(reach.at)), reason)


def rate_limits(world: World) -> dict[str, str]:
    """ASMGlobalRateLimiter that names a service -> what that has to know, as `envoyproxy/ratelimit` reads it."""
    objects = global_limits.of_object(world)
    found = (objects.get(name) for name in sorted(objects.keys()))
    return {
        str(domain.descriptors[0].origin): rate_limit_configuration(domain)
        for domain in found
        if domain is not None and domain.name != global_limits.OWN_DOMAIN
    }
