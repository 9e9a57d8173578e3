"""Listeners, their filter chains and TLS as messages."""

from typing import Any

import pytest
from fairlead._pb.envoy.config.core.v3.extension_pb2 import TypedExtensionConfig
from fairlead._pb.envoy.config.listener.v3 import listener_components_pb2, listener_pb2
from fairlead._pb.envoy.extensions.filters.http.cors.v3.cors_pb2 import Cors
from fairlead._pb.envoy.extensions.filters.http.local_ratelimit.v3.local_rate_limit_pb2 import LocalRateLimit
from fairlead.intent import (
    AuthoritiesCredential,
    Backend,
    ClientCertificates,
    Credential,
    FilterChain,
    HttpConnections,
    HttpOptions,
    KeyPairCredential,
    Listener,
    TcpConnections,
    TlsParameters,
    TlsTermination,
    TlsVersion,
    Tunnel,
    Validation,
    WeightedBackend,
)
from fairlead.problems import ObjectKey
from fairlead.render import listeners, tls
from fairlead.snapshot import types
from fairlead.snapshot.absent import idle_extension_config
from google.protobuf.message import Message
from support.second_decoder import as_dict

A, B = Backend("a.shop.svc.cluster.local", 80), Backend("b.shop.svc.cluster.local", 8080, "v2")
TO_A, TO_B = "outbound|80||a.shop.svc.cluster.local", "outbound|8080|v2|b.shop.svc.cluster.local"
GATEWAY = (ObjectKey("networking.istio.io", "Gateway", "shop", "shop"),)
TYPE = "type.googleapis.com/envoy.extensions."
ADS = {"ads": {}, "resource_api_version": "V3"}
HTTP = HttpConnections("http.8080", "outbound_0.0.0.0_8080")
PLAIN = FilterChain("http", (), None, HTTP, GATEWAY)
TCP = TcpConnections("tcp", (WeightedBackend(A),))


def chain(intent: FilterChain) -> Any:
    return as_dict("/envoy.config.listener.v3.FilterChain", listeners.filter_chain(intent).body)


def listener(*chains: FilterChain, **fields: Any) -> Any:
    intent = Listener(
        **{"name": "0.0.0.0_8080", "address": "0.0.0.0", "port": 8080} | fields, filter_chains=chains, origin=GATEWAY
    )
    resource = listeners.listener(intent)
    assert (resource.type_url, resource.name, resource.origin) == (types.LISTENER, intent.name, GATEWAY)
    return as_dict(resource.type_url, resource.body)


# --- Listeners --------------------------------------------------------------------------------------------------------


def test_a_listener_is_its_filter_chains_joined() -> None:
    other = FilterChain("tcp", ("a.example",), None, TCP, GATEWAY, passthrough=True)
    found = listener(PLAIN, other)
    assert found["filter_chains"] == [chain(PLAIN), chain(other)]
    assert {key: value for key, value in found.items() if key != "filter_chains"} == {
        "name": "0.0.0.0_8080",
        "address": {"socket_address": {"address": "0.0.0.0", "port_value": 8080}},
        "listener_filters": [
            {
                "name": "envoy.filters.listener.tls_inspector",
                "typed_config": {"@type": TYPE + "filters.listener.tls_inspector.v3.TlsInspector"},
            }
        ],
        "max_connections_to_accept_per_socket_event": 1,
    }


@pytest.mark.parametrize(
    ("chains", "proxy_protocol", "expected"),
    [
        ((PLAIN,), False, []),
        ((PLAIN,), True, ["proxy_protocol"]),
        (
            (FilterChain("t", ("a.example",), TlsTermination(("c",)), HTTP, ()),),
            True,
            ["proxy_protocol", "tls_inspector"],
        ),
        ((FilterChain("t", (), TlsTermination(("c",)), HTTP, ()),), False, ["tls_inspector"]),
        ((PLAIN, FilterChain("t", (), None, TCP, (), passthrough=True)), False, ["tls_inspector"]),
    ],
)
def test_listener_filters(chains: tuple[FilterChain, ...], proxy_protocol: bool, expected: list[str]) -> None:
    filters = listener(*chains, proxy_protocol=proxy_protocol).get("listener_filters", [])
    assert [entry["name"].removeprefix("envoy.filters.listener.") for entry in filters] == expected


def test_a_listener_may_be_a_unix_socket() -> None:
    assert listener(PLAIN, address="/run/gateway.sock", port=0)["address"] == {"pipe": {"path": "/run/gateway.sock"}}


