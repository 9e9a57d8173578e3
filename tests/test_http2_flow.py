"""Flow control both ways: windows of streams and connections, turns to write, and clients that do not read."""

import asyncio
from collections.abc import AsyncIterator, Iterator

import grpc
import pytest
from fairlead.http2 import frames
from fairlead.http2.call import RECEIVED_AHEAD, Call
from fairlead.http2.frames import DATA, ErrorCode, Setting, frame
from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.events import DataReceived, Event, TrailersReceived
from support.http2 import REQUEST, Client, data, kinds, message

BUFFERED = 256 << 10
"""Bytes that may wait to be sent, and a little more: what was being done when they were reached."""


async def send_size(call: Call) -> None:
    """Answer each message, a number, with that many bytes."""
    while (said := await call.read()) is not None:
        await call.write(bytes(int(said) if said.isdigit() and len(said) < 9 else 0))


@pytest.fixture
async def client() -> AsyncIterator[Client]:
    async with Client({"/test/Size": send_size}) as found:
        yield found


def asking(client: Client, stream: int, *sizes: int) -> bytes:
    """A call that asks for messages of these sizes."""
    said = b"".join(message(b"%d" % size) for size in sizes)
    return client.headers(stream, path="/test/Size") + data(stream, said, end=True)


def window(size: int) -> bytes:
    return frames.settings({Setting.INITIAL_WINDOW_SIZE: size})


def sent(client: Client, stream: int) -> int:
    """Bytes of messages that a stream was sent."""
    client.take()
    return sum(len(each.payload) for each in client.received if (each.kind, each.stream) == (DATA, stream))


# --- What clients are sent --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [0, 1, 10, 1000, 16_379, 16_380, 65_530, 65_531])
async def test_the_first_window(client: Client, size: int) -> None:
    await client.greet()
    await client.send(asking(client, 1, size))
    assert sent(client, 1) == min(size + 5, 65_535)
    assert (client.of(1).status is None) is (size + 5 > 65_535)


@pytest.mark.parametrize("initial", [0, 1, 5, 6, 1000])
async def test_small_windows_of_a_stream(client: Client, initial: int) -> None:
    await client.greet(initial_window_size=initial)
    await client.send(asking(client, 1, 0, 7, 2000))
    granted = initial
    for increment in (1, 1, 3, 5, 7, 100, 1000):
        assert sent(client, 1) == granted
        await client.send(frames.window_update(1, increment))
        granted = min(granted + increment, 5 + 12 + 2005)
    await client.send(frames.window_update(1, 10_000))
    answer = client.of(1)
    assert (answer.messages, answer.status) == ([bytes(0), bytes(7), bytes(2000)], grpc.StatusCode.OK)


async def test_windows_that_change_while_writes_wait(client: Client) -> None:
    """A window may become negative, and has to be paid back first (RFC 9113, 6.9.2)."""
    await client.greet(initial_window_size=1000)
    await client.send(asking(client, 1, 5000))
    assert sent(client, 1) == 1000
    await client.send(window(400), frames.window_update(1, 600))
    assert sent(client, 1) == 1000
    await client.send(frames.window_update(1, 1))
    assert sent(client, 1) == 1001
    await client.send(window(1400))
    assert sent(client, 1) == 2001
    await client.send(window(1400) + window(0) + window(1401))
    assert sent(client, 1) == 2002
    await client.send(asking(client, 3, 5000))
    assert sent(client, 3) == 1401
    await client.send(window(100_000))
    assert client.of(1).messages == client.of(3).messages == [bytes(5000)]


async def test_the_window_of_the_connection_is_shared_in_turn(client: Client) -> None:
    await client.greet(initial_window_size=1 << 24)
    await client.send(*(asking(client, stream, 100_000) for stream in (1, 3, 5, 7)))
    for _ in range(12):
        await client.send(frames.window_update(0, 1000))
    shares = {stream: sent(client, stream) for stream in (1, 3, 5, 7)}
    assert sum(shares.values()) == 65_535 + 12_000
    assert [shares[stream] for stream in (3, 5, 7)] == [3000] * 3
    await client.send(asking(client, 9, 10))  # small ones wait as well
    assert sent(client, 9) == 0
    for _ in range(5):
        await client.send(frames.window_update(0, 1000))
    assert client.of(9).messages == [bytes(10)]
    await client.send(frames.window_update(0, 1 << 24))
    for stream in (1, 3, 5, 7):
        assert client.of(stream).messages == [bytes(100_000)]


