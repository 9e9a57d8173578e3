"""Which requests, of which proxies, a kind of ASM is about: what those kinds have in common.

Below `configs` ASM writes names in snake case, which `rename="lower"` leaves as they are.
"""

import enum

import msgspec

from fairlead.models.base import Model
from fairlead.models.istio.common import Int32, UInt32, WorkloadSelector


class Span(Model, frozen=True, kw_only=True, rename="lower"):
    """A span of time."""

    seconds: int = 0
    nanos: Int32 = 0


class HeaderMatcher(Model, frozen=True, kw_only=True, rename="lower"):
    """A condition of a header: one of the ways to match is given."""

    name: str
    regex_match: str | None = None
    """RE2, on the whole value."""
    exact_match: str | None = None
    prefix_match: str | None = None
    suffix_match: str | None = None
    present_match: bool | None = None
    is_exact_match_empty: bool | None = None
    """The value is empty."""
    invert_match: bool = False
    distinct: bool = False
    """Each value has a bucket of its own."""


class QueryParameterMatcher(Model, frozen=True, kw_only=True, rename="lower"):
    """A condition of a query parameter: one of the ways to match is given."""

    name: str
    exact_match: str | None = None
    prefix_match: str | None = None
    suffix_match: str | None = None
    regex_match: str | None = None
    contains_match: str | None = None
    present_match: bool | None = None
    ignore_case: bool = False
    distinct: bool = False
    """Each value has a bucket of its own."""


class RequestMatcher(Model, frozen=True, kw_only=True, rename="lower"):
    """Requests for which all that is given holds."""

    header_match: tuple[HeaderMatcher, ...] = ()
    query_match: tuple[QueryParameterMatcher, ...] = ()
    remote_address: dict[str, str | int] | None = None
    """Known, and refused by `validation`: without it the override would be for all requests."""
    distinct: bool = False
    """Each combination of values of all that is matched has a bucket of its own."""


class RouteMatch(Model, frozen=True, kw_only=True, rename="lower"):
    """A part of the requests of a virtual host."""

    name_match: str = ""
    """Name of a route; empty for all."""
    header_match: tuple[HeaderMatcher, ...] = ()
    """Other requests are not limited."""


class VirtualHostMatch(Model, frozen=True, kw_only=True, rename="lower"):
    """A virtual host."""

    name: str
    """A host name, or `*` for all."""
    port: UInt32 = 0
    """As the Gateway or the service declares it; 0 for any."""
    route: RouteMatch = RouteMatch()


class VirtualHosts(Model, frozen=True, kw_only=True, rename="lower"):
    """Some of the requests."""

    vhost: VirtualHostMatch


class TargetKind(enum.Enum):
    """What requests are for."""

    SERVICE = "Service"
    SERVICE_ENTRY = "ServiceEntry"
    VIRTUAL_SERVICE = "VirtualService"


class TargetService(Model, frozen=True, kw_only=True, rename="lower"):
    """Requests for a service, or by the routes of a VirtualService."""

    kind: TargetKind = TargetKind.SERVICE
    namespace: str = ""
    """Empty for that of the object."""
    name: str
    port: UInt32 = 0
    """0 for any."""
    section_name: str = ""
    """Name of a route of the VirtualService; empty for all."""


class Traffic(enum.Enum):
    """Which requests of the selected proxies are meant."""

    GATEWAY = "gateway"
    SIDECAR_INBOUND = "sidecar_inbound"
    SIDECAR_OUTBOUND = "sidecar_outbound"
    WAYPOINT = "waypoint"


class Governed(Model, frozen=True, kw_only=True, rename="lower"):
    """An entry of `configs`: the requests that it is for. What becomes of them, the kinds add."""

    name: str = ""
    match: VirtualHosts | None = None
    target_services: tuple[TargetService, ...] = ()
    is_gateway: bool | None = msgspec.field(default=None, name="isGateway")
    """Here and below it is instead of the object's own: examples of ASM write it at either place."""
    workload_selector: WorkloadSelector | None = msgspec.field(default=None, name="workloadSelector")


class GoverningSpec(Model, frozen=True, kw_only=True):
    """The proxies whose requests are governed. `configs` is what the kinds add."""

    workload_selector: WorkloadSelector | None = None
    is_gateway: bool = False
    apply_to_traffic: Traffic | None = None
