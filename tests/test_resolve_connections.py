"""Where connections go that are not HTTP, or not decrypted."""

import pytest
from fairlead.intent import (
    TcpConnections,
    TlsTermination,
    Tunnel,
)
from fairlead.problems import Severity
from fairlead.resolve import virtual_hosts
from support.istio import (
    all_listeners,
    all_problems,
    chosen,
    gateway,
    http,
    service,
    shown_listeners,
    tls,
    virtual_service,
)
from support.worlds import put, world

TCP = "port: {number: 80, name: tcp, protocol: TCP}, hosts: ['*']"
PASSTHROUGH = "mode: PASSTHROUGH"
ECHO = virtual_service("echo", "tcp: [{route: [{destination: {host: echo}}]}]", hosts='"*"', gateways="a, z") + (
    "---" + service("echo", "{port: 9000}")
)


ECHOED = "any -> echo:9000"


@pytest.mark.istio_fields("VirtualService.tls[].{match[].sniHosts[],route[].destination}")
def test_passthrough_goes_by_server_name() -> None:
    routes = """
    tls:
    - match: [{sniHosts: [a.example.com]}, {sniHosts: [b.example.com, c.example.com]}]
      route: [{destination: {host: one}}]
    - match: [{sniHosts: ["*.example.com"]}]
      route: [{destination: {host: two, port: {number: 9}}, weight: 3}, {destination: {host: one}, weight: 1}]
    """
    made = world(
        gateway("edge", tls('"*.example.com"', "t", 443, protocol="TLS", tls=PASSTHROUGH)),
        virtual_service("v", routes, hosts='"*.example.com"'),
        service("one"),
        service("two", "{port: 8}, {port: 9}"),
    )
    assert shown_listeners(made) == {
        "0.0.0.0_443": [
            "passed a.example.com -> one:80",
            "passed b.example.com,c.example.com -> one:80",
            "passed *.example.com -> two:9, one:80",
        ]
    }
    assert all_problems(made) == set()
    (found,) = all_listeners(made).values()
    assert [chain.connections.stat_prefix for chain in found.filter_chains] == [
        "outbound|80||one.edge.svc.cluster.local",
        "outbound|80||one.edge.svc.cluster.local",
        "v.edge",
    ]
    assert [share.weight for share in found.filter_chains[2].connections.backends] == [3, 1]
    assert len({chain.name for chain in found.filter_chains}) == 3


def test_https_that_is_passed_through_is_no_http() -> None:
    routes = "tls: [{match: [{sniHosts: [a.example.com]}], route: [{destination: {host: one}}]}]"
    made = world(gateway("edge", tls("a.example.com", tls=PASSTHROUGH)), virtual_service("v", routes), service("one"))
    assert shown_listeners(made) == {"0.0.0.0_443": ["passed a.example.com -> one:80"]}
    assert virtual_hosts.route_tables(made, chosen(made)) == frozenset()


def test_a_server_name_goes_to_the_first_route_that_has_it() -> None:
    route = "tls: [{match: [{sniHosts: [%s]}], route: [{destination: {host: %s}}]}]"
    both = "a.example.com, b.example.com"
    made = world(
        gateway("edge", tls('"*.example.com"', "t", 443, protocol="TLS", tls=PASSTHROUGH)),
        virtual_service("old", route % ("a.example.com", "one"), created=1),
        virtual_service("young", route % (both, "two"), hosts=both, created=2),
        service("one"),
        service("two"),
    )
    chains = ["passed a.example.com -> one:80", "passed b.example.com -> two:80"]
    assert shown_listeners(made) == {"0.0.0.0_443": chains}
    (problem,) = all_problems(made)
    assert (problem.code, str(problem.key)) == ("duplicate-server-name", "VirtualService edge/young")
    assert "a.example.com" in problem.message
    assert "VirtualService edge/old" in problem.message


