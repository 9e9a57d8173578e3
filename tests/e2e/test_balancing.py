"""Which endpoint answers: localities, labels, subsets, consistent hashes, ejection, and where endpoints are found."""

import asyncio
import contextlib
import functools
import http.client
from collections import Counter
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from e2e.objects import resource, together
from e2e.services import (
    ALL,
    CLOSED,
    HTTP,
    TCP,
    Gateways,
    case,
    endpoint,
    routed,
    rule,
    running_gateways,
    service_entry,
)
from fairlead.playground.backend import Backend
from fairlead.playground.client import ask
from fairlead.playground.envoy import free_port
from support.stack import until

pytestmark = [pytest.mark.e2e, pytest.mark.asyncio(loop_scope="module"), pytest.mark.xdist_group("balancing")]


def localities(setting: str, *, outliers: str = "outlierDetection: {}, ") -> str:
    return f"{{{outliers}loadBalancer: {{localityLbSetting: {{{setting}}}}}}}"


# --- Where requests go ------------------------------------------------------------------------------------------------

SUBSETS = "subsets: [{name: first, labels: {backend: a}}, {name: second, labels: {backend: b}}]"
TIERS = ", ".join(
    endpoint(name).replace("labels: {", f"labels: {{tier: {tier}, ") for name, tier in (("b", "gold"), ("c", "silver"))
)
PLACED: dict[str, tuple[str, str, str]] = {
    "no-rule": (case("no-rule"), "abc", "abc"),
    "no-detection": (case("no-detection", localities("", outliers="")), "abc", "abc"),
    "detection": (case("detection", "{outlierDetection: {}}"), "a", "c"),
    "names": (
        together(service_entry("names", resolution="DNS"), rule("names", "{outlierDetection: {}}"), routed("names")),
        "a",
        "c",
    ),
    "port-detection": (
        case("port-detection", "{portLevelSettings: [{port: {number: 80}, outlierDetection: {}}]}"),
        "a",
        "c",
    ),
    "disabled": (case("disabled", localities("enabled: false")), "abc", "abc"),
    "zone": (case("zone", "{outlierDetection: {}}", f"{endpoint('b')}, {endpoint('c')}"), "b", "c"),
    "failover": (
        case(
            "failover",
            localities("failover: [{from: r1, to: r3}, {from: r2, to: r1}]"),
            f"{endpoint('c')}, {endpoint('b').replace('r1/z2/s1', 'r3/z1/s1')}",
        ),
        "b",
        "c",
    ),
    "label": (case("label", localities("failoverPriority: [backend=b]")), "b", "b"),
    "own-label": (case("own-label", localities("failoverPriority: [tier]"), TIERS), "b", "c"),
    "topology": (case("topology", localities("failoverPriority: [topology.kubernetes.io/region]")), "ab", "c"),
    "shares": (
        case("shares", localities("distribute: [{from: r1/*, to: {r1/z2/*: 50, r2/*: 50}}]", outliers="")),
        "bc",
        "abc",
    ),
    "some": (
        together(
            case("some", localities("failoverPriority: [backend=c]")),
            rule(
                "some",
                localities("failoverPriority: [backend=b]"),
                "workloadSelector: {matchLabels: {tier: gold}}",
                suffix="-gold",
            ),
        ),
        "b",
        "c",
    ),
    "subset": (
        together(
            service_entry("subset"),
            rule("subset", "{outlierDetection: {}}", SUBSETS),
            routed("subset", "[{destination: {host: subset.internal, subset: second}}]"),
        ),
        "b",
        "b",
    ),
}
"""Name -> objects; who answers the gateway at r1/z1/s1 (tier gold), and the one at r2/z1/s1 (tier silver)."""


# --- Where endpoints are found ----------------------------------------------------------------------------------------


def workload_entry(name: str, spec: str) -> str:
    return resource("networking.istio.io/v1", "WorkloadEntry", name, spec)


def of_workloads(name: str, app: str, resolution: str) -> str:
    """A case whose endpoints are WorkloadEntries."""
    selector = f"workloadSelector: {{labels: {{app: {app}}}}}"
    return together(service_entry(name, "", resolution=resolution, more=selector), routed(name))


