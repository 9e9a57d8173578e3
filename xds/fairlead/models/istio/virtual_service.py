"""VirtualService: routes of hosts (istio.io/latest/docs/reference/config/networking/virtual-service)."""

import enum
from typing import ClassVar

import msgspec

from fairlead.models.base import Duration, KubernetesObject, Model
from fairlead.models.istio.common import NETWORKING_GROUP, NETWORKING_VERSIONS, Int32, PortSelector, UInt32


class StringMatch(Model, frozen=True, kw_only=True):
    """How a string is matched: exactly one is set; none, in a map of headers or parameters, means presence."""

    exact: str | None = None
    """The whole string."""
    prefix: str | None = None
    """Its beginning."""
    regex: str | None = None
    """RE2, of the whole string."""


class Percent(Model, frozen=True, kw_only=True):
    """A share."""

    value: float = 0.0
    """0 to 100."""


class Destination(Model, frozen=True, kw_only=True):
    """A service, or a subset of it that a DestinationRule defines."""

    host: str
    """Short names are of the VirtualService's own namespace."""
    subset: str = ""
    """Defined by a DestinationRule for the host; empty for all endpoints."""
    port: PortSelector | None = None


class HeaderOperations(Model, frozen=True, kw_only=True):
    """Changes of headers."""

    set: dict[str, str] = msgspec.field(default_factory=dict)
    """Replaced, or added."""
    add: dict[str, str] = msgspec.field(default_factory=dict)
    """Appended to what is there."""
    remove: tuple[str, ...] = ()
    """Names of headers that are taken away."""


class Headers(Model, frozen=True, kw_only=True):
    """Changes of the headers of requests and responses."""

    request: HeaderOperations | None = None
    response: HeaderOperations | None = None


class HTTPMatchRequest(Model, frozen=True, kw_only=True):
    """Conditions of a request, all of which must hold."""

    name: str = ""
    """Part of the route's name in Envoy."""
    uri: StringMatch | None = None
    scheme: StringMatch | None = None
    method: StringMatch | None = None
    authority: StringMatch | None = None
    headers: dict[str, StringMatch] = msgspec.field(default_factory=dict)
    port: UInt32 = 0
    """0 for any."""
    source_labels: dict[str, str] = msgspec.field(default_factory=dict)
    """Only proxies with these labels have the route."""
    gateways: tuple[str, ...] = ()
    """Only on these Gateways; empty for those of the VirtualService."""
    query_params: dict[str, StringMatch] = msgspec.field(default_factory=dict)
    ignore_uri_case: bool = False
    """`uri` is compared without regard to case, if exact or prefix."""
    without_headers: dict[str, StringMatch] = msgspec.field(default_factory=dict)
    source_namespace: str = ""
    """Only proxies of this namespace have the route."""
    stat_prefix: str = ""
    """Requests are counted under this name, beside the virtual host's and the cluster's."""


class HTTPRouteDestination(Model, frozen=True, kw_only=True):
    """A weighted destination of HTTP."""

    destination: Destination
    weight: Int32 = 0
    """Relative to the sum; without meaning when the destination is the only one."""
    headers: Headers | None = None


class RedirectPortSelection(enum.Enum):
    """Where the port of a redirect comes from."""

    FROM_PROTOCOL_DEFAULT = "FROM_PROTOCOL_DEFAULT"
    FROM_REQUEST_PORT = "FROM_REQUEST_PORT"


class HTTPRedirect(Model, frozen=True, kw_only=True):
    """A redirect; empty parts are those of the request. At most one of `port` and `derive_port` is set."""

    uri: str = ""
    """The whole new path."""
    authority: str = ""
    """The new host."""
    port: UInt32 | None = None
    """The new port."""
    derive_port: RedirectPortSelection | None = None
    scheme: str = ""
    """`http` or `https`."""
    redirect_code: UInt32 = 0
    """0 for 301."""
    prefix_rewrite: str = ""
    """Replaces the part of the path that matched."""


