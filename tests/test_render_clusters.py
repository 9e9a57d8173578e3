"""Clusters and endpoint assignments as messages."""

from typing import Any

import pytest
from fairlead.intent import (
    Backend,
    Cluster,
    ConnectionPool,
    Discovery,
    Endpoint,
    EndpointAssignment,
    LoadBalancer,
    LoadBalancing,
    LocalityEndpoints,
    OutlierDetection,
    Pings,
    RetryBudget,
    TcpKeepalive,
    TlsOrigination,
    TlsParameters,
    TlsVersion,
    UpstreamProtocol,
    Validation,
)
from fairlead.problems import ObjectKey
from fairlead.render import clusters
from fairlead.render.names import cluster_name
from fairlead.snapshot import types
from support.second_decoder import as_dict

SECOND = 1_000_000_000
REVIEWS = Backend("reviews.shop.svc.cluster.local", 9080, "v1")
NAME = "outbound|9080|v1|reviews.shop.svc.cluster.local"
SERVICE = (ObjectKey("", "Service", "shop", "reviews"),)
TYPE = "type.googleapis.com/envoy.extensions."
ADS = {"ads": {}, "resource_api_version": "V3"}
LIMITS = {
    "max_connections": 4294967295,
    "max_pending_requests": 4294967295,
    "max_requests": 4294967295,
    "max_retries": 4294967295,
    "track_remaining": True,
}
ASSIGNED = {
    "name": NAME,
    "type": "EDS",
    "eds_cluster_config": {"eds_config": ADS, "service_name": NAME},
    "connect_timeout": "10s",
    "lb_policy": "LEAST_REQUEST",
    "circuit_breakers": {"thresholds": [LIMITS]},
}


def cluster(**fields: Any) -> Any:
    intent = Cluster(
        **{"discovery": Discovery.ASSIGNED, "protocol": UpstreamProtocol.HTTP1} | fields,
        backend=REVIEWS,
        origin=SERVICE,
    )
    resource = clusters.cluster(intent)
    assert (resource.type_url, resource.name, resource.origin) == (types.CLUSTER, NAME, SERVICE)
    return as_dict(resource.type_url, resource.body)


def test_names_are_those_of_istio() -> None:
    assert cluster_name(Backend("a.default.svc.cluster.local", 80)) == "outbound|80||a.default.svc.cluster.local"
    assert cluster_name(REVIEWS) == NAME


def test_a_cluster_names_its_first_destination_rule_as_istio_does() -> None:
    rules = [ObjectKey("networking.istio.io", "DestinationRule", "shop", name) for name in ("first", "second")]
    intent = Cluster(REVIEWS, Discovery.ASSIGNED, UpstreamProtocol.HTTP1, origin=(*SERVICE, *rules))
    resource = clusters.cluster(intent)
    path = "/apis/networking.istio.io/v1/namespaces/shop/destination-rule/first"
    assert as_dict(resource.type_url, resource.body) == ASSIGNED | {
        "metadata": {"filter_metadata": {"istio": {"config": path}}}
    }


# --- Discovery --------------------------------------------------------------------------------------------------------


def test_assigned_endpoints() -> None:
    assert cluster() == ASSIGNED


PLACES = (LocalityEndpoints(endpoints=(Endpoint("reviews.example", 443),)),)


@pytest.mark.parametrize(
    ("discovery", "only_first"),
    [(Discovery.STRICT_DNS, {}), (Discovery.LOGICAL_DNS, {"all_addresses_in_single_endpoint": True})],
)
def test_endpoints_found_by_name(discovery: Discovery, only_first: dict[str, Any]) -> None:
    found = cluster(discovery=discovery, localities=PLACES)
    assert found["cluster_type"] == {
        "name": "envoy.cluster.dns",
        "typed_config": {
            "@type": TYPE + "clusters.dns.v3.DnsCluster",
            "dns_refresh_rate": "60s",
            "respect_dns_ttl": True,
            "dns_jitter": "0.100s",
            "dns_lookup_family": "V4_PREFERRED",
            **only_first,
        },
    }
    assert found["load_assignment"] == {
        "cluster_name": NAME,
        "endpoints": [
            {
                "lb_endpoints": [
                    {"endpoint": {"address": {"socket_address": {"address": "reviews.example", "port_value": 443}}}}
                ]
            }
        ],
    }
    assert "eds_cluster_config" not in found


