"""The MeshConfig: what is read, what each setting changes, what a change of one costs, and what is told of mistakes."""

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from fairlead.intent import (
    AccessLog,
    Backend,
    Cluster,
    EscapedSlashes,
    FilterChain,
    Forward,
    ForwardedCertificate,
    HeadersWithUnderscores,
    HttpConnections,
    HttpLimits,
    TcpConnections,
    TcpKeepalive,
    TlsVersion,
    UpstreamProtocol,
)
from fairlead.problems import Severity
from fairlead.resolve import clusters, endpoints, mesh
from fairlead.resolve.scope import Proxy, Role, Viewer
from fairlead.validation.istio.log_format import DEFAULT_JSON, DEFAULT_TEXT
from fairlead.world import World
from support.istio import (
    EDGE,
    TO_SHOP,
    all_hosts,
    all_listeners,
    all_problems,
    config_map,
    gateway,
    http,
    service,
    tls,
    virtual_service,
)
from support.worlds import put, world

OBJECTS = (
    gateway(
        "edge",
        http(),
        tls("a.example.com"),
        "port: {number: 9000, name: tcp, protocol: TCP}, hosts: [c.example.com]",
        tls("b.example.com", "narrow", tls="mode: SIMPLE, credentialName: cert, minProtocolVersion: TLSV1_3"),
    ),
    virtual_service("v", f"http: [{{{TO_SHOP}}}]"),
    virtual_service("own", f"http: [{{retries: {{attempts: 5}}, {TO_SHOP}}}]", hosts="b.example.com"),
    virtual_service("tcp", f"tcp: [{{{TO_SHOP}}}]", hosts="c.example.com"),
    service("shop", "{port: 80, name: http}, {port: 81, name: unnamed}, {port: 82, name: tcp}"),
    service("private", namespace="other"),
    """
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: dns, namespace: edge}
spec: {hosts: [dns.example], resolution: DNS, ports: [{number: 80, name: http, protocol: HTTP}]}
""",
    """
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: dns, namespace: edge}
spec: {host: dns.example, trafficPolicy: {connectionPool: {tcp: {connectTimeout: 1s}}, tls: {mode: SIMPLE}}}
""",
    """
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: shop, namespace: root}
spec: {host: shop.edge.svc.cluster.local, trafficPolicy: {loadBalancer: {simple: RANDOM}}}
""",
)
SHOP, DNS = "shop.edge.svc.cluster.local", "dns.example"


def of_mesh(mesh: str) -> World:
    return world(*OBJECTS, config_map(mesh))


def chains(made: World) -> dict[str, FilterChain]:
    return {chain.name: chain for found in all_listeners(made).values() for chain in found.filter_chains}


def plain(made: World) -> HttpConnections:
    connections = chains(made)["http.80"].connections
    assert isinstance(connections, HttpConnections)
    return connections


def connections(made: World) -> TcpConnections:
    (found,) = (chain.connections for name, chain in chains(made).items() if name.startswith("tcp."))
    assert isinstance(found, TcpConnections)
    return found


def forward(made: World, host: str = "a.example.com") -> Forward:
    action = all_hosts(made)["http.80", host].routes[0].action
    assert isinstance(action, Forward)
    return action


def cluster(made: World, host: str = SHOP, port: int = 80) -> Cluster:
    found = clusters.cluster(made, Viewer("edge"), Backend(host, port)).value
    assert found is not None
    return found


def certificate_limits(made: World, name: str) -> Any:
    found = next(chain.tls for chain in chains(made).values() if name in chain.name)
    assert found is not None
    return found.parameters


# --- What each setting does -------------------------------------------------------------------------------------------

LOG, JSON_LOG = AccessLog("/log", DEFAULT_TEXT), AccessLog("/log", json.dumps(DEFAULT_JSON), is_json=True)
TOPOLOGY = "defaultConfig: {{gatewayTopology: {{{}}}}}".format
HEADERS = "defaultConfig: {{proxyHeaders: {{{}}}}}".format
CONNECTIONS = "defaultConfig: {{connectionSettings: {{{}}}}}".format

