"""What a server and the process of its runtime services tell each other: frames of MessagePack on a socket."""

import asyncio
from typing import Any, TypeVar

import msgspec

from fairlead.intent import RuntimeConfiguration
from fairlead.runtime.outcomes import Object, Outcome

_LENGTH_BYTES = 4

T = TypeVar("T")


class Orders(msgspec.Struct, frozen=True):
    """What the process is to do; the first ones also tell it what cannot change afterwards."""

    configuration: RuntimeConfiguration
    redis_url: str


class Event(msgspec.Struct, frozen=True):
    """Something to be logged."""

    level: str
    event: str
    values: dict[str, Any]


class Report(msgspec.Struct, frozen=True):
    """What has happened since the last report; that one comes at all is the sign of life."""

    outcomes: list[tuple[Object, Outcome, int]]
    events: list[Event]


def encoded(message: msgspec.Struct) -> bytes:
    """The frame of a message; of values that have no form of their own, the text."""
    body = msgspec.msgpack.encode(message, enc_hook=str)
    return len(body).to_bytes(_LENGTH_BYTES, "big") + body


async def read(reader: asyncio.StreamReader, kind: type[T]) -> T | None:
    """The next message; None when there is none any more."""
    try:
        length = await reader.readexactly(_LENGTH_BYTES)
        return msgspec.msgpack.decode(await reader.readexactly(int.from_bytes(length, "big")), type=kind)
    except (asyncio.IncompleteReadError, ConnectionError):
        return None
