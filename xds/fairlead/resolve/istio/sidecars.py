"""Sidecars, which gateways do not heed."""

from fairlead.derive import Input, derived_map
from fairlead.models.istio.sidecar import Sidecar
from fairlead.problems import Problem, warning
from fairlead.world import ObjectName, World


def _sidecars(world: World) -> Input[ObjectName, Sidecar]:
    return world.objects(Sidecar)


@derived_map(_sidecars)
def reviews(world: World, name: ObjectName) -> tuple[Problem, ...] | None:
    """That each Sidecar has no effect."""
    found = _sidecars(world).get(name)
    if found is None:
        return None
    message = "the Sidecar has no effect: gateways heed none, and proxies of the role sidecar are not served yet"
    return (warning("no-effect", message, key=found.key, path=("spec",), hint="leave it out for now"),)