mark = pytest.mark
EFFECTS: list[tuple[pytest.MarkDecorator, str, Callable[[World], Any], Any, Any]] = [
    # the field, the MeshConfig, what is looked at, what it is without, what it is with
    (mark.istio_fields("MeshConfig.accessLogFile"), "accessLogFile: /log", lambda w: plain(w).access_log, None, LOG),
    (
        mark.istio_fields("MeshConfig.accessLogFile"),
        "accessLogFile: /log",
        lambda w: connections(w).access_log,
        None,
        LOG,
    ),
    (
        mark.istio_fields("MeshConfig.accessLogFile"),
        "accessLogFile: /log",
        lambda w: all_listeners(w)["0.0.0.0_80"].access_log,
        None,
        LOG,
    ),
    (
        mark.istio_fields("MeshConfig.accessLogFormat"),
        "{accessLogFile: /log, accessLogFormat: '%PATH%'}",
        lambda w: plain(w).access_log,
        None,
        AccessLog("/log", "%PATH%\n"),
    ),
    (
        mark.istio_fields("MeshConfig.accessLogEncoding"),
        "{accessLogFile: /log, accessLogEncoding: JSON}",
        lambda w: plain(w).access_log,
        None,
        JSON_LOG,
    ),
    (
        mark.istio_fields("MeshConfig.disableEnvoyListenerLog"),
        "{accessLogFile: /log, disableEnvoyListenerLog: true}",
        lambda w: (all_listeners(w)["0.0.0.0_80"].access_log, plain(w).access_log),
        (None, None),
        (None, LOG),
    ),
    *(
        (
            mark.istio_fields("MeshConfig.pathNormalization.normalization"),
            f"pathNormalization: {{normalization: {normalization}}}",
            lambda w: (
                plain(w).options.normalize_path,
                plain(w).options.merge_slashes,
                plain(w).options.escaped_slashes,
            ),
            (True, False, EscapedSlashes.KEEP),
            expected,
        )
        for normalization, expected in (
            ("DEFAULT", (True, False, EscapedSlashes.KEEP)),
            ("NONE", (False, False, EscapedSlashes.KEEP)),
            ("MERGE_SLASHES", (True, True, EscapedSlashes.KEEP)),
            ("DECODE_AND_MERGE_SLASHES", (True, True, EscapedSlashes.FORWARD)),
        )
    ),
    (
        mark.istio_fields(
            "MeshConfig.defaultConfig.connectionSettings.{httpIdleTimeout,httpMaxConnectionDuration,httpDrainTimeout,"
            "httpRequestTimeout,httpRequestHeadersTimeout,httpStreamIdleTimeout,httpMaxStreamDuration,"
            "httpMaxConcurrentStreams,http2InitialStreamWindowSize,http2InitialConnectionWindowSize,"
            "httpHeadersWithUnderscoresAction}"
        ),
        CONNECTIONS(
            "httpIdleTimeout: 1s, httpMaxConnectionDuration: 2s, httpMaxStreamDuration: 3s, httpStreamIdleTimeout: 4s, "
            "httpRequestTimeout: 5s, httpRequestHeadersTimeout: 6s, httpDrainTimeout: 7s, httpMaxConcurrentStreams: 8, "
            "http2InitialStreamWindowSize: 65536, http2InitialConnectionWindowSize: 65537, "
            "httpHeadersWithUnderscoresAction: HEADERS_WITH_UNDERSCORES_DROP_HEADER"
        ),
        lambda w: plain(w).options.limits,
        HttpLimits(),
        HttpLimits(
            *(seconds * 10**9 for seconds in range(1, 8)), 8, 65_536, 65_537, HeadersWithUnderscores.DROP_HEADER
        ),
    ),
    (
        mark.istio_fields("MeshConfig.defaultConfig.connectionSettings.profile"),
        CONNECTIONS("profile: EDGE, httpMaxConcurrentStreams: 7"),
        lambda w: (
            plain(w).options.limits,
            plain(w).options.merge_slashes,
            plain(w).options.escaped_slashes,
            all_listeners(w)["0.0.0.0_80"].buffer_limit,
        ),
        (HttpLimits(), False, EscapedSlashes.KEEP, None),
        (
            HttpLimits(
                idle_timeout=3600 * 10**9,
                stream_idle_timeout=300 * 10**9,
                request_timeout=300 * 10**9,
                request_headers_timeout=60 * 10**9,
                max_concurrent_streams=7,
                stream_window=65_536,
                connection_window=1_048_576,
                headers_with_underscores=HeadersWithUnderscores.REJECT_REQUEST,
            ),
            True,
            EscapedSlashes.REDIRECT,
            32_768,
        ),
    ),
    (
        mark.istio_fields(
            "MeshConfig.defaultConfig.connectionSettings.{httpMergeSlashes,httpPathWithEscapedSlashesAction}",
            "MeshConfig.defaultConfig.connectionSettings.{listener,cluster}PerConnectionBufferLimitBytes",
        ),
        "{pathNormalization: {normalization: DECODE_AND_MERGE_SLASHES}, "
        + CONNECTIONS(
            "httpMergeSlashes: false, httpPathWithEscapedSlashesAction: REJECT_REQUEST, "
            "listenerPerConnectionBufferLimitBytes: 1, clusterPerConnectionBufferLimitBytes: 2"
        )
        + "}",
        lambda w: (
            plain(w).options.merge_slashes,
            plain(w).options.escaped_slashes,
            all_listeners(w)["0.0.0.0_443"].buffer_limit,
            cluster(w).buffer_limit,
        ),
        (False, EscapedSlashes.KEEP, None, None),
        (False, EscapedSlashes.REJECT_REQUEST, 1, 2),
    ),
    (
        mark.istio_fields("MeshConfig.defaultConfig.gatewayTopology.numTrustedProxies"),
        TOPOLOGY("numTrustedProxies: 2"),
        lambda w: plain(w).options.trusted_hops,
        0,
        2,
    ),
    (
        mark.istio_fields("MeshConfig.defaultConfig.gatewayTopology.proxyProtocol"),
        TOPOLOGY("proxyProtocol: {}"),
        lambda w: all_listeners(w)["0.0.0.0_443"].proxy_protocol,
        False,
        True,
    ),
    (
        mark.istio_fields("MeshConfig.defaultConfig.gatewayTopology.forwardClientCertDetails"),
        TOPOLOGY("forwardClientCertDetails: FORWARD_ONLY"),
        lambda w: plain(w).options.forwarded_certificate,
        ForwardedCertificate.SANITIZE_SET,
        ForwardedCertificate.FORWARD_ONLY,
    ),
    (
        mark.istio_fields("MeshConfig.defaultConfig.proxyHeaders.forwardedClientCert"),
        HEADERS("forwardedClientCert: SANITIZE"),
        lambda w: plain(w).options.forwarded_certificate,
        ForwardedCertificate.SANITIZE_SET,
        ForwardedCertificate.SANITIZE,
    ),
    (
        mark.istio_fields(
            "MeshConfig.defaultConfig.proxyHeaders.setCurrentClientCertDetails.{subject,cert,chain,dns,uri}"
        ),
        HEADERS("setCurrentClientCertDetails: {chain: true, uri: true}"),
        lambda w: plain(w).options.certificate_details,
        ("subject", "cert", "dns", "uri"),
        ("chain", "uri"),
    ),
    (
        mark.istio_fields("MeshConfig.defaultConfig.proxyHeaders.requestId.disabled"),
        HEADERS("requestId: {disabled: true}"),
        lambda w: plain(w).options.request_id,
        True,
        False,
    ),
    (
        mark.istio_fields("MeshConfig.defaultConfig.proxyHeaders.server.value"),
        HEADERS("server: {value: edge}"),
        lambda w: plain(w).options.server_name,
        "istio-envoy",
        "edge",
    ),
    (
        mark.istio_fields("MeshConfig.defaultConfig.proxyHeaders.server.disabled"),
        HEADERS("server: {disabled: true}"),
        lambda w: plain(w).options.server_name,
        "istio-envoy",
        None,
    ),
    (
        mark.istio_fields("MeshConfig.defaultConfig.proxyHeaders.envoyDebugHeaders.disabled"),
        HEADERS("envoyDebugHeaders: {disabled: true}"),
        lambda w: plain(w).options.debug_headers,
        True,
        False,
    ),
    (
        mark.istio_fields("MeshConfig.defaultConfig.proxyHeaders.xForwardedPort.enabled"),
        HEADERS("xForwardedPort: {enabled: true}"),
        lambda w: plain(w).options.forwarded_port,
        False,
        True,
    ),
    (
        mark.istio_fields("MeshConfig.defaultConfig.proxyHeaders.xForwardedHost.enabled"),
        HEADERS("xForwardedHost: {enabled: true}"),
        lambda w: all_hosts(w)["http.80", "a.example.com"].forwarded_host,
        False,
        True,
    ),
    (
        mark.istio_fields("MeshConfig.defaultConfig.proxyHeaders.attemptCount.disabled"),
        HEADERS("attemptCount: {disabled: true}"),
        lambda w: all_hosts(w)["http.80", "a.example.com"].attempt_count,
        True,
        False,
    ),
    (
        mark.istio_fields("MeshConfig.defaultHttpRetryPolicy"),
        "defaultHttpRetryPolicy: {attempts: 4, retryOn: 5xx}",
        lambda w: (forward(w).retry.attempts, forward(w, "b.example.com").retry.attempts),
        (2, 5),
        (4, 5),
    ),  # type: ignore[union-attr]
    (
        mark.istio_fields("MeshConfig.defaultHttpRetryPolicy"),
        "defaultHttpRetryPolicy: {attempts: 0}",
        lambda w: forward(w).retry is None,
        False,
        True,
    ),
    (
        mark.istio_fields("MeshConfig.connectTimeout"),
        "connectTimeout: 3s",
        lambda w: (cluster(w).connection_pool.connect_timeout, cluster(w, DNS).connection_pool.connect_timeout),
        (10 * 10**9, 10**9),
        (3 * 10**9, 10**9),
    ),
    (
        mark.istio_fields("MeshConfig.tcpKeepalive"),
        "tcpKeepalive: {probes: 3, time: 60s}",
        lambda w: cluster(w).connection_pool.keepalive,
        None,
        TcpKeepalive(3, 60 * 10**9, None),
    ),
    (
        mark.istio_fields("MeshConfig.dnsRefreshRate"),
        "dnsRefreshRate: 5s",
        lambda w: (cluster(w, DNS).dns_refresh_rate, cluster(w).dns_refresh_rate),
        (60 * 10**9, 60 * 10**9),
        (5 * 10**9, 60 * 10**9),
    ),
    (
        mark.istio_fields("MeshConfig.h2UpgradePolicy"),
        "h2UpgradePolicy: UPGRADE",
        lambda w: [cluster(w, port=port).protocol for port in (80, 81, 82)],
        [UpstreamProtocol.HTTP1, UpstreamProtocol.HTTP1, UpstreamProtocol.TCP],
        [UpstreamProtocol.HTTP2, UpstreamProtocol.HTTP1, UpstreamProtocol.TCP],
    ),
    (
        mark.istio_fields("MeshConfig.localityLbSetting"),
        "localityLbSetting: {failoverPriority: [topology.kubernetes.io/zone]}",
        lambda w: endpoints.locality_rules(w, Viewer("edge"), Backend(SHOP, 80)).labels,
        (),
        (("topology.kubernetes.io/zone", None),),
    ),
    (
        mark.istio_fields("MeshConfig.tlsDefaults.minProtocolVersion"),
        "tlsDefaults: {minProtocolVersion: TLSV1_3}",
        lambda w: (certificate_limits(w, "https.443.https").minimum, cluster(w, DNS).tls.parameters.minimum),  # type: ignore[union-attr]
        (None, None),
        (TlsVersion.TLS_1_3, TlsVersion.TLS_1_3),
    ),
    (
        mark.istio_fields("MeshConfig.tlsDefaults.cipherSuites[]"),
        "tlsDefaults: {cipherSuites: [AES128-SHA, nonsense]}",
        lambda w: certificate_limits(w, "narrow").cipher_suites,
        (),
        ("AES128-SHA",),
    ),
    (
        mark.istio_fields("MeshConfig.tlsDefaults.ecdhCurves[]"),
        "tlsDefaults: {ecdhCurves: [P-384]}",
        lambda w: certificate_limits(w, "narrow").ecdh_curves,
        (),
        ("P-384",),
    ),
    (
        mark.istio_fields("MeshConfig.rootNamespace"),
        "rootNamespace: root",
        lambda w: cluster(w).load_balancer.algorithm.value,
        "least-request",
        "random",
    ),
    (
        mark.istio_fields("MeshConfig.defaultServiceExportTo[]"),
        "defaultServiceExportTo: [.]",
        lambda w: clusters.cluster(w, Viewer("edge"), Backend("private.other.svc.cluster.local", 80)).value is None,
        False,
        True,
    ),
    (
        mark.istio_fields("MeshConfig.defaultVirtualServiceExportTo[]"),
        "defaultVirtualServiceExportTo: [elsewhere]",
        lambda w: ("http.80", "a.example.com") in all_hosts(w),
        True,
        False,
    ),
    (
        mark.istio_fields("MeshConfig.defaultDestinationRuleExportTo[]"),
        "{rootNamespace: root, defaultDestinationRuleExportTo: [elsewhere]}",
        lambda w: cluster(w).load_balancer.algorithm.value,
        "least-request",
        "least-request",
    ),
]


