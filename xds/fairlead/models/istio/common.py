"""What several kinds of Istio's networking API share."""

from typing import Annotated

import msgspec

from fairlead.models.base import Model

NETWORKING_GROUP = "networking.istio.io"
NETWORKING_VERSIONS = ("v1", "v1beta1", "v1alpha3")

Int32 = Annotated[int, msgspec.Meta(ge=-(2**31), le=2**31 - 1)]
UInt32 = Annotated[int, msgspec.Meta(ge=0, le=2**32 - 1)]
UInt64 = Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)]  # the largest bound that msgspec has


class PortSelector(Model, frozen=True, kw_only=True):
    """A port of a service, by number."""

    number: UInt32 = 0
    """The number of the service's port; may be left out of a destination whose service has one port."""


class WorkloadSelector(Model, frozen=True, kw_only=True):
    """Workloads of the object's own namespace that carry all of these labels."""

    labels: dict[str, str] = msgspec.field(default_factory=dict)
    """All of these."""
