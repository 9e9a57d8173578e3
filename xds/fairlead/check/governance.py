"""Whether rules of ASM are for any proxies."""

from collections.abc import Iterator

from fairlead.models.asm.governing import Traffic
from fairlead.problems import Problem, warning
from fairlead.resolve.governance import rules
from fairlead.resolve.governance.kinds import KINDS
from fairlead.resolve.governance.rules import Rule
from fairlead.resolve.scope import Role
from fairlead.resolve.selection import everybody_implied
from fairlead.world import World


def problems(world: World) -> Iterator[Problem]:
    """Rules for gateways that no Gateway, nor a Service before its proxies, tells of."""
    gateways = [proxy for proxy in everybody_implied(world) if proxy.role is Role.GATEWAY]
    for rule in _rules(world):
        namespace = rule.key.namespace
        selected = [proxy for proxy in gateways if rule.labels <= proxy.labels]
        if rule.traffic is not Traffic.GATEWAY or any(proxy.namespace == namespace for proxy in selected):
            continue
        labels = ", ".join(f"{key}: {value}" for key, value in sorted(rule.labels)) or "any labels"
        elsewhere = sorted({proxy.namespace for proxy in selected})
        yield warning(
            "no-matching-proxy",
            f"no Gateway is known to have proxies with {labels} in namespace {namespace}",
            key=rule.key,
            path=("spec", "configs", rule.path[2]),
            hint=f"write the object into namespace {' or '.join(elsewhere)}, where they are" if elsewhere else "",
        )


def _rules(world: World) -> Iterator[Rule]:
    for kind in KINDS:
        for name in rules.rules(world, kind).keys():  # noqa: SIM118  # no dict
            yield from rules.rules(world, kind).get(name) or ()
