"""Hypothesis strategies for intents that resolve may write: within what the intent's documentation promises."""

from collections.abc import Sequence

from fairlead.intent import (
    RUNTIME,
    AccessLog,
    Backend,
    Breaker,
    BrokenAnswer,
    ClientCertificates,
    Cluster,
    ConnectionPool,
    Cors,
    CountedRequests,
    Destination,
    DirectResponse,
    Discovery,
    Endpoint,
    EndpointAssignment,
    EscapedSlashes,
    Fault,
    FilterChain,
    Forward,
    ForwardedCertificate,
    GlobalLimit,
    Governance,
    HashKey,
    HashKeyKind,
    HeaderOperations,
    HeadersWithUnderscores,
    HttpConnections,
    HttpLimits,
    HttpOptions,
    LimitFilter,
    LimitOverride,
    Listener,
    LoadBalancer,
    LoadBalancing,
    LocalityEndpoints,
    Match,
    Mirror,
    OutlierDetection,
    PathMatch,
    PathMatchKind,
    PathRewrite,
    PathRewriteKind,
    Pings,
    RateLimitService,
    Redirect,
    Rejection,
    RequestLimit,
    Requests,
    Retry,
    RetryBudget,
    Route,
    RouteBreaker,
    RouteLimit,
    RouteScheduling,
    RuleName,
    SchedulingFilter,
    StringMatch,
    StringMatchKind,
    TcpConnections,
    TcpKeepalive,
    TlsOrigination,
    TlsParameters,
    TlsTermination,
    TlsVersion,
    TokenBucket,
    Tunnel,
    UpstreamProtocol,
    Validation,
    ValueMatch,
    VirtualHost,
    WeightedBackend,
    ways,
)
from fairlead.problems import ObjectKey
from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

KEY_PAIR = "kubernetes://pair"
AUTHORITIES = "kubernetes://pair-cacert"

_LETTERS = "abcxyz019"
_labels = st.text(_LETTERS, min_size=1, max_size=8)
_hosts = st.builds("{}.{}.example".format, _labels, _labels)
_ports = st.integers(1, 65535)
_words = st.text(st.characters(min_codepoint=33, max_codepoint=126, exclude_characters="%"), max_size=12)
_texts = st.text(st.characters(exclude_categories=["C"]), max_size=12)
_regexes = st.sampled_from(["", ".*", "[a-z]+", "/v[0-9]+/(x|y)", r"a\.b", "^/$"])
_header_names = st.one_of(st.text(_LETTERS + "-", min_size=1, max_size=8).map("x-{}".format), st.just("Accept"))
_microseconds = st.integers(1, 10**10).map(lambda count: count * 1000)  # the second decoder knows none shorter
_milliseconds = st.integers(1, 10**7).map(lambda count: count * 1_000_000)
_shares = st.integers(0, 1_000_000)
_weights = st.integers(1, 10_000)
_percents = st.integers(0, 100)

origins = st.just((ObjectKey("networking.istio.io", "VirtualService", "shop", "routes"),))
backends = st.builds(Backend, host=_hosts, port=_ports, subset=st.one_of(st.just(""), _labels))


def tuples(items: SearchStrategy, *, min_size: int = 0, unique: bool = False) -> SearchStrategy:
    return st.lists(items, min_size=min_size, max_size=3, unique=unique).map(tuple)


def optional(values: SearchStrategy) -> SearchStrategy:
    return st.none() | values


# --- Routes -----------------------------------------------------------------------------------------------------------