async def test_small_responses_do_not_starve_a_large_one(client: Client) -> None:
    """Each asks just before the connection's window grows by what it needs."""
    await client.greet(initial_window_size=1 << 24)
    await client.send(asking(client, 1, 75_000))
    for number in range(10):
        await client.send(asking(client, 2 * number + 3, 995) + frames.window_update(0, 1000))
    assert sent(client, 1) >= 65_535 + 4000
    assert sum(sent(client, 2 * number + 3) for number in range(10)) >= 4000


async def test_a_call_that_waits_for_its_own_window_holds_up_no_other(client: Client) -> None:
    await client.greet(initial_window_size=100)
    await client.send(asking(client, 1, 1000), asking(client, 3, 1000), asking(client, 5, 10))
    assert client.of(5).messages == [bytes(10)]
    await client.send(frames.window_update(3, 1000))
    assert client.of(3).messages == [bytes(1000)]
    assert sent(client, 1) == 100


@pytest.mark.parametrize("gone", [1, 3])
async def test_a_call_that_goes_gives_its_turn_to_the_next(client: Client, gone: int) -> None:
    await client.greet(initial_window_size=1 << 24)
    await client.send(*(asking(client, stream, 100_000) for stream in (1, 3, 5)))
    await client.send(frames.reset(gone, ErrorCode.CANCEL) + frames.window_update(0, 1 << 24))
    for stream in {1, 3, 5} - {gone}:
        assert client.of(stream).messages == [bytes(100_000)]


async def test_large_responses_give_others_their_turn(client: Client) -> None:
    await client.greet(initial_window_size=1 << 24)
    await client.send(frames.window_update(0, 1 << 24))
    await client.send(asking(client, 1, 2_000_000) + asking(client, 3, 2_000_000) + asking(client, 5, 1))
    order = [each.stream for each in client.received if each.kind == DATA]
    assert order.index(5) < len(order) / 2
    assert 1 in order[order.index(3) :]
    assert [len(client.of(stream).messages[0]) for stream in (1, 3, 5)] == [2_000_000, 2_000_000, 1]


# --- What clients send ------------------------------------------------------------------------------------------------


