"""DestinationRule: how a service is called (istio.io/latest/docs/reference/config/networking/destination-rule)."""

import enum
from typing import ClassVar

import msgspec

from fairlead.models.base import Duration, KubernetesObject, Model
from fairlead.models.istio.common import NETWORKING_GROUP, NETWORKING_VERSIONS, Int32, PortSelector, UInt32, UInt64


class SimpleLB(enum.Enum):
    """A load balancing algorithm without parameters."""

    UNSPECIFIED = "UNSPECIFIED"
    LEAST_CONN = "LEAST_CONN"
    """Deprecated name of LEAST_REQUEST."""
    RANDOM = "RANDOM"
    PASSTHROUGH = "PASSTHROUGH"
    ROUND_ROBIN = "ROUND_ROBIN"
    LEAST_REQUEST = "LEAST_REQUEST"


class HTTPCookieAttribute(Model, frozen=True, kw_only=True):
    """An attribute of a cookie that Envoy makes."""

    name: str
    """Such as `SameSite`."""
    value: str = ""
    """Empty for an attribute that is only a name."""


class HTTPCookie(Model, frozen=True, kw_only=True):
    """A cookie that decides the host; Envoy makes it when it is absent and `ttl` is set."""

    name: str
    """A hash policy of the routes to the service."""
    path: str = ""
    """Of the cookie that Envoy makes."""
    ttl: Duration | None = None
    """0 for a session cookie; absent for one that Envoy does not make."""
    attributes: tuple[HTTPCookieAttribute, ...] = ()


class RingHash(Model, frozen=True, kw_only=True):
    """Ring hash."""

    minimum_ring_size: UInt64 = 0
    """0 for 1024."""


class MagLev(Model, frozen=True, kw_only=True):
    """Maglev."""

    table_size: UInt64 = 0
    """A prime; 0 for 65537."""


class ConsistentHashLB(Model, frozen=True, kw_only=True):
    """Load balancing by a property of the request: exactly one of the first four is set, one algorithm at most."""

    http_header_name: str | None = None
    """A hash policy of the routes to the service."""
    http_cookie: HTTPCookie | None = None
    use_source_ip: bool | None = None
    """Also for bytes that are not HTTP."""
    http_query_parameter_name: str | None = None
    """A hash policy of the routes to the service."""
    ring_hash: RingHash | None = None
    maglev: MagLev | None = None
    minimum_ring_size: UInt64 = 0
    """Deprecated in favour of `ring_hash`."""


class Distribute(Model, frozen=True, kw_only=True):
    """Shares of the localities for requests from one locality."""

    from_: str = msgspec.field(default="", name="from")
    """The proxy's `region/zone/subzone`, parts may be `*`; the first that matches counts."""
    to: dict[str, UInt32] = msgspec.field(default_factory=dict)
    """Per cent by locality, 100 together; endpoints elsewhere get nothing."""


class Failover(Model, frozen=True, kw_only=True):
    """Where requests of a region go when its hosts are unhealthy."""

    from_: str = msgspec.field(default="", name="from")
    """The proxy's region."""
    to: str = ""
    """The only other region that comes next; others come after it."""


class LocalityLoadBalancerSetting(Model, frozen=True, kw_only=True):
    """Load balancing by locality: at most one of `distribute` and the two kinds of failover."""

    distribute: tuple[Distribute, ...] = ()
    failover: tuple[Failover, ...] = ()
    failover_priority: tuple[str, ...] = ()
    """Labels, `key` or `key=value`, by which hosts like the proxy are preferred; needs outlier detection."""
    enabled: bool | None = None
    """False for no preference; absent for true: with outlier detection alone, nearer endpoints come first."""


class ZoneAwareLoadBalancerSetting(Model, frozen=True, kw_only=True):
    """Zone aware load balancing by Envoy."""

    enabled: bool | None = None
    failover: tuple[Failover, ...] = ()
    failover_priority: tuple[str, ...] = ()
    min_cluster_size: UInt64 | None = None
    """Hosts below which it is off; absent for 6."""


class WarmupConfiguration(Model, frozen=True, kw_only=True):
    """How the share of a new host grows."""

    duration: Duration
    """`slow_start_window`; with LEAST_REQUEST and ROUND_ROBIN."""
    minimum_percent: float | None = None
    """0 to 100; absent for 10."""
    aggression: float | None = None
    """1 or more; absent for 1, which is linear."""


