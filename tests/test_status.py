"""What an operator is told of a running server, and how it is printed."""

import asyncio
import dataclasses
import io
import json
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result
from fairlead.cli import output
from fairlead.cli import status as command
from fairlead.cli.main import app
from fairlead.protocol.events import SyncState
from fairlead.server.admin import AdminServer, status_page
from fairlead.server.settings import Address
from fairlead.status import (
    ChangeStatus,
    ProblemStatus,
    ProxyStatus,
    ProxyTypeStatus,
    ReachStatus,
    RuleStatus,
    ServerStatus,
    one_line,
)
from rich.console import Console
from support.istio import TO_SHOP, gateway, http, service, tls, virtual_service
from support.server import Server
from support.stack import until
from support.xds_client import XdsClient
from typer import Exit
from typer.testing import CliRunner

EDGE, ROUTE, SHOP = gateway("edge", http()), virtual_service("a", f"http: [{{{TO_SHOP}}}]"), service("shop")
STORE = virtual_service("b", "http: [{route: [{destination: {host: store}}]}]", hosts="b.example.com")
CLUSTER = "outbound|80||shop.edge.svc.cluster.local"


def rule(policy: str) -> str:
    return f"""
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {{name: shop, namespace: edge}}
spec: {{host: shop, trafficPolicy: {{loadBalancer: {{simple: {policy}}}}}}}
"""


def states(server: Server) -> set[SyncState]:
    return {kind.state for proxy in server.status().proxies for kind in proxy.types.values()}


def only_proxy(server: Server) -> ProxyStatus:
    (proxy,) = server.status().proxies
    return proxy


# --- What is so at each moment ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("delta", [True, False])
async def test_a_proxy_in_step(tmp_path: Path, delta: bool) -> None:
    async with Server(tmp_path, EDGE, ROUTE, SHOP) as server:
        assert server.status().settled
        async with server.client(delta=delta, node_id="edge-1") as client:
            await client.until(lambda: client.names("rds") and client.names("eds"))
            await server.settled()
            proxy = only_proxy(server)
            assert (proxy.id, proxy.role, proxy.namespace) == ("edge-1", "gateway", "edge")
            assert proxy.protocol == ("delta" if delta else "sotw")
            assert {name: kind.state for name, kind in proxy.types.items()} == dict.fromkeys(
                ("cds", "eds", "lds", "rds"), SyncState.SYNCED
            )
            assert all(kind.version and not kind.error for kind in proxy.types.values())
        await until(lambda: server.status().proxies == (), "it has vanished")


@pytest.mark.parametrize("delta", [True, False])
async def test_a_refusal_is_told_in_the_proxys_words_with_the_objects(tmp_path: Path, delta: bool) -> None:
    words = f"Error adding/updating cluster(s) {CLUSTER}: no such policy\nreally"
    async with (
        Server(tmp_path, EDGE, f"{ROUTE}---{STORE}", f"{SHOP}---{service('store')}", rule("RANDOM")) as server,
        server.client(delta=delta) as client,
    ):
        await client.until(lambda: len(client.names("eds")) == 2)
        await server.settled()
        client.refuse = lambda kind, names: words if kind == "cds" and CLUSTER in names else ""
        server.write("3.yaml", rule("ROUND_ROBIN"))
        event = await server.logged("a proxy refused resources")
        assert (event["type"], event["error"]) == ("cds", words)
        places = [f"Service edge/shop ({tmp_path}/2.yaml:2:1)", f"DestinationRule edge/shop ({tmp_path}/3.yaml:2:1)"]
        assert event["objects"] == places
        refused = (await server.settled()).proxies[0].types["cds"]
        assert (refused.state, refused.error) == (SyncState.REJECTED, words)
        assert refused.objects == tuple(places)
        client.refuse = lambda _kind, _names: ""
        server.write("3.yaml", rule("LEAST_REQUEST"))
        await until(lambda: only_proxy(server).types["cds"].state is SyncState.SYNCED, "it is accepted")
        assert only_proxy(server).types["cds"].error == ""