string_matches = st.one_of(
    st.builds(StringMatch, st.just(StringMatchKind.REGEX), _regexes, st.booleans()),
    st.builds(
        StringMatch,
        st.sampled_from([kind for kind in StringMatchKind if kind is not StringMatchKind.REGEX]),
        _texts,
        st.booleans(),
    ),
)
_paths = tuples(_labels, min_size=0).map(lambda segments: "/" + "/".join(segments))
path_matches = st.one_of(
    st.builds(PathMatch, st.just(PathMatchKind.REGEX), _regexes.filter(bool), st.booleans()),
    st.builds(
        PathMatch,
        st.sampled_from([kind for kind in PathMatchKind if kind is not PathMatchKind.REGEX]),
        _paths,
        st.booleans(),
    ),
)
matches = st.builds(
    Match,
    path=optional(path_matches),
    headers=tuples(
        st.builds(ValueMatch, st.one_of(_header_names, st.just(":method")), optional(string_matches), st.booleans())
    ),
    query_parameters=tuples(st.builds(ValueMatch, _labels, optional(string_matches))),
)
_settable = st.tuples(st.one_of(_header_names, st.sampled_from(["Host", ":authority"])), _words)
header_operations = st.builds(
    HeaderOperations,
    set=tuples(_settable),
    add=tuples(_settable),
    remove=tuples(st.one_of(_header_names, st.just("host"), st.just(":path"))),
)
destinations = st.builds(
    Destination,
    backend=optional(backends),
    weight=_weights,
    request_headers=header_operations,
    response_headers=header_operations,
    host=st.one_of(st.just(""), _hosts),
)
retries = st.builds(
    Retry,
    attempts=st.integers(1, 20),
    conditions=tuples(st.sampled_from(["connect-failure", "5xx", "retriable-status-codes"]), min_size=1),
    status_codes=tuples(st.integers(100, 599)),
    per_try_timeout=optional(_microseconds),
    backoff=optional(_milliseconds),
    avoid_previous_hosts=st.booleans(),
    any_locality=st.booleans(),
)
_rewritten_paths = st.one_of(_paths, _paths.map("{}/".format), st.just("/a\\1b"))
path_rewrites = st.one_of(
    st.builds(PathRewrite, st.sampled_from([PathRewriteKind.PREFIX, PathRewriteKind.FULL]), _rewritten_paths),
    st.builds(PathRewrite, st.just(PathRewriteKind.REGEX), st.just(r"/\1"), st.just("^/(v[0-9]+)/.*$")),
)
hash_keys = st.one_of(
    st.builds(HashKey, st.just(HashKeyKind.SOURCE_IP)),
    st.builds(HashKey, st.sampled_from([HashKeyKind.HEADER, HashKeyKind.QUERY_PARAMETER]), _labels),
    st.builds(
        HashKey,
        st.just(HashKeyKind.COOKIE),
        _labels,
        optional(st.just(0) | _microseconds),
        _paths,
        tuples(st.tuples(_labels, st.one_of(st.just(""), _labels))),
    ),
)
forwards = st.builds(
    Forward,
    destinations=tuples(destinations, min_size=1),
    timeout=optional(_microseconds),
    retry=optional(retries),
    path_rewrite=optional(path_rewrites),
    host=st.one_of(st.just(""), _hosts),
    mirrors=tuples(st.builds(Mirror, backends, _shares)),
    hash_keys=tuples(hash_keys),
    unresolved_status=st.sampled_from([404, 500, 503]),
)
redirects = st.builds(
    Redirect,
    status=st.sampled_from([301, 302, 303, 307, 308]),
    scheme=st.sampled_from(["", "http", "https"]),
    host=st.one_of(st.just(""), _hosts),
    port=optional(_ports),
    path=optional(path_rewrites.filter(lambda rewrite: rewrite.kind is not PathRewriteKind.REGEX)),
)
direct_responses = st.builds(DirectResponse, st.integers(200, 599), st.binary(max_size=20))
faults = st.one_of(
    st.builds(Fault, delay=optional(_microseconds), delay_share=_shares),
    st.builds(
        Fault,
        delay=optional(_microseconds),
        delay_share=_shares,
        abort_status=st.integers(200, 599),
        abort_share=_shares,
    ),
    st.builds(Fault, abort_grpc_status=st.integers(0, 16), abort_share=_shares),
)
cors_policies = st.builds(
    Cors,
    allow_origins=tuples(string_matches),
    allow_methods=tuples(st.sampled_from(["GET", "PUT"])),
    allow_headers=tuples(_header_names),
    expose_headers=tuples(_header_names),
    max_age=optional(_microseconds),
    allow_credentials=st.booleans(),
    forward_unmatched_preflights=st.booleans(),
)
# --- Rules for requests -----------------------------------------------------------------------------------------------