def test_original_destinations_need_no_balancing() -> None:
    found = cluster(discovery=Discovery.ORIGINAL_DESTINATION, locality_weighted=True)
    assert (found["type"], found["lb_policy"]) == ("ORIGINAL_DST", "CLUSTER_PROVIDED")
    assert "common_lb_config" not in found


# --- Load balancing ---------------------------------------------------------------------------------------------------

WARMUP = {"warmup": 30 * SECOND, "warmup_minimum_percent": 20.0, "warmup_aggression": 1.5}
SLOW_START = {
    "slow_start_window": "30s",
    "aggression": {"default_value": 1.5},
    "min_weight_percent": {"value": 20.0},
}


@pytest.mark.parametrize(
    ("balancer", "expected"),
    [
        (LoadBalancer(LoadBalancing.ROUND_ROBIN), {}),  # the default is not shown
        (LoadBalancer(LoadBalancing.LEAST_REQUEST), {"lb_policy": "LEAST_REQUEST"}),
        (LoadBalancer(LoadBalancing.RANDOM), {"lb_policy": "RANDOM"}),
        (LoadBalancer(LoadBalancing.RING_HASH), {"lb_policy": "RING_HASH"}),
        (
            LoadBalancer(LoadBalancing.RING_HASH, minimum_ring_size=4096),
            {"lb_policy": "RING_HASH", "ring_hash_lb_config": {"minimum_ring_size": "4096"}},
        ),
        (
            LoadBalancer(LoadBalancing.MAGLEV, maglev_table_size=65537),
            {"lb_policy": "MAGLEV", "maglev_lb_config": {"table_size": "65537"}},
        ),
        (
            LoadBalancer(LoadBalancing.ROUND_ROBIN, **WARMUP),
            {"round_robin_lb_config": {"slow_start_config": SLOW_START}},
        ),
        (
            LoadBalancer(LoadBalancing.LEAST_REQUEST, warmup=30 * SECOND),
            {
                "lb_policy": "LEAST_REQUEST",
                "least_request_lb_config": {"slow_start_config": {"slow_start_window": "30s"}},
            },
        ),
    ],
)
def test_load_balancing(balancer: LoadBalancer, expected: dict[str, Any]) -> None:
    assert {key: value for key, value in cluster(load_balancer=balancer).items() if "lb_" in key} == expected


def test_localities_may_be_weighted() -> None:
    assert cluster(locality_weighted=True) == ASSIGNED | {"common_lb_config": {"locality_weighted_lb_config": {}}}


# --- Connections ------------------------------------------------------------------------------------------------------


def test_limits_of_connections() -> None:
    pool = ConnectionPool(
        max_connections=1,
        connect_timeout=250_000_000,
        max_pending_requests=2,
        max_requests=3,
        max_retries=0,
        keepalive=TcpKeepalive(3, 7200 * SECOND, 1_500_000_000),
    )
    found = cluster(connection_pool=pool)
    assert found["connect_timeout"] == "0.250s"
    assert found["circuit_breakers"]["thresholds"] == [
        {
            "max_connections": 1,
            "max_pending_requests": 2,
            "max_requests": 3,
            "max_retries": 0,
            "track_remaining": True,
        }
    ]
    assert found["upstream_connection_options"] == {
        "tcp_keepalive": {"keepalive_probes": 3, "keepalive_time": 7200, "keepalive_interval": 2}
    }


@pytest.mark.istio_fields("DestinationRule.trafficPolicy.retryBudget.{percent,minRetryConcurrency}")
def test_a_budget_of_retries() -> None:
    found = cluster(connection_pool=ConnectionPool(retry_budget=RetryBudget(12.5, 3)))
    budget = {"budget_percent": {"value": 12.5}, "min_retry_concurrency": 3}
    assert found["circuit_breakers"] == {"thresholds": [LIMITS | {"retry_budget": budget}]}