async def test_what_is_refused_stays_so_while_other_resources_are_taken_in(tmp_path: Path) -> None:
    """The protocol forgets a refusal with the next response of the type; the proxy still lacks the cluster."""
    async with Server(tmp_path, EDGE, f"{ROUTE}---{STORE}", SHOP, rule("RANDOM")) as server, server.client() as client:
        client.refuse = lambda _kind, names: f"no {CLUSTER}" if CLUSTER in names else ""
        await client.until(lambda: ("cds", [CLUSTER]) in client.received)
        server.write("4.yaml", service("store"))
        await client.until(lambda: client.names("cds"))
        found = (await server.settled()).proxies[0].types["cds"]
        assert (found.state, found.error) == (SyncState.REJECTED, f"no {CLUSTER}")
        server.write("1.yaml", STORE)  # what the proxy lacks, it is no longer offered
        await until(lambda: only_proxy(server).types["cds"].state is SyncState.SYNCED, "nothing is lacking")


async def test_a_refusal_that_names_nothing_is_about_the_whole_response(tmp_path: Path) -> None:
    async with (
        Server(tmp_path, EDGE, f"{ROUTE}---{STORE}", f"{SHOP}---{service('store')}") as server,
        server.client() as client,
    ):
        client.refuse = lambda kind, _names: "no" if kind == "cds" else ""
        await server.logged("a proxy refused resources")
        objects = (await server.settled()).proxies[0].types["cds"].objects
        assert [text.partition(" (")[0] for text in objects] == ["Service edge/shop", "Service edge/store"]


async def test_names_that_are_part_of_others_are_not_taken_for_them(tmp_path: Path) -> None:
    longer = "http: [{route: [{destination: {host: shop.edge.svc.cluster.local.test}}]}]"
    entry = """
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: longer, namespace: edge}
spec: {hosts: [shop.edge.svc.cluster.local.test], ports: [{number: 80, name: http, protocol: HTTP}], resolution: DNS}
"""
    route = virtual_service("b", longer, hosts="b.example.com")
    async with Server(tmp_path, EDGE, f"{ROUTE}---{route}", SHOP, entry) as server, server.client() as client:
        client.refuse = lambda kind, _names: f"no {CLUSTER}.test, sorry" if kind == "cds" else ""
        event = await server.logged("a proxy refused resources")
        assert event["objects"] == [f"ServiceEntry edge/longer ({tmp_path}/3.yaml:2:1)"]


async def test_private_keys_that_a_proxy_quotes_are_not_shown(tmp_path: Path) -> None:
    key = "-----BEGIN PRIVATE KEY-----\nMIIsecret\n-----END PRIVATE KEY-----"
    async with Server(tmp_path, gateway("edge", tls("a.example.com"))) as server, server.client() as client:
        client.refuse = lambda _kind, _names: f"cannot use {key}: odd; nor {key[:40]}"
        await server.logged("a proxy refused resources")
        text = json.dumps((await server.settled()).as_json())
        assert "cannot use [private key]: odd; nor [private key]" in text
        assert "MIIsecret" not in text + str(server.log)


async def test_a_stream_that_waits_is_not_settled(tmp_path: Path) -> None:
    async with Server(tmp_path, EDGE, ROUTE, SHOP) as server:
        answers = asyncio.Event()

        class Slow(XdsClient):
            async def _take_delta(self, data: bytes) -> None:
                await answers.wait()
                await super()._take_delta(data)

        client = Slow(server.address, delta=True, metadata={"LABELS": {"app": "edge"}, "NAMESPACE": "edge"})
        async with client:
            await until(lambda: states(server) == {SyncState.STALE}, "it waits")
            assert not server.status().settled
            answers.set()
            await server.settled()


# --- As JSON ----------------------------------------------------------------------------------------------------------

