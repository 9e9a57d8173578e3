"""What the services decide by that proxies call while they serve requests."""

from fairlead.derive import derived
from fairlead.intent import RuntimeConfiguration
from fairlead.resolve.governance import global_limits
from fairlead.world import World


@derived
def configuration(world: World) -> RuntimeConfiguration:
    """What all objects ask of them; empty when no object needs them."""
    return RuntimeConfiguration(rate_limits=global_limits.domains(world))
