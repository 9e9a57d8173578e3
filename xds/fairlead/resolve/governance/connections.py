"""What connections know of the rules that routes refer to, and which of a proxy's labels decide about rules."""

from fairlead.intent import Governance, RequestLimit
from fairlead.models.asm.governing import Traffic
from fairlead.resolve.governance import rules
from fairlead.resolve.governance.kinds import KINDS
from fairlead.resolve.scope import Labels, Selection
from fairlead.world import World


def of_connections(world: World, selection: Selection, traffic: Traffic, ports: frozenset[int]) -> Governance:
    """What routes for some ports may refer to; no ports stand for any."""
    found = {
        rule.name: rule
        for kind in KINDS
        for rule in rules.of_selection(world, kind, selection, traffic)
        if not ports or not rule.port or rule.port in ports
    }
    policies = [(name.key, rule.policy.for_connections) for name, rule in found.items()]
    return Governance(
        limits=tuple(policy for _, policy in policies if isinstance(policy, RequestLimit)),
        origin=tuple(dict.fromkeys(key for key, policy in policies if policy is not None)),
    )


def labels_asked_for(world: World, namespace: str, labels: Labels) -> Labels:
    """Those of a proxy's labels that some rule in its namespace asks for."""
    return frozenset[tuple[str, str]]().union(
        *(rules.labels_asked_for(world, kind, namespace, labels) for kind in KINDS)
    )