SYNCED = ProxyTypeStatus(SyncState.SYNCED, "0123456789abcdef")
EXAMPLE = ServerStatus(
    version="1.2.3",
    synced=True,
    settled=False,
    objects={"VirtualService": 2, "Gateway": 1},
    proxies=(
        ProxyStatus("edge-1", "gateway", "istio-system", "ipv4:127.0.0.1:40000", "delta", "envoy 1.40.0", 1.5, {}),
        ProxyStatus(
            "edge-2",
            *("gateway", "default", "unix:", "sotw", "", 11000.0),
            {
                "cds": SYNCED,
                "eds": ProxyTypeStatus(SyncState.STALE, "1"),
                "lds": SYNCED,
                "sds": ProxyTypeStatus(SyncState.REJECTED, "", "bad\x1b[2Jkey", ("Secret default/a (a.yaml:1:1)",)),
            },
        ),
    ),
    problems=(
        ProblemStatus("error", "syntax", "", "a.yaml", 3, 7, "", "bad [syntax]\n", ""),
        ProblemStatus(
            "warning", "unknown-field", "Gateway default/a", "", 0, 0, "spec.foo", "no such field", "drop it"
        ),
    ),
    last_change=ChangeStatus(
        at="2026-11-21T12:00:00.000+00:00",
        seconds_ago=61.25,
        published_ms=2.5,
        proxies=5,
        refused=1,
        waiting=1,
        waiting_for=("edge-2",),
        overall=ReachStatus(3, 3.25, 4.0, 71.125),
        types={"cds": ReachStatus(3, 3.25, 4.0, 71.125)},
    ),
    rules=(
        RuleStatus("ASMLocalRateLimiter default/shop", "spec.configs[0]", 0, 0, (), "no gateway is connected"),
        RuleStatus("ASMLocalRateLimiter default/shop", "spec.configs[1]", 3, 2, ("edge-1", "edge-2"), ""),
        RuleStatus("ASMCircuitBreaker default/shop", "spec.configs[0]", 1, 1, ("edge-1",), ""),
    ),
    rate_limits={"ASMGlobalRateLimiter default/shop": "domain: x\n"},
)


def test_what_is_sent_is_what_was_meant() -> None:
    assert ServerStatus.from_json(json.loads(json.dumps(EXAMPLE.as_json()))) == EXAMPLE


def test_the_schema() -> None:
    """Scripts rely on it: fields may be added."""

    def shape(value: Any) -> Any:
        match value:
            case dict():
                return {name: shape(item) for name, item in value.items()}
            case list():
                return [shape(value[-1])] if value else []
            case _:
                return type(value).__name__

    reach = {"acknowledged": "int", "first_ms": "float", "median_ms": "float", "last_ms": "float"}
    assert shape(json.loads(json.dumps(EXAMPLE.as_json()))) == {
        "version": "str",
        "synced": "bool",
        "settled": "bool",
        "objects": {"VirtualService": "int", "Gateway": "int"},
        "proxies": [
            {
                **dict.fromkeys(("id", "role", "namespace", "peer", "protocol", "user_agent"), "str"),
                "connected_seconds": "float",
                "types": {
                    "cds": {"state": "str", "version": "str", "error": "str", "objects": [], "refused": []},
                    "eds": {"state": "str", "version": "str", "error": "str", "objects": [], "refused": []},
                    "lds": {"state": "str", "version": "str", "error": "str", "objects": [], "refused": []},
                    "sds": {"state": "str", "version": "str", "error": "str", "objects": ["str"], "refused": []},
                },
            }
        ],
        "problems": [
            {
                **dict.fromkeys(("severity", "code", "object", "file", "path", "message", "hint"), "str"),
                **dict.fromkeys(("line", "column"), "int"),
            }
        ],
        "last_change": {
            "at": "str",
            "seconds_ago": "float",
            "published_ms": "float",
            "waiting_for": ["str"],
            **dict.fromkeys(("proxies", "refused", "waiting"), "int"),
            "overall": reach,
            "types": {"cds": reach},
        },
        "rules": [
            {
                **dict.fromkeys(("object", "path", "reason"), "str"),
                **dict.fromkeys(("selected", "proxies"), "int"),
                "at": ["str"],
            }
        ],
        "rate_limits": {"ASMGlobalRateLimiter default/shop": "str"},
        "runtime_trouble": "str",
    }


