"""Clusters: how the endpoints of a backend are found and talked to.

What is not translated is told of where it is written. Numbers that are 0 in a DestinationRule mean no limit.
"""

from collections.abc import Iterator
from dataclasses import replace

from fairlead.derive import derived
from fairlead.intent import (
    ANY_HOST,
    RUNTIME,
    Backend,
    Cluster,
    ConnectionPool,
    Discovery,
    HashKey,
    HashKeyKind,
    LoadBalancer,
    LoadBalancing,
    LocalityEndpoints,
    OutlierDetection,
    Pings,
    RetryBudget,
    TcpKeepalive,
    Tunnel,
    UpstreamProtocol,
)
from fairlead.models.istio import destination_rule as models
from fairlead.models.istio.service_entry import Resolution
from fairlead.problems import Problem, Related, error, warning
from fairlead.resolve import credentials, destination_rules, endpoints, localities, mesh, services, upstream_tls
from fairlead.resolve.destination_rules import Located, Policy
from fairlead.resolve.outcome import Outcome
from fairlead.resolve.scope import Locality, Viewer
from fairlead.resolve.services import PortProtocol, ServiceView
from fairlead.resolve.sidecar import ingress
from fairlead.world import World

_DISCOVERY = {
    Resolution.NONE: Discovery.ASSIGNED,
    Resolution.STATIC: Discovery.ASSIGNED,
    Resolution.DNS: Discovery.STRICT_DNS,
    Resolution.DNS_ROUND_ROBIN: Discovery.LOGICAL_DNS,
}
_PROTOCOLS = {
    PortProtocol.HTTP: UpstreamProtocol.HTTP1,
    PortProtocol.UNKNOWN: UpstreamProtocol.HTTP1,
    PortProtocol.HTTP2: UpstreamProtocol.HTTP2,
    PortProtocol.HTTPS: UpstreamProtocol.TCP,
    PortProtocol.TLS: UpstreamProtocol.TCP,
    PortProtocol.TCP: UpstreamProtocol.TCP,
}
_ALGORITHMS = {
    models.SimpleLB.ROUND_ROBIN: LoadBalancing.ROUND_ROBIN,
    models.SimpleLB.RANDOM: LoadBalancing.RANDOM,
}
"""Every other one is LEAST_REQUEST, Istio's default."""
_DEFAULT_RING_SIZE = 1024
_DEFAULTS = ConnectionPool()
_PING_TIMEOUT = 20_000_000_000
"""The API names no default. This is that of gRPC's clients, which have pings for the same purpose."""
_PROXY_PROTOCOL_VERSIONS = {models.ProxyProtocolVersion.V1: 1, models.ProxyProtocolVersion.V2: 2}


@derived
def cluster(world: World, viewer: Viewer, backend: Backend) -> Outcome[Cluster | None]:
    """How the viewer talks to a backend.

    None when the service, its port or the subset is unknown (`services.find`, `ServiceView.port` and
    `destination_rules.subset_labels` tell which), or when its endpoints cannot be found. Names to resolve are in no
    order of preference, which is what `placed` adds.
    """
    if not backend.host:
        return _of_application(world, backend)
    if backend == ANY_HOST:
        return Outcome(_of_any_host(world))
    if backend == RUNTIME:
        return Outcome(_of_runtime(world))
    view = services.find(world, viewer.namespace, backend.host)
    port = None if view is None else view.port(backend.port)
    if view is None or port is None or destination_rules.subset_labels(world, viewer, backend) is None:
        return Outcome(None)
    discovery = _DISCOVERY.get(view.resolution)
    if discovery is None:
        return Outcome(None, (_undiscoverable(view),))
    policy = destination_rules.policy(world, viewer, backend)
    pool = None if policy.connection_pool is None else policy.connection_pool.value
    upgrades = port.protocol is PortProtocol.HTTP and mesh.upgrades_to_http2(world)
    protocol = _protocol(port.protocol, pool, originates=upstream_tls.is_originated(policy.tls), upgrades=upgrades)
    tls = upstream_tls.originate(world, viewer, backend, policy.tls, view=view, protocol=protocol)
    found: tuple[LocalityEndpoints, ...] = ()
    problems = [
        *_of_service(world, viewer, view),
        *policy.problems,
        *_of_policy(policy, protocol),
        *tls.problems,
    ]
    origin = dict.fromkeys((view.key, *policy.origin))
    if discovery is not Discovery.ASSIGNED:
        resolved = endpoints.members(world, viewer, backend)
        found = localities.arrange(resolved.members, Locality(), localities.LocalityRules())
        problems += [*resolved.problems, *_of_resolved(view, found)]
        origin.update(dict.fromkeys(resolved.origin))
    return Outcome(
        Cluster(
            backend=backend,
            discovery=discovery,
            protocol=protocol,
            origin=tuple(origin),
            localities=found,
            buffer_limit=mesh.cluster_buffer_limit(world),
            dns_refresh_rate=_dns_refresh_rate(world, discovery),
            load_balancer=_load_balancer(policy),
            connection_pool=_connection_pool(world, policy, protocol),
            outlier_detection=_outlier_detection(policy),
            tls=tls.value,
            proxy_protocol_version=None
            if policy.proxy_protocol is None
            else _PROXY_PROTOCOL_VERSIONS[policy.proxy_protocol.value.version],
            locality_weighted=endpoints.locality_rules(world, viewer, backend).weighted,
        ),
        tuple(problems),
    )