def found_elsewhere(resolved: int, socket: str) -> list[str]:
    """Services whose endpoints have names, or none: `resolved` is the port of a backend at localhost."""
    named = f"{{address: localhost, ports: {{http: {resolved}}}}}"
    mapped = "{number: 80, name: http, protocol: HTTP, targetPort: 9002}"
    return [
        of_workloads("workloads", "vm", "STATIC"),
        *(
            workload_entry(name, endpoint(name).replace(f"backend: {name}", f"app: {app}"))
            for name, app in (("a", "vm"), ("b", "vm"), ("c", "other"))
        ),
        of_workloads("named-workloads", "named", "DNS"),
        workload_entry("named", f"{named[:-1]}, labels: {{app: named}}}}"),
        service_entry("dns", named, resolution="DNS"),
        service_entry("round-robin", named, resolution="DNS_ROUND_ROBIN"),
        service_entry("socket", f"{{address: 'unix://{socket}'}}"),
        service_entry("mapped", "{address: 127.0.0.1}", ports=mapped),
        *(routed(name) for name in ("dns", "round-robin", "socket", "mapped")),
    ]


FOUND = {
    "workloads": {"a", "b"},
    "named-workloads": {"resolved"},
    "dns": {"resolved"},
    "round-robin": {"resolved"},
    "socket": {"socket"},
    "mapped": {"b"},
}

# --- Algorithms -------------------------------------------------------------------------------------------------------

WARMED = "warmup: {duration: 1s, minimumPercent: 20, aggression: 1.5}"
ALGORITHMS = {
    "least-request": ("simple: LEAST_REQUEST", "'lb_policy': 'LEAST_REQUEST'"),
    "least-conn": ("simple: LEAST_CONN", "'lb_policy': 'LEAST_REQUEST'"),
    "random": ("simple: RANDOM", "'lb_policy': 'RANDOM'"),
    "round-robin-warm": (
        f"simple: ROUND_ROBIN, {WARMED}",
        "'slow_start_window': '1s', 'aggression': {'default_value': 1.5}, 'min_weight_percent': {'value': 20}",
    ),
    "warm-seconds": ("warmupDurationSecs: 1s", "'slow_start_config': {'slow_start_window': '1s'}"),
}
"""Name -> `loadBalancer`, and what of it the proxy tells that it has."""
WEIGHTED = case(
    "weighted",
    "{loadBalancer: {simple: ROUND_ROBIN}}",
    f"{endpoint('a', ', weight: 9')}, {endpoint('b', ', weight: 1')}",
)
BALANCED = [case(name, f"{{loadBalancer: {{{setting}}}}}") for name, (setting, _) in ALGORITHMS.items()]

# --- What requests stick to -------------------------------------------------------------------------------------------

HASHES = {
    "by-header": "httpHeaderName: x-user, ringHash: {minimumRingSize: 2048}",
    "by-maglev": "httpHeaderName: x-user, maglev: {tableSize: 251}",
    "by-deprecated-size": "httpHeaderName: x-user, minimumRingSize: 2048",
    "by-query": "httpQueryParameterName: user",
    "by-cookie": "httpCookie: {name: user, path: /, ttl: 60s, attributes: [{name: SameSite, value: Strict}]}",
    "by-source": "useSourceIp: true",
}
STICKY = [case(name, f"{{loadBalancer: {{consistentHash: {{{setting}}}}}}}") for name, setting in HASHES.items()]
BYTES = together(
    service_entry("bytes", ALL.replace("http:", "tcp:"), ports="{number: 80, name: tcp, protocol: TCP}"),
    rule("bytes", "{loadBalancer: {consistentHash: {useSourceIp: true}}}"),
    resource(
        "networking.istio.io/v1",
        "VirtualService",
        "bytes",
        f"""
        hosts: ["*"]
        gateways: [edge]
        tcp: [{{match: [{{port: {TCP}}}], route: [{{destination: {{host: bytes.internal}}}}]}}]
        """,
    ),
)

# --- Ejection ---------------------------------------------------------------------------------------------------------

FOREVER = "interval: 60s, baseEjectionTime: 60s, maxEjectionPercent: 100"
EJECTED = {
    "consecutive": ("consecutive5xxErrors: 3", [500, 503, 500]),
    "gateway-errors": ("consecutive5xxErrors: 0, consecutiveGatewayErrors: 2", [500, 500, 500, 502, 503]),
    "deprecated": ("consecutiveErrors: 2", [500, 500]),
    "codes": ("consecutive5xxErrors: 2, outlierDetectionHttpErrorCodes: [429]", [500, 500, 429, 429]),
}
"""Name -> outlier detection, and what the near backend answers until it is ejected."""


def ejecting(name: str, setting: str, *endpoints: str) -> str:
    policy = f"{{outlierDetection: {{{setting}, {FOREVER}}}}}"
    return case(name, policy, ", ".join(endpoints), routes="retries: {attempts: 0},")