def test_routes_take_no_server_names_beyond_those_of_the_server() -> None:
    route = 'tls: [{match: [{sniHosts: ["*.example.com"]}], route: [{destination: {host: one}}]}]'
    servers = [
        tls("a.example.com", "t", 443, protocol="TLS", tls=PASSTHROUGH),
        tls("b.example.com", "s", 443, more="bind: 127.0.0.1"),
    ]
    made = world(gateway("edge", *servers), virtual_service("v", route, hosts='"*.example.com"'), service("one"))
    assert shown_listeners(made)["0.0.0.0_443"] == ["passed a.example.com -> one:80"]


def test_tls_is_taken_off_connections_that_are_passed_on() -> None:
    route = "tcp: [{match: [{port: 1}], route: [{destination: {host: two}}]}, {route: [{destination: {host: one}}]}]"
    made = world(
        gateway("edge", tls("a.example.com", "t", 443, protocol="TLS")),
        virtual_service("v", route),
        service("one"),
        service("two"),
    )
    assert shown_listeners(made) == {"0.0.0.0_443": ["tls a.example.com -> one:80"]}
    (found,) = all_listeners(made).values()
    assert found.filter_chains[0].tls == TlsTermination(("kubernetes://cert",))


@pytest.mark.istio_fields("VirtualService.tcp[].route[].destination")
def test_connections_go_by_the_first_route_of_the_first_virtual_service() -> None:
    to = "{route: [{destination: {host: %s}}]}"
    made = world(
        gateway("edge", TCP),
        virtual_service("old", f"tcp: [{to % 'one'}, {to % 'two'}]", hosts='"*"', created=1),
        virtual_service("young", f"tcp: [{to % 'two'}]", hosts='"*"', created=2),
        service("one"),
        service("two"),
    )
    assert shown_listeners(made) == {"0.0.0.0_80": ["any -> one:80"]}


def test_connections_for_every_name_are_taken_last() -> None:
    route = """
    tls:
    - {match: [{sniHosts: ["*"]}], route: [{destination: {host: one}}]}
    - {match: [{sniHosts: [a.example.com]}], route: [{destination: {host: two}}]}
    """
    made = world(
        gateway("edge", tls('"*"', "t", 443, protocol="TLS", tls=PASSTHROUGH), http(443)),
        virtual_service("v", route, hosts='"*"'),
        service("one"),
        service("two"),
    )
    chains = ["passed any -> one:80", "passed a.example.com -> two:80", "any -> http.443"]
    assert shown_listeners(made) == {"0.0.0.0_443": chains}


@pytest.mark.istio_fields(
    "DestinationRule.trafficPolicy.{connectionPool.tcp.{idleTimeout,maxConnectionDuration},tunnel.{protocol,targetHost,targetPort},loadBalancer.consistentHash.useSourceIp}"
)
def test_connections_follow_the_destination_rule() -> None:
    rule = """
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: echo, namespace: edge}
spec:
  host: echo
  trafficPolicy:
    connectionPool: {tcp: {idleTimeout: 7s, maxConnectionDuration: 9s}}
    loadBalancer: {consistentHash: {useSourceIp: true}}
    tunnel: {targetHost: 2001:db8::1, targetPort: 443, protocol: POST}
"""
    made = world(gateway("a", TCP), ECHO, rule)
    (found,) = all_listeners(made).values()
    (chain,) = found.filter_chains
    assert isinstance(chain.connections, TcpConnections)
    assert (chain.connections.idle_timeout, chain.connections.max_duration) == (7 * 10**9, 9 * 10**9)
    assert chain.connections.hash_source_ip
    assert chain.connections.tunnel == Tunnel("[2001:db8::1]:443", by_post=True)


