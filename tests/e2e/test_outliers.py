"""Which endpoints are left alone, when and for how long: DestinationRules as ASM's documentation prints them.

`make test` runs them with shorter times, `make test-long` as they are. Each request comes on a connection of its own,
so that both of the proxy's workers get some.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
import pytest_asyncio
from e2e.objects import FRONT, PROXY_LABELS, PROXY_NAMESPACE, gateway, http_server, issued, resource, together
from fairlead.playground.backend import Backend
from fairlead.playground.client import ask, certificate, connect
from fairlead.playground.envoy import Envoy
from support.stack import Stack, until

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.asyncio(loop_scope="module"),
    pytest.mark.xdist_group("outliers"),
    pytest.mark.timeout(300),
]

MANIFESTS = Path(__file__).parents[1] / "manifests"
REVISION = (MANIFESTS / "002-05-DestinationRule.yaml").read_text()
EXTERNAL = (MANIFESTS / "004-05-DestinationRule.yaml").read_text()
HTTP, TLS = 8080, 8443
PORTS = {"a": 9001, "b": 9002, "c": 9003}
SECURE, CLOSED = 9098, 9099


@dataclass(frozen=True)
class Times:
    """In seconds."""

    base: float
    """For which an endpoint of `REVISION` is left alone the first time."""
    interval: float
    """Between sweeps of that."""
    external_base: float
    external_interval: float

    @property
    def pace(self) -> float:
        """Between requests: who comes back may not be asked first."""
        return min(self.base / 40, 0.1)

    def applied(self, manifest: str) -> str:
        """A manifest with these times in place of those that it has."""
        for written, number in (
            ("baseEjectionTime: 20s", self.base),
            ("interval: 5s", self.interval),
            ("baseEjectionTime: 3m", self.external_base),
            ("interval: 1s", self.external_interval),
        ):
            manifest = manifest.replace(written, f"{written.partition(':')[0]}: {number * 1000:.0f}ms")
        return manifest


LITERAL = Times(20, 5, 180, 1)
SCALED = Times(0.6, 0.8, 2, 0.3)


# --- Objects ----------------------------------------------------------------------------------------------------------


def named(manifest: str, name: str) -> str:
    """A manifest for another service than the one that it is written for."""
    manifest = manifest.replace("httpbin", name).replace("external-svc", name)
    return manifest.replace("api.external.com", f"{name}.external.com")


def revision(name: str, endpoints: dict[str, str]) -> str:
    """The private Service of a revision, as Knative makes it, and a route to it; `endpoints`: backend -> its zone."""
    service = f"{name}-00001-private"
    slices = (
        f"""
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {{name: {service}-{backend}, namespace: default, labels: {{kubernetes.io/service-name: {service}}}}}
addressType: IPv4
ports: [{{name: http, port: {PORTS[backend]}}}]
endpoints: [{{addresses: [127.0.0.1], zone: {zone}}}]
"""
        for backend, zone in endpoints.items()
    )
    ports = "ports: [{name: http, port: 8012}]"
    return together(resource("v1", "Service", service, ports), *slices, routed(name, service))


def external(name: str, backends: str) -> str:
    endpoints = ", ".join(f"{{address: 127.0.0.1, ports: {{http: {PORTS[backend]}}}}}" for backend in backends)
    spec = f"""
    hosts: [{name}.external.com]
    ports: [{{number: 80, name: http, protocol: HTTP}}]
    resolution: STATIC
    endpoints: [{endpoints}]
    """
    entry = resource("networking.istio.io/v1", "ServiceEntry", f"{name}-svc-se", spec, PROXY_NAMESPACE)
    return together(entry, routed(name, f"{name}.external.com"))


def routed(name: str, host: str) -> str:
    spec = f"""
    hosts: [{name}.test]
    gateways: [edge]
    http: [{{retries: {{attempts: 0}}, route: [{{destination: {{host: {host}}}}}]}}]
    """
    return resource("networking.istio.io/v1", "VirtualService", name, spec)


PASSED_THROUGH = together(
    resource(
        "networking.istio.io/v1",
        "ServiceEntry",
        "external-svc-se",
        f"""
        hosts: [api.external.com]
        ports: [{{number: 443, name: https, protocol: TLS}}]
        resolution: STATIC
        endpoints:
        - {{address: 127.0.0.1, ports: {{https: {SECURE}}}}}
        - {{address: 127.0.0.1, ports: {{https: {CLOSED}}}}}
        """,
        PROXY_NAMESPACE,
    ),
    resource(
        "networking.istio.io/v1",
        "VirtualService",
        "api",
        """
        hosts: [api.external.com]
        gateways: [edge]
        tls:
        - match: [{port: 443, sniHosts: [api.external.com]}]
          route: [{destination: {host: api.external.com}}]
        """,
    ),
)
PASSTHROUGH = """
  - port: {number: 443, name: tls, protocol: TLS}
    tls: {mode: PASSTHROUGH}
    hosts: [api.external.com]"""


def objects(times: Times) -> str:
    sweeping = named(REVISION, "sweeps").replace("baseEjectionTime: 20s", "baseEjectionTime: 1ms")
    rules = [
        *(named(REVISION, name) for name in ("httpbin", "both", "zones")),
        sweeping,
        EXTERNAL,
        *(named(EXTERNAL, name) for name in ("first", "single", "many")),
    ]
    return together(
        FRONT,
        gateway(http_server(), PASSTHROUGH),
        *map(times.applied, rules),
        *(revision(name, {"a": "''", "b": "''"}) for name in ("httpbin", "both")),
        revision("sweeps", {"a": "''"}),
        revision("zones", {"a": "z1", "b": "z2"}),
        external("first", "ab"),
        external("single", "a"),
        external("many", "abc"),
        PASSED_THROUGH,
    )


# --- What is observed -------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Seen:
    """An answer."""

    asked: float
    """When, in seconds of the event loop."""
    status: int
    backend: str
    """Empty where the proxy answers by itself."""
    body: bytes


class Outliers:
    """A control plane, a proxy in zone z1, and what it answers."""

    def __init__(self, stack: Stack, envoy: Envoy, times: Times, backends: dict[str, Backend]) -> None:
        self.stack, self.envoy, self.times, self.backends = stack, envoy, times, backends

    async def ask(self, name: str) -> Seen:
        def once() -> Seen:
            with contextlib.closing(connect(self.stack.address, HTTP)) as connection:
                answer = ask(connection, f"{name}.test", "/")
                return Seen(asked, answer.status, answer.backend, answer.body)

        asked = asyncio.get_running_loop().time()
        return await asyncio.to_thread(once)

    async def stream(self, name: str, ends: Callable[[list[Seen]], bool]) -> list[Seen]:
        """Answers to requests one after another, up to the one with which something is so."""
        found: list[Seen] = []
        async with asyncio.timeout(15 + 1.2 * self.times.external_base):
            while not found or not ends(found):
                found.append(await self.ask(name))
                await asyncio.sleep(self.times.pace)
        return found

    async def while_ejected(self, name: str) -> list[Seen]:
        """Answers to requests one after another, as long as the proxy leaves an endpoint of the host alone."""
        found: list[Seen] = []
        async with asyncio.timeout(15 + 1.2 * self.times.external_base):
            while await self.count(name, "ejections_active"):
                found.append(await self.ask(name))
                await asyncio.sleep(self.times.pace)
        return found

    def fail(self, name: str, *backends: str, status: int = 500) -> None:
        for backend in backends:
            self.backends[backend].statuses[f"{name}.test"] = status

    async def count(self, name: str, statistic: str) -> int:
        """A statistic of the clusters whose name has that part."""
        return sum((await self.envoy.stats(f"cluster.outbound.*{name}.*outlier_detection.{statistic}$")).values())


def turns(seen: list[Seen], backend: str, apart: float) -> list[list[Seen]]:
    """The answers of a backend, parted where it has given none for that long."""
    found: list[list[Seen]] = []
    for answer in (answer for answer in seen if answer.backend == backend):
        if found and answer.asked - found[-1][-1].asked <= apart:
            found[-1].append(answer)
        else:
            found.append([answer])
    return found


# --- What is to be so ------------------------------------------------------------------------------------------------


async def who_fails_is_left_alone(outliers: Outliers) -> None:
    """The third failure in a row is the last one for 20 s, and then for twice as long.

    The rule names its host without namespace, and counts by a field that Istio has deprecated.
    """
    times = outliers.times
    outliers.fail("httpbin", "a")
    seen = await outliers.stream("httpbin", lambda seen: [answer.backend for answer in seen].count("a") == 3)
    await until(lambda: outliers.count("httpbin", "ejections_active"), "the endpoint is ejected")
    seen += await outliers.stream("httpbin", lambda found: len(turns(seen + found, "a", 0.8 * times.base)) == 3)
    first, second, third = turns(seen, "a", 0.8 * times.base)
    for turn in (first, second):
        # Envoy's workers ask its main thread to eject, so that one more request may come in between.
        assert 3 <= len(turn) <= 4
    assert times.base <= second[0].asked - first[2].asked <= times.base + times.interval + 1
    assert 2 * times.base <= third[0].asked - second[2].asked <= 2 * times.base + times.interval + 1
    assert {(answer.backend, answer.status) for answer in seen} == {("a", 500), ("b", 200)}


async def all_may_be_left_alone(outliers: Outliers) -> None:
    """`maxEjectionPercent: 100`, and no panic."""
    outliers.fail("both", "a", "b")
    seen = await outliers.stream("both", lambda seen: not seen[-1].backend)
    assert (seen[-1].status, seen[-1].body) == (503, b"no healthy upstream")
    assert await outliers.count("both", "ejections_active") == 2
    assert 6 <= len(seen) - 1 <= 8


async def who_is_left_alone_comes_back_with_a_sweep(outliers: Outliers) -> None:
    """However short the time of the ejection, which itself waits for no sweep."""
    interval = outliers.times.interval
    outliers.fail("sweeps", "a")
    seen = await outliers.stream("sweeps", lambda seen: len(turns(seen, "a", 0.5 * interval)) == 4)
    _, second, third, fourth = turns(seen, "a", 0.5 * interval)
    for earlier, later in ((second, third), (third, fourth)):
        assert interval / 2 <= later[0].asked - earlier[0].asked <= interval + 1
        assert 3 <= len(earlier) <= 4


async def the_own_zone_comes_first(outliers: Outliers) -> None:
    """The other one while the own is left alone, by the rule alone: nothing is said of localities."""
    near = await outliers.stream("zones", lambda seen: len(seen) == 20)
    assert {answer.backend for answer in near} == {"a"}
    outliers.fail("zones", "a")
    failing = await outliers.stream("zones", lambda seen: seen[-1].backend == "b")
    assert 3 <= len(failing) - 1 <= 4
    outliers.fail("zones", "a", status=200)
    far = await outliers.stream("zones", lambda seen: seen[-1].backend == "a")
    assert {answer.backend for answer in far[:-1]} == {"b"}
    assert far[-1].asked - failing[2].asked >= outliers.times.base
    again = await outliers.stream("zones", lambda seen: len(seen) == 20)
    assert {answer.backend for answer in again} == {"a"}


async def one_failure_is_enough(outliers: Outliers) -> None:
    """`consecutive5xxErrors: 1`, for three minutes."""
    times = outliers.times
    outliers.fail("first", "a")
    seen = await outliers.stream("first", lambda seen: seen[-1].backend == "a")
    outliers.fail("first", "a", status=200)
    meanwhile = await outliers.while_ejected("first")
    away = asyncio.get_running_loop().time() - seen[-1].asked
    assert times.external_base <= away <= times.external_base + times.external_interval + 1
    assert {(answer.backend, answer.status) for answer in meanwhile[:-1]} == {("b", 200)}
    await outliers.stream("first", lambda seen: seen[-1].backend == "a")


async def the_only_one_may_be_left_alone(outliers: Outliers) -> None:
    """Where nothing is said of `maxEjectionPercent`, of which Envoy's default would forbid it."""
    outliers.fail("single", "a")
    seen = await outliers.stream("single", lambda seen: seen[-1].status == 503)
    assert seen[-1].body == b"no healthy upstream"
    assert 1 <= len(seen) - 1 <= 2