@pytest.mark.parametrize("address", ["127.0.0.7", "::1"])
def test_a_listener_is_bound_elsewhere(address: str) -> None:
    """All but the address stays: the name, the port, the filter chains, the origin."""
    wildcard = listeners.listener(Listener("0.0.0.0_8080", "0.0.0.0", 8080, (PLAIN,), GATEWAY))
    bound = listeners.bind(wildcard, address)
    expected = listener_pb2.Listener.FromString(wildcard.body)
    expected.address.socket_address.address = address
    assert listener_pb2.Listener.FromString(bound.body) == expected
    assert (bound.type_url, bound.name, bound.origin) == (types.LISTENER, "0.0.0.0_8080", GATEWAY)
    assert bound.version != wildcard.version


# --- Filter chains ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("intent", "expected"),
    [
        (PLAIN, None),
        (
            FilterChain("t", ("a.example", "*.b.example"), TlsTermination(("c",)), HTTP, ()),
            {"server_names": ["a.example", "*.b.example"], "transport_protocol": "tls"},
        ),
        # Without server names too: a chain for plain text may stand beside it.
        (FilterChain("t", (), TlsTermination(("c",)), HTTP, ()), {"transport_protocol": "tls"}),
        (
            FilterChain("t", ("a.example",), None, TCP, (), passthrough=True),
            {"server_names": ["a.example"], "transport_protocol": "tls"},
        ),
        (FilterChain("t", ("a.example",), None, TCP, ()), {"server_names": ["a.example"]}),
    ],
)
def test_filter_chain_matches(intent: FilterChain, expected: dict[str, Any] | None) -> None:
    assert chain(intent).get("filter_chain_match") == expected


def test_a_chain_names_its_virtual_service_unless_it_comes_from_a_gateway() -> None:
    route = ObjectKey("networking.istio.io", "VirtualService", "shop", "shop")
    path = "/apis/networking.istio.io/v1/namespaces/shop/virtual-service/shop"
    found = chain(FilterChain("c", (), None, HTTP, (route,)))
    assert found["metadata"] == {"filter_metadata": {"istio": {"config": path}}}
    for origin in ((), GATEWAY, (*GATEWAY, route)):
        assert "metadata" not in chain(FilterChain("c", (), None, HTTP, origin))


def filter_of(name: str, **configuration: Any) -> dict[str, Any]:
    kind = {
        "grpc_web": "grpc_web.v3.GrpcWeb",
        "grpc_stats": "grpc_stats.v3.FilterConfig",
        "fault": "fault.v3.HTTPFault",
        "cors": "cors.v3.Cors",
        "router": "router.v3.Router",
    }[name]
    return {
        "name": f"envoy.filters.http.{name}",
        "typed_config": {"@type": f"{TYPE}filters.http.{kind}", **configuration},
    }


def test_http_connections() -> None:
    assert chain(PLAIN) == {
        "name": "http",
        "filters": [
            {
                "name": "envoy.filters.network.http_connection_manager",
                "typed_config": {
                    "@type": TYPE + "filters.network.http_connection_manager.v3.HttpConnectionManager",
                    "stat_prefix": "outbound_0.0.0.0_8080",
                    "rds": {
                        "config_source": ADS | {"initial_fetch_timeout": "15s"},
                        "route_config_name": "http.8080",
                    },
                    "http_filters": [
                        filter_of("grpc_stats", emit_filter_state=True, stats_for_all_methods=False),
                        filter_of("fault"),
                        filter_of("cors"),
                        filter_of("router"),
                    ],
                    "server_name": "istio-envoy",
                    "use_remote_address": True,
                    "forward_client_cert_details": "SANITIZE_SET",
                    "set_current_client_cert_details": {"subject": True, "cert": True, "dns": True, "uri": True},
                    "normalize_path": True,
                    "stream_idle_timeout": "0s",
                    "upgrade_configs": [{"upgrade_type": "websocket"}],
                    "proxy_100_continue": True,
                },
            }
        ],
    }


def test_options_of_http_connections() -> None:
    options = HttpConnections("t", "s", grpc_web=True, options=HttpOptions(server_name="edge", trusted_hops=2))
    manager = chain(FilterChain("c", (), None, options, ()))["filters"][0]["typed_config"]
    assert (manager["server_name"], manager["xff_num_trusted_hops"]) == ("edge", 2)
    assert [entry["name"] for entry in manager["http_filters"]] == [
        "envoy.filters.http.grpc_web",
        "envoy.filters.http.grpc_stats",
        "envoy.filters.http.fault",
        "envoy.filters.http.cors",
        "envoy.filters.http.router",
    ]


