"""Every example does what it says: checked offline, simulated, and asked on a real Envoy in both variants of xDS."""

import asyncio
import json
import math
import ssl
from collections import Counter
from pathlib import Path
from urllib.parse import urlencode

import httpx
import pytest
from cryptography import x509
from fairlead.cli.offline import all_problems, load
from fairlead.cli.render import resources
from fairlead.explain import Explanation
from fairlead.problems import Severity
from fairlead.resolve.scope import Locality, Proxy, Role
from fairlead.simulation import Request, Simulation
from support.expectations import EXAMPLES, NAMES, Expectation, Story, story
from support.stack import ControlPlane, Stack, handshake, until

_SAMPLE = 1000


def test_there_is_a_story_in_every_folder() -> None:
    assert sorted(path.name for path in EXAMPLES.iterdir() if path.is_dir()) == NAMES
    assert all((EXAMPLES / name / "README.md").exists() for name in NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_check_finds_nothing(name: str) -> None:
    world, reading = load([EXAMPLES / name])
    assert [found for found in all_problems(world, reading) if found.severity is not Severity.INFO] == []
    assert world.size() > 0


@pytest.mark.parametrize("name", NAMES)
def test_simulation(name: str) -> None:
    told = story(name)
    world, _ = load([told.folder])
    labels, locality = frozenset(told.labels.items()), Locality(*told.locality)
    proxy = Proxy(Role(told.role), told.namespace, labels, locality)
    simulation = Simulation(resources(world, proxy))
    backends = {f"127.0.0.1:{backend['port']}": backend["name"] for backend in told.backends}
    for expected in told.requests:
        _judge(simulation, expected, backends, by_preference=any(told.locality))


def _judge(simulation: Simulation, expected: Expectation, backends: dict[str, str], *, by_preference: bool) -> None:
    verdict = simulation.send(
        Request(
            port=expected.port,
            host=expected.host,
            path=expected.path,
            method=expected.method,
            headers=expected.headers,
            tls=expected.tls,
        )
    )
    reasons = f"{expected}: {verdict}"
    if expected.refused:
        # A client certificate that is refused or missing is beyond the simulation, but not that one is asked for.
        by_certificate = bool(expected.client_certificate) or verdict.client_certificate_required
        assert verdict.refused or by_certificate, reasons
        return
    assert not verdict.refused, reasons
    if by_preference:
        (endpoints,) = verdict.endpoints.values()
        running = [name for name in map(backends.__getitem__, endpoints) if name not in expected.stopped]
        assert running[0] == expected.backend, reasons
        return
    shares = {
        backends[address]: 100 * share / len(verdict.endpoints[cluster])
        for cluster, share in verdict.clusters.items()
        for address in verdict.endpoints.get(cluster, ())
    }
    if expected.shares:
        assert shares == expected.shares, reasons
    elif expected.backend or expected.sent_to:
        assert shares == {expected.backend or expected.sent_to: 100}, reasons
    else:
        assert verdict.status == expected.status, reasons
    set_headers = {"location": verdict.location, **verdict.response_headers}
    assert set_headers.items() >= expected.response_headers.items(), reasons


@pytest.mark.e2e
@pytest.mark.parametrize("protocol", ["delta", "sotw"])
@pytest.mark.parametrize("name", NAMES)
async def test_real_envoy(name: str, protocol: str, stack: Stack) -> None:
    told = story(name)
    stack.copy(told.folder)
    server = await stack.serve()
    identity = {"role": told.role, "namespace": told.namespace, "labels": told.labels, "locality": told.locality}
    await stack.envoy(protocol, **identity)
    backends = {}
    for backend in told.backends:
        certificate = told.folder / "backend.pem" if "tls" in backend else None
        backends[backend["name"]] = await stack.backend(
            backend["name"],
            backend["port"],
            **({"ssl_certfile": certificate, "ssl_keyfile": certificate} if certificate else {}),
        )
    for expected in told.requests:
        for stopped in expected.stopped:
            await backends[stopped].stop()
        await _ask(stack, told, expected, await _explained(server, expected))
        if expected.copied_to:
            copies = backends[expected.copied_to].requests
            await until(lambda: [seen["path"] for seen in copies] == [expected.path], "there is a copy")  # noqa: B023


async def _explained(server: ControlPlane, expected: Expectation) -> Explanation:
    """What the server says of the request: the URL with headers and all, as `fairlead explain` asks it."""
    headers = [("header", f"{name}: {value}") for name, value in expected.headers.items()]
    query = urlencode([("url", expected.url), ("method", expected.method), *headers])
    (found,) = json.loads(await server.admin(f"/explain?{query}") or "[]")
    return Explanation.from_json(found)


def _facts(explanation: Explanation, label: str) -> list[str]:
    return [fact.text for stop in explanation.stops for fact in stop.facts if fact.label == label]


async def _ask(stack: Stack, told: Story, expected: Expectation, explanation: Explanation) -> None:
    """Send a request, and hold the answer against what is expected, and against what the server explains."""
    certificate: Path | None = None
    if expected.client_certificate:
        certificate = told.folder / "clients" / f"{expected.client_certificate}.pem"
    async with stack.client(client_certificate=certificate) as client:
        if expected.refused:
            with pytest.raises((httpx.TransportError, ssl.SSLError)):
                await client.request(expected.method, expected.url, headers=expected.headers)
            assert not explanation.accepted or _facts(explanation, "client certificate"), explanation
            return
        if expected.shares:
            await _ask_often(client, expected)
            assert all(f"({percent} %)" in explanation.outcome for percent in expected.shares.values())
            return
        if expected.statuses:
            asked = [client.request(expected.method, expected.url) for _ in range(expected.at_once)]
            assert sorted({answer.status_code for answer in await asyncio.gather(*asked)}) == expected.statuses
            return
        answer = await client.request(expected.method, expected.url, headers=expected.headers)

        async def ask_again() -> bool:
            nonlocal answer
            answer = await client.request(expected.method, expected.url, headers=expected.headers)
            return (answer.status_code, answer.headers.get("x-backend", "")) == (expected.status, expected.backend)

        if expected.eventually or expected.stopped:
            await until(ask_again, f"{expected} is as expected")
    assert answer.status_code == (expected.status or 200), f"{expected}: {answer.text}"
    assert answer.headers.get("x-backend", "") == expected.backend, expected
    assert answer.elapsed.total_seconds() >= expected.seconds
    backends = {f"{stack.address}:{backend['port']}": backend["name"] for backend in told.backends}
    found = [backends[text.split()[0]] for text in _facts(explanation, "endpoint")]
    if any(told.locality):
        assert next(name for name in found if name not in expected.stopped) == expected.backend
    else:
        assert set(found) == {expected.backend or expected.sent_to} - {""}
    if not expected.backend and not expected.sent_to:
        assert f"with {answer.status_code}" in explanation.outcome
        assert explanation.outcome.endswith(answer.headers.get("location", ""))
    for name in _facts(explanation, "certificate"):
        assert f"covers {expected.host}" in name
    assert {name: answer.headers.get(name) for name in expected.response_headers} == expected.response_headers
    if expected.request_headers:
        seen = answer.json()["headers"]
        assert {name: seen.get(name) for name in expected.request_headers} == expected.request_headers
    if expected.certificate:
        leaf = await handshake(stack.address, expected.port, expected.host)
        names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        assert expected.certificate in names.get_values_for_type(x509.DNSName)


async def _ask_often(client: object, expected: Expectation) -> None:
    counted: Counter[str] = Counter()
    for _ in range(_SAMPLE):
        answer = await client.request(expected.method, expected.url, headers=expected.headers)  # type: ignore[attr-defined]
        counted[answer.headers["x-backend"]] += 1
    for backend, percent in expected.shares.items():
        tolerance = 4 * math.sqrt(percent * (100 - percent) / _SAMPLE)  # four standard deviations
        assert abs(100 * counted[backend] / _SAMPLE - percent) <= tolerance, counted
