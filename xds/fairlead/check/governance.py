"""Whether rules of ASM are for any proxies, and for any requests to the workloads of these."""

from collections.abc import Iterable, Iterator

from fairlead import diagnosis
from fairlead.intent import RuleName
from fairlead.models.asm.governing import Traffic
from fairlead.problems import Problem, warning
from fairlead.resolve.governance import effect
from fairlead.resolve.governance.rules import Rule
from fairlead.resolve.scope import Proxy, Role
from fairlead.resolve.selection import everybody_implied, selection, workloads_known
from fairlead.world import World


def problems(world: World) -> Iterator[Problem]:
    """Rules that are for no proxies which anything tells of, and those for what comes in at sidecars but never does."""
    found = list(effect.all_rules(world))
    if not found:
        return
    proxies = everybody_implied(world)
    for rule in found:
        yield from _of_gateways(rule, proxies) if rule.traffic is Traffic.GATEWAY else _of_sidecars(world, rule)
    yield from _of_workloads(world, [proxy for proxy in proxies if proxy.role is Role.SIDECAR])


def _of_gateways(rule: Rule, proxies: Iterable[Proxy]) -> Iterator[Problem]:
    places = {proxy.namespace for proxy in proxies if proxy.role is Role.GATEWAY and rule.labels <= proxy.labels}
    if rule.key.namespace not in places:
        yield _no_proxy(rule, f"no Gateway is known to have proxies with {_labels(rule)}", places)


def _of_sidecars(world: World, rule: Rule) -> Iterator[Problem]:
    """Workloads need no Service to send requests, so that it is only told of those where one is elsewhere."""
    places = {namespace for namespace, _ in workloads_known(world, rule.labels)}
    needs_service = bool(rule.labels) and rule.traffic is Traffic.SIDECAR_INBOUND
    if rule.key.namespace not in places and (places or needs_service):
        yield _no_proxy(rule, f"no Service is known to have workloads with {_labels(rule)}", places)


def _no_proxy(rule: Rule, what: str, elsewhere: set[str]) -> Problem:
    return warning(
        "no-matching-proxy",
        f"{what} in namespace {rule.key.namespace}",
        key=rule.key,
        path=rule.path[:3],
        hint=f"write the object into namespace {' or '.join(sorted(elsewhere))}, where they are" if elsewhere else "",
    )


def _labels(rule: Rule) -> str:
    return ", ".join(f"{key}: {value}" for key, value in sorted(rule.labels)) or "any labels"


def _of_workloads(world: World, sidecars: Iterable[Proxy]) -> Iterator[Problem]:
    """What comes in is different at each workload: a rule has to be in force at one of those that it is for."""
    in_force: set[RuleName] = set()
    vain: dict[RuleName, Problem] = {}
    for proxy in sidecars:
        chosen = selection(world, proxy)
        in_force |= diagnosis.rules_in_force(world, chosen)
        for name, rule in effect.of_proxies(world, chosen.shared).items():
            if rule.traffic is Traffic.SIDECAR_INBOUND and name not in vain:
                vain[name] = effect.without_effect(world, chosen.shared, rule)
    yield from (problem for name, problem in vain.items() if name not in in_force)
