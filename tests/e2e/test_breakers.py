"""When circuits open and close: ASMCircuitBreakers, on proxies with two worker threads.

Each request comes on a connection of its own, so that both workers get some. Durations are shorter than those of ASM's
manifest, except in the long test.
"""

import asyncio
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import NamedTuple

import pytest
import pytest_asyncio
from e2e.objects import FRONT, PROXY_LABELS, PROXY_NAMESPACE, gateway, http_server, resource, service, together
from fairlead.playground.backend import Backend
from fairlead.playground.envoy import Envoy
from support.stack import Stack, loopback, until

pytestmark = [pytest.mark.e2e, pytest.mark.asyncio(loop_scope="module"), pytest.mark.xdist_group("breakers")]

LITERAL = (Path(__file__).parents[1] / "asm" / "httpbin-breaker.yaml").read_text()
"""As ASM's documentation prints it: the selector is at one of its breakers."""
SCALED = LITERAL.replace("60s", "2s").replace("0.5s", "0.3s")
HTTP, ACTIVATED, BACKEND = 8080, 8012, 9001
SLOW, QUICK = "/delay/0.4", "/"
REVISION = "httpbin-00001-private.default.svc.cluster.local"
OTHER_REVISION = REVISION.replace("00001", "00002")
TRIALS = 40


class Answer(NamedTuple):
    status: int
    headers: dict[str, str]
    body: str
    took: float


