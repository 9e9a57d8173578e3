"""How responses are written: large ones a few at a time, and none for ever."""

import asyncio
import gc
import weakref
from functools import partial

import pytest
from fairlead._pb.envoy.service.discovery.v3.discovery_pb2 import DeltaDiscoveryRequest, DeltaDiscoveryResponse
from fairlead.errors import LimitError
from fairlead.server import flow
from fairlead.server.connection import DeltaConnection
from fairlead.server.convergence import Convergence, Progress
from fairlead.server.counts import Counts
from fairlead.server.flow import Flow
from fairlead.snapshot.resource import Resource
from fairlead.snapshot.table import Snapshot, Table
from fairlead.snapshot.types import CLUSTER, CLUSTER_LOAD_ASSIGNMENT, LISTENER, ROUTE_CONFIGURATION
from support.stack import until

LARGE = 1 << 20
NODE = DeltaDiscoveryRequest(type_url=CLUSTER)
NODE.node.id = "proxy"


class Client:
    """It takes in what it is sent when it is told to."""

    def __init__(self) -> None:
        self.reads = asyncio.Event()
        self.sent = 0

    async def send(self, data: bytes) -> None:
        self.sent += 1
        await self.reads.wait()


async def test_large_responses_are_encoded_and_written_a_few_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(flow, "_TURN", 60.0)
    writes, client, encoded = Flow(), Client(), []
    tasks = [
        asyncio.create_task(writes.write(client.send, LARGE, lambda: encoded.append(None) or bytes(LARGE)))  # type: ignore[func-returns-value]
        for _ in range(20)
    ]
    await asyncio.sleep(0.05)
    assert (len(encoded), client.sent) == (8, 8)
    small = Client()
    small.reads.set()
    assert await writes.write(small.send, 1, lambda: b"1") == 1
    client.reads.set()
    assert await asyncio.gather(*tasks) == [LARGE] * 20


async def test_slow_clients_give_way(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(flow, "_TURN", 0.01)
    writes, slow, quick = Flow(), Client(), Client()
    quick.reads.set()
    tasks = [asyncio.create_task(writes.write(slow.send, LARGE, lambda: bytes(LARGE))) for _ in range(20)]
    await asyncio.wait_for(writes.write(quick.send, LARGE, lambda: bytes(LARGE)), 20)
    assert slow.sent == 20
    for task in tasks:
        task.cancel()
    assert all(isinstance(end, asyncio.CancelledError) for end in await asyncio.gather(*tasks, return_exceptions=True))


async def test_slow_clients_cost_so_much_and_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(flow, "_TURN", 0.01)
    monkeypatch.setattr(flow, "_SLOW_AT_ONCE", 5)
    writes, slow = Flow(), Client()
    tasks = [asyncio.create_task(writes.write(slow.send, LARGE, lambda: bytes(LARGE))) for _ in range(30)]
    await until(lambda: slow.sent == 8 + 5, "as many are under way as may be")
    await asyncio.sleep(0.05)
    assert slow.sent == 8 + 5
    slow.reads.set()
    assert await asyncio.gather(*tasks) == [LARGE] * 30


@pytest.mark.parametrize("size", [1, LARGE])
async def test_a_response_that_is_not_taken_in(monkeypatch: pytest.MonkeyPatch, size: int) -> None:
    monkeypatch.setattr(flow, "WRITE_WITHIN", 0.1)
    writes = Flow()
    watching = asyncio.create_task(writes.watch())
    with pytest.raises(LimitError, match="did not take in a response within"):
        await asyncio.wait_for(writes.write(Client().send, size, lambda: bytes(size)), 20)
    watching.cancel()


@pytest.mark.parametrize("size", [1, LARGE])
async def test_a_stream_that_is_cut_off_while_it_is_written_to_leaves_nothing(size: int) -> None:
    client, requests = Client(), asyncio.Queue[bytes]()
    connection = DeltaConnection("", Progress(Convergence(Counts())), lambda _: None, "")
    connection.open(NODE.SerializeToString())
    connection.offer(Snapshot("all", [Table(CLUSTER, [Resource(CLUSTER, "one", bytes(size))])]))
    stream = asyncio.create_task(connection.converse(requests.get, partial(Flow().write, client.send)))
    await until(lambda: client.sent, "the response is under way")
    stream.cancel()
    await asyncio.wait([stream])
    left = weakref.ref(connection)
    del connection, stream
    gc.collect()
    assert left() is None


async def test_requests_that_come_together_are_all_answered() -> None:
    """The second one while the answer to the first is made, but not written yet."""
    sent: list[str] = []

    async def send(data: bytes) -> None:
        sent.append(DeltaDiscoveryResponse.FromString(data).type_url)

    types = [CLUSTER, CLUSTER_LOAD_ASSIGNMENT, LISTENER, ROUTE_CONFIGURATION]
    connection = DeltaConnection("", Progress(Convergence(Counts())), lambda _: None, "")
    connection.open(NODE.SerializeToString())
    connection.offer(Snapshot("all", [Table(type_url, [Resource(type_url, "one", b"")]) for type_url in types]))
    stream = asyncio.create_task(connection.converse(asyncio.Queue[bytes]().get, partial(Flow().write, send)))
    await until(lambda: sent == [CLUSTER], "the clusters are sent")
    for type_url in types[1:]:
        request = DeltaDiscoveryRequest(type_url=type_url, resource_names_subscribe=["one"])
        connection.receive(request.SerializeToString())
    await until(lambda: sent == types, "all are sent")
    stream.cancel()
    await asyncio.wait([stream])
