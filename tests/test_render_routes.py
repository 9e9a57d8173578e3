"""Routes, virtual hosts and route configurations as messages."""

from typing import Any

import pytest
from fairlead._pb.envoy.config.route.v3 import route_components_pb2, route_pb2
from fairlead._pb.google.protobuf.any_pb2 import Any as AnyMessage
from fairlead.intent import (
    Backend,
    Cors,
    Destination,
    DirectResponse,
    Fault,
    Forward,
    HashKey,
    HashKeyKind,
    HeaderOperations,
    Match,
    Mirror,
    PathMatch,
    PathMatchKind,
    PathRewrite,
    PathRewriteKind,
    Redirect,
    Retry,
    Route,
    RouteTable,
    StringMatch,
    StringMatchKind,
    ValueMatch,
    VirtualHost,
)
from fairlead.problems import ObjectKey
from fairlead.render import matches, routes
from fairlead.render.encoding import encode
from fairlead.snapshot import types
from fairlead.snapshot.resource import Resource
from google.protobuf.message import Message
from support.second_decoder import as_dict

SECOND = 1_000_000_000
A, B = Backend("a.shop.svc.cluster.local", 80), Backend("b.shop.svc.cluster.local", 8080, "v2")
TO_A, TO_B = "outbound|80||a.shop.svc.cluster.local", "outbound|8080|v2|b.shop.svc.cluster.local"
FORWARD = Forward((Destination(A),))
SHOP = (ObjectKey("networking.istio.io", "VirtualService", "shop", "shop"),)
OF_SHOP = {
    "filter_metadata": {"istio": {"config": "/apis/networking.istio.io/v1/namespaces/shop/virtual-service/shop"}}
}


def shown(message: Message) -> Any:
    return as_dict(f"/{message.DESCRIPTOR.full_name}", encode(message))


def matched(match: Match) -> Any:
    message = route_components_pb2.RouteMatch()
    matches.write_match(message, match)
    return shown(message)


def routed(entry: Route) -> Any:
    message = route_components_pb2.Route()
    routes.write_route(message, entry)
    return shown(message)


def content(resource: Resource) -> Any:
    return as_dict(resource.type_url, resource.body)


# --- Matches ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        (None, {"prefix": "/"}),
        (PathMatch(PathMatchKind.EXACT, "/a"), {"path": "/a"}),
        (PathMatch(PathMatchKind.PREFIX, "/a/"), {"prefix": "/a/"}),
        (PathMatch(PathMatchKind.PREFIX, ""), {"prefix": ""}),
        (PathMatch(PathMatchKind.SEGMENT_PREFIX, "/a/b"), {"path_separated_prefix": "/a/b"}),
        # Envoy has no path_separated_prefix of a single slash.
        (PathMatch(PathMatchKind.SEGMENT_PREFIX, "/"), {"prefix": "/"}),
        (PathMatch(PathMatchKind.SEGMENT_PREFIX, ""), {"prefix": "/"}),
        (PathMatch(PathMatchKind.REGEX, "/a.*"), {"safe_regex": {"regex": "/a.*"}}),
        (PathMatch(PathMatchKind.REGEX, "/a.*", ignore_case=True), {"safe_regex": {"regex": "(?i)/a.*"}}),
        (PathMatch(PathMatchKind.EXACT, "/a", ignore_case=True), {"path": "/a", "case_sensitive": False}),
    ],
)
def test_paths(path: PathMatch | None, expected: dict[str, Any]) -> None:
    assert matched(Match(path)) == expected


@pytest.mark.parametrize(
    ("match", "expected"),
    [
        (StringMatch(StringMatchKind.EXACT, ""), {"exact": ""}),
        (StringMatch(StringMatchKind.EXACT, "a", ignore_case=True), {"exact": "a", "ignore_case": True}),
        (StringMatch(StringMatchKind.PREFIX, "a"), {"prefix": "a"}),
        (StringMatch(StringMatchKind.SUFFIX, "a"), {"suffix": "a"}),
        (StringMatch(StringMatchKind.CONTAINS, "a", ignore_case=True), {"contains": "a", "ignore_case": True}),
        (StringMatch(StringMatchKind.REGEX, "a+"), {"safe_regex": {"regex": "a+"}}),
        (StringMatch(StringMatchKind.REGEX, "a+", ignore_case=True), {"safe_regex": {"regex": "(?i)a+"}}),
        # Envoy refuses these texts when they are empty.
        (StringMatch(StringMatchKind.PREFIX, ""), {"safe_regex": {"regex": ".*"}}),
        (StringMatch(StringMatchKind.SUFFIX, "", ignore_case=True), {"safe_regex": {"regex": ".*"}}),
        (StringMatch(StringMatchKind.CONTAINS, ""), {"safe_regex": {"regex": ".*"}}),
        (StringMatch(StringMatchKind.REGEX, ""), {"exact": ""}),
    ],
)
def test_texts(match: StringMatch, expected: dict[str, Any]) -> None:
    assert shown(matches.string_matcher(match)) == expected


