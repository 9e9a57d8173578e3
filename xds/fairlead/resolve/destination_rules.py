"""DestinationRules: which one holds for a service, as a proxy sees it, and what it says of a port.

Istio looks for rules in the namespace of the proxy, then of the service, then in the root namespace; the first one
with a rule for the host decides, and there the most specific host does (istio.io/latest/docs/ops/best-practices/
traffic-management, "Cross-namespace configuration").
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from fairlead.derive import Input, derived, derived_index
from fairlead.intent import Backend, Origin
from fairlead.models.istio import destination_rule as models
from fairlead.models.istio.destination_rule import (
    ClientTLSSettings,
    ConnectionPoolSettings,
    DestinationRule,
    LoadBalancerSettings,
    OutlierDetection,
    ProxyProtocol,
    RetryBudget,
    TrafficPolicy,
    TunnelSettings,
)
from fairlead.problems import FieldPath, ObjectKey, Problem, Related, warning
from fairlead.resolve import mesh, services
from fairlead.resolve.istio.references import visibility
from fairlead.resolve.scope import Labels, Viewer
from fairlead.world import ObjectName, World

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Located(Generic[T]):
    """Settings, and where they are written."""

    value: T
    key: ObjectKey
    path: FieldPath

    def warning(
        self, code: str, message: str, *path: str | int, hint: str = "", related: tuple[Related, ...] = ()
    ) -> Problem:
        """A warning about the field at `path` below the settings."""
        return warning(code, message, key=self.key, path=(*self.path, *path), hint=hint, related=related)

    def not_supported(self, message: str, *path: str | int, hint: str = "") -> Problem:
        """A warning that the field at `path` below the settings is not translated."""
        return self.warning("unsupported-field", message, *path, hint=hint)


@dataclass(frozen=True, slots=True)
class Policy:
    """What DestinationRules say of one port of a service, or of one of its subsets."""

    load_balancer: Located[LoadBalancerSettings] | None = None
    connection_pool: Located[ConnectionPoolSettings] | None = None
    outlier_detection: Located[OutlierDetection] | None = None
    tls: Located[ClientTLSSettings] | None = None
    tunnel: Located[TunnelSettings] | None = None
    proxy_protocol: Located[ProxyProtocol] | None = None
    retry_budget: Located[RetryBudget] | None = None
    origin: Origin = ()
    """The DestinationRules for the host, whether or not they say anything of this port."""
    problems: tuple[Problem, ...] = ()
    """Why not all that they say is in force."""


_PORT_BLOCKS = {
    "load_balancer": "loadBalancer",
    "connection_pool": "connectionPool",
    "outlier_detection": "outlierDetection",
    "tls": "tls",
}
"""Attributes of both `TrafficPolicy` and `Policy` that a port can replace -> their names in YAML."""
_BLOCKS = _PORT_BLOCKS | {"tunnel": "tunnel", "proxy_protocol": "proxyProtocol", "retry_budget": "retryBudget"}


@dataclass(frozen=True, slots=True)
class Subset:
    """Some of the endpoints of a service."""

    labels: Labels
    """The endpoints have all of these."""
    key: ObjectKey
    """The DestinationRule."""
    path: FieldPath


@dataclass(frozen=True, slots=True)
class Rule:
    """All DestinationRules that hold for a host, merged."""

    policy: Located[TrafficPolicy] | None
    subsets: dict[str, Subset]
    subset_policies: dict[str, Located[TrafficPolicy]]
    origin: Origin
    problems: tuple[Problem, ...]


@derived
def policy(world: World, viewer: Viewer, backend: Backend) -> Policy:
    """What holds for a backend; an unknown subset has the policy of the whole service."""
    found = rule(world, viewer, backend.host)
    if found is _NO_RULE:
        return _NO_POLICY
    blocks: dict[str, Any] = {}
    for layer in (found.policy, found.subset_policies.get(backend.subset)):
        if layer is not None:
            _apply(blocks, layer, backend.port)
    return Policy(**blocks, origin=found.origin, problems=found.problems)


def subset_labels(world: World, viewer: Viewer, backend: Backend) -> Labels | None:
    """The labels that all of a backend's endpoints have: none for a whole service; None for an unknown subset."""
    return _labels_of_subset(world, viewer, backend) if backend.subset else _ALL


_ALL: Labels = frozenset()


