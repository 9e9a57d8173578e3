"""An independent judge of what we encode: the decoder of envoy-data-plane, which shares no code with ours.

It knows messages from its own copy of Envoy's API. A field that it does not know, or reads as something else, shows
when it writes what it has read. Two limits: it keeps durations to the microsecond, and does not merge a singular field
that occurs twice.
"""

import dataclasses
import importlib
import warnings
from collections.abc import Iterator
from functools import cache
from typing import Any

import betterproto2
from fairlead import _pb
from fairlead.snapshot.resource import Resource
from google.protobuf import json_format, message_factory

ANY = "type.googleapis.com/google.protobuf.Any"


def as_dict(type_url: str, body: bytes) -> dict[str, Any]:
    """An encoded message as protobuf itself shows it, with the content of each `Any`."""
    descriptor = _pb.POOL.FindMessageTypeByName(type_url.partition("/")[2])
    message = message_factory.GetMessageClass(descriptor).FromString(body)
    return json_format.MessageToDict(message, descriptor_pool=_pb.POOL, preserving_proto_field_name=True)


def reencoded(type_url: str, body: bytes) -> bytes:
    """The message as the second decoder writes it, after it has read it and the content of each `Any`."""
    message = _class(type_url).parse(body)
    for part in _parts(message):
        assert not part._unknown_fields, f"{type(part).__name__} has fields that the second decoder does not know"
        if isinstance(part, _class(ANY)) and part.type_url:  # an empty one turns a filter on
            part.value = reencoded(part.type_url, part.value)
    return bytes(message)


def assert_second_decoder_agrees(resource: Resource) -> None:
    """Fails when the second decoder reads something else from the resource than protobuf does."""
    written = reencoded(resource.type_url, resource.body)
    assert as_dict(resource.type_url, written) == as_dict(resource.type_url, resource.body)


@cache
def _class(type_url: str) -> type[betterproto2.Message]:
    package = type_url.partition("/")[2].rpartition(".")[0]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of pydantic, about generated code
        importlib.import_module(f"envoy_data_plane.{package}")  # which registers its messages
        pool = importlib.import_module("envoy_data_plane.message_pool").default_message_pool
    found: type[betterproto2.Message] = pool.url_to_type[type_url]
    return found


def _parts(value: object) -> Iterator[betterproto2.Message]:
    """All messages in a value."""
    match value:
        case betterproto2.Message():
            yield value
            for field in dataclasses.fields(value):
                yield from _parts(getattr(value, field.name))
        case list():
            for item in value:
                yield from _parts(item)
        case dict():
            for item in value.values():
                yield from _parts(item)