EXACT_1 = StringMatch(StringMatchKind.EXACT, "1")


@pytest.mark.parametrize(
    ("match", "expected"),
    [
        (ValueMatch("x-a", None), {"name": "x-a", "present_match": True}),
        (ValueMatch("x-a", None, invert=True), {"name": "x-a", "present_match": True, "invert_match": True}),
        (ValueMatch(":method", EXACT_1), {"name": ":method", "string_match": {"exact": "1"}}),
        (
            ValueMatch("x-a", EXACT_1, invert=True),
            {
                "name": "x-a",
                "string_match": {"exact": "1"},
                "invert_match": True,
                "treat_missing_header_as_empty": True,
            },
        ),
    ],
)
def test_headers(match: ValueMatch, expected: dict[str, Any]) -> None:
    assert matched(Match(headers=(match,))) == {"prefix": "/", "headers": [expected]}


def test_query_parameters() -> None:
    match = Match(query_parameters=(ValueMatch("q", None), ValueMatch("p", EXACT_1)))
    assert matched(match) == {
        "prefix": "/",
        "query_parameters": [{"name": "q", "present_match": True}, {"name": "p", "string_match": {"exact": "1"}}],
    }


def test_an_inverted_query_parameter_is_never_ignored() -> None:
    with pytest.raises(AssertionError, match="cannot invert"):
        matches.query_parameter_matcher(ValueMatch("q", None, invert=True))


# --- Forwarding -------------------------------------------------------------------------------------------------------

PLAIN = {"cluster": TO_A, "timeout": "0s"}


def forwarded(action: Forward, path: PathMatch | None = None) -> Any:
    return routed(Route("", Match(path), action, SHOP))["route"]


@pytest.mark.parametrize(
    ("action", "difference"),
    [
        (FORWARD, {}),
        (Forward((Destination(A, weight=7),)), {}),
        (Forward((Destination(A),), timeout=1_500_000_000), {"timeout": "1.500s"}),
        (Forward((Destination(A),), timeout=0), {}),
        (Forward((Destination(A),), host="x.example"), {"host_rewrite_literal": "x.example"}),
        (Forward((Destination(A, host="y.example"),)), {"host_rewrite_literal": "y.example"}),
        (Forward((Destination(A, host="y.example"),), host="x.example"), {"host_rewrite_literal": "x.example"}),
        (Forward((Destination(None),)), {"cluster": "UnknownService"}),
        (
            Forward((Destination(None),), unresolved_status=500),
            {"cluster": "UnknownService", "cluster_not_found_response_code": "INTERNAL_SERVER_ERROR"},
        ),
        (
            Forward((Destination(None),), unresolved_status=404),
            {"cluster": "UnknownService", "cluster_not_found_response_code": "NOT_FOUND"},
        ),
    ],
)
def test_one_destination(action: Forward, difference: dict[str, Any]) -> None:
    assert forwarded(action) == PLAIN | difference


def test_several_destinations() -> None:
    operations = HeaderOperations(set=(("x-a", "1"),), add=(("x-b", "2"),), remove=("x-c",))
    action = Forward(
        (
            Destination(A, 70, request_headers=operations),
            Destination(B, 20, response_headers=operations),
            Destination(None, 10),
        ),
        host="x.example",
        unresolved_status=500,
    )
    added = [
        {"header": {"key": "x-a", "value": "1"}, "append_action": "OVERWRITE_IF_EXISTS_OR_ADD"},
        {"header": {"key": "x-b", "value": "2"}},  # APPEND_IF_EXISTS_OR_ADD is the default
    ]
    assert forwarded(action) == {
        "weighted_clusters": {
            "clusters": [
                {
                    "name": TO_A,
                    "weight": 70,
                    "request_headers_to_add": added,
                    "request_headers_to_remove": ["x-c"],
                },
                {
                    "name": TO_B,
                    "weight": 20,
                    "response_headers_to_add": added,
                    "response_headers_to_remove": ["x-c"],
                },
                {"name": "UnknownService", "weight": 10},
            ]
        },
        "timeout": "0s",
        "host_rewrite_literal": "x.example",
        "cluster_not_found_response_code": "INTERNAL_SERVER_ERROR",
    }