def test_connections_that_only_some_destinations_tunnel_are_not_tunnelled() -> None:
    rule = """
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: one, namespace: edge}
spec: {host: one, trafficPolicy: {tunnel: {targetHost: a.example.com, targetPort: 443}}}
"""
    shares = "route: [{destination: {host: one}, weight: 1}, {destination: {host: two}, weight: 1}]"
    made = world(
        gateway("edge", "port: {number: 90, name: tcp, protocol: TCP}, hosts: ['*']"),
        virtual_service("v", f"tcp: [{{{shares}}}]", hosts='"*"'),
        service("one"),
        service("two"),
        rule,
    )
    (found,) = all_listeners(made).values()
    (chain,) = found.filter_chains
    assert isinstance(chain.connections, TcpConnections)
    assert chain.connections.tunnel is None
    (problem,) = all_problems(made)
    assert (problem.code, problem.path) == ("unsupported-value", ("spec", "tcp", 0, "route"))


@pytest.mark.parametrize(
    ("match", "taken"),
    [
        ("", True),
        ("match: [{port: 80}],", True),
        ("match: [{port: 81}],", False),
        ("match: [{gateways: [edge]}],", True),
        ("match: [{gateways: [other]}, {port: 80}],", True),
        ("match: [{sourceNamespace: edge}],", True),
        ("match: [{sourceNamespace: other}],", False),
        ("match: [{sourceLabels: {app: edge}}],", True),
        ("match: [{sourceLabels: {app: other}}],", False),
    ],
)
@pytest.mark.istio_fields("VirtualService.tcp[].match[].{port,gateways[],sourceLabels{},sourceNamespace}")
def test_conditions_of_tcp_routes(match: str, taken: bool) -> None:
    route = f"tcp: [{{{match} route: [{{destination: {{host: echo}}}}]}}]"
    made = world(gateway("edge", TCP), virtual_service("v", route, hosts='"*"'), service("echo", "{port: 9000}"))
    assert shown_listeners(made) == ({"0.0.0.0_80": [ECHOED]} if taken else {})


@pytest.mark.parametrize(
    ("condition", "taken"),
    [
        ("port: 443", True),
        ("port: 444", False),
        ("gateways: [edge]", True),
        ("gateways: [other]", False),
        ("sourceNamespace: edge", True),
        ("sourceNamespace: other", False),
        ("sourceLabels: {app: edge}", True),
        ("sourceLabels: {app: other}", False),
        ("destinationSubnets: [10.0.0.0/8]", False),
    ],
)
@pytest.mark.istio_fields(
    "VirtualService.tls[].match[].{port,gateways[],sourceLabels{},sourceNamespace,destinationSubnets[]}"
)
def test_conditions_of_tls_routes(condition: str, taken: bool) -> None:
    route = f"tls: [{{match: [{{sniHosts: [a.com], {condition}}}], route: [{{destination: {{host: one}}}}]}}]"
    made = world(
        gateway("edge", tls("a.com", protocol="TLS", tls=PASSTHROUGH)),
        virtual_service("v", route, hosts="a.com"),
        service("one"),
    )
    assert shown_listeners(made) == ({"0.0.0.0_443": ["passed a.com -> one:80"]} if taken else {})


def test_a_server_whose_connections_go_nowhere_has_no_listener_and_is_told_of() -> None:
    made = world(gateway("edge", TCP))
    assert shown_listeners(made) == {}
    (problem,) = all_problems(made)
    assert (problem.code, problem.severity) == ("no-routes", Severity.WARNING)
    put(made, ECHO.replace("gateways: [a, z]", "gateways: [edge]"))
    assert shown_listeners(made) == {"0.0.0.0_80": [ECHOED]}


@pytest.mark.istio_fields("VirtualService.tcp[].match[].destinationSubnets[]")
def test_where_connections_were_meant_to_go_cannot_be_asked() -> None:
    route = "tcp: [{match: [{destinationSubnets: [10.0.0.0/8]}], route: [{destination: {host: echo}}]}]"
    made = world(gateway("edge", TCP), virtual_service("v", route, hosts='"*"'), service("echo"))
    assert shown_listeners(made) == {}
    problem = next(problem for problem in all_problems(made) if problem.code == "unsupported-field")
    assert problem.path == ("spec", "tcp", 0, "match", 0, "destinationSubnets")