def test_keepalive_may_be_left_to_the_operating_system() -> None:
    found = cluster(connection_pool=ConnectionPool(keepalive=TcpKeepalive()))
    assert found["upstream_connection_options"] == {"tcp_keepalive": {}}


LIMITED = ConnectionPool(
    max_requests_per_connection=1,
    max_connection_duration=60 * SECOND,
    idle_timeout=30 * SECOND,
    max_concurrent_streams=5,
    pings=Pings(10 * SECOND, 2 * SECOND),
)
PINGS = {"interval": "10s", "timeout": "2s"}
COMMON = {"idle_timeout": "30s", "max_connection_duration": "60s", "max_requests_per_connection": 1}


@pytest.mark.parametrize(
    ("protocol", "pool", "expected"),
    [
        (UpstreamProtocol.HTTP1, ConnectionPool(), None),  # what Envoy does anyway
        (
            UpstreamProtocol.HTTP1,
            LIMITED,
            {"common_http_protocol_options": COMMON, "explicit_http_config": {"http_protocol_options": {}}},
        ),
        (UpstreamProtocol.HTTP2, ConnectionPool(), {"explicit_http_config": {"http2_protocol_options": {}}}),
        (
            UpstreamProtocol.HTTP2,
            LIMITED,
            {
                "common_http_protocol_options": COMMON,
                "explicit_http_config": {
                    "http2_protocol_options": {"max_concurrent_streams": 5, "connection_keepalive": PINGS}
                },
            },
        ),
        (
            UpstreamProtocol.DOWNSTREAM,
            ConnectionPool(max_concurrent_streams=5),
            {
                "use_downstream_protocol_config": {
                    "http_protocol_options": {},
                    "http2_protocol_options": {"max_concurrent_streams": 5},
                }
            },
        ),
    ],
)
def test_http(protocol: UpstreamProtocol, pool: ConnectionPool, expected: dict[str, Any] | None) -> None:
    found = cluster(protocol=protocol, connection_pool=pool)
    kind = "upstreams.http.v3.HttpProtocolOptions"
    if expected is None:
        assert "typed_extension_protocol_options" not in found
    else:
        assert found["typed_extension_protocol_options"] == {
            f"envoy.extensions.{kind}": {"@type": TYPE + kind, **expected}
        }


def test_tcp_has_no_options_but_an_idle_timeout() -> None:
    assert cluster(protocol=UpstreamProtocol.TCP) == ASSIGNED
    found = cluster(protocol=UpstreamProtocol.TCP, connection_pool=LIMITED)
    assert found["typed_extension_protocol_options"] == {
        "envoy.extensions.upstreams.tcp.v3.TcpProtocolOptions": {
            "@type": TYPE + "upstreams.tcp.v3.TcpProtocolOptions",
            "idle_timeout": "30s",
        }
    }