def _of_application(world: World, backend: Backend) -> Outcome[Cluster | None]:
    """How a sidecar talks to the application that it stands before."""
    found = ingress.application(world, backend)
    # The version of HTTP that others chose for the port of the Service is one that the application speaks.
    protocol = UpstreamProtocol.DOWNSTREAM
    made = Cluster(
        backend=backend,
        discovery=Discovery.LISTED,
        protocol=protocol,
        origin=found.origin,
        localities=(LocalityEndpoints(endpoints=(found.endpoint,)),),
        connection_pool=_connection_pool(world, Policy(connection_pool=found.pool), protocol),
    )
    return Outcome(made, () if found.pool is None else tuple(_of_connection_pool(found.pool, protocol)))


def _of_any_host(world: World) -> Cluster:
    """How hosts are talked to that nobody knows."""
    protocol = UpstreamProtocol.DOWNSTREAM
    return Cluster(
        backend=ANY_HOST,
        discovery=Discovery.REQUESTED_HOST,
        protocol=protocol,
        origin=(),
        buffer_limit=mesh.cluster_buffer_limit(world),
        dns_refresh_rate=mesh.dns_refresh_rate(world),
        connection_pool=_connection_pool(world, Policy(), protocol),
    )


def _of_runtime(world: World) -> Cluster:
    """How our own services are called."""
    resolves = not endpoints.is_ip_address(world.runtime.address)
    return Cluster(
        backend=RUNTIME,
        discovery=Discovery.STRICT_DNS if resolves else Discovery.LISTED,
        protocol=UpstreamProtocol.HTTP2,
        origin=(),
        localities=(LocalityEndpoints(endpoints=(world.runtime,)),),
        # Requests wait for the services' answers, so what does not answer has to be found out soon.
        connection_pool=ConnectionPool(connect_timeout=1_000_000_000, pings=Pings(5_000_000_000, 3_000_000_000)),
    )


@derived
def placed(world: World, viewer: Viewer, locality: Locality, backend: Backend) -> Cluster | None:
    """A cluster as proxies of a locality have it: of names that they resolve themselves, they prefer those nearby."""
    found = cluster(world, viewer, backend).value
    if found is None or not found.localities or found.discovery is Discovery.LISTED or backend == RUNTIME:
        return found
    rules = endpoints.locality_rules(world, viewer, backend)
    arranged = localities.arrange(endpoints.members(world, viewer, backend).members, locality, rules)
    return replace(found, localities=_first(arranged) if found.discovery is Discovery.LOGICAL_DNS else arranged)


def faulty_credentials(world: World, viewer: Viewer, backend: Backend) -> tuple[Problem, ...]:
    """What is wrong with the credentials that a backend's cluster names; apart, since Secrets change no cluster."""
    policy = destination_rules.policy(world, viewer, backend)
    found = cluster(world, viewer, backend).value
    tls = None if found is None else found.tls
    if policy.tls is None or tls is None:
        return ()
    names = [tls.credential, tls.validation.authorities if tls.validation is not None else ""]
    path = (*policy.tls.path, "credentialName")
    return tuple(credentials.faulty_references(world, viewer.namespace, filter(None, names), policy.tls.key, path))


@derived
def hash_keys(world: World, viewer: Viewer, backend: Backend) -> tuple[HashKey, ...]:
    """What decides to which endpoint of a backend a request sticks; empty when nothing does."""
    settings = destination_rules.policy(world, viewer, backend).load_balancer
    consistent = None if settings is None else settings.value.consistent_hash
    if consistent is None:
        return ()
    if consistent.http_header_name:
        return (HashKey(HashKeyKind.HEADER, consistent.http_header_name),)
    if consistent.http_cookie is not None:
        cookie = consistent.http_cookie
        attributes = tuple((attribute.name, attribute.value) for attribute in cookie.attributes)
        return (HashKey(HashKeyKind.COOKIE, cookie.name, cookie.ttl, cookie.path, attributes),)
    if consistent.http_query_parameter_name:
        return (HashKey(HashKeyKind.QUERY_PARAMETER, consistent.http_query_parameter_name),)
    return (HashKey(HashKeyKind.SOURCE_IP),) if consistent.use_source_ip else ()