class HTTPBody(Model, frozen=True, kw_only=True):
    """A body: at most one is set."""

    string: str | None = None
    """As text."""
    bytes_: bytes | None = msgspec.field(default=None, name="bytes")
    """Base64 in YAML."""


class HTTPDirectResponse(Model, frozen=True, kw_only=True):
    """A fixed response."""

    status: UInt32
    """200 to 599."""
    body: HTTPBody | None = None


class Delegate(Model, frozen=True, kw_only=True):
    """Another VirtualService that holds the routes."""

    name: str = ""
    """Of the VirtualService, which has no hosts."""
    namespace: str = ""
    """Empty for that of the delegating VirtualService."""


class RegexRewrite(Model, frozen=True, kw_only=True):
    """A rewrite of the path by a regular expression."""

    match: str = ""
    """RE2."""
    rewrite: str = ""
    r"""With `\1` for the first group, and so on."""


class HTTPRewrite(Model, frozen=True, kw_only=True):
    """A rewrite of a request before it is forwarded."""

    uri: str = ""
    """Replaces the part of the path that matched."""
    authority: str = ""
    """The new host."""
    uri_regex_rewrite: RegexRewrite | None = None


class HTTPRetry(Model, frozen=True, kw_only=True):
    """When and how often a request is sent again."""

    attempts: Int32 = 0
    """0 turns retries off."""
    per_try_timeout: Duration | None = None
    """Absent for the route's timeout."""
    retry_on: str = ""
    """Envoy's conditions and status codes, separated by commas; empty for the default ones."""
    retry_remote_localities: bool | None = None
    """Retries may leave the preferred locality."""
    retry_ignore_previous_hosts: bool | None = None
    """Retries avoid the endpoints that failed; absent for true, but false with consistent hash."""
    backoff: Duration | None = None
    """The base interval; absent for Envoy's 25 ms."""


class Delay(Model, frozen=True, kw_only=True):
    """A delay that is injected."""

    fixed_delay: Duration | None = None
    """Before the request is forwarded."""
    exponential_delay: Duration | None = None
    """Not implemented."""
    percentage: Percent | None = None
    percent: Int32 = 0
    """Deprecated: 0 to 100."""


class Abort(Model, frozen=True, kw_only=True):
    """An error that is injected: exactly one kind is set."""

    http_status: Int32 | None = None
    """The response's status; 200 to 599."""
    grpc_status: str | None = None
    """A name such as `UNAVAILABLE`."""
    http2_error: str | None = None
    """Not implemented."""
    percentage: Percent | None = None


class HTTPFaultInjection(Model, frozen=True, kw_only=True):
    """Faults that are injected."""

    delay: Delay | None = None
    abort: Abort | None = None


class HTTPMirrorPolicy(Model, frozen=True, kw_only=True):
    """A destination that gets copies of requests."""

    destination: Destination
    percentage: Percent | None = None
    """Absent for 100."""


class UnmatchedPreflights(enum.Enum):
    """What is done with preflight requests whose origin is not allowed."""

    UNSPECIFIED = "UNSPECIFIED"
    FORWARD = "FORWARD"
    IGNORE = "IGNORE"


class CorsPolicy(Model, frozen=True, kw_only=True):
    """Cross-origin resource sharing."""

    allow_origin: tuple[str, ...] = ()
    """Deprecated: exact origins, or `*`."""
    allow_origins: tuple[StringMatch, ...] = ()
    allow_methods: tuple[str, ...] = ()
    """`access-control-allow-methods`."""
    allow_headers: tuple[str, ...] = ()
    """`access-control-allow-headers`."""
    expose_headers: tuple[str, ...] = ()
    """`access-control-expose-headers`."""
    max_age: Duration | None = None
    """`access-control-max-age`, in seconds."""
    allow_credentials: bool | None = None
    """`access-control-allow-credentials`."""
    unmatched_preflights: UnmatchedPreflights = UnmatchedPreflights.UNSPECIFIED