def test_a_newer_server_may_tell_more() -> None:
    data = EXAMPLE.as_json()
    for part in (data, data["proxies"][0], data["problems"][0], data["proxies"][1]["types"]["cds"]):
        part["new"] = 1
    assert ServerStatus.from_json(data) == EXAMPLE


# --- As text ----------------------------------------------------------------------------------------------------------


@asynccontextmanager
async def answering(*answers: ServerStatus) -> AsyncIterator[str]:
    """The address of an admin endpoint that gives these, the last one again and again."""
    rest: Iterator[ServerStatus] = iter(answers)
    server = AdminServer(Address("127.0.0.1", 0), lambda: False, [status_page(lambda: next(rest, answers[-1]))])
    task = asyncio.create_task(server.run())
    try:
        yield str(server.address)
    finally:
        server.stop()
        await task


async def printed(address: str, *arguments: str) -> Result:
    return await asyncio.to_thread(CliRunner().invoke, app, ["status", "--admin-address", address, *arguments])


PROBLEMS = [
    r"a.yaml:3:7: error[syntax] bad [syntax]\n",
    "warning[unknown-field] no such field (Gateway default/a, spec.foo)",
    "  hint: drop it",
]
NOWHERE = "ASMLocalRateLimiter default/shop spec.configs[0] is in force at no proxy: no gateway is connected"
SUMMARY = [
    "fairlead 1.2.3: 1 Gateway, 2 VirtualService",
    "2 proxies: 1 synced, 1 rejected",
    (
        "last change 61 s ago: acknowledged by 3 of 5 proxies, "
        "the first after 3.2 ms, half after 4.0, the last after 71.1; refused by 1; waiting for edge-2"
    ),
    r"sds refused by edge-2: bad\x1b[2Jkey",
    "  from Secret default/a (a.yaml:1:1)",
]


async def test_text_says_all_in_brief_and_who_is_not_in_step() -> None:
    async with answering(EXAMPLE) as address:
        result = await printed(address)
    assert result.exit_code == 0
    assert result.stdout.splitlines() == [
        *SUMMARY,
        "edge-2: gateway in default, client at unix:, sotw",
        "  rejected  sds",
        "  stale     eds",
        "  synced    cds lds",
        NOWHERE,
        *PROBLEMS,
    ]


EDGE_1 = ["edge-1: gateway in istio-system, envoy 1.40.0 at ipv4:127.0.0.1:40000, delta, for 2 s"]
EDGE_2 = [
    "edge-2: gateway in default, client at unix:, sotw, for 3 h",
    "  cds   synced    0123456789abcdef",
    "  eds   stale     1",
    "  lds   synced    0123456789abcdef",
    "  sds   rejected",
]


async def test_text_in_full() -> None:
    async with answering(EXAMPLE) as address:
        lines = (await printed(address, "--all")).stdout.splitlines()
    somewhere = [
        "ASMLocalRateLimiter default/shop spec.configs[1] is in force at 2 proxies of 3 that it is for",
        "ASMCircuitBreaker default/shop spec.configs[0] is in force at 1 proxy",
    ]
    assert lines == [*SUMMARY, *EDGE_1, *EDGE_2, NOWHERE, *somewhere, *PROBLEMS]


async def test_text_of_proxies_that_are_named() -> None:
    async with answering(EXAMPLE) as address:
        result = await printed(address, "edge-2")
        assert (result.exit_code, result.stdout.splitlines()) == (0, [*EDGE_2, *SUMMARY[-2:]])
        result = await printed(address, "edge-1", "edge-3")
        assert (result.exit_code, result.stdout.splitlines()) == (1, EDGE_1)
        assert "no proxy is connected whose id is edge-3" in result.stderr


async def test_text_of_a_thousand_proxies_fits_on_a_screen() -> None:
    synced, refusing = EXAMPLE.proxies
    fleet = [dataclasses.replace(synced, id=f"ok-{number}") for number in range(400)]
    fleet += [dataclasses.replace(refusing, id=f"bad-{number}") for number in range(600)]
    async with answering(dataclasses.replace(EXAMPLE, proxies=tuple(fleet))) as address:
        lines = (await printed(address)).stdout.splitlines()
        assert lines[1] == "1000 proxies: 400 synced, 600 rejected"
        assert r"sds refused by 600 proxies (bad-0, bad-1, bad-2, ...): bad\x1b[2Jkey" in lines
        assert "and 580 more; fairlead status --all shows them" in lines
        assert len(lines) < 100
        assert len((await printed(address, "--all")).stdout.splitlines()) > 2000