async def send(address: str, port: int, host: str, path: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    reader, writer = await asyncio.open_connection(address, port)
    writer.write(f"GET {path} HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n\r\n".encode())
    return reader, writer


async def ask(address: str, port: int, host: str, path: str) -> Answer:
    begin = time.monotonic()
    reader, writer = await send(address, port, host, path)
    async with asyncio.timeout(20):
        first, *lines = (await reader.readuntil(b"\r\n\r\n")).decode().strip().split("\r\n")
        headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
        body = await reader.readexactly(int(headers.get("content-length", 0)))
    took = time.monotonic() - begin
    writer.close()
    return Answer(int(first.split()[1]), headers, body.decode(), took)


async def keep_asking(address: str, port: int, host: str, times: int) -> None:
    """Ask on one connection."""
    reader, writer = await asyncio.open_connection(address, port)
    for _ in range(times):
        writer.write(f"GET / HTTP/1.1\r\nhost: {host}\r\n\r\n".encode())
        head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
        assert head.startswith("http/1.1 200 ok"), head
        await reader.readexactly(int(head.partition("content-length: ")[2].partition("\r\n")[0]))
    writer.close()


async def give_up(address: str, port: int, host: str, path: str, after: float) -> None:
    _, writer = await send(address, port, host, path)
    await asyncio.sleep(after)  # what the client waits for
    writer.close()


def virtual_service(name: str, http: str = "") -> str:
    http = http or "[{route: [{destination: {host: shop}}]}]"
    return resource(
        "networking.istio.io/v1", "VirtualService", name, f"hosts: [{name}.test]\ngateways: [edge]\nhttp: {http}"
    )


def breaker(name: str, *configs: str) -> str:
    text = "workloadSelector: {labels: {istio: ingressgateway}}\nisGateway: true\nconfigs:\n" + "\n".join(
        f"- {{{config}}}" for config in configs
    )
    return resource("istio.alibabacloud.com/v1", "ASMCircuitBreaker", name, text, PROXY_NAMESPACE)


def of(host: str, config: str, route: str = "") -> str:
    return f"match: {{vhost: {{name: {host}, port: 80, route: {{{route}}}}}}}, breaker_config: {{{config}}}"


TOO_SLOW = "slow_request_rt: 0.3s, max_slow_requests: 5"
LONG_OPEN = f"{TOO_SLOW}, break_duration: 60s"
TRIED = [f"{kind}-{number}" for kind in ("five", "four") for number in range(TRIALS)]
OBJECTS = together(
    FRONT,
    gateway(http_server()),
    service("shop", 80, BACKEND),
    service("httpbin-00001-private", ACTIVATED, BACKEND),
    service("httpbin-00002-private", ACTIVATED, BACKEND),
    service("nobody", 80, 9),
    SCALED,
    *(virtual_service(name) for name in TRIED),
    breaker("all", of('"*"', LONG_OPEN)),
    virtual_service("window"),
    breaker("window", of("window.test", f"{TOO_SLOW}, window_size: 1s")),
    virtual_service("errors"),
    breaker("errors", of("errors.test", "error_percent: {value: 50}, min_request_amount: 6, break_duration: 60s")),
    virtual_service("bad-gateway"),
    breaker("bad-gateway", of("bad-gateway.test", "gateway_error_percent: {value: 100}, min_request_amount: 2")),
    virtual_service("average"),
    breaker(
        "average",
        of("average.test", 'average_request_rt: "0.1s", min_request_amount: 3, custom_response: {status_code: 429}'),
    ),
    virtual_service(
        "failing",
        http="""
        - {name: gone, match: [{uri: {prefix: /gone}}], route: [{destination: {host: nobody}}]}
        - {name: late, timeout: 0.1s, route: [{destination: {host: shop}}]}""",
    ),
    breaker("failing", of("failing.test", "error_percent: {value: 100}, min_request_amount: 3, break_duration: 60s")),
    virtual_service("many"),
    breaker("many", of("many.test", "error_percent: {value: 1}, min_request_amount: 1000, break_duration: 60s")),
    virtual_service("given-up"),
    breaker("given-up", of("given-up.test", LONG_OPEN)),
    virtual_service("half"),
    breaker("half", of("half.test", LONG_OPEN)),
    virtual_service("every"),
    breaker("every", of("every.test", "slow_request_rt: 1ns, max_slow_requests: 1000, break_duration: 60s")),
    virtual_service("uploads"),
    breaker("uploads", of("uploads.test", LONG_OPEN)),
    virtual_service(
        "routes",
        http="""
        - {name: first, match: [{uri: {prefix: /status}}], route: [{destination: {host: shop}}]}
        - {name: second, route: [{destination: {host: shop}}]}""",
    ),
    breaker(
        "routes",
        of("routes.test", "error_percent: {value: 100}, break_duration: 60s", "name_match: first"),
        of("routes.test", "error_percent: {value: 100}, break_duration: 60s", "name_match: second"),
    ),
    virtual_service("kept"),
    breaker("kept", of("kept.test", LONG_OPEN)),
    virtual_service("edited"),
    breaker("edited", of("edited.test", LONG_OPEN)),
    virtual_service("counted"),
    breaker("counted", of("counted.test", "error_percent: {value: 100}, break_duration: 60s")),
    virtual_service("unrelated"),
)


class Breakers:
    """A control plane, a gateway, and sidecars of activators: two with the label, one without."""

    def __init__(self, stack: Stack, backend: Backend, envoys: dict[str, Envoy], addresses: dict[str, str]) -> None:
        self.stack, self.backend, self.envoys, self.addresses = stack, backend, envoys, addresses

    async def ask(self, host: str, path: str = QUICK, *, at: str = "gateway") -> Answer:
        return await ask(self.addresses[at], HTTP if at == "gateway" else ACTIVATED, host, path)

    async def statuses(self, host: str, path: str, times: int, *, at: str = "gateway") -> list[int]:
        """Of requests one after the other."""
        return [(await self.ask(host, path, at=at)).status for _ in range(times)]

    async def at_once(self, host: str, path: str, times: int, *, at: str = "gateway") -> list[int]:
        found = await asyncio.gather(*(self.ask(host, path, at=at) for _ in range(times)))
        return [answer.status for answer in found]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def breakers(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Breakers]:
    async with Stack(tmp_path_factory.mktemp("breakers")) as stack:
        stack.write("objects.yaml", OBJECTS)
        await stack.serve()
        backend = await stack.backend("shop", BACKEND)
        addresses = {name: loopback() for name in ("activator", "other activator", "somebody")}
        addresses["gateway"] = stack.address
        envoys = {"gateway": await stack.envoy(namespace=PROXY_NAMESPACE, labels=PROXY_LABELS, concurrency=2)}
        for name, protocol in (("activator", "delta"), ("other activator", "sotw"), ("somebody", "delta")):
            envoys[name] = await stack.envoy(
                protocol=protocol,
                role="sidecar",
                namespace="knative-serving",
                labels={} if name == "somebody" else {"app": "activator"},
                address=addresses[name],
                concurrency=2,
            )
        yield Breakers(stack, backend, envoys, addresses)


async def test_the_printed_manifest_answers_in_place_of_a_slow_revision(breakers: Breakers) -> None:
    assert await breakers.statuses(REVISION, SLOW, 5, at="activator") == [200] * 5
    opened, reached = time.monotonic(), len(breakers.backend.requests)
    rejected = [await breakers.ask(REVISION, SLOW, at="activator") for _ in range(8)]
    assert {answer.status for answer in rejected} == {498}
    assert min(answer.took for answer in rejected) < 0.05
    assert rejected[0].body == "delay break!"
    assert rejected[0].headers["x-envoy-overload"] == "true"
    assert len(breakers.backend.requests) == reached, "the service has peace"

    for host, at in (
        (OTHER_REVISION, "activator"),
        (REVISION, "other activator"),
        (REVISION, "somebody"),
    ):
        assert await breakers.statuses(host, QUICK, 2, at=at) == [200, 200]

    async def is_closed() -> bool:
        return (await breakers.ask(REVISION, QUICK, at="activator")).status == 200

    await until(is_closed, "the circuit closes")
    assert 1 < time.monotonic() - opened < 3
    assert await breakers.statuses(REVISION, SLOW, 6, at="activator") == [*[200] * 5, 498], "what was counted is gone"
    counters = await breakers.envoys["activator"].stats("fairlead.breaker.knative-serving/httpbin-delay/0")
    assert counters["wasmcustom.fairlead.breaker.knative-serving/httpbin-delay/0.opened"] == 2
    assert counters["wasmcustom.fairlead.breaker.knative-serving/httpbin-delay/0.rejected"] >= 9


async def test_a_proxy_without_the_label_has_no_breaker(breakers: Breakers) -> None:
    assert await breakers.at_once(REVISION, SLOW, 6, at="somebody") == [200] * 6
    assert await breakers.statuses(REVISION, QUICK, 1, at="somebody") == [200]
    dump = await breakers.envoys["somebody"].admin("/config_dump")
    assert "fairlead.breaker" not in dump, "nor anything of it"


async def test_requests_below_the_threshold_are_not_slow(breakers: Breakers) -> None:
    assert await breakers.at_once(REVISION, "/delay/0.05", 20, at="other activator") == [200] * 20
    assert await breakers.statuses(REVISION, QUICK, 1, at="other activator") == [200]


async def test_slow_requests_that_ended_before_the_window_are_forgotten(breakers: Breakers) -> None:
    assert await breakers.statuses("window.test", SLOW, 7) == [200] * 7, "three at most are in it"
    assert await breakers.at_once("window.test", SLOW, 5) == [200] * 5
    assert await breakers.statuses("window.test", QUICK, 1) == [503]


async def test_five_slow_requests_at_once_open_it_and_four_do_not(breakers: Breakers) -> None:
    """For each host there is a circuit, though one rule is for all."""
    for kind, number, expected in (("five", 5, 503), ("four", 4, 200)):
        for first in range(0, TRIALS, 10):
            hosts = [f"{kind}-{trial}.test" for trial in range(first, first + 10)]
            found = await asyncio.gather(*(breakers.at_once(host, SLOW, number) for host in hosts))
            assert found == [[200] * number] * len(hosts)
            assert await asyncio.gather(*(breakers.statuses(host, QUICK, 1) for host in hosts)) == [[expected]] * len(
                hosts
            )


async def test_both_workers_count_every_one_of_many_requests_at_once(breakers: Breakers) -> None:
    address = breakers.addresses["gateway"]
    await asyncio.gather(*(keep_asking(address, HTTP, "every.test", 37) for _ in range(27)))
    assert await breakers.statuses("every.test", QUICK, 2) == [200, 503], "it takes a thousand"


async def test_requests_that_clients_give_up_on_count(breakers: Breakers) -> None:
    address = breakers.addresses["gateway"]
    await asyncio.gather(*(give_up(address, HTTP, "given-up.test", "/delay/5", 0.4) for _ in range(4)))
    assert await breakers.statuses("given-up.test", QUICK, 1) == [200]
    await asyncio.gather(give_up(address, HTTP, "given-up.test", "/delay/5", 0.4))

    async def is_open() -> bool:
        return (await breakers.ask("given-up.test")).status == 503

    await until(is_open, "the circuit opens")


async def test_a_slow_client_does_not_make_a_service_slow(breakers: Breakers) -> None:
    async def upload() -> int:
        reader, writer = await asyncio.open_connection(breakers.addresses["gateway"], HTTP)
        head = b"POST /delay/0.6 HTTP/1.1\r\nhost: uploads.test\r\nconnection: close\r\ncontent-length: 2\r\n\r\n"
        writer.write(head + b"a")
        await asyncio.sleep(0.5)  # the answer is due 0.1 s after the rest
        writer.write(b"b")
        line = await asyncio.wait_for(reader.readline(), 10)
        writer.close()
        return int(line.split()[1])

    assert await asyncio.gather(*(upload() for _ in range(6))) == [200] * 6
    assert await breakers.statuses("uploads.test", QUICK, 1) == [200]


async def test_clients_that_do_not_send_their_bodies_do_not_make_a_service_slow(breakers: Breakers) -> None:
    async def begin_upload() -> None:
        """To a service that answers when it has all of it."""
        _, writer = await asyncio.open_connection(breakers.addresses["gateway"], HTTP)
        writer.write(b"POST /delay/5 HTTP/1.1\r\nhost: half.test\r\ncontent-length: 2\r\n\r\na")
        await asyncio.sleep(0.5)  # longer than what is slow
        writer.close()

    async def resets() -> int:
        return sum((await breakers.envoys["gateway"].stats("http.outbound.*downstream_rq_rx_reset")).values())

    before = await resets()
    await asyncio.gather(*(begin_upload() for _ in range(6)))

    async def all_are_gone() -> bool:
        return await resets() == before + 6

    await until(all_are_gone, "Envoy notices that the clients have gone")
    assert await breakers.statuses("half.test", QUICK, 1) == [200]


async def test_a_share_of_errors_opens_it_after_enough_requests(breakers: Breakers) -> None:
    assert await breakers.statuses("errors.test", "/status/500", 2) == [500] * 2
    assert await breakers.statuses("errors.test", "/status/404", 3) == [404] * 3
    assert await breakers.statuses("errors.test", "/status/503", 2) == [503] * 2, "3 of 6 are enough"
    answer = await breakers.ask("errors.test")
    assert (answer.status, answer.body) == (503, "")
    assert "x-backend" not in answer.headers


async def test_errors_of_gateways_are_counted_apart(breakers: Breakers) -> None:
    assert await breakers.statuses("bad-gateway.test", "/status/500", 4) == [500] * 4
    assert await breakers.statuses("bad-gateway.test", QUICK, 1) == [200]


async def test_a_slow_average_opens_it_after_enough_requests(breakers: Breakers) -> None:
    assert await breakers.statuses("average.test", "/delay/0.2", 3) == [200] * 3
    answer = await breakers.ask("average.test")
    assert (answer.status, answer.body) == (429, "")


async def test_timeouts_and_unreachable_services_are_errors(breakers: Breakers) -> None:
    assert await breakers.statuses("failing.test", "/gone", 2) == [503] * 2
    assert await breakers.statuses("failing.test", "/delay/2", 1) == [504]
    assert await breakers.statuses("failing.test", QUICK, 1) == [503]


async def test_routes_do_not_influence_each_other(breakers: Breakers) -> None:
    assert await breakers.statuses("routes.test", "/status/500", 2) == [500, 503]
    assert await breakers.statuses("routes.test", QUICK, 2) == [200, 200]


async def test_rejected_requests_are_counted_by_the_object(breakers: Breakers) -> None:
    """And those that the service itself answers alike are not."""
    assert await breakers.statuses("counted.test", "/status/503", 1) == [503]
    assert await breakers.statuses("counted.test", QUICK, 37) == [503] * 37
    fairlead = breakers.stack.fairlead
    assert fairlead is not None

    async def counted() -> bool:
        return await fairlead.requests(f"ASMCircuitBreaker {PROXY_NAMESPACE}/counted", "broken") == 37

    await until(counted, "all that the breaker has answered is told")


async def test_errors_are_counted_exactly_among_many_requests(breakers: Breakers) -> None:
    """Of 5,000 requests a worker tells of five at a time, and has some to itself when errors come."""
    address = breakers.addresses["gateway"]
    await asyncio.gather(*(keep_asking(address, HTTP, "many.test", 250) for _ in range(20)))
    before = await breakers.statuses("many.test", "/status/500", 40)
    assert before == [500] * 40
    found = await breakers.statuses("many.test", "/status/500", 40)
    assert set(found) == {500, 503}
    # One percent of what there is then.
    assert 50 <= 40 + found.count(500) <= 54, found


# --- Changes while a circuit is open ----------------------------------------------------------------------------------


async def test_an_open_circuit_outlives_pushes_and_the_control_plane(breakers: Breakers) -> None:
    """Comes before the last: the control plane ends."""
    gateway_proxy, fairlead = breakers.envoys["gateway"], breakers.stack.fairlead
    assert fairlead is not None
    for host in ("kept.test", "edited.test"):
        assert await breakers.at_once(host, SLOW, 5) == [200] * 5
        assert await breakers.statuses(host, QUICK, 1) == [503]

    # A change of the breaker is one of routes: no connection is drained. What is open stays open.
    before = await gateway_proxy.stats("listener_manager.listener_(modified|in_place_updated)")
    edited = OBJECTS.replace(
        breaker("edited", of("edited.test", LONG_OPEN)),
        breaker("edited", of("edited.test", f"{LONG_OPEN}, custom_response: {{status_code: 498}}")),
    )
    unrelated = "[{directResponse: {status: 418}}]"
    edited = edited.replace(virtual_service("unrelated"), virtual_service("unrelated", unrelated))
    breakers.stack.write("objects.yaml", edited)

    async def has(host: str, status: int) -> bool:
        return await breakers.statuses(host, QUICK, 1) == [status]

    await until(lambda: has("unrelated.test", 418), "the unrelated route changes")
    await until(lambda: has("edited.test", 498), "the answer changes")
    assert await breakers.statuses("kept.test", QUICK, 4) == [503] * 4
    assert await gateway_proxy.stats("listener_manager.listener_(modified|in_place_updated)") == before

    # What was quick becomes slow.
    breakers.stack.write("objects.yaml", edited.replace(SCALED, SCALED.replace("0.3s", "0.1s")))

    async def opens_sooner() -> bool:
        await breakers.at_once(REVISION, "/delay/0.2", 5, at="activator")
        return await breakers.statuses(REVISION, QUICK, 1, at="activator") == [498]

    await until(opens_sooner, "another time is slow")

    # A listener that is replaced.
    log = breakers.stack.tmp_path / "access.log"
    mesh = f"""
apiVersion: v1
kind: ConfigMap
metadata: {{name: istio, namespace: istio-system}}
data: {{mesh: "accessLogFile: {log}\\naccessLogFormat: '%REQ(:AUTHORITY)% %RESPONSE_CODE_DETAILS%\\\\n'"}}
"""
    breakers.stack.write("mesh.yaml", mesh)

    async def is_replaced() -> bool:
        return await gateway_proxy.stats("listener_manager.listener_(modified|in_place_updated)") != before

    await until(is_replaced, "the listener is replaced")
    assert await breakers.statuses("kept.test", QUICK, 4) == [503] * 4
    await until(lambda: "kept.test asm_circuit_open" in log.read_text(), "the log says why")

    await fairlead.kill()
    assert await breakers.statuses("kept.test", QUICK, 2) == [503] * 2
    assert await breakers.at_once(OTHER_REVISION, SLOW, 6, at="activator") == [200] * 6, "it has no breaker"
    assert await breakers.at_once(REVISION, SLOW, 5, at="other activator") == [200] * 5
    assert await breakers.statuses(REVISION, QUICK, 1, at="other activator") == [498]


@pytest.mark.long
@pytest.mark.timeout(150)
async def test_the_printed_manifest_holds_for_a_minute(tmp_path: Path) -> None:
    async with Stack(tmp_path) as stack:
        stack.write("objects.yaml", together(service("httpbin-00001-private", ACTIVATED, BACKEND), LITERAL))
        await stack.serve()
        backend = await stack.backend("shop", BACKEND)
        addresses = loopback(), loopback()
        for address in addresses:
            await stack.envoy(
                role="sidecar", namespace="knative-serving", labels={"app": "activator"}, address=address, concurrency=4
            )

        async def status(address: str, path: str = QUICK) -> int:
            return (await ask(address, ACTIVATED, REVISION, path)).status

        async def broken() -> None:
            assert [await status(addresses[0], "/delay/0.6") for _ in range(6)] == [*[200] * 5, 498]
            opened, reached = time.monotonic(), _from(backend, "broken")
            while time.monotonic() - opened < 58:
                assert await status(addresses[0], "/?from=broken") == 498
                await asyncio.sleep(1)  # the pace of the client
            assert _from(backend, "broken") == reached
            await asyncio.sleep(opened + 61 - time.monotonic())
            assert await status(addresses[0], "/?from=broken") == 200
            assert [await status(addresses[0], "/delay/0.6") for _ in range(6)] == [*[200] * 5, 498]

        async def below() -> None:
            assert [await status(addresses[1], "/delay/0.4") for _ in range(6)] == [200] * 6
            for _ in range(6):
                assert await status(addresses[1], "/delay/0.6") == 200
                await asyncio.sleep(10)  # with the delay, longer than the window

        await asyncio.gather(broken(), below())


def _from(backend: Backend, client: str) -> int:
    return sum(client in str(request["query"]) for request in backend.requests)
