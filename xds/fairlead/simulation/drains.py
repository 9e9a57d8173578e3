"""Which connections Envoy drains when a listener changes.

Envoy replaces a listener as a whole, unless nothing but filter chains differs: then connections of chains that are the
same message as before stay (https://www.envoyproxy.io/docs/envoy/latest/intro/arch_overview/listeners/
network_filter_chain, "Filter chain only update"). All that listeners refer to by name - routes, clusters, endpoints,
Secrets - changes in place and drains nothing.
"""

from typing import NamedTuple

from fairlead._pb.envoy.config.listener.v3.listener_pb2 import Listener
from fairlead.snapshot.resource import Resource

_OF_CHAINS = ("filter_chains", "default_filter_chain", "filter_chain_matcher")


class Drain(NamedTuple):
    """What becomes of the connections of a listener."""

    whole: bool
    """All connections are drained."""
    why: tuple[str, ...]
    """Names of the fields that make it so; or of the filter chains whose connections are drained."""


def drain(old: Resource, new: Resource | None) -> Drain:
    """What is drained when a listener becomes another one, or goes."""
    before = Listener.FromString(old.body)
    if new is None:
        return Drain(whole=True, why=("it is removed",))
    after = Listener.FromString(new.body)
    left = {chain.SerializeToString(deterministic=True) for chain in after.filter_chains}
    gone = [chain.name for chain in before.filter_chains if chain.SerializeToString(deterministic=True) not in left]
    frames = Listener(), Listener()
    for frame, listener in zip(frames, (before, after), strict=True):
        frame.CopyFrom(listener)
        for field in _OF_CHAINS:
            frame.ClearField(field)
    fields = {descriptor.name for frame in frames for descriptor, _ in frame.ListFields()}
    changed = sorted(name for name in fields if getattr(frames[0], name) != getattr(frames[1], name))
    return Drain(whole=True, why=tuple(changed)) if changed else Drain(whole=False, why=tuple(gone))