_LONGEST = 9_000_000_000 * 10**9
_RULES = [RuleName(ObjectKey("istio.alibabacloud.com", "ASMLocalRateLimiter", "edge", "shop"), n) for n in range(2)]
_rule_names = st.sampled_from(_RULES)
_requests = st.builds(
    Requests,
    headers=tuples(
        st.builds(ValueMatch, st.one_of(_header_names, st.just(":path")), optional(string_matches), st.booleans())
    ),
    query_parameters=tuples(st.builds(ValueMatch, _labels, optional(string_matches))),
)
_some_requests = _requests.filter(lambda requests: requests.parts)
_buckets = st.builds(
    TokenBucket,
    st.integers(1, 2**31 - 1),
    st.one_of(st.sampled_from([50_000_000, _LONGEST]), _milliseconds.map(lambda time: time + 50_000_000)),
)
_rejections = st.builds(
    Rejection,
    status=st.sampled_from([400, 417, 421, 429, 431, 500, 503, 508, 511]),
    headers=st.lists(st.tuples(_header_names, _texts), max_size=9, unique_by=lambda header: header[0]).map(tuple),
)


def _limits_of(found: LimitFilter) -> SearchStrategy[tuple[LimitFilter, tuple[RequestLimit, ...]]]:
    names = st.just(()) if found.per_connection else tuples(_header_names, unique=True)
    override = st.builds(LimitOverride, _some_requests, _buckets, names, names)
    limits = (
        st.builds(
            RequestLimit,
            name=st.just(name),
            bucket=_buckets,
            only=_requests,
            overrides=tuples(override),
            rejection=st.just(found.rejection),
            per_connection=st.just(found.per_connection),
        )
        for name in _RULES
    )
    return st.tuples(st.just(found), st.tuples(*limits))


limit_filters = st.builds(LimitFilter, st.booleans(), st.booleans(), _rejections)
limits_of_filters = st.lists(limit_filters, max_size=3, unique=True).flatmap(
    lambda found: st.tuples(*map(_limits_of, found))
)
rate_limit_services = st.builds(
    RateLimitService, _hosts, st.one_of(st.just(RUNTIME), backends), _milliseconds, st.booleans()
)


def _counted(
    only: Requests, earlier: tuple[Requests, ...], headers: tuple[str, ...], parameters: tuple[str, ...]
) -> CountedRequests:
    found = ways((only,), earlier)
    conditions = [("header_match", "one")] * max(map(len, found))
    each = [(name, "") for name in (*headers, *parameters)]
    return CountedRequests((("generic_key", "all"), *conditions, *each), found, headers, parameters)


policies = st.tuples(
    optional(st.builds(RouteLimit, _rule_names, _texts)),
    optional(
        st.builds(
            GlobalLimit,
            _rule_names,
            rate_limit_services,
            tuples(st.builds(_counted, _requests, tuples(_some_requests), tuples(_header_names), tuples(_labels))),
        )
    ),
    optional(
        st.builds(
            RouteBreaker,
            _rule_names,
            st.builds(Breaker, *[st.integers(0, 2**40)] * 8),
            st.builds(BrokenAnswer, st.integers(200, 599), tuples(st.tuples(_header_names, _words)), _texts),
            _texts,
        )
    ),
    optional(st.builds(RouteScheduling, _rule_names, tuples(st.integers(0, 9)))),
).map(lambda found: tuple(policy for policy in found if policy is not None))
governance = st.builds(
    Governance,
    limits=tuples(limit_filters, unique=True),
    rate_limit_services=tuples(rate_limit_services, unique=True),
    breakers=st.booleans(),
    scheduling=st.none()
    | st.sets(st.sampled_from(["authorization", "cookie"])).map(lambda names: SchedulingFilter(tuple(sorted(names)))),
    origin=origins,
)