async def no_more_than_one_of_a_few_is_left_alone(outliers: Outliers) -> None:
    """Where nothing is said of `maxEjectionPercent`."""
    outliers.fail("many", "a", "b", "c")
    seen = await outliers.stream("many", lambda seen: len(seen) == 20)
    assert {answer.status for answer in seen} == {500}
    assert await outliers.count("many", "ejections_active") == 1


async def who_cannot_be_reached_is_left_alone(outliers: Outliers) -> None:
    """Where only bytes are passed on, after one attempt."""

    async def shake_hands() -> bool:
        try:
            await asyncio.to_thread(certificate, outliers.stack.address, TLS, "api.external.com")
        except OSError:
            return False
        return True

    async def fails() -> bool:
        return not await shake_hands()

    await until(fails, "the endpoint that is not there is tried")
    await until(lambda: outliers.count("api", "ejections_active"), "it is ejected")
    assert [await shake_hands() for _ in range(10)] == [True] * 10


ROWS = {
    row.__name__: row
    for row in (
        who_fails_is_left_alone,
        all_may_be_left_alone,
        who_is_left_alone_comes_back_with_a_sweep,
        the_own_zone_comes_first,
        one_failure_is_enough,
        the_only_one_may_be_left_alone,
        no_more_than_one_of_a_few_is_left_alone,
        who_cannot_be_reached_is_left_alone,
    )
}


