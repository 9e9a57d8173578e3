"""Bytes of HTTP/2 (https://www.rfc-editor.org/rfc/rfc9113) and of gRPC's headers.

Header blocks that are written use no dynamic table and no Huffman code: they are short, and most are constants.
"""

import enum
import struct
from functools import lru_cache

from hpack import Decoder
from hpack.exceptions import HPACKError, OversizedHeaderListError

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
FRAME_HEADER = struct.Struct(">HBBBL")
"""Length (its upper 16 and lower 8 bits), type, flags, stream."""
MESSAGE_PREFIX = struct.Struct(">BL")
"""Of a gRPC message: whether it is compressed, and its length
(https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md)."""

FRAME_BYTES = 16_384
"""Payload of the largest frame, either way: nobody has to take larger ones (SETTINGS_MAX_FRAME_SIZE)."""
WINDOW = 65_535
"""Bytes that may be sent before the other side says otherwise (SETTINGS_INITIAL_WINDOW_SIZE)."""
LARGEST_WINDOW = 2**31 - 1
HEADER_BYTES = 16_384
"""Of the headers of one call, as counted by HTTP/2 (SETTINGS_MAX_HEADER_LIST_SIZE)."""

DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS, PUSH_PROMISE, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = range(10)
END_STREAM, ACK, END_HEADERS, PADDED, HAS_PRIORITY = 0x1, 0x1, 0x4, 0x8, 0x20


class Setting(enum.IntEnum):
    """Identifiers of SETTINGS (RFC 9113, 6.5.2)."""

    HEADER_TABLE_SIZE = 1
    ENABLE_PUSH = 2
    MAX_CONCURRENT_STREAMS = 3
    INITIAL_WINDOW_SIZE = 4
    MAX_FRAME_SIZE = 5
    MAX_HEADER_LIST_SIZE = 6


class ErrorCode(enum.IntEnum):
    """Why a stream or a connection ends (RFC 9113, 7)."""

    NO_ERROR = 0
    PROTOCOL_ERROR = 1
    INTERNAL_ERROR = 2
    FLOW_CONTROL_ERROR = 3
    STREAM_CLOSED = 5
    FRAME_SIZE_ERROR = 6
    REFUSED_STREAM = 7
    CANCEL = 8
    COMPRESSION_ERROR = 9
    ENHANCE_YOUR_CALM = 11


class StatusCode(enum.IntEnum):
    """How a call has ended (https://github.com/grpc/grpc/blob/master/doc/statuscodes.md); those that servers choose."""

    OK = 0
    INVALID_ARGUMENT = 3
    DEADLINE_EXCEEDED = 4
    NOT_FOUND = 5
    PERMISSION_DENIED = 7
    RESOURCE_EXHAUSTED = 8
    UNIMPLEMENTED = 12
    INTERNAL = 13
    UNAVAILABLE = 14


class ConnectionFault(Exception):  # noqa: N818  # it is the client's
    """What a client did wrong, such that the connection has to end."""

    def __init__(self, code: ErrorCode, said: str) -> None:
        super().__init__(said)
        self.code = code


def frame(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    """One frame."""
    length = len(payload)
    return FRAME_HEADER.pack(length >> 8, length & 0xFF, kind, flags, stream) + payload


def settings(values: dict[Setting, int]) -> bytes:
    """A SETTINGS frame."""
    return frame(SETTINGS, 0, 0, b"".join(struct.pack(">HL", name, value) for name, value in values.items()))


def window_update(stream: int, increment: int) -> bytes:
    """A WINDOW_UPDATE frame; stream 0 is the connection."""
    return frame(WINDOW_UPDATE, 0, stream, increment.to_bytes(4, "big"))


def reset(stream: int, code: ErrorCode) -> bytes:
    """A RST_STREAM frame."""
    return frame(RST_STREAM, 0, stream, code.to_bytes(4, "big"))


def goaway(last_stream: int, code: ErrorCode, said: str = "") -> bytes:
    """A GOAWAY frame."""
    return frame(GOAWAY, 0, 0, struct.pack(">LL", last_stream, code) + said.encode()[:200])


def unpadded(payload: bytes, flags: int) -> bytes:
    """The payload of a DATA or HEADERS frame without padding; raises `ConnectionFault`."""
    if not flags & PADDED:
        return payload
    if not payload or payload[0] >= len(payload):
        raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "the padding is as long as the frame")
    return payload[1 : len(payload) - payload[0]]