def tunnel(world: World, viewer: Viewer, backend: Backend) -> Tunnel | None:
    """How connections that are not HTTP travel to a backend within HTTP; None when they are passed on as they are."""
    located = destination_rules.policy(world, viewer, backend).tunnel
    if located is None:
        return None
    settings = located.value
    host = f"[{settings.target_host}]" if ":" in settings.target_host else settings.target_host
    return Tunnel(f"{host}:{settings.target_port}", by_post=settings.protocol == "POST")


# --- Discovery --------------------------------------------------------------------------------------------------------


def _undiscoverable(view: ServiceView) -> Problem:
    return error(
        "unsupported-value",
        f"{view.host} is not reached: resolution {view.resolution.value} is not supported",
        key=view.key,
        path=("spec", "resolution"),
        hint="use resolution DNS, with a ServiceEntry for each host",
    )


def _of_service(world: World, viewer: Viewer, view: ServiceView) -> Iterator[Problem]:
    for key in services.claimants(world, viewer.namespace, view.host)[1:]:
        message = f"{view.host} is served by {view.key}, which comes first, so that it has no effect here"
        related = (Related("this one serves", view.key),)
        yield warning(
            "host-conflict", message, key=key, path=("spec", "hosts"), hint="keep one of them", related=related
        )
    if view.resolution is Resolution.NONE:
        message = f"resolution NONE tells a gateway no address of {view.host}: only endpoints that are listed are used"
        hint = "use resolution DNS, or STATIC with endpoints"
        yield warning("no-resolution", message, key=view.key, path=("spec", "resolution"), hint=hint)
    if view.traffic_distribution == "PreferSameNode":
        message = "PreferSameNode is taken as PreferSameZone, because proxies do not tell their nodes"
        path = ("spec", "trafficDistribution")
        yield warning("unsupported-value", message, key=view.key, path=path, hint="use PreferSameZone")


def _of_resolved(view: ServiceView, found: tuple[LocalityEndpoints, ...]) -> Iterator[Problem]:
    if view.resolution is Resolution.DNS_ROUND_ROBIN and sum(len(group.endpoints) for group in found) > 1:
        message = "only one endpoint is used: DNS_ROUND_ROBIN resolves one name"
        path = ("spec", "endpoints")
        yield warning("ignored-endpoints", message, key=view.key, path=path, hint="use resolution DNS")


def _first(groups: tuple[LocalityEndpoints, ...]) -> tuple[LocalityEndpoints, ...]:
    return tuple(
        LocalityEndpoints(group.region, group.zone, group.subzone, group.endpoints[:1]) for group in groups[:1]
    )


# --- Protocol ---------------------------------------------------------------------------------------------------------


def _protocol(
    port: PortProtocol, pool: models.ConnectionPoolSettings | None, *, originates: bool, upgrades: bool
) -> UpstreamProtocol:
    """What is spoken; `upgrades`: HTTP/2 unless the settings say otherwise."""
    protocol = _PROTOCOLS[port]
    if originates and port in (PortProtocol.HTTPS, PortProtocol.TLS):
        # The port says what arrives at the service; the proxy makes that TLS itself, out of requests.
        protocol = UpstreamProtocol.HTTP1
    http = (pool.http if pool is not None else None) or models.HTTPSettings()
    if protocol is UpstreamProtocol.TCP:
        return protocol
    if http.use_client_protocol:
        return UpstreamProtocol.DOWNSTREAM
    if http.h2_upgrade_policy is not models.H2UpgradePolicy.DEFAULT:
        upgrades = http.h2_upgrade_policy is models.H2UpgradePolicy.UPGRADE
    return UpstreamProtocol.HTTP2 if upgrades else protocol


# --- Load balancing ---------------------------------------------------------------------------------------------------