@pytest.mark.parametrize(
    ("connections", "expected"),
    [
        (TCP, {"stat_prefix": "tcp", "cluster": TO_A}),
        (
            TcpConnections("tcp", (WeightedBackend(A, 3), WeightedBackend(B)), 90_000_000_000, hash_source_ip=True),
            {
                "stat_prefix": "tcp",
                "weighted_clusters": {"clusters": [{"name": TO_A, "weight": 3}, {"name": TO_B, "weight": 1}]},
                "idle_timeout": "90s",
                "hash_policy": [{"source_ip": {}}],
            },
        ),
        (
            TcpConnections("tcp", (WeightedBackend(A),), max_duration=60_000_000_000, tunnel=Tunnel("b:443", True)),
            {
                "stat_prefix": "tcp",
                "cluster": TO_A,
                "max_downstream_connection_duration": "60s",
                "tunneling_config": {"hostname": "b:443", "use_post": True},
            },
        ),
        (TcpConnections("tcp", ()), {"stat_prefix": "tcp", "cluster": "UnknownService"}),
    ],
)
def test_tcp_connections(connections: TcpConnections, expected: dict[str, Any]) -> None:
    assert chain(FilterChain("c", (), None, connections, ())) == {
        "name": "c",
        "filters": [
            {
                "name": "envoy.filters.network.tcp_proxy",
                "typed_config": {"@type": TYPE + "filters.network.tcp_proxy.v3.TcpProxy", **expected},
            }
        ],
    }


# --- TLS --------------------------------------------------------------------------------------------------------------


def sds(name: str) -> dict[str, Any]:
    return {"name": name, "sds_config": ADS}


ASKED, REQUIRED = ClientCertificates.OPTIONAL, ClientCertificates.REQUIRED


@pytest.mark.parametrize(
    ("intent", "required", "common"),
    [
        (
            TlsTermination(("kubernetes://rsa", "kubernetes://ecdsa"), alpn=("h2", "http/1.1")),
            False,
            {
                "tls_certificate_sds_secret_configs": [sds("kubernetes://rsa"), sds("kubernetes://ecdsa")],
                "alpn_protocols": ["h2", "http/1.1"],
            },
        ),
        (
            TlsTermination(("c",), REQUIRED, Validation("c-cacert")),
            True,
            {
                "tls_certificate_sds_secret_configs": [sds("c")],
                "combined_validation_context": {
                    "default_validation_context": {},
                    "validation_context_sds_secret_config": sds("c-cacert"),
                },
            },
        ),
        (
            TlsTermination(("c",), ASKED, Validation("c-cacert", accept_untrusted=True)),
            False,
            {
                "tls_certificate_sds_secret_configs": [sds("c")],
                "combined_validation_context": {
                    "default_validation_context": {"trust_chain_verification": "ACCEPT_UNTRUSTED"},
                    "validation_context_sds_secret_config": sds("c-cacert"),
                },
            },
        ),
        (
            TlsTermination(
                ("c",),
                REQUIRED,
                Validation(
                    system_authorities=True,
                    subject_alternative_names=("a.example", "10.0.0.1", "fd00::1", "spiffe://td/ns/a", "me@a.example"),
                    spki_hashes=("c3BraQ==",),
                    certificate_hashes=("abcd",),
                ),
            ),
            True,
            {
                "tls_certificate_sds_secret_configs": [sds("c")],
                "validation_context": {
                    "trusted_ca": {"filename": "/etc/ssl/certs/ca-certificates.crt"},
                    "match_typed_subject_alt_names": [
                        {"san_type": "DNS", "matcher": {"exact": "a.example"}},
                        {"san_type": "IP_ADDRESS", "matcher": {"exact": "10.0.0.1"}},
                        {"san_type": "IP_ADDRESS", "matcher": {"exact": "fd00::1"}},
                        {"san_type": "URI", "matcher": {"exact": "spiffe://td/ns/a"}},
                        {"san_type": "EMAIL", "matcher": {"exact": "me@a.example"}},
                    ],
                    "verify_certificate_spki": ["c3BraQ=="],
                    "verify_certificate_hash": ["abcd"],
                },
            },
        ),
        # What is not asked for is not validated either.
        (
            TlsTermination(("c",), ClientCertificates.NOT_REQUESTED, Validation("c-cacert")),
            False,
            {"tls_certificate_sds_secret_configs": [sds("c")]},
        ),
        (
            TlsTermination(
                ("c",), parameters=TlsParameters(TlsVersion.TLS_1_2, TlsVersion.TLS_1_3, ("A", "B"), ("X25519",))
            ),
            False,
            {
                "tls_certificate_sds_secret_configs": [sds("c")],
                "tls_params": {
                    "tls_minimum_protocol_version": "TLSv1_2",
                    "tls_maximum_protocol_version": "TLSv1_3",
                    "cipher_suites": ["A", "B"],
                    "ecdh_curves": ["X25519"],
                },
            },
        ),
        (
            TlsTermination(("c",), parameters=TlsParameters(minimum=TlsVersion.TLS_1_0)),
            False,
            {
                "tls_certificate_sds_secret_configs": [sds("c")],
                "tls_params": {"tls_minimum_protocol_version": "TLSv1_0"},
            },
        ),
    ],
)
def test_termination(intent: TlsTermination, required: bool, common: dict[str, Any]) -> None:
    found = chain(FilterChain("t", (), intent, HTTP, ()))
    assert found["transport_socket"] == {
        "name": "envoy.transport_sockets.tls",
        "typed_config": {
            "@type": TYPE + "transport_sockets.tls.v3.DownstreamTlsContext",
            "common_tls_context": common,
            "require_client_certificate": required,
        },
    }
    assert found["transport_socket_connect_timeout"] == "15s"