# --- Routes -----------------------------------------------------------------------------------------------------------

routes = st.builds(
    Route,
    name=_texts,
    match=matches,
    action=st.one_of(forwards, redirects, direct_responses),
    origin=origins,
    request_headers=header_operations,
    response_headers=header_operations,
    fault=optional(faults),
    cors=optional(cors_policies),
    stat_prefix=st.sampled_from(["", "some"]),
    policies=policies,
)

# --- Virtual hosts ----------------------------------------------------------------------------------------------------


def virtual_hosts(host: str) -> SearchStrategy[VirtualHost]:
    return st.builds(
        VirtualHost,
        name=st.just(f"{host}:80"),
        domains=st.just((host,)),
        routes=tuples(routes),
        origin=origins,
        require_tls=st.booleans(),
        attempt_count=st.booleans(),
        forwarded_host=st.booleans(),
    )


# --- TLS --------------------------------------------------------------------------------------------------------------

tls_parameters = st.builds(
    TlsParameters,
    minimum=st.sampled_from([None, TlsVersion.TLS_1_0, TlsVersion.TLS_1_1, TlsVersion.TLS_1_2]),
    maximum=st.sampled_from([None, TlsVersion.TLS_1_2, TlsVersion.TLS_1_3]),
    cipher_suites=tuples(
        st.sampled_from(["ECDHE-RSA-AES128-GCM-SHA256", "ECDHE-ECDSA-AES256-GCM-SHA384"]), unique=True
    ),
    ecdh_curves=tuples(st.sampled_from(["X25519", "P-256"]), unique=True),
)
_subjects = st.one_of(_hosts, st.sampled_from(["spiffe://cluster.local/ns/a/sa/b", "10.0.0.1", "::1", "me@a.example"]))
validations = st.one_of(
    st.builds(
        Validation,
        authorities=st.just(AUTHORITIES),
        subject_alternative_names=tuples(_subjects),
        certificate_hashes=tuples(st.just("ab" * 32)),
        spki_hashes=tuples(st.just("NvqYIYSbgK2vCJpQhObf77vv+bQWtc5ek5RIOwPiC9A=")),
        accept_untrusted=st.booleans(),
    ),
    st.builds(Validation, system_authorities=st.just(value=True), subject_alternative_names=tuples(_subjects)),
    st.builds(Validation, accept_untrusted=st.just(value=True)),
)
terminations = st.builds(
    TlsTermination,
    credentials=st.just((KEY_PAIR,)),
    client_certificates=st.sampled_from(ClientCertificates),
    validation=validations,
    parameters=tls_parameters,
    alpn=st.sampled_from([(), ("h2", "http/1.1")]),
)
originations = st.builds(
    TlsOrigination,
    server_name=st.one_of(st.just(""), _hosts),
    credential=st.sampled_from(["", KEY_PAIR]),
    validation=optional(validations),
    match_request_host=st.booleans(),
    parameters=tls_parameters,
    alpn=st.sampled_from([(), ("h2",)]),
)


# --- Listeners --------------------------------------------------------------------------------------------------------