def _load_balancer(policy: Policy) -> LoadBalancer:
    if policy.load_balancer is None:
        return LoadBalancer()
    settings = policy.load_balancer.value
    consistent = settings.consistent_hash
    if consistent is not None:
        if consistent.maglev is not None:
            return LoadBalancer(LoadBalancing.MAGLEV, maglev_table_size=consistent.maglev.table_size or None)
        size = consistent.minimum_ring_size if consistent.ring_hash is None else consistent.ring_hash.minimum_ring_size
        return LoadBalancer(LoadBalancing.RING_HASH, minimum_ring_size=size or _DEFAULT_RING_SIZE)
    algorithm = _algorithm(settings)
    if algorithm is LoadBalancing.RANDOM:
        return LoadBalancer(algorithm)
    warmup = settings.warmup
    if warmup is None:
        return LoadBalancer(algorithm, warmup=settings.warmup_duration_secs)
    return LoadBalancer(
        algorithm,
        warmup=warmup.duration,
        warmup_minimum_percent=warmup.minimum_percent,
        warmup_aggression=warmup.aggression,
    )


def _algorithm(settings: models.LoadBalancerSettings) -> LoadBalancing:
    return _ALGORITHMS.get(settings.simple or models.SimpleLB.UNSPECIFIED, LoadBalancing.LEAST_REQUEST)


# --- Connections ------------------------------------------------------------------------------------------------------


def _dns_refresh_rate(world: World, discovery: Discovery) -> int:
    # Clusters that resolve nothing are not to change with it.
    return mesh.DEFAULT_DNS_REFRESH_RATE if discovery is Discovery.ASSIGNED else mesh.dns_refresh_rate(world)


def _connection_pool(world: World, policy: Policy, protocol: UpstreamProtocol) -> ConnectionPool:
    pool = None if policy.connection_pool is None else policy.connection_pool.value
    budget = None if policy.retry_budget is None else policy.retry_budget.value
    tcp = (pool.tcp if pool is not None else None) or models.TCPSettings()
    http = (pool.http if pool is not None else None) or models.HTTPSettings()
    keepalive = mesh.tcp_keepalive(world) if tcp.tcp_keepalive is None else tcp.tcp_keepalive
    connect_timeout = mesh.connect_timeout(world) if tcp.connect_timeout is None else tcp.connect_timeout
    idle_timeouts = [http.idle_timeout, tcp.idle_timeout]
    if protocol is UpstreamProtocol.TCP:
        idle_timeouts.reverse()
    return ConnectionPool(
        max_connections=tcp.max_connections or None,
        connect_timeout=_DEFAULTS.connect_timeout if connect_timeout is None else connect_timeout,
        keepalive=None
        if keepalive is None
        else TcpKeepalive(keepalive.probes or None, keepalive.time or None, keepalive.interval or None),
        max_pending_requests=http.http1_max_pending_requests or None,
        max_requests=http.http2_max_requests or None,
        max_retries=http.max_retries or None,
        max_requests_per_connection=http.max_requests_per_connection or None,
        max_connection_duration=tcp.max_connection_duration,
        idle_timeout=next((timeout for timeout in idle_timeouts if timeout is not None), None),
        max_concurrent_streams=http.max_concurrent_streams or None if protocol is UpstreamProtocol.HTTP2 else None,
        pings=_pings(http.http2_keep_alive) if protocol is UpstreamProtocol.HTTP2 else None,
        retry_budget=None
        if budget is None
        else RetryBudget(20 if budget.percent is None else budget.percent, budget.min_retry_concurrency or 3),
    )


def _pings(settings: models.ConnectionKeepalive | None) -> Pings | None:
    if settings is None or settings.interval is None:
        return None
    return Pings(settings.interval, settings.timeout or _PING_TIMEOUT)


# --- Outlier detection ------------------------------------------------------------------------------------------------


def _outlier_detection(policy: Policy) -> OutlierDetection | None:
    if policy.outlier_detection is None:
        return None
    settings = policy.outlier_detection.value
    consecutive = settings.consecutive_5xx_errors
    if _counts_by_deprecated(settings):
        consecutive = settings.consecutive_errors
    split = settings.split_external_local_origin_errors
    return OutlierDetection(
        consecutive_5xx=consecutive,
        error_codes=settings.outlier_detection_http_error_codes,
        consecutive_gateway_failures=settings.consecutive_gateway_errors,
        split_local_origin=split,
        consecutive_local_origin_failures=settings.consecutive_local_origin_failures if split else None,
        interval=settings.interval,
        base_ejection_time=settings.base_ejection_time,
        max_ejection_percent=settings.max_ejection_percent or None,
        minimum_health_percent=settings.min_health_percent,
        # Envoy's default of 10 % ejects none of fewer than ten endpoints, which is nobody's wish.
        always_eject_one=not settings.max_ejection_percent,
    )


def _counts_by_deprecated(settings: models.OutlierDetection) -> bool:
    """Whether `consecutiveErrors` decides.

    Istio ignores it since 1.6; here it counts 5xx answers, of which the gateway errors that it once meant are a part.
    """
    newer = (settings.consecutive_5xx_errors, settings.consecutive_gateway_errors)
    return settings.consecutive_errors > 0 and newer == (None, None)


