"""Which requests a service counts, what proxies ask it, and what it knows: the same words on both sides."""

import re
import zlib
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import yaml
from fairlead import translation
from fairlead._pb.envoy.config.core.v3.grpc_service_pb2 import GrpcService
from fairlead._pb.envoy.config.route.v3.route_components_pb2 import HeaderMatcher, QueryParameterMatcher, RateLimit
from fairlead._pb.envoy.config.route.v3.route_components_pb2 import Route as RouteMessage
from fairlead._pb.envoy.extensions.filters.http.ratelimit.v3 import rate_limit_pb2
from fairlead._pb.envoy.type.matcher.v3.string_pb2 import StringMatcher
from fairlead.cli.main import app
from fairlead.cli.render import resources
from fairlead.diagnosis import problems
from fairlead.intent import RUNTIME, GlobalLimit, HttpConnections, RateLimitDomain
from fairlead.render.global_limits import global_limit_filter, write_global_limit
from fairlead.render.rate_limit_configuration import rate_limit_configuration
from fairlead.resolve.governance import global_limits
from fairlead.resolve.scope import Proxy, Role
from fairlead.resolve.selection import selection
from fairlead.server.governance import rate_limits
from fairlead.simulation import Request, Simulation
from fairlead.snapshot import types
from fairlead.world import World
from hypothesis import given, settings
from hypothesis import strategies as st
from support.worlds import put, world
from typer.testing import CliRunner

EDGE = Proxy(labels=frozenset({("app", "edge")}))
OTHER = Proxy(labels=frozenset({("app", "edge"), ("tier", "other")}), namespace="elsewhere")
SHOP = Proxy(Role.SIDECAR, labels=frozenset({("app", "shop")}), bind_address="127.0.0.2", address="10.0.0.1")
OBJECTS = """
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: edge}
spec: {selector: {app: edge}, servers: [{port: {number: 80, name: http, protocol: HTTP}, hosts: ["*"]}]}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: shop}
spec:
  hosts: [shop.example.com]
  gateways: [edge]
  http:
  - {name: moved, match: [{uri: {prefix: /old}}], redirect: {uri: /}}
  - {name: buy, match: [{uri: {prefix: /buy}}], route: [{destination: {host: shop}}]}
  - {name: look, route: [{destination: {host: shop}}]}
---
apiVersion: v1
kind: Service
metadata: {name: shop}
spec: {selector: {app: shop}, ports: [{name: http, port: 80, targetPort: 8000}]}
---
apiVersion: v1
kind: Service
metadata: {name: ratelimit, namespace: limits}
spec: {ports: [{name: grpc, port: 8081}]}
"""
SERVICE = "rateLimitService: {host: ratelimit.limits.svc.cluster.local, port: 8081, timeout: {seconds: 5}}"
ANY = 'match: {vhost: {name: "*"}}'


def limiter(*configs: str, service: str = "", name: str = "a", app: str = "edge", more: str = "isGateway: true") -> str:
    return f"""
apiVersion: istio.alibabacloud.com/v1
kind: ASMGlobalRateLimiter
metadata: {{name: {name}}}
spec:
  workloadSelector: {{labels: {{app: {app}}}}}
  {more}
  {service}
  configs: [{", ".join(f"{{{config}}}" for config in configs)}]
"""


def of_route(name: str) -> str:
    return f"match: {{vhost: {{name: '*', route: {{name_match: {name}}}}}}}"


def limit(quota: int, unit: str = "MINUTE") -> str:
    return f"limit: {{unit: {unit}, quota: {quota}}}"


def override(match: str, quota: int) -> str:
    return f"{{request_match: {{{match}}}, {limit(quota)}}}"


def overrides(*matches: str) -> str:
    return f"limit_overrides: [{', '.join(override(match, number) for number, match in enumerate(matches, 1))}]"


def of_routes(made: World, proxy: Proxy = EDGE) -> dict[str, GlobalLimit]:
    hosts = translation.hosts_of(made, selection(made, proxy).shared)
    return {
        route.name: policy
        for key in list(hosts.keys())
        if (outcome := hosts.get(key)) is not None
        for route in outcome.value.routes
        for policy in route.policies
        if isinstance(policy, GlobalLimit)
    }


def configuration(domain: RateLimitDomain) -> Any:
    return yaml.safe_load(rate_limit_configuration(domain))