access_logs = st.one_of(
    st.builds(AccessLog, path=st.just("/dev/null"), format=st.just("%PROTOCOL%\n")),
    st.builds(
        AccessLog, path=st.just("/dev/null"), format=st.just('{"a": ["%PROTOCOL%"]}'), is_json=st.just(value=True)
    ),
)
http_options = st.builds(
    HttpOptions,
    server_name=optional(_labels),
    trusted_hops=st.integers(0, 5),
    forwarded_certificate=st.sampled_from(ForwardedCertificate),
    certificate_details=st.lists(st.sampled_from(["subject", "cert", "chain", "dns", "uri"]), unique=True).map(tuple),
    normalize_path=st.booleans(),
    merge_slashes=st.booleans(),
    escaped_slashes=st.sampled_from(EscapedSlashes),
    limits=st.builds(
        HttpLimits,
        idle_timeout=optional(_milliseconds),
        max_connection_duration=optional(_milliseconds),
        max_stream_duration=optional(_milliseconds),
        stream_idle_timeout=optional(_milliseconds),
        request_timeout=optional(_milliseconds),
        request_headers_timeout=optional(_milliseconds),
        drain_timeout=optional(_milliseconds),
        max_concurrent_streams=optional(st.just(1)),
        stream_window=optional(st.just(65_535)),
        connection_window=optional(st.just(1 << 20)),
        headers_with_underscores=st.sampled_from(HeadersWithUnderscores),
    ),
    request_id=st.booleans(),
    debug_headers=st.booleans(),
    forwarded_port=st.booleans(),
)
tcp_connections = st.builds(
    TcpConnections,
    stat_prefix=_labels,
    backends=tuples(st.builds(WeightedBackend, backends, _weights)),
    idle_timeout=optional(_milliseconds),
    max_duration=optional(_milliseconds),
    hash_source_ip=st.booleans(),
    tunnel=optional(st.builds(Tunnel, st.just("a.example:443"), st.booleans())),
    access_log=optional(access_logs),
)


def filter_chains(name: str, server_names: tuple[str, ...], tables: Sequence[str]) -> SearchStrategy[FilterChain]:
    http_connections = st.builds(
        HttpConnections,
        route_table=st.sampled_from(tables),
        stat_prefix=_labels,
        grpc_web=st.booleans(),
        options=http_options,
        access_log=optional(access_logs),
    )
    tls = terminations if server_names else optional(terminations)
    return st.one_of(
        st.builds(
            FilterChain,
            name=st.just(name),
            server_names=st.just(server_names),
            tls=tls,
            connections=st.one_of(http_connections, tcp_connections),
            origin=origins,
        ),
        st.builds(
            FilterChain,
            name=st.just(name),
            server_names=st.just(server_names),
            tls=st.none(),
            connections=tcp_connections,
            origin=origins,
            passthrough=st.just(value=True),
        ),
    )


def governed_listeners(name: str, table: str) -> SearchStrategy[Listener]:
    """Listeners whose routes may have any rules, and little else."""

    def listener(found: Governance) -> Listener:
        chain = FilterChain(name, (), None, HttpConnections(table, "governed", governance=found), ())
        return Listener(name, "127.0.0.1", 0, (chain,), ())

    return governance.map(listener)


def listeners(name: str, tables: Sequence[str]) -> SearchStrategy[Listener]:
    """Listeners of one to three chains, for distinct server names, that use some of the route tables."""
    chains = st.tuples(
        filter_chains("any", (), tables),
        filter_chains("one", ("a.example",), tables),
        filter_chains("two", ("*.b.example", "b.example"), tables),
    )
    return st.builds(
        Listener,
        name=st.just(name),
        address=st.sampled_from(["0.0.0.0", "127.0.0.1", "::", f"/tmp/{name}.sock"]),
        port=st.just(0),
        filter_chains=st.builds(lambda some, count: some[:count], chains, st.integers(1, 3)),
        origin=origins,
        proxy_protocol=st.booleans(),
        access_log=optional(access_logs),
        buffer_limit=optional(st.just(32_768)),
    )


# --- Clusters ---------------------------------------------------------------------------------------------------------