@pytest.mark.parametrize(
    ("mesh", "seen", "without", "with_it"),
    [pytest.param(*row, id=row[0], marks=shown) for shown, *row in EFFECTS],
)
def test_effect(mesh: str, seen: Callable[[World], Any], without: object, with_it: object) -> None:
    made = world(*OBJECTS)
    assert seen(made) == without
    put(made, config_map(mesh))
    assert seen(made) == with_it
    assert seen(of_mesh(mesh)) == with_it
    put(made, config_map(""))
    assert seen(made) == without


def test_gateways_only_of_the_gateway_api_have_the_settings_too() -> None:
    made = world(
        """
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: edge, namespace: edge}
spec: {gatewayClassName: fairlead, listeners: [{name: http, port: 80, protocol: HTTP}]}
""",
        config_map("{accessLogFile: /log, " + TOPOLOGY("numTrustedProxies: 2") + "}"),
    )
    label = ("gateway.networking.k8s.io/gateway-name", "edge")
    (found,) = all_listeners(made, Proxy(Role.GATEWAY, "edge", frozenset({label}))).values()
    connections = found.filter_chains[0].connections
    assert isinstance(connections, HttpConnections)
    assert (connections.access_log, connections.options.trusted_hops) == (LOG, 2)


def test_a_gateway_may_bring_a_config_of_its_own() -> None:
    """It takes the place of the mesh's, as Istio's agent means it: what it does not say has Istio's defaults."""
    made = of_mesh(TOPOLOGY("numTrustedProxies: 1, proxyProtocol: {}"))
    brought = {"gatewayTopology": {"numTrustedProxies": 2.0}, "proxyHeaders": {"attemptCount": {"disabled": True}}}
    own, problems = mesh.own_config(brought | {"concurrency": 2, "nonsense": {}})
    assert problems == ()
    for proxy, hops, header, told in ((EDGE, 1, True, True), (replace(EDGE, config=own), 2, False, False)):
        found = all_listeners(made, proxy)["0.0.0.0_80"]
        connections = found.filter_chains[0].connections
        assert isinstance(connections, HttpConnections)
        assert (connections.options.trusted_hops, found.proxy_protocol) == (hops, told)
        assert all_hosts(made, proxy)["http.80", "a.example.com"].attempt_count is header