EJECTING = [
    *(ejecting(name, setting, endpoint("a"), endpoint("c")) for name, (setting, _) in EJECTED.items()),
    ejecting(
        "unreachable",
        "splitExternalLocalOriginErrors: true, consecutiveLocalOriginFailures: 2",
        endpoint("a").replace("9001", str(CLOSED)),
        endpoint("c"),
    ),
    ejecting("panic", "consecutive5xxErrors: 1, minHealthPercent: 90", endpoint("a")),
    ejecting("no-panic", "consecutive5xxErrors: 1", endpoint("a")),
]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def gateways(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Gateways]:
    folder = tmp_path_factory.mktemp("balancing")
    socket = str(folder / "s")
    async with (
        Backend("resolved", free_port()) as resolved,
        Backend("socket", 0, uds=socket),
        running_gateways(
            folder,
            *(objects for objects, _, _ in PLACED.values()),
            *found_elsewhere(resolved.port, socket),
            *BALANCED,
            WEIGHTED,
            *STICKY,
            BYTES,
            *EJECTING,
            ports=(HTTP, TCP),
        ) as found,
    ):
        yield found


@pytest.mark.parametrize("name", PLACED)
@pytest.mark.istio_fields(
    "DestinationRule.{host,workloadSelector.matchLabels{},subsets[].{name,labels{}},trafficPolicy.outlierDetection}",
    "DestinationRule.trafficPolicy.portLevelSettings[].outlierDetection",
    "DestinationRule.trafficPolicy.loadBalancer.localityLbSetting.{enabled,failoverPriority[],failover[].{from,to}}",
    "DestinationRule.trafficPolicy.loadBalancer.localityLbSetting.distribute[].{from,to{}}",
    "ServiceEntry.endpoints[].{locality,labels{}}",
)
async def test_where_requests_go(gateways: Gateways, name: str) -> None:
    _, near, far = PLACED[name]
    assert await gateways.who_answers(name) == set(near)
    assert await gateways.who_answers(name, gateway="far") == set(far)


@pytest.mark.parametrize("name", FOUND)
@pytest.mark.istio_fields(
    "ServiceEntry.{resolution,workloadSelector.labels{},ports[].targetPort,endpoints[].{address,ports{}}}",
    "WorkloadEntry.{address,ports{}}",
)
async def test_where_endpoints_are_found(gateways: Gateways, name: str) -> None:
    assert await gateways.who_answers(name, times=20) == FOUND[name]


@pytest.mark.parametrize("name", ALGORITHMS)
@pytest.mark.istio_fields(
    "DestinationRule.trafficPolicy.loadBalancer.{simple,warmup.{duration,minimumPercent,aggression},warmupDurationSecs}"
)
async def test_algorithms(gateways: Gateways, name: str) -> None:
    assert await gateways.who_answers(name) == {"a", "b", "c"}
    dump = await gateways.near.config_dump()
    clusters = [
        entry["cluster"]
        for section in dump["configs"]
        for entry in section.get("dynamic_active_clusters", [])
        if entry["cluster"]["name"] == f"outbound|80||{name}.internal"
    ]
    assert len(clusters) == 1
    assert ALGORITHMS[name][1] in str(clusters[0])


@pytest.mark.istio_fields("ServiceEntry.endpoints[].weight")
async def test_weights_of_endpoints(gateways: Gateways) -> None:
    answers = await gateways.answers("weighted", *["/"] * 100)
    assert Counter(answer.backend for answer in answers)["a"] >= 80


def request_of(user: int, name: str) -> tuple[str, dict[str, str]]:
    """Path and headers of a request of a user."""
    if name == "by-query":
        return f"/?user={user}", {}
    return "/", {"cookie": f"user={user}"} if name == "by-cookie" else {"x-user": str(user)}


@pytest.mark.parametrize("name", ["by-header", "by-maglev", "by-deprecated-size", "by-query", "by-cookie"])
@pytest.mark.istio_fields(
    "DestinationRule.trafficPolicy.loadBalancer.consistentHash.{httpHeaderName,httpQueryParameterName,httpCookie.name}",
    "DestinationRule.trafficPolicy.loadBalancer.consistentHash.{ringHash.minimumRingSize,maglev.tableSize}",
    "DestinationRule.trafficPolicy.loadBalancer.consistentHash.minimumRingSize",
)
async def test_a_user_sticks_to_an_endpoint(gateways: Gateways, name: str) -> None:
    found = set()
    for user in range(20):
        path, headers = request_of(user, name)
        backends = {answer.backend for answer in await gateways.answers(name, *[path] * 4, headers=headers)}
        assert len(backends) == 1
        found |= backends
    assert found == {"a", "b", "c"}