# --- Which routes -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("configs", "expected"),
    [
        ((f"{ANY}, {limit(1)}",), {"buy": 0, "look": 0}),
        ((f"match: {{vhost: {{name: shop.example.com, port: 80}}}}, {limit(1)}",), {"buy": 0, "look": 0}),
        ((f"match: {{vhost: {{name: shop.example.com, port: 81}}}}, {limit(1)}",), {}),
        ((f"{ANY}, {limit(1)}", f"{of_route('buy')}, {limit(1)}"), {"buy": 1, "look": 0}),
        ((f"target_services: [{{kind: VirtualService, name: shop, section_name: look}}], {limit(1)}",), {"look": 0}),
        ((f"{of_route('moved')}, {limit(1)}",), {}),
    ],
)  # fmt: skip
def test_requests_that_routes_forward_are_counted(configs: tuple[str, ...], expected: dict[str, int]) -> None:
    found = of_routes(world(OBJECTS, limiter(*configs)))
    assert {route: policy.name.number for route, policy in found.items()} == expected


def test_a_route_may_have_a_limit_of_each_kind() -> None:
    local = limiter(f"{ANY}, limit: {{fill_interval: {{seconds: 1}}, quota: 1}}").replace("Global", "Local")
    made = world(OBJECTS, local, limiter(f"{ANY}, {limit(1)}"))
    hosts = translation.hosts_of(made, selection(made, EDGE))
    found = [outcome.value.routes for key in list(hosts.keys()) if (outcome := hosts.get(key))]
    assert [[len(route.policies) for route in routes] for routes in found] == [[1, 2, 2]]


# --- What is asked, and what is known ---------------------------------------------------------------------------------


def test_limits_without_a_service_are_counted_by_our_own() -> None:
    made = world(OBJECTS, limiter(f"{ANY}, {limit(1)}"))
    service = of_routes(made)["look"].service
    assert (service.domain, service.backend, service.fail_closed) == ("fairlead", RUNTIME, False)
    assert [domain.name for domain in global_limits.domains(made)] == ["fairlead"]
    assert "fairlead-runtime" in {found.name for found in resources(made, EDGE)}


@pytest.mark.parametrize("host", ["ratelimit.limits.svc.cluster.local", "ratelimit"])
def test_a_service_is_asked_in_the_way_that_is_written(host: str) -> None:
    text = "{host: %s, port: 8081, timeout: {nanos: 250000000}, failure_mode_deny: true}"
    made = world(OBJECTS, limiter(f"{ANY}, {limit(1)}", service=f"rateLimitService: {text % host}"))
    full = host if "." in host else f"{host}.default.svc.cluster.local"
    service = of_routes(made)["look"].service
    message = rate_limit_pb2.RateLimit.FromString(global_limit_filter(service).typed_config.value)
    assert (message.domain, message.timeout.nanos, message.failure_mode_deny) == (full, 250_000_000, True)
    assert message.enable_x_ratelimit_headers == rate_limit_pb2.RateLimit.DRAFT_VERSION_03
    grpc: GrpcService = message.rate_limit_service.grpc_service
    assert grpc.envoy_grpc.cluster_name == f"outbound|8081||{full}"
    if full != host:
        told = problems(made, selection(made, EDGE), EDGE.locality)
        assert [item.code for item in told] == ["unknown-service"]
    else:
        assert f"outbound|8081||{full}" in {found.name for found in resources(made, EDGE)}
        assert not problems(made, selection(made, EDGE), EDGE.locality)
    assert [domain.name for domain in global_limits.domains(made)] == [full], "ours answers for it, too"


def test_a_port_that_a_destination_rule_upgrades_is_one_of_grpc() -> None:
    plain = OBJECTS.replace("name: grpc, port: 8081", "name: http, port: 8081")
    made = world(plain, limiter(f"{ANY}, {limit(1)}", service=SERVICE))
    assert [item.code for item in problems(made, selection(made, EDGE), EDGE.locality)] == ["not-grpc"]
    put(
        made,
        """
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: ratelimit, namespace: limits}
spec: {host: ratelimit, trafficPolicy: {connectionPool: {http: {h2UpgradePolicy: UPGRADE}}}}
""",
    )
    assert not problems(made, selection(made, EDGE), EDGE.locality)


