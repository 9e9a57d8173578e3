"""How long changes take to reach proxies: measured to the acknowledgement, over real gRPC."""

import asyncio
import contextlib
from dataclasses import replace
from pathlib import Path

import pytest
from fairlead.protocol.events import Acknowledged
from fairlead.server.connection import DeltaConnection
from fairlead.server.convergence import Convergence, Progress
from fairlead.server.counts import Counts
from fairlead.snapshot.table import Snapshot
from fairlead.snapshot.types import CLUSTER, CLUSTER_LOAD_ASSIGNMENT, ROUTE_CONFIGURATION
from fairlead.sources.base import Deliver, Update
from fairlead.sources.files.source import FilesSource
from fairlead.status import ChangeStatus
from support.istio import TO_SHOP, gateway, http, service, virtual_service
from support.server import Server
from support.stack import until
from support.xds_client import XdsClient

EDGE, SHOP = gateway("edge", http()), service("shop")
CLUSTER_OF_SHOP = "outbound|80||shop.edge.svc.cluster.local"


def route(path: str) -> str:
    return virtual_service("a", f"http: [{{match: [{{uri: {{prefix: {path}}}}}], {TO_SHOP}}}]")


def rule(policy: str) -> str:
    return f"""
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {{name: shop, namespace: edge}}
spec: {{host: shop, trafficPolicy: {{loadBalancer: {{simple: {policy}}}}}}}
"""


class Holding(XdsClient):
    """A client that takes in and answers nothing while it holds."""

    answers: asyncio.Event

    async def _take_delta(self, data: bytes) -> None:
        await self.answers.wait()
        await super()._take_delta(data)


def holding(server: Server) -> Holding:
    client = Holding(
        server.address, delta=True, node_id="slow", metadata={"LABELS": {"app": "edge"}, "NAMESPACE": "edge"}
    )
    client.answers = asyncio.Event()
    client.answers.set()
    return client


async def changed(server: Server, name: str, text: str, **expected: int) -> ChangeStatus:
    """Write a file, and wait for the change that comes of it to reach so many proxies."""
    before = server.status().last_change
    server.write(name, text)

    def reached() -> ChangeStatus | None:
        now = server.status().last_change
        fresh = now is not None and (before is None or now.at != before.at)
        return now if fresh and now and all(getattr(now, key) == value for key, value in expected.items()) else None

    found: ChangeStatus = await until(reached, f"{expected} of {server.status().last_change}")
    return found


async def test_first_median_and_last(tmp_path: Path) -> None:
    async with contextlib.AsyncExitStack() as exits:
        server = await exits.enter_async_context(Server(tmp_path, EDGE, route("/a"), SHOP))
        assert server.status().last_change is None
        for number in range(3):
            client = server.client(delta=bool(number % 2), node_id=f"edge-{number}")
            await exits.enter_async_context(client)
            await client.until(lambda client=client: client.names("rds") and client.names("eds"))  # type: ignore[misc]
        slow = await exits.enter_async_context(holding(server))
        other = await exits.enter_async_context(server.client(app="other"))
        await slow.until(lambda: slow.names("rds") and slow.names("eds"))
        await server.settled()
        assert server.status().last_change is None  # proxies that come are no change
        assert len(server.hub.counts.convergence_seconds) == 0

        slow.answers.clear()
        change = await changed(server, "1.yaml", route("/b"), proxies=4, waiting=1)
        assert change.waiting_for == ("slow",)
        assert change.overall.acknowledged == 3
        slow.answers.set()
        found = await until(lambda: (now := server.status().last_change) and now.waiting == 0 and now, "all have it")
        assert (found.proxies, found.refused) == (4, 0)
        reach = found.overall
        assert reach.acknowledged == 4
        assert reach.first_ms is not None
        assert reach.median_ms is not None
        assert reach.last_ms is not None
        assert 0 < found.published_ms <= reach.first_ms <= reach.median_ms < reach.last_ms
        assert found.types == {"rds": reach}
        assert len(server.hub.counts.convergence_seconds) == 4
        assert other.names("rds") == set()

        change = await changed(server, "3.yaml", rule("RANDOM"), proxies=4, waiting=0)
        assert {name: reach.acknowledged for name, reach in change.types.items()} == {"cds": 4, "eds": 4}


async def test_a_proxy_that_refuses_has_not_got_it(tmp_path: Path) -> None:
    async with Server(tmp_path, EDGE, route("/a"), SHOP) as server, server.client() as client, server.client() as other:
        await client.until(lambda: client.names("rds") and client.names("eds"))
        await other.until(lambda: other.names("rds") and other.names("eds"))
        await server.settled()
        client.refuse = lambda kind, _names: "no" if kind == "cds" else ""
        change = await changed(server, "3.yaml", rule("RANDOM"), proxies=2, waiting=0)
        assert (change.refused, change.overall.acknowledged) == (1, 1)
        assert server.hub.counts.rejects[CLUSTER] == 1


