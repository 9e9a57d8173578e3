"""All listeners of a sidecar: the outbound ones that its scope asks for, and the inbound ones of its workload."""

import enum
from typing import Any

from fairlead.derive import Collection, derived
from fairlead.intent import Listener
from fairlead.problems import Problem
from fairlead.resolve.outcome import Outcome
from fairlead.resolve.scope import Selection
from fairlead.resolve.sidecar import exposures, inbound, ingress, outbound
from fairlead.world import World


class Direction(enum.Enum):
    """Whose connections a listener takes."""

    OUTBOUND = "outbound"
    """Those of the application."""
    INBOUND = "inbound"
    """Those of others, to the application."""


Key = tuple[Direction, str]
"""A listener, by the name that it has as long as nothing is known of the proxy's addresses."""


def sources(world: World, selection: Selection) -> tuple[Collection[Any, Any], ...]:
    """What is large of that which `keys` are computed from."""
    return exposures.sources_of_listeners(world, selection.shared)


@derived
def keys(world: World, selection: Selection) -> frozenset[Key]:
    """The listeners that the proxies of a workload are to have, and `(INBOUND, "")` for those that they cannot."""
    out = ((Direction.OUTBOUND, name) for name in outbound.listener_names(world, selection.shared))
    into = ((Direction.INBOUND, name) for name in ("", *inbound.listener_names(world, selection)))
    return frozenset(out).union(into)


@derived
def listener(world: World, selection: Selection, key: Key) -> Outcome[Listener | None]:
    """A listener of the proxies of a workload; None when they cannot have it.

    What is wrong with an outbound one whatever the workload is not told again.
    """
    direction, name = key
    if direction is Direction.INBOUND:
        if name:
            return inbound.listener(world, selection, name)
        return Outcome(None, ingress.inbound_ports(world, selection).problems)
    found = outbound.listener(world, selection.shared, name).value
    displaced = None if found is None else _displaced(world, selection, found)
    return Outcome(found) if displaced is None else Outcome(None, (displaced,))


def _displaced(world: World, selection: Selection, found: Listener) -> Problem | None:
    """That an outbound listener would have the address of the application, or of the inbound listener for it."""
    workload = selection.workload
    if workload is not None and workload.beside_application and found.wildcard:
        for port in ingress.inbound_ports(world, selection).value:
            if found.port in (port.port, port.endpoint.port):
                return outbound.displaced(found.address, found.port, port.key)
    return None