# --- What a change costs ----------------------------------------------------------------------------------------------


def computed(before: str, after: str) -> dict[str, int]:
    """What is computed again, by the name of the function, when one MeshConfig takes the place of another."""
    made = of_mesh(before)

    def ask() -> None:
        all_listeners(made)
        all_hosts(made)
        for host in (SHOP, DNS):
            clusters.cluster(made, Viewer("edge"), Backend(host, 80))

    ask()
    counts = made.graph.computed.copy()
    put(made, config_map(after))
    ask()
    found = made.graph.computed - counts
    return {
        name: count for name, count in found.items() if name not in {"_read", "_setting", "_names", "_proxy_config"}
    }


def test_the_access_log_recomputes_listeners_only() -> None:
    found = computed("accessLogFile: /log", "accessLogFile: /other")
    assert set(found) == {"access_log", "listener_log", "listener", "_plaintext_chains", "_tls_chains"}


def test_the_trusted_proxies_recompute_listeners_only() -> None:
    found = computed("", TOPOLOGY("numTrustedProxies: 2"))
    of_proxies = {"attempt_count", "forwarded_host", "proxy_protocol", "listener_buffer_limit", "cluster_buffer_limit"}
    assert set(found) - of_proxies == {
        *("http_options", "listener", "_plaintext_chains", "_tls_chains"),
    }


