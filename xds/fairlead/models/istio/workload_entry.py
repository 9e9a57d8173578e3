"""WorkloadEntry: a host outside Kubernetes (istio.io/latest/docs/reference/config/networking/workload-entry)."""

from typing import ClassVar

import msgspec

from fairlead.models.base import KubernetesObject, Model
from fairlead.models.istio.common import NETWORKING_GROUP, NETWORKING_VERSIONS, UInt32


class WorkloadEntrySpec(Model, frozen=True, kw_only=True):
    """An address with ports and labels; also an endpoint of a ServiceEntry."""

    address: str = ""
    """IP address, host name, or `unix://path`."""
    ports: dict[str, UInt32] = msgspec.field(default_factory=dict)
    """By the name of the service's port; those not named have its number."""
    labels: dict[str, str] = msgspec.field(default_factory=dict)
    """Subsets and selectors see these, and those of the WorkloadEntry's metadata."""
    network: str = ""
    locality: str = ""
    """`region/zone/subzone`."""
    weight: UInt32 = 0
    """`load_balancing_weight`; 0 for 1."""
    service_account: str = ""
    """Without effect: there is no automatic mutual TLS by which it would be checked."""


class WorkloadEntry(KubernetesObject, frozen=True, kw_only=True):
    """A host that ServiceEntries select by labels."""

    group: ClassVar[str] = NETWORKING_GROUP
    kind: ClassVar[str] = "WorkloadEntry"
    versions: ClassVar[tuple[str, ...]] = NETWORKING_VERSIONS

    spec: WorkloadEntrySpec