class Independent:
    """The client of another library, which keeps to windows and acknowledges what it has got."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self.http = H2Connection(H2Configuration(client_side=True, header_encoding="utf-8"))
        self.http.initiate_connection()
        self.events: list[Event] = []
        self.got: dict[int, bytes] = {}

    async def pump(self) -> None:
        """Until neither side has anything to say."""
        while said := self.http.data_to_send():
            self._client.connection.data_received(said)
            await self._client.settle()
            while data := self._client.transport.taken():
                events = self.http.receive_data(data)
                for event in events:
                    if isinstance(event, DataReceived):
                        self.got[event.stream_id] = self.got.get(event.stream_id, b"") + event.data
                        self.http.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
                self.events += events
                await self._client.settle()

    def open(self, path: str) -> int:
        stream = self.http.get_next_available_stream_id()
        self.http.send_headers(stream, list({**REQUEST, ":path": path}.items()))
        return stream

    def say(self, stream: int, data: bytes) -> Iterator[int]:
        """Send it as windows allow; a step gives how much is left."""
        while data:
            size = min(len(data), self.http.local_flow_control_window(stream), self.http.max_outbound_frame_size)
            if size:
                self.http.send_data(stream, data[:size])
                data = data[size:]
            yield len(data)
        self.http.end_stream(stream)

    def ended(self) -> set[int | None]:
        return {event.stream_id for event in self.events if isinstance(event, TrailersReceived)}


async def test_requests_beyond_the_window(client: Client) -> None:
    """As large as is allowed, several at once on one connection, echoed."""
    other = Independent(client)
    async with client:
        await other.pump()
        said = {other.open("/test/Echo"): message(bytes((number,)) * (4 << 20)) for number in range(6)}
        left = {stream: other.say(stream, data) for stream, data in said.items()}
        while left:
            for stream, steps in list(left.items()):
                if next(steps, None) is None:
                    del left[stream]
            await other.pump()
        assert other.ended() == set(said)
        assert all(other.got[stream] == data for stream, data in said.items())


async def test_a_client_is_told_to_send_on_only_when_it_has_been_heard() -> None:
    reads = asyncio.Event()

    async def wait(call: Call) -> None:
        await reads.wait()
        while await call.read() is not None:
            pass

    async with Client({"/test/Wait": wait}) as client:
        await client.greet()
        await client.send(client.headers(1, path="/test/Wait"))
        piece = message(b"0" * 10_000)
        number = RECEIVED_AHEAD // len(piece)
        assert await client.send(data(1, piece * number)) == []
        reads.set()
        await client.settle()
        credit = [each for each in client.take() if each.kind == frames.WINDOW_UPDATE]
        assert [(each.stream, int.from_bytes(each.payload, "big")) for each in credit] == [(1, len(piece) * number)]
        assert frames.GOAWAY not in kinds(await client.send(data(1, piece * number)))


async def test_what_is_sent_to_calls_that_are_gone_is_credited(client: Client) -> None:
    await client.greet()
    await client.send(client.headers(1, end=True))
    found = await client.send(*[data(1, bytes(1 << 20))] * 16)
    assert kinds(found) == [frames.WINDOW_UPDATE] * 2
    assert sum(int.from_bytes(each.payload, "big") for each in found) == 16 << 20


# --- Clients that do not read -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "flood",
    [
        pytest.param(frame(frames.PING, 0, 0, bytes(8)), id="pings"),
        pytest.param(frames.settings({}), id="settings"),
        pytest.param(frames.window_update(0, 1) + window(70_000) + frame(frames.PING, 0, 0, bytes(8)), id="various"),
    ],
)
async def test_answers_that_nobody_takes_in(client: Client, flood: bytes) -> None:
    await client.greet()
    client.transport.buffers = True
    for _ in range(100):
        if client.transport.reads:
            client.connection.data_received(flood * 1000)
            await client.settle(2)
    assert not client.transport.reads
    assert client.transport.most < BUFFERED + 100
    assert len(client.connection._rest) < 50_000
    while not client.transport.reads:
        client.take()
        await client.settle(2)
    client.transport.buffers = False
    await client.send(asking(client, 1, 10))
    assert client.of(1).messages == [bytes(10)]


async def test_calls_that_nobody_reads_the_end_of(client: Client) -> None:
    await client.greet()
    client.transport.buffers = True
    opened = 0
    while client.transport.reads:
        assert opened < 20_000
        client.connection.data_received(client.headers(2 * opened + 1, path="/test/None", end=True))
        opened += 1
        await client.settle(3)
    assert client.transport.most < BUFFERED + 1000
    client.transport.buffers = False
    client.take()
    assert client.of(1).status is client.of(2 * opened - 1).status is grpc.StatusCode.UNIMPLEMENTED


async def test_responses_that_nobody_takes_in(client: Client) -> None:
    """However large the windows are."""
    await client.greet(initial_window_size=2**31 - 1)
    client.transport.buffers = True
    await client.send(frames.window_update(0, 2**31 - 1 - 65_535))
    client.transport.most = 0
    for stream in range(1, 41, 2):
        client.connection.data_received(asking(client, stream, 1_000_000, 10, 10))
        await client.settle(5)
        if not client.transport.reads:
            break
    assert BUFFERED <= client.transport.most < BUFFERED + 20_000
    # It is taken in bit by bit, and all of it comes.
    while not (client.of(1).ended and not client.connection.calls):
        assert client.take() or client.connection.calls
        await client.settle(5)
    assert [len(each) for each in client.of(1).messages] == [1_000_000, 10, 10]
    assert client.transport.most < BUFFERED + 20_000


async def test_a_client_that_does_not_read_is_asked_and_dropped(client: Client) -> None:
    await client.greet(initial_window_size=2**31 - 1)
    client.transport.buffers = True
    await client.send(frames.window_update(0, 1 << 30))
    client.transport._limit = 100
    client.connection.data_received(asking(client, 1, 1_000_000))
    await client.settle()
    for seconds in (31, 52):
        assert not client.transport.aborted
        client.time = float(seconds)
        client.server._look_after(client.connection, client.time)
    assert client.transport.aborted
    assert client.broken == ["the client has not answered a ping within 20 seconds"]


async def test_a_client_that_reads_slowly_is_there(client: Client) -> None:
    await client.greet(initial_window_size=2**31 - 1)
    client.transport.buffers = True
    await client.send(frames.window_update(0, 1 << 30))
    client.connection.data_received(asking(client, 1, 10_000_000))
    for number in range(1, 12):
        await client.settle()
        client.time = number * 30.0 + 1
        client.server._look_after(client.connection, client.time)
        client.take()
    assert not client.transport.aborted
