"""Whether limits are for any proxies."""

from collections.abc import Iterator

from fairlead.models.asm import ASMLocalRateLimiter, Traffic
from fairlead.problems import Problem, warning
from fairlead.resolve import limits
from fairlead.resolve.scope import Role
from fairlead.resolve.selection import everybody_implied
from fairlead.world import World


def problems(world: World) -> Iterator[Problem]:
    """Limits for gateways that no Gateway, nor a Service before its proxies, tells of."""
    gateways = [proxy for proxy in everybody_implied(world) if proxy.role is Role.GATEWAY]
    for name in world.objects(ASMLocalRateLimiter).keys():  # noqa: SIM118  # no dict
        for rule in limits.rules(world).get(name) or ():
            selected = [proxy for proxy in gateways if rule.labels <= proxy.labels]
            if rule.traffic is not Traffic.GATEWAY or any(proxy.namespace == name.namespace for proxy in selected):
                continue
            labels = ", ".join(f"{key}: {value}" for key, value in sorted(rule.labels)) or "any labels"
            elsewhere = sorted({proxy.namespace for proxy in selected})
            yield warning(
                "no-matching-proxy",
                f"no Gateway is known to have proxies with {labels} in namespace {name.namespace}",
                key=rule.key,
                path=("spec", "configs", rule.path[2]),
                hint=f"write the object into namespace {' or '.join(elsewhere)}, where they are" if elsewhere else "",
            )