# --- Outlier detection ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("detection", "expected"),
    [
        (OutlierDetection(), {}),
        (OutlierDetection(consecutive_5xx=3), {"consecutive_5xx": 3, "enforcing_consecutive_5xx": 100}),
        (OutlierDetection(consecutive_5xx=0), {"enforcing_consecutive_5xx": 0}),
        (
            OutlierDetection(consecutive_gateway_failures=4),
            {"consecutive_gateway_failure": 4, "enforcing_consecutive_gateway_failure": 100},
        ),
        (OutlierDetection(consecutive_gateway_failures=0), {"enforcing_consecutive_gateway_failure": 0}),
        (
            OutlierDetection(split_local_origin=True, consecutive_local_origin_failures=6),
            {
                "split_external_local_origin_errors": True,
                "enforcing_local_origin_success_rate": 0,
                "consecutive_local_origin_failure": 6,
                "enforcing_consecutive_local_origin_failure": 100,
            },
        ),
        (
            OutlierDetection(split_local_origin=True),
            {"split_external_local_origin_errors": True, "enforcing_local_origin_success_rate": 0},
        ),
        # Envoy does not count them apart then.
        (OutlierDetection(consecutive_local_origin_failures=6), {}),
        (
            OutlierDetection(
                interval=5 * SECOND, base_ejection_time=15 * SECOND, max_ejection_percent=100, always_eject_one=True
            ),
            {
                "interval": "5s",
                "base_ejection_time": "15s",
                "max_ejection_percent": 100,
                "always_eject_one_host": True,
            },
        ),
    ],
)
def test_outlier_detection(detection: OutlierDetection, expected: dict[str, Any]) -> None:
    """Panic, in which ejected endpoints are used all the same, is off unless a user wants it."""
    assert cluster(outlier_detection=detection) == ASSIGNED | {
        "outlier_detection": {"enforcing_success_rate": 0, **expected},
        "common_lb_config": {"healthy_panic_threshold": {}, "update_merge_window": "0s"},
    }


@pytest.mark.parametrize("codes", [(429,), (429, 503)])
@pytest.mark.istio_fields("DestinationRule.trafficPolicy.outlierDetection.outlierDetectionHttpErrorCodes[]")
def test_codes_that_count_as_errors(codes: tuple[int, ...]) -> None:
    found = cluster(outlier_detection=OutlierDetection(error_codes=codes))
    (options,) = found["typed_extension_protocol_options"].values()
    rules = options["outlier_detection"]["error_matcher"]["or_match"]["rules"]
    headers = [rule["http_response_headers_match"]["headers"] for rule in rules]
    assert {str(code) for code in codes} == {header["string_match"]["exact"] for (header,) in headers}
    assert {header["name"] for (header,) in headers} == {":status"}
    assert len(rules) >= 2, "Envoy refuses a disjunction of one"


def test_panic() -> None:
    found = cluster(outlier_detection=OutlierDetection(minimum_health_percent=40), locality_weighted=True)
    assert found["common_lb_config"] == {
        "healthy_panic_threshold": {"value": 40.0},
        "update_merge_window": "0s",
        "locality_weighted_lb_config": {},
    }


# --- Transport sockets ------------------------------------------------------------------------------------------------

TLS_1_3 = {"tls_maximum_protocol_version": "TLSv1_3"}


def tls_socket(common: dict[str, Any], **fields: Any) -> dict[str, Any]:
    return {
        "name": "envoy.transport_sockets.tls",
        "typed_config": {
            "@type": TYPE + "transport_sockets.tls.v3.UpstreamTlsContext",
            "common_tls_context": common,
            **fields,
        },
    }


@pytest.mark.parametrize(
    ("origination", "expected", "names"),
    [
        (TlsOrigination(), tls_socket({"tls_params": TLS_1_3}), {"auto_sni": True}),
        (TlsOrigination("a.example"), tls_socket({"tls_params": TLS_1_3}, sni="a.example"), None),
        (
            TlsOrigination(match_request_host=True, alpn=("h2",)),
            tls_socket({"tls_params": TLS_1_3, "alpn_protocols": ["h2"]}),
            {"auto_sni": True, "auto_san_validation": True},
        ),
        (
            TlsOrigination("a.example", match_request_host=True),
            tls_socket({"tls_params": TLS_1_3}, sni="a.example"),
            {"auto_san_validation": True},
        ),
        (
            TlsOrigination(
                "a.example",
                "kubernetes://c",
                Validation("kubernetes://c-cacert", subject_alternative_names=("a.example",)),
                parameters=TlsParameters(TlsVersion.TLS_1_2, TlsVersion.TLS_1_2),
            ),
            tls_socket(
                {
                    "tls_params": {
                        "tls_minimum_protocol_version": "TLSv1_2",
                        "tls_maximum_protocol_version": "TLSv1_2",
                    },
                    "tls_certificate_sds_secret_configs": [{"name": "kubernetes://c", "sds_config": ADS}],
                    "combined_validation_context": {
                        "default_validation_context": {
                            "match_typed_subject_alt_names": [{"san_type": "DNS", "matcher": {"exact": "a.example"}}]
                        },
                        "validation_context_sds_secret_config": {"name": "kubernetes://c-cacert", "sds_config": ADS},
                    },
                },
                sni="a.example",
            ),
            None,
        ),
        (
            TlsOrigination("a.example", validation=Validation(system_authorities=True)),
            tls_socket(
                {
                    "tls_params": TLS_1_3,
                    "validation_context": {"trusted_ca": {"filename": "/etc/ssl/certs/ca-certificates.crt"}},
                },
                sni="a.example",
            ),
            None,
        ),
    ],
)
def test_tls(origination: TlsOrigination, expected: dict[str, Any], names: dict[str, bool] | None) -> None:
    found = cluster(tls=origination)
    assert found["transport_socket"] == expected
    options = found.get("typed_extension_protocol_options", {})
    if names is None:
        assert options == {}
    else:
        (http,) = options.values()
        assert http["upstream_http_protocol_options"] == names