_LONGEST_TEXT = 1000
"""Bytes of a status. It travels percent-encoded, and clients refuse headers of more than 8 KiB."""

_COMMON_BLOCK = 1024
"""Bytes of a header block that may be the same as those of others, and so is remembered."""

_KNOWN_BLOCKS = 16
"""So many blocks of a connection are remembered: who calls the same method over and over soon sends but one."""

# --- Header blocks ----------------------------------------------------------------------------------------------------

Headers = dict[bytes, bytes]


def _string(text: bytes) -> bytes:
    # RFC 7541, 5.2: a length with a prefix of 7 bits.
    length = len(text)
    if length < 0x7F:
        return bytes((length,)) + text
    encoded, length = bytearray((0x7F,)), length - 0x7F
    while length > 0x7F:
        encoded.append(length & 0x7F | 0x80)
        length >>= 7
    encoded.append(length)
    return bytes(encoded) + text


def _literal(name: bytes, value: bytes) -> bytes:
    # A header without indexing (RFC 7541, 6.2.2).
    return b"\x00" + _string(name) + _string(value)


_STATUS_200 = b"\x88"
RESPONSE_HEADERS = _STATUS_200 + _literal(b"content-type", b"application/grpc")
"""What comes before the first message."""


@lru_cache(maxsize=64)
def trailers(status: int, said: str) -> bytes:
    """What comes after the last message; of a long text the beginning."""
    block = _literal(b"grpc-status", b"%d" % status)
    return block + _literal(b"grpc-message", _percent_encoded(said)) if said else block


def http_error(status: int) -> bytes:
    """The headers of an answer to what is no call of gRPC."""
    return _literal(b":status", b"%d" % status)


def _percent_encoded(text: str) -> bytes:
    # All but printable ASCII, and the percent sign.
    data = text.encode(errors="replace")
    if len(data) > _LONGEST_TEXT:
        data = data[:_LONGEST_TEXT].decode(errors="ignore").encode()
    return b"".join(b"%c" % byte if 0x20 <= byte <= 0x7E and byte != 0x25 else b"%%%02X" % byte for byte in data)


class HeaderReader:
    """Reads the header blocks of one connection, each of which may refer to those before."""

    def __init__(self) -> None:
        self._first: bytes | None = None
        self._decoder: Decoder | None = None
        self._known: dict[bytes, Headers] = {}
        """Blocks that have not changed the table that blocks refer to, since it has changed last."""

    def read(self, block: bytes) -> Headers:
        """The headers of a block; of those with one name the last. Raises `ConnectionFault`.

        Most connections have one block, the same as others: it is decoded once for all, and its effect on those after
        it made up for when there are any.
        """
        if self._decoder is None:
            if self._first is None and len(block) <= _COMMON_BLOCK:
                self._first = block
                return _first_block(block)
            self._decoder = _decoder()
            if self._first is not None:
                _decode(self._decoder, self._first)
                self._first = None
        found = self._known.get(block)
        if found is None:
            found = self._decode(self._decoder, block)
        return found

    def _decode(self, decoder: Decoder, block: bytes) -> Headers:
        table, known = decoder.header_table, self._known
        entries = table.dynamic_entries
        size, length, newest = table.maxsize, len(entries), entries[0] if entries else None
        found = _decode(decoder, block)
        # An entry is a new one even if it says the same: it moves all others.
        same = table.maxsize == size and len(entries) == length and (not entries or entries[0] is newest)
        if not same or len(known) >= _KNOWN_BLOCKS:
            known.clear()
        if same and len(block) <= _COMMON_BLOCK:
            known[block] = found
        return found


def _decoder() -> Decoder:
    return Decoder(max_header_list_size=HEADER_BYTES)


@lru_cache(maxsize=256)
def _first_block(block: bytes) -> Headers:
    return _decode(_decoder(), block)


def _decode(decoder: Decoder, block: bytes) -> Headers:
    try:
        return {bytes(name): bytes(value) for name, value in decoder.decode(block, raw=True)}
    except OversizedHeaderListError:
        raise ConnectionFault(ErrorCode.ENHANCE_YOUR_CALM, f"more than {HEADER_BYTES} bytes of headers") from None
    except (HPACKError, IndexError, ValueError):
        raise ConnectionFault(ErrorCode.COMPRESSION_ERROR, "a header block cannot be decoded") from None