def test_certificates_are_never_asked_for_without_a_check() -> None:
    with pytest.raises(AssertionError, match="any certificate"):
        chain(FilterChain("t", (), TlsTermination(("c",), REQUIRED), HTTP, ()))


def test_a_chain_without_tls_has_no_transport_socket() -> None:
    parsed = listener_components_pb2.FilterChain.FromString(listeners.filter_chain(PLAIN).body)
    assert not parsed.HasField("transport_socket")
    assert not parsed.HasField("transport_socket_connect_timeout")


@pytest.mark.parametrize(
    ("credential", "expected"),
    [
        (
            KeyPairCredential("kubernetes://c", b"chain", b"private", origin=GATEWAY),
            {
                "tls_certificate": {
                    "certificate_chain": {"inline_bytes": "Y2hhaW4="},
                    "private_key": {"inline_bytes": "cHJpdmF0ZQ=="},
                }
            },
        ),
        (
            KeyPairCredential("kubernetes://c", b"chain", b"private", b"staple", GATEWAY),
            {
                "tls_certificate": {
                    "certificate_chain": {"inline_bytes": "Y2hhaW4="},
                    "private_key": {"inline_bytes": "cHJpdmF0ZQ=="},
                    "ocsp_staple": {"inline_bytes": "c3RhcGxl"},
                }
            },
        ),
        (
            AuthoritiesCredential("kubernetes://c", b"chain", origin=GATEWAY),
            {"validation_context": {"trusted_ca": {"inline_bytes": "Y2hhaW4="}}},
        ),
        (
            AuthoritiesCredential("kubernetes://c", b"chain", b"staple", GATEWAY),
            {
                "validation_context": {
                    "trusted_ca": {"inline_bytes": "Y2hhaW4="},
                    "crl": {"inline_bytes": "c3RhcGxl"},
                }
            },
        ),
    ],
)
def test_secrets(credential: Credential, expected: dict[str, Any]) -> None:
    resource = tls.secret(credential)
    assert (resource.type_url, resource.name, resource.origin) == (types.SECRET, "kubernetes://c", GATEWAY)
    assert as_dict(resource.type_url, resource.body) == {"name": "kubernetes://c", **expected}
    assert "private" not in repr(resource)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("fairlead.local_rate_limit", LocalRateLimit(stat_prefix="http_local_rate_limiter")),
        ("fairlead.local_rate_limit.inbound.d9398cfb", LocalRateLimit(stat_prefix="http_local_rate_limiter")),
        ("fairlead.breaker", Cors()),
    ],
)
def test_our_filters_do_nothing_when_they_are_gone(name: str, expected: Message) -> None:
    """Proxies ask for them as long as connections are drained, and refuse what says that there is none."""
    found = TypedExtensionConfig.FromString(idle_extension_config(name).body)
    made = type(expected)()
    assert found.name == name
    assert found.typed_config.Unpack(made)
    assert made == expected