# --- What is not translated -------------------------------------------------------------------------------------------


def _of_policy(policy: Policy, protocol: UpstreamProtocol) -> Iterator[Problem]:
    if policy.load_balancer is not None:
        yield from _of_load_balancer(policy.load_balancer, detects=policy.outlier_detection is not None)
    if policy.connection_pool is not None:
        yield from _of_connection_pool(policy.connection_pool, protocol)
    if policy.outlier_detection is not None:
        yield from _of_outlier_detection(policy.outlier_detection)
    if protocol is UpstreamProtocol.TCP:
        yield from _of_requests(policy)
    elif policy.tunnel is not None:
        message = "tunnel has no effect on requests: only connections of tls and tcp routes go through it"
        yield policy.tunnel.warning("no-effect", message)


def _of_requests(policy: Policy) -> Iterator[Problem]:
    """What needs requests, where there are only bytes."""
    hint = "name the port http, or http2"
    consistent = None if policy.load_balancer is None else policy.load_balancer.value.consistent_hash
    if policy.load_balancer is not None and consistent is not None and not consistent.use_source_ip:
        message = "endpoints are chosen at random: a port that is not HTTP has no requests to hash"
        yield policy.load_balancer.warning("no-effect", message, "consistentHash", hint=f"set useSourceIp, or {hint}")
    if policy.outlier_detection is not None and policy.outlier_detection.value.outlier_detection_http_error_codes:
        name = "outlierDetectionHttpErrorCodes"
        message = f"{name} has no effect: a port that is not HTTP has no status codes"
        yield policy.outlier_detection.warning("no-effect", message, name, hint=hint)


def _of_load_balancer(located: Located[models.LoadBalancerSettings], *, detects: bool) -> Iterator[Problem]:
    settings = located.value
    if settings.simple is models.SimpleLB.PASSTHROUGH:
        message = "PASSTHROUGH has no effect: without captured connections it is not known where clients wanted to go"
        yield located.warning("unsupported-value", message, "simple", hint="use LEAST_REQUEST, which is used instead")
    warmups = {"warmup": settings.warmup, "warmupDurationSecs": settings.warmup_duration_secs}
    if settings.consistent_hash is not None or _algorithm(settings) is LoadBalancing.RANDOM:
        for name in (name for name, value in warmups.items() if value is not None):
            message = f"{name} has no effect: only LEAST_REQUEST and ROUND_ROBIN warm endpoints up"
            yield located.warning("no-effect", message, name)
    setting = settings.locality_lb_setting
    if setting is not None and setting.enabled is not False:
        yield from _of_localities(located, setting, detects=detects)


def _of_localities(
    located: Located[models.LoadBalancerSettings], setting: models.LocalityLoadBalancerSetting, *, detects: bool
) -> Iterator[Problem]:
    path = "localityLbSetting"
    if not detects and not setting.distribute:
        message = "no locality is preferred, because without outlierDetection no endpoint ever counts as unhealthy"
        yield located.warning("no-outlier-detection", message, path, hint="add outlierDetection")


def _of_connection_pool(
    located: Located[models.ConnectionPoolSettings], protocol: UpstreamProtocol
) -> Iterator[Problem]:
    http = located.value.http
    if http is None:
        return
    for name, is_set in (
        ("maxConcurrentStreams", http.max_concurrent_streams),
        ("http2KeepAlive", http.http2_keep_alive is not None),
    ):
        if is_set and protocol is not UpstreamProtocol.HTTP2:
            message = f"{name} has no effect on connections that are not always HTTP/2"
            yield located.warning("no-effect", message, "http", name)
    if protocol is UpstreamProtocol.TCP:
        used = {
            "useClientProtocol": http.use_client_protocol,
            "h2UpgradePolicy": http.h2_upgrade_policy is models.H2UpgradePolicy.UPGRADE,
        }
        for name in (name for name, is_set in used.items() if is_set):
            message = f"{name} has no effect, because the port of the service says that it is not HTTP"
            yield located.warning("no-effect", message, "http", name, hint="name the port http, or http2")


def _of_outlier_detection(located: Located[models.OutlierDetection]) -> Iterator[Problem]:
    settings = located.value
    if settings.consecutive_local_origin_failures is not None and not settings.split_external_local_origin_errors:
        message = "consecutiveLocalOriginFailures has no effect without splitExternalLocalOriginErrors"
        yield located.warning("no-effect", message, "consecutiveLocalOriginFailures")