@pytest.mark.istio_fields(
    "DestinationRule.trafficPolicy.loadBalancer.consistentHash.httpCookie.{name,path,ttl,attributes[].{name,value}}"
)
async def test_a_cookie_is_made_for_who_has_none(gateways: Gateways) -> None:
    (first,) = await gateways.answers("by-cookie", "/")
    name, *attributes = first.headers["set-cookie"].split("; ")
    assert {"Max-Age=60", "Path=/", "SameSite=Strict"} <= set(attributes)
    again = await gateways.answers("by-cookie", *["/"] * 5, headers={"cookie": name})
    assert {answer.backend for answer in again} == {first.backend}
    assert "set-cookie" not in again[0].headers


@pytest.mark.parametrize(("host", "port"), [("by-source.test", HTTP), ("any.test", TCP)])
@pytest.mark.istio_fields("DestinationRule.trafficPolicy.loadBalancer.consistentHash.useSourceIp")
async def test_an_address_sticks_to_an_endpoint(gateways: Gateways, host: str, port: int) -> None:
    def backends_of(source: str) -> set[str]:
        found = set()
        for _ in range(3):
            connection = http.client.HTTPConnection(gateways.stack.address, port, source_address=(source, 0))
            with contextlib.closing(connection):
                found.add(ask(connection, host, "/").backend)
        return found

    found = set()
    for number in range(1, 21):
        backends = await asyncio.to_thread(backends_of, f"127.77.0.{number}")
        assert len(backends) == 1
        found |= backends
    assert found == {"a", "b", "c"}


@pytest.mark.parametrize("name", EJECTED)
@pytest.mark.istio_fields(
    "DestinationRule.trafficPolicy.outlierDetection.{consecutive5xxErrors,consecutiveGatewayErrors,consecutiveErrors}",
    "DestinationRule.trafficPolicy.outlierDetection.{outlierDetectionHttpErrorCodes[],maxEjectionPercent}",
)
async def test_who_fails_is_ejected_and_the_next_region_takes_over(gateways: Gateways, name: str) -> None:
    statuses = EJECTED[name][1]
    answers = await gateways.answers(name, *(f"/status/{status}" for status in statuses))
    assert {answer.backend for answer in answers} == {"a"}

    async def taken_over() -> bool:
        return await gateways.who_answers(name, times=1) == {"c"}

    # Envoy's workers ask its main thread to eject.
    await until(taken_over, "the other region answers")
    assert await gateways.who_answers(name) == {"c"}


@pytest.mark.istio_fields(
    "DestinationRule.trafficPolicy.outlierDetection.{splitExternalLocalOriginErrors,consecutiveLocalOriginFailures}"
)
async def test_who_cannot_be_reached_is_ejected(gateways: Gateways) -> None:
    answers = await gateways.answers("unreachable", "/", "/")
    assert [(answer.status, answer.backend) for answer in answers] == [(503, ""), (503, "")]

    async def taken_over() -> bool:
        (answer,) = await gateways.answers("unreachable", "/")
        return answer.backend == "c"

    await until(taken_over, "the other region answers")


@pytest.mark.istio_fields("DestinationRule.trafficPolicy.outlierDetection.minHealthPercent")
async def test_in_a_panic_all_are_used(gateways: Gateways) -> None:
    """Never, unless the rule says so."""
    for name, expected in (("panic", 200), ("no-panic", 503)):
        await gateways.answers(name, "/status/500")
        ejected = functools.partial(gateways.count, name, "outlier_detection.ejections_active")
        await until(ejected, "the endpoint is ejected")
        (answer,) = await gateways.answers(name, "/")
        assert answer.status == expected


async def test_nothing_of_the_objects_is_ignored(gateways: Gateways) -> None:
    assert gateways.stack.fairlead is not None
    problems = (await gateways.stack.fairlead.status())["problems"]
    assert {(problem["code"], problem["object"]) for problem in problems} == {
        ("deprecated-field", "DestinationRule default/deprecated"),
        ("deprecated-field", "DestinationRule default/by-deprecated-size"),
        ("deprecated-field", "DestinationRule default/least-conn"),
        ("deprecated-field", "DestinationRule default/warm-seconds"),
        ("no-outlier-detection", "DestinationRule default/no-detection"),
    }