PREVIOUS_HOSTS = {
    "name": "envoy.retry_host_predicates.previous_hosts",
    "typed_config": {
        "@type": "type.googleapis.com/envoy.extensions.retry.host.previous_hosts.v3.PreviousHostsPredicate"
    },
}


@pytest.mark.parametrize(
    ("retry", "expected"),
    [
        (
            Retry(2, ("connect-failure", "refused-stream")),
            {
                "retry_on": "connect-failure,refused-stream",
                "num_retries": 2,
                "retry_host_predicate": [PREVIOUS_HOSTS],
                "host_selection_retry_max_attempts": "5",
            },
        ),
        (
            Retry(1, ("5xx",), (503, 504), 2 * SECOND, 25_000_000, avoid_previous_hosts=False),
            {
                "retry_on": "5xx,retriable-status-codes",
                "num_retries": 1,
                "retriable_status_codes": [503, 504],
                "per_try_timeout": "2s",
                "retry_back_off": {"base_interval": "0.025s"},
            },
        ),
        (
            Retry(1, ("retriable-status-codes",), (503,), avoid_previous_hosts=False, any_locality=True),
            {
                "retry_on": "retriable-status-codes",
                "num_retries": 1,
                "retriable_status_codes": [503],
                "retry_priority": {
                    "name": "envoy.retry_priorities.previous_priorities",
                    "typed_config": {
                        "@type": "type.googleapis.com/"
                        "envoy.extensions.retry.priority.previous_priorities.v3.PreviousPrioritiesConfig",
                        "update_frequency": 2,
                    },
                },
            },
        ),
    ],
)
def test_retries(retry: Retry, expected: dict[str, Any]) -> None:
    assert forwarded(Forward((Destination(A),), retry=retry)) == PLAIN | {"retry_policy": expected}


def test_mirrors() -> None:
    """A share of nothing is no mirror."""
    mirrored = forwarded(Forward((Destination(A),), mirrors=(Mirror(B), Mirror(A, 0), Mirror(A, 125_000))))

    def expected(cluster: str, numerator: int) -> dict[str, Any]:
        return {
            "cluster": cluster,
            "runtime_fraction": {"default_value": {"numerator": numerator, "denominator": "MILLION"}},
            "trace_sampled": False,
            "disable_shadow_host_suffix_append": True,
        }

    assert mirrored == PLAIN | {"request_mirror_policies": [expected(TO_B, 1_000_000), expected(TO_A, 125_000)]}


def test_hash_keys() -> None:
    keys = (
        HashKey(HashKeyKind.HEADER, "x-user"),
        HashKey(HashKeyKind.COOKIE, "mine"),
        HashKey(HashKeyKind.COOKIE, "session", 0, "/"),
        HashKey(HashKeyKind.COOKIE, "hour", 3600 * SECOND, "", (("SameSite", "Strict"), ("Secure", ""))),
        HashKey(HashKeyKind.QUERY_PARAMETER, "q"),
        HashKey(HashKeyKind.SOURCE_IP),
    )
    assert forwarded(Forward((Destination(A),), hash_keys=keys)) == PLAIN | {
        "hash_policy": [
            {"header": {"header_name": "x-user"}},
            {"cookie": {"name": "mine"}},
            {"cookie": {"name": "session", "ttl": "0s", "path": "/"}},
            {
                "cookie": {
                    "name": "hour",
                    "ttl": "3600s",
                    "attributes": [{"name": "SameSite", "value": "Strict"}, {"name": "Secure"}],
                }
            },
            {"query_parameter": {"name": "q"}},
            {"connection_properties": {"source_ip": True}},
        ]
    }


def test_the_whole_path_is_replaced_by_a_text_not_by_groups() -> None:
    rewrite = PathRewrite(PathRewriteKind.FULL, r"/a\1")
    assert forwarded(Forward((Destination(A),), path_rewrite=rewrite)) == PLAIN | {
        "regex_rewrite": {"pattern": {"regex": "^.*$"}, "substitution": r"/a\\1"}
    }


# --- Other actions ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("action", "expected"),
    [
        (Redirect(301), {}),
        (Redirect(302, scheme="https"), {"response_code": "FOUND", "scheme_redirect": "https"}),
        (Redirect(303, host="x.example"), {"response_code": "SEE_OTHER", "host_redirect": "x.example"}),
        (Redirect(307, port=8443), {"response_code": "TEMPORARY_REDIRECT", "port_redirect": 8443}),
        (
            Redirect(308, path=PathRewrite(PathRewriteKind.FULL, "/x")),
            {"response_code": "PERMANENT_REDIRECT", "path_redirect": "/x"},
        ),
        (Redirect(301, path=PathRewrite(PathRewriteKind.PREFIX, "/x")), {"prefix_rewrite": "/x"}),
    ],
)
def test_redirects(action: Redirect, expected: dict[str, Any]) -> None:
    assert routed(Route("", Match(), action, SHOP))["redirect"] == expected