@pytest_asyncio.fixture(
    scope="module",
    loop_scope="module",
    params=[pytest.param(SCALED, id="scaled"), pytest.param(LITERAL, id="literal", marks=pytest.mark.long)],
)
async def findings(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[dict[str, BaseException | None]]:
    """What was found of each row; all are observed at the same time, since most of it is waiting."""
    folder = tmp_path_factory.mktemp("outliers")
    pair = issued("api.external.com", "api.external.com")
    file = folder / "server.pem"
    file.write_bytes(pair.certificate_pem + pair.key_pem.reveal())
    async with Stack(folder) as stack:
        stack.write("objects.yaml", objects(request.param))
        await stack.serve()
        backends = {name: await stack.backend(name, port) for name, port in PORTS.items()}
        await stack.backend("tls", SECURE, ssl_certfile=file)
        place = ("r1", "z1", "")
        envoy = await stack.envoy(namespace=PROXY_NAMESPACE, labels=PROXY_LABELS, locality=place, concurrency=2)
        outliers = Outliers(stack, envoy, request.param, backends)
        yield dict(
            zip(
                ROWS,
                await asyncio.gather(*(row(outliers) for row in ROWS.values()), return_exceptions=True),
                strict=True,
            )
        )


@pytest.mark.parametrize("row", ROWS)
@pytest.mark.istio_fields(
    "DestinationRule.trafficPolicy.outlierDetection.{consecutiveErrors,consecutive5xxErrors,interval,baseEjectionTime}",
    "DestinationRule.trafficPolicy.outlierDetection.maxEjectionPercent",
)
async def test_outliers(findings: dict[str, BaseException | None], row: str) -> None:
    if (failure := findings[row]) is not None:
        raise failure
