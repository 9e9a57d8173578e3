"""What the services decide by that proxies call while they serve requests."""

from fairlead.derive import derived
from fairlead.intent import RuntimeConfiguration
from fairlead.resolve.governance import global_limits, rules, scheduling
from fairlead.resolve.governance.breakers import BREAKERS
from fairlead.resolve.governance.local_limits import LOCAL_LIMITS
from fairlead.world import World

_REJECTING = (LOCAL_LIMITS, BREAKERS)
"""Kinds for whose objects proxies themselves reject requests."""


@derived
def configuration(world: World) -> RuntimeConfiguration:
    """What all objects ask of them; empty when no object needs them."""
    return RuntimeConfiguration(
        rate_limits=global_limits.domains(world),
        counts_rejections=any(rules.rules(world, kind).keys() for kind in _REJECTING),
        scheduling=scheduling.policies(world),
    )