async def test_who_leaves_is_not_waited_for(tmp_path: Path) -> None:
    async with Server(tmp_path, EDGE, route("/a"), SHOP) as server:
        async with holding(server) as slow:
            await slow.until(lambda: slow.names("rds") and slow.names("eds"))
            await server.settled()
            slow.answers.clear()
            await changed(server, "1.yaml", route("/b"), waiting=1)
        await until(lambda: (now := server.status().last_change) and now.proxies == 0, "nobody is waited for")


async def test_what_no_proxy_is_told_of_is_no_change(tmp_path: Path) -> None:
    async with Server(tmp_path, EDGE, route("/a"), SHOP) as server, server.client() as client:
        await client.until(lambda: client.names("rds") and client.names("eds"))
        server.write("9.yaml", service("unused"))
        await until(lambda: server.status().objects["Service"] == 2, "it is read")
        await server.settled()
        assert server.status().last_change is None


class EarlierSource(FilesSource):
    """Notices everything 1,000 seconds before it does."""

    async def run(self, deliver: Deliver) -> None:
        async def tell(update: Update) -> None:
            await deliver(replace(update, noticed=None if update.noticed is None else update.noticed - 1000))

        await super().run(tell)


async def test_a_change_begins_when_its_source_notices_it(tmp_path: Path) -> None:
    source = EarlierSource([tmp_path], deletion_grace=0.0)
    async with Server(tmp_path, EDGE, route("/a"), SHOP, source=source) as server, server.client() as client:
        await client.until(lambda: client.names("rds") and client.names("eds"))
        await server.settled()
        change = await changed(server, "1.yaml", route("/b"), proxies=1, waiting=0)
        assert change.published_ms > 1_000_000
        assert change.seconds_ago > 1000


# --- The rules --------------------------------------------------------------------------------------------------------


def acknowledge(progress: Progress, *type_urls: str) -> None:
    for type_url in type_urls:
        progress.answered(Acknowledged(type_url, "1", "v", (), ()))


def send(progress: Progress, type_url: str, nonce: str, at: float) -> None:
    progress.sending(type_url, nonce, at)


def test_changes_that_come_before_the_answer_count_as_one_from_the_first_on() -> None:
    convergence = Convergence(Counts())
    progress = Progress(convergence)
    with convergence.publishing(-1000.0):
        progress.concern(due=True)
    send(progress, CLUSTER, "1", 1e9)
    with convergence.publishing(-500.0):
        progress.concern(due=False)
    acknowledge(progress, CLUSTER)
    send(progress, CLUSTER, "2", 1e9)
    progress.idle()
    status = convergence.last_change()
    assert status is not None
    assert (status.proxies, status.waiting) == (1, 1)
    acknowledge(progress, CLUSTER)
    progress.idle()
    histogram = convergence.counts.convergence_seconds
    assert len(histogram) == 1
    assert histogram.total > 1000
    status = convergence.last_change()
    assert status is not None
    assert status.overall.acknowledged == 1
    assert status.overall.last_ms is not None
    assert histogram.total * 1000 - status.overall.last_ms == pytest.approx(500_000)


def test_the_last_of_several_responses_counts() -> None:
    convergence = Convergence(Counts())
    progress = Progress(convergence)
    with convergence.publishing(0.0):
        progress.concern(due=True)
    send(progress, CLUSTER, "1", 1e9)
    send(progress, CLUSTER_LOAD_ASSIGNMENT, "2", 1e9)
    acknowledge(progress, CLUSTER)
    progress.idle()
    assert len(convergence.counts.convergence_seconds) == 0
    acknowledge(progress, CLUSTER_LOAD_ASSIGNMENT)
    progress.idle()
    assert len(convergence.counts.convergence_seconds) == 1


def test_what_was_under_way_before_is_no_answer_to_the_change() -> None:
    convergence = Convergence(Counts())
    progress = Progress(convergence)
    send(progress, CLUSTER, "1", 0.0)
    with convergence.publishing(0.0):
        progress.concern(due=False)
    acknowledge(progress, CLUSTER)
    progress.idle()
    status = convergence.last_change()
    assert status is not None
    assert status.proxies == 0


async def test_what_a_new_stream_is_told_is_no_change_to_it() -> None:
    """Though it comes in the same wave as one."""
    convergence = Convergence(Counts())
    connection = DeltaConnection("", Progress(convergence), lambda _: None, "")
    with convergence.publishing(0.0):
        connection.offer(Snapshot("new"))
    assert convergence.last_change() is None
    with convergence.publishing(0.0):
        connection.offer(Snapshot("other"))
    status = convergence.last_change()
    assert status is not None
    assert status.waiting == 1


def test_older_nonces_are_counted() -> None:
    progress = Progress(Convergence(Counts()))
    progress.asked(CLUSTER, "of an earlier stream")
    send(progress, CLUSTER, "1", 0.0)
    send(progress, ROUTE_CONFIGURATION, "2", 0.0)
    for nonce in ("", "1", "0", "2"):
        progress.asked(CLUSTER, nonce)
    assert progress.counts.expired_nonces[CLUSTER] == 2
    assert progress.counts.expired_nonces[ROUTE_CONFIGURATION] == 0