@pytest.mark.parametrize(
    ("action", "expected"),
    [
        (DirectResponse(404), {"status": 404}),
        (DirectResponse(200, "grüße".encode()), {"status": 200, "body": {"inline_string": "grüße"}}),
        (DirectResponse(200, b"\xff"), {"status": 200, "body": {"inline_bytes": "/w=="}}),
    ],
)
def test_direct_responses(action: DirectResponse, expected: dict[str, Any]) -> None:
    assert routed(Route("", Match(), action, SHOP))["direct_response"] == expected


# --- Routes -----------------------------------------------------------------------------------------------------------


def test_headers_of_an_only_destination_follow_those_of_the_route() -> None:
    entry = Route(
        "r",
        Match(),
        Forward((Destination(A, request_headers=HeaderOperations(set=(("x-a", "2"),), remove=("x-c",))),)),
        SHOP,
        request_headers=HeaderOperations(set=(("x-a", "1"),), add=(("x-b", ""),), remove=("x-d",)),
    )
    assert routed(entry) == {
        "name": "r",
        "metadata": OF_SHOP,
        "match": {"prefix": "/"},
        "route": PLAIN,
        "request_headers_to_add": [
            {"header": {"key": "x-a", "value": "1"}, "append_action": "OVERWRITE_IF_EXISTS_OR_ADD"},
            {"header": {"key": "x-a", "value": "2"}, "append_action": "OVERWRITE_IF_EXISTS_OR_ADD"},
            {"header": {"key": "x-b"}, "keep_empty_value": True},
        ],
        "request_headers_to_remove": ["x-d", "x-c"],
    }


def test_headers_that_envoy_would_refuse_are_left_out() -> None:
    operations = HeaderOperations(
        set=(("Host", "x"), (":authority", "x")), add=(("host", "x"), (":path", "/")), remove=("HOST", ":method")
    )
    entry = Route("r", Match(), DirectResponse(200), SHOP, request_headers=operations, response_headers=operations)
    assert routed(entry) == {
        "name": "r",
        "metadata": OF_SHOP,
        "match": {"prefix": "/"},
        "direct_response": {"status": 200},
    }


DELEGATE = ObjectKey("networking.istio.io", "VirtualService", "shop", "delegate")
HTTP_ROUTE = ObjectKey("gateway.networking.k8s.io", "HTTPRoute", "a", "b")
FROM_HTTP_ROUTE = "/apis/gateway.networking.k8s.io/v1/namespaces/a/http-route/b"


@pytest.mark.parametrize(
    ("origin", "expected"),
    [
        ((), None),
        (SHOP, OF_SHOP),
        ((*SHOP, DELEGATE), OF_SHOP),
        ((ObjectKey("", "Service", "shop", "shop"),), None),
        ((HTTP_ROUTE,), {"filter_metadata": {"istio": {"config": FROM_HTTP_ROUTE}}}),
    ],
)
def test_a_route_names_the_object_that_it_was_made_of_as_istio_does(
    origin: tuple[ObjectKey, ...], expected: dict[str, Any] | None
) -> None:
    assert routed(Route("r", Match(), FORWARD, origin)).get("metadata") == expected


@pytest.mark.parametrize(
    ("fault", "expected"),
    [
        (
            Fault(delay=2 * SECOND, delay_share=500_000),
            {"delay": {"fixed_delay": "2s", "percentage": {"numerator": 500_000, "denominator": "MILLION"}}},
        ),
        (
            Fault(abort_status=503, abort_share=1_000_000),
            {"abort": {"http_status": 503, "percentage": {"numerator": 1_000_000, "denominator": "MILLION"}}},
        ),
        (
            Fault(abort_grpc_status=14, abort_share=1),
            {"abort": {"grpc_status": 14, "percentage": {"numerator": 1, "denominator": "MILLION"}}},
        ),
    ],
)
def test_faults(fault: Fault, expected: dict[str, Any]) -> None:
    configured = routed(Route("r", Match(), FORWARD, SHOP, fault=fault))["typed_per_filter_config"]
    assert configured == {
        "envoy.filters.http.fault": {
            "@type": "type.googleapis.com/envoy.extensions.filters.http.fault.v3.HTTPFault",
            **expected,
        }
    }


