"""Messages of proxies, in which texts may be whatever their clients have written.

Protobuf wants texts in UTF-8, and refuses all of a message of which one is not. Envoy sends headers as they come: so
who sends a header of other bytes would not be limited, and those told of in the same message would not be counted.
"""

from typing import Any, TypeVar

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import DecodeError, Message

_VARINT, _EIGHT_BYTES, _LENGTH_DELIMITED, _FOUR_BYTES = 0, 1, 2, 5

_LONGEST_NUMBER = 70
"""Bits, with those that no number of protobuf has."""

_ASCII = bytes(byte if byte < 0x80 else ord("?") for byte in range(256))

M = TypeVar("M", bound=Message)


def decoded(kind: type[M], data: bytes) -> M:
    """A message; where a text is not in UTF-8, it has question marks for all that is not ASCII.

    Raises `DecodeError` for what is no message.
    """
    try:
        return kind.FromString(data)
    except DecodeError:
        mended = bytearray(data)
        try:
            _mend(mended, 0, len(mended), kind.DESCRIPTOR)
        except (IndexError, RecursionError):  # it ends within a field, or has no end
            raise DecodeError("the message cannot be read") from None
        return kind.FromString(bytes(mended))


def _mend(data: bytearray, position: int, end: int, descriptor: Any) -> None:
    """Replace what is not UTF-8, byte by byte, so that all lengths stay the same."""
    while position < end:
        tag, position = _number(data, position)
        wire = tag & 7
        if wire == _LENGTH_DELIMITED:
            length, position = _number(data, position)
            field = descriptor.fields_by_number.get(tag >> 3)
            if field is not None and field.message_type is not None:
                _mend(data, position, min(position + length, end), field.message_type)
            elif field is not None and field.type == FieldDescriptor.TYPE_STRING:
                _mend_text(data, position, position + length)
            position += length
        elif wire == _VARINT:
            _, position = _number(data, position)
        elif wire in {_EIGHT_BYTES, _FOUR_BYTES}:
            position += 8 if wire == _EIGHT_BYTES else 4
        else:
            return  # nothing that Envoy sends


def _mend_text(data: bytearray, start: int, end: int) -> None:
    text = data[start:end]
    try:
        text.decode()
    except UnicodeDecodeError:
        data[start:end] = text.translate(_ASCII)


def _number(data: bytearray, position: int) -> tuple[int, int]:
    """A number of variable length (https://protobuf.dev/programming-guides/encoding), and where it ends."""
    number = shift = 0
    while shift < _LONGEST_NUMBER:
        byte = data[position]
        position += 1
        number |= (byte & 0x7F) << shift
        if byte < 0x80:
            return number, position
        shift += 7
    raise DecodeError("a number is too long")