@derived
def _labels_of_subset(world: World, viewer: Viewer, backend: Backend) -> Labels | None:
    subset = rule(world, viewer, backend.host).subsets.get(backend.subset)
    return None if subset is None else subset.labels


def _apply(blocks: dict[str, Any], layer: Located[TrafficPolicy], port: int) -> None:
    """Put a policy over another one: block by block, but as a whole where a port has settings of its own."""
    for attribute, name in _BLOCKS.items():
        value = getattr(layer.value, attribute)
        if value is not None:
            blocks[attribute] = Located(value, layer.key, (*layer.path, name))
    for index, settings in enumerate(layer.value.port_level_settings):
        if settings.port is None or settings.port.number != port:
            continue
        for attribute, name in _PORT_BLOCKS.items():
            value = getattr(settings, attribute)
            path = (*layer.path, "portLevelSettings", index, name)
            blocks[attribute] = None if value is None else Located(value, layer.key, path)
        break


@derived
def rule(world: World, viewer: Viewer, host: str) -> Rule:
    """The DestinationRules for a full host name, as the viewer sees it, merged into one.

    Of those with the same `exportTo` and `workloadSelector`, subsets add up and the oldest policy holds; others than
    those for the same proxies as the oldest one are left out, as Istio does.
    """
    view = services.find(world, viewer.namespace, host)
    candidates = _candidates(world, viewer, "" if view is None else view.namespace, host)
    if not candidates:
        return _NO_RULE
    merged: list[DestinationRule] = []
    others: list[DestinationRule] = []
    for item in candidates:
        (merged if _audience(world, item) == _audience(world, candidates[0]) else others).append(item)
    problems = [
        warning(
            "rule-without-effect",
            f"the rule has no effect, since {merged[0].key} for the same host comes first and is for others",
            key=item.key,
            path=("spec", "exportTo"),
            hint="write both into one rule, or give them the same exportTo and workloadSelector",
            related=(Related("this one holds", merged[0].key),),
        )
        for item in others
    ]
    merger = _Merger()
    for item in merged:
        merger.add(item)
    origin = tuple(item.key for item in merged)
    return Rule(merger.policy, merger.subsets, merger.subset_policies, origin, (*problems, *merger.problems))


_NO_RULE = Rule(None, {}, {}, (), ())
_NO_POLICY = Policy()


class _Merger:
    """Joins rules for one host, of which earlier ones win."""

    def __init__(self) -> None:
        self.policy: Located[TrafficPolicy] | None = None
        self.subsets: dict[str, Subset] = {}
        self.subset_policies: dict[str, Located[TrafficPolicy]] = {}
        self.problems: list[Problem] = []

    def add(self, item: DestinationRule) -> None:
        if item.spec.traffic_policy is not None:
            located = Located(item.spec.traffic_policy, item.key, ("spec", "trafficPolicy"))
            if self.policy is None:
                self.policy = located
            else:
                message = f"the policy has no effect, since that of {self.policy.key} for the same host comes first"
                related = (Related("this one holds", self.policy.key, self.policy.path),)
                problem = located.warning("policy-without-effect", message, hint="write one policy", related=related)
                self.problems.append(problem)
        for index, subset in enumerate(item.spec.subsets):
            self._add_subset(subset, item.key, ("spec", "subsets", index))

    def _add_subset(self, subset: models.Subset, key: ObjectKey, path: FieldPath) -> None:
        first = self.subsets.get(subset.name)
        if first is not None:
            message = f"subset {subset.name} has no effect, since {first.key} has one of that name already"
            where, hint = (*path, "name"), "rename one of them"
            related = (Related("this one counts", first.key, first.path),)
            self.problems.append(warning("duplicate-subset", message, key=key, path=where, hint=hint, related=related))
            return
        self.subsets[subset.name] = Subset(frozenset(subset.labels.items()), key, path)
        if subset.traffic_policy is not None:
            self.subset_policies[subset.name] = Located(subset.traffic_policy, key, (*path, "trafficPolicy"))


def _audience(world: World, item: DestinationRule) -> tuple[frozenset[str], Labels]:
    """Whom a rule is for: the namespaces that see it, and the labels of workloads."""
    return _export_set(world, item), _selected(item)


