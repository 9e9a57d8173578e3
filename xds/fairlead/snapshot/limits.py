"""How much one request may hold; see docs/security.md for all limits.

A request of the greatest size that can be received may be 30 million names of nothing: a gigabyte, and seconds, to
decode. So large ones are looked through before.
"""

from collections.abc import Collection

from fairlead.errors import LimitError

NAMES = 75_000
"""Names that a client may ask for, or say that it holds, of one type. An Envoy that comes back names all it has."""

LONGEST_NAME = 4096
"""Characters of a name of a resource."""

NODE_BYTES = 1 << 20
"""What a client may say of itself. An Envoy's list of its extensions takes 60 KB of it."""

_LOOKED_THROUGH = 256 << 10
"""Bytes. What is in a smaller request takes at most about 20 ms to decode."""

_FIELDS = 2 * NAMES + 100
"""A first request may name all that a client wants and, once more, all that it holds."""

_VARINT, _FIXED64, _LENGTH_DELIMITED, _FIXED32 = 0, 1, 2, 5
_FIXED = {_FIXED64: 8, _FIXED32: 4}


def check_encoded(data: bytes) -> None:
    """Raises `LimitError` when a request, still encoded, holds too much to be decoded.

    What is no message at all passes: to decode it tells so.
    """
    if len(data) < _LOOKED_THROUGH:
        return
    position = fields = 0
    try:
        while position < len(data):
            fields += 1
            if fields > _FIELDS:
                raise LimitError(f"the request holds more than {_FIELDS} names and versions; split it")
            tag, position = _varint(data, position)
            kind = tag & 7
            if kind == _LENGTH_DELIMITED:
                length, position = _varint(data, position)
                if length > NODE_BYTES:
                    raise LimitError(
                        f"the request has a field, such as its node, of {length} bytes; {NODE_BYTES} are allowed"
                    )
                position += length
            elif kind == _VARINT:
                _, position = _varint(data, position)
            elif kind in _FIXED:
                position += _FIXED[kind]
            else:
                return
    except IndexError:
        return


def check_names(names: Collection[str]) -> None:
    """Raises `LimitError` when there are too many names, or one is too long."""
    if len(names) > NAMES:
        raise LimitError(f"the request names {len(names)} resources of one type; {NAMES} are allowed")
    longest = max(map(len, names), default=0)
    if longest > LONGEST_NAME:
        raise LimitError(f"the request has a name of {longest} characters; {LONGEST_NAME} are allowed")


def _varint(data: bytes, position: int) -> tuple[int, int]:
    """The number that begins there, and where it ends; raises `IndexError` when the data end before."""
    byte = data[position]
    if byte < 0x80:
        return byte, position + 1
    value = byte & 0x7F
    shift = 7
    while True:
        position += 1
        byte = data[position]
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, position + 1
        shift += 7
        if shift > 63:
            raise IndexError