class LoadBalancerSettings(Model, frozen=True, kw_only=True):
    """Load balancing: at most one of `simple` and `consistent_hash`."""

    simple: SimpleLB | None = None
    """Absent for LEAST_REQUEST, which is also used, and reported, for PASSTHROUGH."""
    consistent_hash: ConsistentHashLB | None = None
    locality_lb_setting: LocalityLoadBalancerSetting | None = None
    zone_aware_lb_setting: ZoneAwareLoadBalancerSetting | None = None
    warmup_duration_secs: Duration | None = None
    """Deprecated in favour of `warmup`."""
    warmup: WarmupConfiguration | None = None


class TcpKeepalive(Model, frozen=True, kw_only=True):
    """TCP keep-alive; what is 0 or absent is left to the operating system."""

    probes: UInt32 = 0
    """How many unanswered ones end a connection."""
    time: Duration | None = None
    """In whole seconds: of idleness before the first probe."""
    interval: Duration | None = None
    """In whole seconds: between probes."""


class TCPSettings(Model, frozen=True, kw_only=True):
    """Connections to a service."""

    max_connections: Int32 = 0
    """A limit of the circuit breaker; 0 for none."""
    connect_timeout: Duration | None = None
    """Absent for that of the mesh, or 10 s."""
    tcp_keepalive: TcpKeepalive | None = None
    max_connection_duration: Duration | None = None
    """After which a connection is closed, when its requests have ended."""
    idle_timeout: Duration | None = None
    """Of connections that are not HTTP, or where `http.idleTimeout` is absent; absent for an hour."""


class H2UpgradePolicy(enum.Enum):
    """Whether HTTP/2 is spoken with a service whose port says HTTP."""

    DEFAULT = "DEFAULT"
    DO_NOT_UPGRADE = "DO_NOT_UPGRADE"
    UPGRADE = "UPGRADE"


class ConnectionKeepalive(Model, frozen=True, kw_only=True):
    """HTTP/2 pings."""

    interval: Duration | None = None
    """Between pings, if HTTP/2 is what is always spoken; absent for none."""
    timeout: Duration | None = None
    """After which a connection without an answer is closed; absent for 20 s."""


class HTTPSettings(Model, frozen=True, kw_only=True):
    """HTTP connections to a service; 0 means no limit."""

    http1_max_pending_requests: Int32 = msgspec.field(default=0, name="http1MaxPendingRequests")
    """`max_pending_requests`: requests that wait for a connection; more are answered 503."""
    http2_max_requests: Int32 = msgspec.field(default=0, name="http2MaxRequests")
    """`max_requests`: requests under way, of any version of HTTP; more are answered 503."""
    max_requests_per_connection: Int32 = 0
    """1 turns keep-alive off."""
    max_retries: Int32 = 0
    """A limit of the circuit breaker: retries under way."""
    idle_timeout: Duration | None = None
    """Absent for `tcp.idleTimeout`, or an hour."""
    h2_upgrade_policy: H2UpgradePolicy = msgspec.field(default=H2UpgradePolicy.DEFAULT, name="h2UpgradePolicy")
    use_client_protocol: bool = False
    """HTTP/1 or HTTP/2, as the client speaks."""
    max_concurrent_streams: Int32 = 0
    """Per connection, if HTTP/2 is what is always spoken."""
    http2_keep_alive: ConnectionKeepalive | None = msgspec.field(default=None, name="http2KeepAlive")


class ConnectionPoolSettings(Model, frozen=True, kw_only=True):
    """Limits and times of connections."""

    tcp: TCPSettings | None = None
    http: HTTPSettings | None = None


class OutlierDetection(Model, frozen=True, kw_only=True):
    """When a host is taken out of load balancing for a time."""

    consecutive_errors: Int32 = 0
    """Deprecated in favour of `consecutive_5xx_errors`, as which it counts where no other count of answers is set."""
    split_external_local_origin_errors: bool = False
    """Failures to connect are counted apart from answers."""
    consecutive_local_origin_failures: UInt32 | None = None
    """0 turns it off; absent for 5; needs the former."""
    consecutive_gateway_errors: UInt32 | None = None
    """0 turns it off; absent for off."""
    consecutive_5xx_errors: UInt32 | None = msgspec.field(default=None, name="consecutive5xxErrors")
    """0 turns it off; absent for 5."""
    interval: Duration | None = None
    """Between sweeps that end ejections; absent for 10 s."""
    base_ejection_time: Duration | None = None
    """Multiplied by the number of ejections; absent for 30 s."""
    max_ejection_percent: Int32 = 0
    """0 for 10, but always one endpoint."""
    min_health_percent: Int32 = 0
    """`healthy_panic_threshold`: below this share of healthy hosts all are used again; 0 for never."""
    outlier_detection_http_error_codes: tuple[UInt32, ...] = ()
    """Status codes that count as errors, in place of 5xx."""