def _export_set(world: World, item: DestinationRule) -> frozenset[str]:
    exported = mesh.destination_rule_export(world, item.spec.export_to)
    names = frozenset(item.metadata.namespace if name == "." else name for name in exported)
    return frozenset("*") if not names or "*" in names else names


# --- Which rules ------------------------------------------------------------------------------------------------------


def _candidates(world: World, viewer: Viewer, service_namespace: str, host: str) -> tuple[DestinationRule, ...]:
    """The rules of the most specific host in the first namespace that has any, older ones first.

    Those for some workloads of the viewer's namespace, it among them, come before those for all.
    """
    namespace, root = viewer.namespace, mesh.root_namespace(world)
    levels = [(namespace, False), (service_namespace, False), (root, False)]
    if namespace == root:
        # What it exports comes after what the service's namespace says, so that only its private rules go first.
        levels[0] = (namespace, True)
    groups = _covering(world, host)
    collection = world.objects(DestinationRule)
    for owner, private in levels:
        for group in groups:
            found = [collection.get(name) for name in group if name.namespace == owner]
            valid = [item for item in found if item is not None and _holds(world, item, viewer, private=private)]
            selective = [item for item in valid if item.spec.workload_selector is not None]
            if valid:
                return tuple(sorted(selective or valid, key=services.age))
    return ()


def _holds(world: World, item: DestinationRule, viewer: Viewer, *, private: bool) -> bool:
    """Whether a rule is for the viewer; all of its own namespace are, whatever they are exported to."""
    owner = item.metadata.namespace
    if item.spec.workload_selector is not None:
        return owner == viewer.namespace and _selected(item) <= viewer.labels
    if private:
        return _export_set(world, item) == {owner}
    exported = mesh.destination_rule_export(world, item.spec.export_to)
    return owner == viewer.namespace or visibility(exported, owner, viewer.namespace) is not None


def _selected(item: DestinationRule) -> Labels:
    """The labels of the workloads that a rule is for."""
    return frozenset(() if item.spec.workload_selector is None else item.spec.workload_selector.match_labels.items())


def _covering(world: World, host: str) -> tuple[frozenset[ObjectName], ...]:
    """The rules of all namespaces whose host covers this one, from the most specific host to the least.

    Each domain asks the one above it, so that the services of a namespace share what is read of wildcards.
    """
    own = _rules_by_host(world).get(host)
    domain = host.removeprefix("*.").partition(".")[2]
    above = () if host == "*" else _covering_domain(world, f"*.{domain}" if domain else "*")
    return (own, *above) if own else above


_covering_domain = derived(_covering)


def _destination_rules(world: World) -> Input[ObjectName, DestinationRule]:
    return world.objects(DestinationRule)


@derived_index(_destination_rules)
def _rules_by_host(_world: World, name: ObjectName, item: DestinationRule) -> Iterable[str]:
    """Full host name -> the rules for it."""
    return (services.qualify(item.spec.host, name.namespace),)


# --- Which labels of proxies make a difference ------------------------------------------------------------------------


def labels_asked_for(world: World, namespace: str, labels: Labels) -> Labels:
    """Those labels of a proxy that decide which rules hold for it, or which endpoints it prefers."""
    selecting, compared = _selecting_labels(world), _compared_labels(world)
    return frozenset(
        label for label in labels if selecting.get((namespace, label)) is not None or compared.get(label[0]) is not None
    )


@derived_index(_destination_rules)
def _selecting_labels(_world: World, name: ObjectName, item: DestinationRule) -> Iterator[tuple[str, tuple[str, str]]]:
    """Namespace and label of workloads -> the rules for such workloads only."""
    for label in _selected(item):
        yield name.namespace, label


@derived_index(_destination_rules)
def _compared_labels(_world: World, _name: ObjectName, item: DestinationRule) -> Iterator[str]:
    """Name of a label -> the rules by which proxies prefer endpoints whose label is the same as theirs."""
    for layer in (item.spec.traffic_policy, *(subset.traffic_policy for subset in item.spec.subsets)):
        blocks: Iterable[TrafficPolicy | models.PortTrafficPolicy] = ()
        if layer is not None:
            blocks = (layer, *layer.port_level_settings)
        for block in blocks:
            setting = None if block.load_balancer is None else block.load_balancer.locality_lb_setting
            if setting is not None:
                yield from (label for label in setting.failover_priority if "=" not in label)