async def test_text_without_proxies_and_before_all_is_read() -> None:
    reading = ServerStatus("1", False, False, {}, (), ())
    async with answering(reading, dataclasses.replace(reading, synced=True)) as address:
        assert (await printed(address)).stdout == "objects are being read\nno proxy is connected\n"
        assert (await printed(address)).stdout == "fairlead 1: no objects\nno proxy is connected\n"


async def test_text_tells_of_runtime_services_that_do_not_run() -> None:
    reason = "--runtime-address 127.0.0.1:18002 cannot be listened on: Address already in use"
    async with answering(ServerStatus("1", True, True, {}, (), (), runtime_trouble=reason)) as address:
        assert (
            f"the runtime services do not run, so that requests are not limited by them: {reason}\n"
            in (await printed(address)).stdout
        )


async def test_json() -> None:
    async with answering(EXAMPLE) as address:
        result = await printed(address, "--format", "json")
    assert result.exit_code == 0
    assert ServerStatus.from_json(json.loads(result.stdout)) == EXAMPLE


async def test_wait_until_all_have_answered() -> None:
    settled = dataclasses.replace(EXAMPLE, settled=True)
    async with answering(EXAMPLE, EXAMPLE, settled) as address:
        result = await printed(address, "--wait", "--format", "json")
    assert result.exit_code == 0
    assert json.loads(result.stdout)["settled"] is True


async def test_wait_has_an_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(command, "_PATIENCE", 0.1)
    async with answering(EXAMPLE) as address:
        result = await printed(address, "--wait")
    assert result.exit_code == 1
    assert "stale     eds" in result.stdout
    assert (await printed(address, "--wait")).exit_code == 2


async def test_wait_for_a_server_that_is_about_to_start(tmp_path: Path) -> None:
    async with answering(EXAMPLE) as address:
        pass
    waiting = asyncio.create_task(printed(address, "--wait"))
    async with Server(tmp_path) as server:
        parsed = Address("127.0.0.1", int(address.rpartition(":")[2]))
        admin = AdminServer(parsed, lambda: True, [status_page(server.status)])
        task = asyncio.create_task(admin.run())
        assert (await asyncio.wait_for(waiting, 20)).exit_code == 0
        admin.stop()
        await task


async def test_a_proxy_of_the_environment_is_not_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    async with answering(EXAMPLE) as address:
        assert (await printed(address)).exit_code == 0


@pytest.mark.parametrize(
    "answer", [b"", b"\x00\x00\x12\x04\x00", b"HTTP/1.1 200 OK\r\n\r\n[1]", b"HTTP/1.1 200 OK\r\n\r\n{"]
)
async def test_something_else_answers(answer: bytes) -> None:
    async def answer_with(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(answer)
        writer.close()

    async with await asyncio.start_server(answer_with, "127.0.0.1", 0) as other:
        result = await printed(f"127.0.0.1:{other.sockets[0].getsockname()[1]}")
    assert result.exit_code == 2
    assert "is `fairlead serve` running, with this --admin-address?" in result.stderr


def test_brackets_of_a_message_are_no_markup(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = io.StringIO()
    monkeypatch.setattr(output, "ERR", Console(file=terminal, force_terminal=True, soft_wrap=True, highlight=False))
    with pytest.raises(Exit):
        output.fail("no answer from [::1]:80 [/x] [bold]")
    assert "no answer from [::1]:80 [/x] [bold]" in terminal.getvalue()


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain ü € 漢字", "plain ü € 漢字"),
        ("a\nb\t\x07\x9b", r"a\nb\t\x07\x9b"),
        ("\u2028\u202e\ufeff", r"\u2028\u202e\ufeff"),
    ],
)
def test_one_line(text: str, shown: str) -> None:
    assert one_line(text) == shown