class ClientTLSMode(enum.Enum):
    """Whether and how TLS is spoken with a service."""

    DISABLE = "DISABLE"
    SIMPLE = "SIMPLE"
    MUTUAL = "MUTUAL"
    ISTIO_MUTUAL = "ISTIO_MUTUAL"


class ClientTLSSettings(Model, frozen=True, kw_only=True):
    """TLS with a service; certificates come from `credential_name` or from files of the proxy."""

    mode: ClientTLSMode = ClientTLSMode.DISABLE
    """ISTIO_MUTUAL is by the Secret `workload-certificate` of the proxies' namespace; without one, plaintext."""
    client_certificate: str = ""
    """A file of the proxy, for MUTUAL."""
    private_key: str = ""
    """A file of the proxy, for MUTUAL."""
    ca_certificates: str = ""
    """A file of the proxy, or `system`; absent for the CA certificates of the proxy's host."""
    credential_name: str = ""
    """A Secret of the proxy's namespace, sent by SDS, with its `ca.crt` or that of its `-cacert`."""
    subject_alt_names: tuple[str, ...] = ()
    """One of these must be in the service's certificate, exactly; absent for those of the ServiceEntry."""
    sni: str = ""
    """The server name that is asked for; absent for the request's host."""
    insecure_skip_verify: bool | None = None
    """The service's certificate is not verified."""
    ca_crl: str = ""
    """A file of the proxy."""


class TunnelSettings(Model, frozen=True, kw_only=True):
    """A tunnel through the service to another host."""

    protocol: str = ""
    """`CONNECT` or `POST`; empty for `CONNECT`."""
    target_host: str
    """A name or an IP address."""
    target_port: UInt32
    """A port of it."""


class ProxyProtocolVersion(enum.Enum):
    """A version of the PROXY protocol."""

    V1 = "V1"
    V2 = "V2"


class ProxyProtocol(Model, frozen=True, kw_only=True):
    """The PROXY protocol, spoken with a service."""

    version: ProxyProtocolVersion = ProxyProtocolVersion.V1
    """Connections begin with a header of this version, before TLS."""


class RetryBudget(Model, frozen=True, kw_only=True):
    """A limit of concurrent retries."""

    percent: float | None = None
    """Of the active requests; absent for 20. Takes the place of `connectionPool.http.maxRetries`."""
    min_retry_concurrency: UInt32 = 0
    """Retries that are always allowed; 0 for 3."""
    budget_interval: Duration | None = None


class PortTrafficPolicy(Model, frozen=True, kw_only=True):
    """What replaces the policy on one port; what is absent is the default there, not inherited."""

    port: PortSelector | None = None
    load_balancer: LoadBalancerSettings | None = None
    connection_pool: ConnectionPoolSettings | None = None
    outlier_detection: OutlierDetection | None = None
    tls: ClientTLSSettings | None = None


class TrafficPolicy(Model, frozen=True, kw_only=True):
    """How a service is called."""

    load_balancer: LoadBalancerSettings | None = None
    connection_pool: ConnectionPoolSettings | None = None
    outlier_detection: OutlierDetection | None = None
    tls: ClientTLSSettings | None = None
    port_level_settings: tuple[PortTrafficPolicy, ...] = ()
    tunnel: TunnelSettings | None = None
    proxy_protocol: ProxyProtocol | None = None
    retry_budget: RetryBudget | None = None


class Subset(Model, frozen=True, kw_only=True):
    """Hosts of a service that carry some labels."""

    name: str
    """Clusters are named `outbound|port|name|host`."""
    labels: dict[str, str] = msgspec.field(default_factory=dict)
    """The endpoints have all of these."""
    traffic_policy: TrafficPolicy | None = None
    """Replaces the rule's policy block by block."""


class WorkloadLabels(Model, frozen=True, kw_only=True):
    """Workloads that carry all of these labels."""

    match_labels: dict[str, str] = msgspec.field(default_factory=dict)
    """All of these."""


class DestinationRuleSpec(Model, frozen=True, kw_only=True):
    """How a service is called, and its subsets."""

    host: str
    """Short names are of the rule's own namespace; the most specific host with a rule decides."""
    traffic_policy: TrafficPolicy | None = None
    subsets: tuple[Subset, ...] = ()
    export_to: tuple[str, ...] = ()
    """Namespaces that see it: `.`, `*` or names; empty for the mesh's default."""
    workload_selector: WorkloadLabels | None = None
    """The proxies that it holds for; absent for all."""


class DestinationRule(KubernetesObject, frozen=True, kw_only=True):
    """How a service is called, after routing."""

    group: ClassVar[str] = NETWORKING_GROUP
    kind: ClassVar[str] = "DestinationRule"
    versions: ClassVar[tuple[str, ...]] = NETWORKING_VERSIONS

    spec: DestinationRuleSpec