@pytest.mark.parametrize(("version", "shown"), [(1, {}), (2, {"version": "V2"})])
@pytest.mark.parametrize(
    ("origination", "inner"),
    [
        (
            None,
            {
                "name": "envoy.transport_sockets.raw_buffer",
                "typed_config": {"@type": TYPE + "transport_sockets.raw_buffer.v3.RawBuffer"},
            },
        ),
        (TlsOrigination("a.example"), tls_socket({"tls_params": TLS_1_3}, sni="a.example")),
    ],
)
def test_proxy_protocol_is_spoken_before_all_else(
    version: int, shown: dict[str, str], origination: TlsOrigination | None, inner: dict[str, Any]
) -> None:
    assert cluster(tls=origination, proxy_protocol_version=version)["transport_socket"] == {
        "name": "envoy.transport_sockets.upstream_proxy_protocol",
        "typed_config": {
            "@type": TYPE + "transport_sockets.proxy_protocol.v3.ProxyProtocolUpstreamTransport",
            "config": shown,
            "transport_socket": inner,
        },
    }


# --- Endpoint assignments ---------------------------------------------------------------------------------------------


def test_endpoint_assignments() -> None:
    localities = (
        LocalityEndpoints(
            "r",
            "z",
            "s",
            (Endpoint("10.0.0.1", 8080), Endpoint("fd00::1", 8080, 3), Endpoint("10.0.0.2", 8080, healthy=False)),
            weight=7,
        ),
        LocalityEndpoints(region="r", endpoints=(Endpoint("/run/reviews.sock", 0),), priority=1),
    )
    resource = clusters.endpoint_assignment(EndpointAssignment(REVIEWS, localities, SERVICE))
    assert (resource.type_url, resource.name, resource.origin) == (types.CLUSTER_LOAD_ASSIGNMENT, NAME, SERVICE)

    def at(address: str) -> dict[str, Any]:
        return {"address": {"socket_address": {"address": address, "port_value": 8080}}}

    assert as_dict(resource.type_url, resource.body) == {
        "cluster_name": NAME,
        "endpoints": [
            {
                "locality": {"region": "r", "zone": "z", "sub_zone": "s"},
                "lb_endpoints": [
                    {"endpoint": at("10.0.0.1")},
                    {"endpoint": at("fd00::1"), "load_balancing_weight": 3},
                    {"endpoint": at("10.0.0.2"), "health_status": "UNHEALTHY"},
                ],
                "load_balancing_weight": 7,
            },
            {
                "locality": {"region": "r"},
                "lb_endpoints": [{"endpoint": {"address": {"pipe": {"path": "/run/reviews.sock"}}}}],
                "priority": 1,
            },
        ],
    }


def test_an_assignment_of_no_endpoints_has_a_name() -> None:
    resource = clusters.endpoint_assignment(EndpointAssignment(REVIEWS, (), ()))
    assert as_dict(resource.type_url, resource.body) == {"cluster_name": NAME}