@pytest.mark.parametrize(
    ("cors", "expected"),
    [
        (Cors(()), {"allow_credentials": False, "forward_not_matching_preflights": True}),
        (
            Cors(
                (EXACT_1, StringMatch(StringMatchKind.REGEX, "https://.*")),
                ("GET", "PUT"),
                ("x-a", "x-b"),
                ("x-c",),
                24 * 3600 * SECOND,
                allow_credentials=True,
                forward_unmatched_preflights=False,
            ),
            {
                "allow_origin_string_match": [{"exact": "1"}, {"safe_regex": {"regex": "https://.*"}}],
                "allow_methods": "GET,PUT",
                "allow_headers": "x-a,x-b",
                "expose_headers": "x-c",
                "max_age": "86400",
                "allow_credentials": True,
                "forward_not_matching_preflights": False,
            },
        ),
    ],
)
def test_cors(cors: Cors, expected: dict[str, Any]) -> None:
    configured = routed(Route("r", Match(), FORWARD, SHOP, cors=cors))["typed_per_filter_config"]
    assert configured == {
        "envoy.filters.http.cors": {
            "@type": "type.googleapis.com/envoy.extensions.filters.http.cors.v3.CorsPolicy",
            **expected,
        }
    }


def test_maps_are_encoded_in_one_order() -> None:
    first, second = AnyMessage(type_url="a"), AnyMessage(type_url="b")
    one = route_components_pb2.Route(typed_per_filter_config={"x": first, "y": second})
    other = route_components_pb2.Route(typed_per_filter_config={"y": second, "x": first})
    assert encode(one) == encode(other)


# --- Virtual hosts and route configurations ---------------------------------------------------------------------------

HOST = VirtualHost("a.example:80", ("a.example", "*.a.example"), (Route("r", Match(), FORWARD, SHOP),), SHOP)
SECURE = VirtualHost("b.example:80", ("b.example",), (), (), require_tls=True)


def test_virtual_hosts() -> None:
    leaf = routes.virtual_host(HOST)
    assert (leaf.type_url, leaf.name, leaf.origin) == (types.VIRTUAL_HOST, "a.example:80", SHOP)
    assert content(leaf) == {
        "name": "a.example:80",
        "domains": ["a.example", "*.a.example"],
        "routes": [{"name": "r", "metadata": OF_SHOP, "match": {"prefix": "/"}, "route": PLAIN}],
        "include_request_attempt_count": True,
    }
    assert content(routes.virtual_host(SECURE)) == {
        "name": "b.example:80",
        "domains": ["b.example"],
        "require_tls": "ALL",
        "include_request_attempt_count": True,
    }


def test_a_virtual_host_of_its_own_has_its_route_tables_name_in_front() -> None:
    leaf = routes.virtual_host(HOST)
    found = routes.virtual_host_resource("http.80", leaf)
    assert (found.type_url, found.name, found.origin) == (types.VIRTUAL_HOST, "http.80/a.example:80", SHOP)
    assert content(found) == content(leaf) | {"name": "http.80/a.example:80"}
    assert found.body.startswith(leaf.body)


def test_a_route_configuration_is_its_virtual_hosts_joined() -> None:
    leaves = [routes.virtual_host(host) for host in (SECURE, HOST)]
    found = routes.route_configuration(RouteTable("http.80", SHOP), leaves)
    assert (found.type_url, found.name, found.origin) == (types.ROUTE_CONFIGURATION, "http.80", SHOP)
    assert content(found) == {
        "name": "http.80",
        "virtual_hosts": [content(leaf) for leaf in leaves],
        "ignore_port_in_host_matching": True,
        "validate_clusters": False,
        "max_direct_response_body_size_bytes": 1_048_576,
    }
    parsed = route_pb2.RouteConfiguration.FromString(found.body)
    assert [encode(host) for host in parsed.virtual_hosts] == [leaf.body for leaf in leaves]


def test_a_route_configuration_may_be_empty() -> None:
    assert "virtual_hosts" not in content(routes.route_configuration(RouteTable("http.80", ()), ()))


def test_a_route_configuration_that_discovers_its_virtual_hosts() -> None:
    found = routes.route_configuration_with_discovery(RouteTable("http.80", SHOP))
    assert (found.type_url, found.name, found.origin) == (types.ROUTE_CONFIGURATION, "http.80", SHOP)
    assert content(found) == content(routes.route_configuration(RouteTable("http.80", SHOP), ())) | {
        "vhds": {"config_source": {"ads": {}, "resource_api_version": "V3"}}
    }