def test_the_configuration_of_the_service_is_that_of_envoyproxy() -> None:
    matches = (
        "header_match: [{name: x-tier, exact_match: gold}]",
        "query_match: [{name: q, present_match: true}]",
        "header_match: [{name: x-user, present_match: true, distinct: true}]",
    )
    made = world(
        OBJECTS,
        limiter(f"name: all, {ANY}, {limit(5, 'HOUR')}, {overrides(*matches)}", service=SERVICE),
        limiter(f"{ANY}, {limit(7, 'SECOND')}", name="b", service=SERVICE),
    )
    (domain,) = global_limits.domains(made)
    root, *values = dict.fromkeys(re.findall(r"RateLimit\[a\.default\]-Id\[\d+\]", rate_limit_configuration(domain)))
    own, second, third = values
    found = configuration(domain)
    assert found["domain"] == "ratelimit.limits.svc.cluster.local"
    first, other = found["descriptors"]
    minute = {"unit": "minute"}
    assert (first["key"], first["value"]) == ("generic_key", root)
    assert first["descriptors"] == [
        {"key": "header_match", "value": own, "rate_limit": minute | {"requests_per_unit": 1}},
        {
            "key": "header_match",
            "value": second,
            "descriptors": [{"key": "header_match", "value": second, "rate_limit": minute | {"requests_per_unit": 2}}],
        },
        {
            "key": "header_match",
            "value": third,
            "descriptors": [
                {
                    "key": "header_match",
                    "value": third,
                    "descriptors": [{"key": "x-user", "rate_limit": minute | {"requests_per_unit": 3}}],
                }
            ],
        },
        {
            "key": "header_match",
            "value": root,
            "descriptors": [
                {"key": "header_match", "value": root, "rate_limit": {"unit": "hour", "requests_per_unit": 5}}
            ],
        },
    ]
    assert other.pop("value").startswith("RateLimit[b.default]-Id[")
    assert other == {"key": "generic_key", "rate_limit": {"unit": "second", "requests_per_unit": 7}}


def test_limits_with_names_are_known_by_them() -> None:
    """So that what a service has counted stays that of the same limit when another one is written before it."""
    one, two = (
        f"name: {name}, {ANY}, {limit(1)}, {overrides('query_match: [{name: q, exact_match: a}]')}" for name in "ab"
    )
    before = global_limits.domains(world(limiter(one)))[0].descriptors
    after = global_limits.domains(world(limiter(two, one)))[0].descriptors
    assert after[2:] == before
    assert len({item.entries for item in after}) == 4
    same = global_limits.domains(world(limiter(one, one)))[0].descriptors
    assert len({item.entries for item in same}) == 4, "a name twice is that of the first only"


# --- Overrides --------------------------------------------------------------------------------------------------------

TEXTS = ("", "a", "b", "ab")
HEADER_KINDS = ("exact_match", "prefix_match", "suffix_match", "regex_match")
names, texts = st.sampled_from(("x", "y")), st.sampled_from(TEXTS)
header_matches = st.builds(
    lambda name, kind, text, present, invert, how: (
        {"name": name, "present_match": present, "invert_match": invert}
        if how == 0
        else {"name": name, "is_exact_match_empty": present, "invert_match": invert}
        if how == 1
        else {"name": name, kind: text, "invert_match": invert}
    ),
    names,
    st.sampled_from(HEADER_KINDS),
    texts,
    st.booleans(),
    st.booleans(),
    st.integers(0, 4),
)
query_matches = st.builds(
    lambda name, kind, text: {"name": name} | ({kind: text} if text else {"present_match": True}),
    names,
    st.sampled_from((*HEADER_KINDS, "contains_match")),
    texts,
)
request_matches = st.builds(
    lambda headers, parameters: {"header_match": headers, "query_match": parameters},
    st.lists(header_matches, max_size=2),
    st.lists(query_matches, max_size=2),
).filter(lambda match: match["header_match"] or match["query_match"])
values = st.dictionaries(names, texts)


def text_matches(match: dict[str, Any], value: str) -> bool:
    checks = {
        "exact_match": value.__eq__,
        "prefix_match": value.startswith,
        "suffix_match": value.endswith,
        "contains_match": value.__contains__,
        "regex_match": lambda pattern: re.fullmatch(pattern, value) is not None,
    }
    return all(check(match[kind]) for kind, check in checks.items() if kind in match)


def header_matches_value(match: dict[str, Any], headers: dict[str, str]) -> bool:
    value, inverted = headers.get(match["name"]), match["invert_match"]
    if "present_match" in match:
        return ((value is not None) is match["present_match"]) is not inverted
    if "is_exact_match_empty" in match:
        match, inverted = {"exact_match": ""}, inverted is match["is_exact_match_empty"]
    if inverted:
        value = value or ""  # one that is absent does not have the value, either
    return value is not None and text_matches(match, value) is not inverted


