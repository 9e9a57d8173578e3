"""What the services decide by that proxies call while they serve requests."""

from fairlead.derive import derived
from fairlead.intent import RuntimeConfiguration
from fairlead.world import World


@derived
def configuration(_world: World) -> RuntimeConfiguration:
    """What all objects ask of them; empty when no object needs them."""
    return RuntimeConfiguration()
