"""Where the rules of ASM are in force: at which proxies, or why at none."""

from collections.abc import Iterable
from dataclasses import dataclass, field

from fairlead import diagnosis
from fairlead.problems import format_path
from fairlead.render.rate_limit_configuration import rate_limit_configuration
from fairlead.resolve.governance import effect, global_limits
from fairlead.resolve.governance.rules import Rule
from fairlead.resolve.scope import Proxy, Selection
from fairlead.resolve.selection import selection
from fairlead.status import RuleStatus
from fairlead.world import World

_NAMED = 10
"""Proxies that are told by their ids, at most."""


@dataclass
class _Reach:
    """What has been found out of a rule."""

    rule: Rule
    selected: int = 0
    proxies: int = 0
    at: list[str] = field(default_factory=list)
    reason: str = ""


def rule_statuses(world: World, proxies: Iterable[tuple[str, Proxy]]) -> tuple[RuleStatus, ...]:
    """The state of each rule, by its object; `proxies` are those that are connected, with their ids."""
    found = {rule.name: _Reach(rule) for rule in effect.all_rules(world)}
    if not found:
        return ()
    ids: dict[Selection, list[str]] = {}
    for proxy_id, proxy in proxies:
        ids.setdefault(selection(world, proxy), []).append(proxy_id)
    for chosen, alike in ids.items():
        in_use = diagnosis.rules_in_force(world, chosen)
        for rule in effect.of_proxies(world, chosen.shared).values():
            reach = found[rule.name]
            reach.selected += len(alike)
            if rule.name in in_use:
                reach.proxies += len(alike)
                reach.at += alike[: _NAMED - len(reach.at)]
            elif not reach.reason:
                reach.reason = effect.without_effect(world, chosen.shared, rule).message
    return tuple(_status(found[name]) for name in sorted(found))


def _status(reach: _Reach) -> RuleStatus:
    rule = reach.rule
    reason = "" if reach.proxies else reach.reason
    if not reach.selected:
        reason = f"no {effect.proxies_of(rule)} is connected"
    # A rule stands for an entry of a list; what follows is where it names a host.
    path = format_path(rule.path[:3])
    return RuleStatus(str(rule.key), path, reach.selected, reach.proxies, tuple(sorted(reach.at)), reason)


def rate_limits(world: World) -> dict[str, str]:
    """ASMGlobalRateLimiter that names a service -> what that has to know, as `envoyproxy/ratelimit` reads it."""
    objects = global_limits.of_object(world)
    found = (objects.get(name) for name in sorted(objects.keys()))
    return {
        str(domain.descriptors[0].origin): rate_limit_configuration(domain)
        for domain in found
        if domain is not None and domain.name != global_limits.OWN_DOMAIN
    }