load_balancers = st.builds(
    LoadBalancer,
    algorithm=st.sampled_from(LoadBalancing),
    minimum_ring_size=optional(st.integers(1, 8_388_608)),
    maglev_table_size=optional(st.sampled_from([11, 65_537, 5_000_011])),
    warmup=optional(_microseconds),
    warmup_minimum_percent=optional(st.sampled_from([0.0, 0.5, 10.0, 100.0])),
    warmup_aggression=optional(st.sampled_from([0.5, 1.0, 2.5])),
)
_limits = optional(st.integers(0, 2**32 - 1))
connection_pools = st.builds(
    ConnectionPool,
    max_connections=_limits,
    connect_timeout=_microseconds,
    keepalive=optional(
        st.builds(
            TcpKeepalive,
            probes=optional(st.integers(1, 9)),
            time=optional(_milliseconds),
            interval=optional(_milliseconds),
        )
    ),
    max_pending_requests=_limits,
    max_requests=_limits,
    max_retries=_limits,
    retry_budget=optional(st.builds(RetryBudget, st.floats(0, 100), st.integers(0, 2**32 - 1))),
    max_requests_per_connection=_limits,
    max_connection_duration=optional(_microseconds),
    idle_timeout=optional(_microseconds),
    max_concurrent_streams=optional(st.integers(1, 2**31 - 1)),
    pings=optional(st.builds(Pings, _milliseconds, _milliseconds)),
)
outlier_detections = st.builds(
    OutlierDetection,
    consecutive_5xx=_limits,
    error_codes=tuples(st.integers(100, 599)),
    consecutive_gateway_failures=_limits,
    split_local_origin=st.booleans(),
    consecutive_local_origin_failures=_limits,
    interval=optional(_milliseconds),
    base_ejection_time=optional(_milliseconds),
    max_ejection_percent=optional(_percents),
    minimum_health_percent=_percents,
    always_eject_one=st.booleans(),
)
_addresses = st.one_of(st.ip_addresses().map(str), st.just("/run/backend.sock"))


def _localities(addresses: SearchStrategy[str]) -> SearchStrategy[tuple[LocalityEndpoints, ...]]:
    """Localities whose priorities count from 0 without gaps."""
    endpoints = st.builds(
        lambda address, port, weight, healthy: Endpoint(
            address, 0 if address.startswith("/") else port, weight, healthy
        ),
        addresses,
        _ports,
        _weights,
        st.booleans(),
    )
    locality = st.tuples(tuples(endpoints, min_size=1), optional(_weights))
    return st.lists(locality, max_size=3).map(
        lambda groups: tuple(
            LocalityEndpoints("region", f"zone-{index}", "" if index else "sub", endpoints, index, weight)
            for index, (endpoints, weight) in enumerate(groups)
        )
    )


endpoint_assignments = st.builds(
    EndpointAssignment, backend=backends, localities=_localities(_addresses), origin=origins
)


def _clusters_of(discovery: Discovery, localities: SearchStrategy) -> SearchStrategy[Cluster]:
    return st.builds(
        Cluster,
        backend=backends,
        discovery=st.just(discovery),
        protocol=st.sampled_from(UpstreamProtocol),
        origin=origins,
        localities=localities,
        load_balancer=load_balancers,
        connection_pool=connection_pools,
        outlier_detection=optional(outlier_detections),
        tls=optional(originations),
        proxy_protocol_version=st.sampled_from([None, 1, 2]),
        locality_weighted=st.booleans(),
    )


_one_name = st.builds(lambda host, port: (LocalityEndpoints(endpoints=(Endpoint(host, port),)),), _hosts, _ports)
clusters = st.one_of(
    _clusters_of(Discovery.ASSIGNED, st.just(())),
    _clusters_of(Discovery.STRICT_DNS, _localities(_hosts)),
    _clusters_of(Discovery.LOGICAL_DNS, _one_name),
    _clusters_of(Discovery.ORIGINAL_DESTINATION, st.just(())),
)