def is_meant(match: dict[str, Any], headers: dict[str, str], parameters: dict[str, str]) -> bool:
    """What ASM's documentation says: all conditions hold."""
    return all(header_matches_value(item, headers) for item in match["header_match"]) and all(
        item["name"] in parameters and text_matches(item, parameters[item["name"]]) for item in match["query_match"]
    )


def string_holds(matcher: StringMatcher, value: str) -> bool:
    kind = matcher.WhichOneof("match_pattern")
    if kind == "safe_regex":
        return re.fullmatch(matcher.safe_regex.regex, value) is not None
    return text_matches({f"{kind}_match": getattr(matcher, kind or "")}, value)


def header_holds(matcher: HeaderMatcher, headers: dict[str, str]) -> bool:
    """As Envoy does it (envoy.config.route.v3.HeaderMatcher)."""
    value = headers.get(matcher.name)
    if matcher.HasField("present_match"):
        return ((value is not None) is matcher.present_match) is not matcher.invert_match
    if value is None and matcher.treat_missing_header_as_empty:
        value = ""
    return value is not None and string_holds(matcher.string_match, value) is not matcher.invert_match


def parameter_holds(matcher: QueryParameterMatcher, parameters: dict[str, str]) -> bool:
    value = parameters.get(matcher.name)
    return value is not None and (matcher.present_match or string_holds(matcher.string_match, value))


def descriptor(
    entry: RateLimit, headers: dict[str, str], parameters: dict[str, str]
) -> tuple[tuple[str, str], ...] | None:
    found = []
    for action in entry.actions:
        if action.HasField("generic_key"):
            found.append((action.generic_key.descriptor_key, action.generic_key.descriptor_value))
            continue
        if action.HasField("header_value_match"):
            match: Any = action.header_value_match
            holds = all(header_holds(item, headers) for item in match.headers)
        else:
            match = action.query_parameter_value_match
            holds = all(parameter_holds(item, parameters) for item in match.query_parameters)
        if holds is not match.expect_match.value:
            return None
        found.append((match.descriptor_key, match.descriptor_value))
    return tuple(found)


@settings(max_examples=150, deadline=None)
@given(st.lists(request_matches, max_size=4), st.lists(header_matches, max_size=1), values, values)
def test_a_request_is_counted_once_as_the_first_override_that_matches_or_as_the_limit(
    matches: list[dict[str, Any]], only: list[dict[str, Any]], headers: dict[str, str], parameters: dict[str, str]
) -> None:
    host = {"vhost": {"name": "*", "route": {"header_match": only}}}
    written = {
        "match": host,
        "limit": {"unit": "MINUTE", "quota": 1000},
        "limit_overrides": [
            {"request_match": match, "limit": {"unit": "MINUTE", "quota": number}}
            for number, match in enumerate(matches)
        ],
    }
    made = world(OBJECTS, limiter(yaml.safe_dump(written, default_flow_style=True, width=10**6).strip()[1:-1]))
    message = RouteMessage()
    write_global_limit(message, of_routes(made)["look"])
    (packed,) = message.typed_per_filter_config.values()
    entries = rate_limit_pb2.RateLimitPerRoute.FromString(packed.value).rate_limits
    sent = [found for entry in entries if (found := descriptor(entry, headers, parameters)) is not None]
    known = {item.entries: item.quota for item in global_limits.domains(made)[0].descriptors}
    meant = next((number for number, match in enumerate(matches) if is_meant(match, headers, parameters)), 1000)
    if not all(header_matches_value(item, headers) for item in only):
        assert sent == []
    else:
        assert [known[found] for found in sent] == [meant]


# --- What else changes ------------------------------------------------------------------------------------------------


def state(made: World, proxy: Proxy) -> dict[str, bytes]:
    return {
        f"{types.SHORT_NAMES[resource.type_url]} {resource.name}": resource.body for resource in resources(made, proxy)
    }


def test_a_limit_changes_only_what_it_is_about() -> None:
    """Another quota changes nothing at all for proxies, another condition routes only, another service listeners."""
    texts = [
        limiter(f"{ANY}, {limit(1)}"),
        limiter(f"{ANY}, {limit(2, 'DAY')}"),
        limiter(f"{ANY}, {limit(2)}, {overrides('header_match: [{name: x, exact_match: y}]')}"),
        limiter(f"{ANY}, {limit(2)}", service=SERVICE),
    ]
    made = world(OBJECTS)
    states = [state(made, EDGE)]
    others = [state(made, OTHER)]
    for text in texts:
        put(made, text)
        states.append(state(made, EDGE))
        others.append(state(made, OTHER))
    changes = [
        {key.partition(" ")[0] for key in first.keys() | second.keys() if first.get(key) != second.get(key)}
        for first, second in pairwise(states)
    ]
    assert changes == [{"cds", "lds", "rds"}, set(), {"rds"}, {"cds", "eds", "lds", "rds"}]
    assert all(found == others[0] for found in others)