def test_the_connect_timeout_recomputes_clusters_only() -> None:
    assert set(computed("", "connectTimeout: 3s")) == {"cluster"}


def test_the_retry_policy_recomputes_routes_without_one_only() -> None:
    found = computed("", "defaultHttpRetryPolicy: {attempts: 7}")
    assert found == {"http_routes": 2, "virtual_hosts": 2}


@pytest.mark.parametrize("after", ["", "# a word", "connectTimeout: 10s", "enableTracing: true"])
def test_what_changes_nothing_costs_nothing(after: str) -> None:
    assert "listener" not in computed("", after)
    assert "virtual_hosts" not in computed("", after)


# --- What a mistake costs ---------------------------------------------------------------------------------------------


def test_one_mistake_does_not_take_the_rest_away() -> None:
    made = of_mesh(
        """
connectTimeout: soon
accessLogFile: /log
accessLogFormat: "%NONSENSE%"
dnsRefreshRate: 5s
defaultConfig:
  gatewayTopology: {numTrustedProxies: 2, forwardClientCertDetails: SOMETIMES}
  proxyHeaders: [none]
"""
    )
    problems = [problem for problem in all_problems(made) if "mesh" in problem.path]
    assert sorted(str(problem.path[-1]) for problem in problems) == [
        *("accessLogFormat", "connectTimeout", "forwardClientCertDetails", "proxyHeaders"),
    ]
    assert {problem.severity for problem in problems} == {Severity.ERROR}
    assert plain(made).access_log == LOG
    assert plain(made).options.trusted_hops == 2
    assert cluster(made).connection_pool.connect_timeout == 10 * 10**9
    assert cluster(made, DNS).dns_refresh_rate == 5 * 10**9