class HTTPRoute(Model, frozen=True, kw_only=True):
    """What is done with requests that any of `match` describes: exactly one of the first four after it is set."""

    name: str = ""
    """Part of the route's name in Envoy."""
    match: tuple[HTTPMatchRequest, ...] = ()
    """Empty for all requests."""
    route: tuple[HTTPRouteDestination, ...] = ()
    redirect: HTTPRedirect | None = None
    direct_response: HTTPDirectResponse | None = None
    delegate: Delegate | None = None
    rewrite: HTTPRewrite | None = None
    timeout: Duration | None = None
    """Absent for none."""
    retries: HTTPRetry | None = None
    fault: HTTPFaultInjection | None = None
    mirror: Destination | None = None
    mirrors: tuple[HTTPMirrorPolicy, ...] = ()
    mirror_percent: UInt32 | None = None
    """Deprecated: 0 to 100."""
    mirror_percentage: Percent | None = None
    cors_policy: CorsPolicy | None = None
    headers: Headers | None = None


class RouteDestination(Model, frozen=True, kw_only=True):
    """A weighted destination of connections."""

    destination: Destination
    weight: Int32 = 0
    """Relative to the sum; without meaning when the destination is the only one."""


class TLSMatchAttributes(Model, frozen=True, kw_only=True):
    """Conditions of a TLS connection, all of which must hold."""

    sni_hosts: tuple[str, ...]
    """Server names that clients ask for; may begin with `*.`."""
    destination_subnets: tuple[str, ...] = ()
    """Addresses that clients wanted to reach; gateways do not know them: the route is reported, and left out."""
    port: UInt32 = 0
    """0 for any."""
    source_labels: dict[str, str] = msgspec.field(default_factory=dict)
    """Only proxies with these labels have the route."""
    gateways: tuple[str, ...] = ()
    """Only on these Gateways; empty for those of the VirtualService."""
    source_namespace: str = ""
    """Only proxies of this namespace have the route."""


class TLSRoute(Model, frozen=True, kw_only=True):
    """Where connections go that are not terminated, by server name."""

    match: tuple[TLSMatchAttributes, ...]
    route: tuple[RouteDestination, ...] = ()


class L4MatchAttributes(Model, frozen=True, kw_only=True):
    """Conditions of a connection, all of which must hold."""

    destination_subnets: tuple[str, ...] = ()
    """As in `tls[].match[]`."""
    port: UInt32 = 0
    """0 for any."""
    source_subnet: str = ""
    """Not implemented in Istio."""
    source_labels: dict[str, str] = msgspec.field(default_factory=dict)
    """Only proxies with these labels have the route."""
    gateways: tuple[str, ...] = ()
    """Only on these Gateways; empty for those of the VirtualService."""
    source_namespace: str = ""
    """Only proxies of this namespace have the route."""


class TCPRoute(Model, frozen=True, kw_only=True):
    """Where connections go."""

    match: tuple[L4MatchAttributes, ...] = ()
    """Empty for all connections."""
    route: tuple[RouteDestination, ...] = ()


class VirtualServiceSpec(Model, frozen=True, kw_only=True):
    """Routes of hosts; the first that matches is taken."""

    hosts: tuple[str, ...] = ()
    """Empty for a VirtualService that others delegate to."""
    gateways: tuple[str, ...] = ()
    """`name`, `namespace/name`, or `mesh` for sidecars; empty for `mesh`."""
    http: tuple[HTTPRoute, ...] = ()
    tls: tuple[TLSRoute, ...] = ()
    tcp: tuple[TCPRoute, ...] = ()
    export_to: tuple[str, ...] = ()
    """Namespaces that see it: `.`, `*` or names; empty for the mesh's default."""


class VirtualService(KubernetesObject, frozen=True, kw_only=True):
    """Routes of hosts."""

    group: ClassVar[str] = NETWORKING_GROUP
    kind: ClassVar[str] = "VirtualService"
    versions: ClassVar[tuple[str, ...]] = NETWORKING_VERSIONS

    spec: VirtualServiceSpec
