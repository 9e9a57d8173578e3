"""Names that more than one resource uses. Those of clusters are Istio's: people search config dumps for them."""

from fairlead.intent import ANY_HOST, RUNTIME, Backend, LimitFilter, RateLimitService, Rejection
from fairlead.snapshot.absent import LIMITS_FILTER
from fairlead.snapshot.wire import content_hash

UNRESOLVED_CLUSTER = "UnknownService"
"""No cluster has this name: what is sent to it is answered at once."""

PASSTHROUGH_CLUSTER = "PassthroughCluster"

CORS_FILTER = "envoy.filters.http.cors"
FAULT_FILTER = "envoy.filters.http.fault"

OBJECTS_METADATA = "fairlead.objects"
"""Of a route: why requests are rejected -> for which object."""
SCHEDULING_FILTER = "envoy.filters.http.ext_authz"

LIMITS_METADATA = "fairlead.limits"
"""Of a route: the names of its limits, and what is answered above them."""

HTTP_LOG = "http_envoy_accesslog"
TCP_LOG = "tcp_envoy_accesslog"
LISTENER_LOG = "listener_envoy_accesslog"


def cluster_name(backend: Backend) -> str:
    """Name of the cluster, and of the endpoint assignment, of a backend: `outbound|port|subset|host`.

    That of the application beside a sidecar is `inbound|port||`, that of any host `PassthroughCluster`,
    that of our own services `fairlead-runtime`.
    """
    if backend == ANY_HOST:
        return PASSTHROUGH_CLUSTER
    if backend == RUNTIME:
        return backend.host
    if not backend.host:
        return f"inbound|{backend.port}||"
    return f"outbound|{backend.port}|{backend.subset}|{backend.host}"


def limit_filter_name(found: LimitFilter) -> str:
    """Name of a filter that limits requests, and of the resource with its limits: `fairlead.local_rate_limit`.

    What makes it another filter than the usual one is added; how it answers, as a hash.
    """
    parts = [LIMITS_FILTER]
    if found.inbound:
        parts.append("inbound")
    if found.per_connection:
        parts.append("per_connection")
    if found.rejection != Rejection():
        parts.append(content_hash(repr((found.rejection.status, found.rejection.headers)).encode())[:8])
    return ".".join(parts)


def rate_limit_filter_name(service: RateLimitService) -> str:
    """Name of the filter that asks a rate limit service, for routes to say what for; services are told by a hash."""
    return f"fairlead.rate_limit.{content_hash(repr(tuple(service)).encode())[:8]}"