@pytest.mark.parametrize("traffic", ["sidecar_inbound", "sidecar_outbound"])
def test_sidecars_count_what_comes_in_or_what_goes_out(traffic: str) -> None:
    target = f"target_services: [{{name: shop, port: 80}}], {limit(3)}"
    made = world(OBJECTS, limiter(target, app="shop", more=f"applyToTraffic: {traffic}", service=SERVICE))
    chosen = selection(made, SHOP)
    outcomes = translation.sidecar_outcomes(made, chosen)
    asking = {
        key[0].value
        for key in list(outcomes.keys())
        if (outcome := outcomes.get(key)) is not None and outcome.value is not None
        for chain in outcome.value.filter_chains
        if isinstance(chain.connections, HttpConnections) and chain.connections.governance.rate_limit_services
    }
    assert asking == {traffic.removeprefix("sidecar_")}
    assert "outbound|8081||ratelimit.limits.svc.cluster.local" in {found.name for found in resources(made, SHOP)}
    assert not problems(made, chosen, SHOP.locality)
    assert bool(of_routes(made, SHOP)) is (traffic == "sidecar_outbound")


def test_a_virtual_host_is_made_of_its_limits_too() -> None:
    """So that who is to blame is found when a proxy refuses it, as for a regular expression of a condition."""
    made = world(OBJECTS, limiter(f"{ANY}, {limit(1)}"))
    found = translation.virtual_host_leaves(made, selection(made, EDGE))
    (leaf,) = [leaf for key in list(found.keys()) if (leaf := found.get(key)) is not None]
    assert [key.kind for key in leaf.origin] == ["VirtualService", "ASMGlobalRateLimiter"]


# --- For people -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("service", "expected"),
    [
        ("", "fairlead-runtime; what is not answered in 1s passes"),
        (
            SERVICE.replace("}}", "}, failure_mode_deny: true}"),
            "ratelimit.limits.svc.cluster.local:8081; what is not answered in 5s is refused",
        ),
    ],
)
def test_a_limit_is_part_of_an_explanation(service: str, expected: str) -> None:
    made = world(OBJECTS, limiter(f"name: all, {ANY}, {limit(1)}", service=service))
    verdict = Simulation(resources(made, EDGE), detailed=True).send(Request(port=80, host="shop.example.com", path="/"))
    facts = [fact.text for step in verdict.steps for fact in step.facts if fact.label == "limit"]
    assert facts == [f"for all proxies, counted by {expected} (RateLimit[a.default]-Id[{zlib.crc32(b'all')}])"]


def test_the_configuration_of_services_is_printed(tmp_path: Path) -> None:
    other = SERVICE.replace("ratelimit.limits.svc.cluster.local", "limits.example.com")
    texts = (limiter(f"{ANY}, {limit(1)}", service=each, name=f"n{n}") for n, each in enumerate((SERVICE, other, "")))
    (tmp_path / "objects.yaml").write_text("---".join((OBJECTS, *texts)))
    done = CliRunner().invoke(app, ["render", str(tmp_path), "--rate-limits"])
    assert done.exit_code == 0, done.output
    found = list(yaml.safe_load_all(done.output))
    assert [document["domain"] for document in found] == ["limits.example.com", "ratelimit.limits.svc.cluster.local"]
    (tmp_path / "objects.yaml").write_text(OBJECTS)
    done = CliRunner().invoke(app, ["render", str(tmp_path), "--rate-limits"])
    assert done.output.strip() == "no ASMGlobalRateLimiter names a rateLimitService"


def test_the_status_has_the_configuration_of_each_object() -> None:
    made = world(
        limiter(f"{ANY}, {limit(1)}", service=SERVICE),
        limiter(f"{ANY}, {limit(2)}", service=SERVICE, name="b"),
        limiter(f"{ANY}, {limit(3)}", name="c"),
    )
    found = rate_limits(made)
    quotas = {
        key: yaml.safe_load(text)["descriptors"][0]["rate_limit"]["requests_per_unit"] for key, text in found.items()
    }
    assert quotas == {"ASMGlobalRateLimiter default/a": 1, "ASMGlobalRateLimiter default/b": 2}
