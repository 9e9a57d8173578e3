"""Bytes on the wire: content hashes, framing of resources and responses, reading of requests.

A repeated message field is the concatenation of its encoded items, and a message is the concatenation of its fields.
So a resource is framed once, and a response is its frames joined, without a message object per resource. A singular
field that occurs twice is merged, the last scalar wins: that is how a name or an address is replaced in encoded bytes
(https://protobuf.dev/programming-guides/encoding/#last-one-wins).
"""

from functools import lru_cache
from typing import Any

import xxhash
from google.protobuf.message import DecodeError

from fairlead._pb.envoy.config.core.v3 import base_pb2
from fairlead._pb.envoy.service.discovery.v3 import discovery_pb2
from fairlead._pb.google.protobuf import struct_pb2
from fairlead._pb.google.rpc import status_pb2
from fairlead.errors import ProtocolError
from fairlead.snapshot.limits import check_encoded, check_names
from fairlead.snapshot.messages import DeltaDiscoveryRequest, DiscoveryRequest, ErrorDetail, Node, Response

# Field numbers of google.protobuf.Any and of envoy/service/discovery/v3/discovery.proto.
_ANY_TYPE_URL, _ANY_VALUE = 1, 2
_RESPONSE_RESOURCES, _RESPONSE_NONCE = 2, 5
_RESOURCE_VERSION, _RESOURCE_BODY, _RESOURCE_NAME, _RESOURCE_ALIASES = 1, 2, 3, 4


# --- Hashes -----------------------------------------------------------------------------------------------------------


def content_hash(body: bytes) -> str:
    """A version for `body`: its XXH3 64 bit hash in hexadecimal, 16 characters.

    A client compares it with the version of the same name that it holds, so that 64 bits are plenty; a reconnecting
    client sends one for each resource, so that short ones are worth having.
    """
    return xxhash.xxh3_64_hexdigest(body)


# --- Framing ----------------------------------------------------------------------------------------------------------


def _varint(value: int) -> bytes:
    encoded = bytearray()
    while value > 0x7F:
        encoded.append(value & 0x7F | 0x80)
        value >>= 7
    encoded.append(value)
    return bytes(encoded)


@lru_cache(maxsize=1 << 16)
def field_prefix(number: int, length: int) -> bytes:
    """What stands before the `length` bytes of length-delimited field `number`: its tag and the length."""
    return _varint(number << 3 | 2) + _varint(length)


def length_delimited(number: int, payload: bytes) -> bytes:
    """Field `number` of some message, with the encoded message, string or bytes `payload`."""
    return field_prefix(number, len(payload)) + payload


@lru_cache(maxsize=64)
def _any_type_url(type_url: str) -> bytes:
    return length_delimited(_ANY_TYPE_URL, type_url.encode())


def _framed(number: int, type_url: str, body: bytes, before: bytes = b"", after: bytes = b"") -> bytes:
    """Field `number` that holds an `Any` of `body`, in one copy: bodies can be of many megabytes."""
    url, value_prefix = _any_type_url(type_url), field_prefix(_ANY_VALUE, len(body)) if body else b""
    length = len(url) + len(value_prefix) + len(body)
    if not before:
        return b"".join((field_prefix(number, length), url, value_prefix, body))
    any_prefix = field_prefix(_RESOURCE_BODY, length)
    length += len(any_prefix) + len(before) + len(after)
    return b"".join((field_prefix(number, length), before, any_prefix, url, value_prefix, body, after))


def discovery_response_item(type_url: str, body: bytes) -> bytes:
    """The resource with the encoded message `body` as an item of `DiscoveryResponse.resources`."""
    return _framed(_RESPONSE_RESOURCES, type_url, body)


def delta_discovery_response_item(type_url: str, name: str, version: str, body: bytes) -> bytes:
    """The resource with the encoded message `body` as an item of `DeltaDiscoveryResponse.resources`."""
    return _framed(
        _RESPONSE_RESOURCES,
        type_url,
        body,
        before=length_delimited(_RESOURCE_VERSION, version.encode()),
        after=length_delimited(_RESOURCE_NAME, name.encode()),
    )


def delta_absence_item(name: str) -> bytes:
    """An item of `DeltaDiscoveryResponse.resources` that says that there is no virtual host `name`.

    Envoy waits for an item of that form, a resource without body that is its own alias; `removed_resources` leaves
    it waiting (https://www.envoyproxy.io/docs/envoy/latest/configuration/http/http_conn_man/vhds).
    """
    encoded = name.encode()
    return length_delimited(
        _RESPONSE_RESOURCES, length_delimited(_RESOURCE_NAME, encoded) + length_delimited(_RESOURCE_ALIASES, encoded)
    )


# --- Responses --------------------------------------------------------------------------------------------------------
# What streams have in common comes first, and is encoded for all of them once. Last is the nonce, each one's own.


def discovery_response(response: Response, control_plane: str) -> bytes:
    """An encoded `DiscoveryResponse`; `control_plane` identifies this server.

    The frames are items from `discovery_response_item`; `removed` has no place in this variant of the protocol.
    """
    envelope = _envelope(response.type_url, response.version, response.errors, control_plane)
    return b"".join((envelope, *response.frames, _nonce(response.nonce)))


def delta_discovery_response(response: Response, control_plane: str) -> bytes:
    """An encoded `DeltaDiscoveryResponse`; `control_plane` identifies this server.

    The frames are items from `delta_discovery_response_item` and `delta_absence_item`.
    """
    envelope = _delta_envelope(response.type_url, response.version, response.removed, response.errors, control_plane)
    return b"".join((envelope, *response.frames, _nonce(response.nonce)))


@lru_cache(maxsize=1 << 10)
def _nonce(nonce: str) -> bytes:
    return length_delimited(_RESPONSE_NONCE, nonce.encode())


_Errors = tuple[tuple[str, ErrorDetail], ...]


@lru_cache(maxsize=64)
def _envelope(type_url: str, version: str, errors: _Errors, control_plane: str) -> bytes:
    return discovery_pb2.DiscoveryResponse(
        version_info=version,
        type_url=type_url,
        control_plane=base_pb2.ControlPlane(identifier=control_plane),
        resource_errors=_resource_errors(errors),
    ).SerializeToString()


@lru_cache(maxsize=64)
def _delta_envelope(
    type_url: str, version: str, removed: tuple[str, ...], errors: _Errors, control_plane: str
) -> bytes:
    return discovery_pb2.DeltaDiscoveryResponse(
        system_version_info=version,
        type_url=type_url,
        removed_resources=removed,
        control_plane=base_pb2.ControlPlane(identifier=control_plane),
        resource_errors=_resource_errors(errors),
    ).SerializeToString()


def _resource_errors(errors: _Errors) -> list[discovery_pb2.ResourceError]:
    return [
        discovery_pb2.ResourceError(
            resource_name=discovery_pb2.ResourceName(name=name),
            error_detail=status_pb2.Status(code=detail.code, message=detail.message),
        )
        for name, detail in errors
    ]


# --- Requests ---------------------------------------------------------------------------------------------------------


# Proxies that are alike say the same, but for the node in their first request: acknowledgements, and all that they hold
# when they come back. So requests without a node, which would come first, are decoded once for all streams.
_SHORT, _LONG = 256, 1 << 20
_SHORT_KNOWN, _LONG_KNOWN = 1 << 10, 16
_NODE_TAG, _DELTA_NODE_TAG = bytes((2 << 3 | 2,)), bytes((1 << 3 | 2,))


def decode_discovery_request(data: bytes) -> DiscoveryRequest:
    """Read an encoded `DiscoveryRequest`; raises `ProtocolError` when it is none, or holds too much."""
    if data[:1] == _NODE_TAG or len(data) > _LONG:
        return _discovery_request(data)
    return _short_discovery_request(data) if len(data) <= _SHORT else _long_discovery_request(data)


def decode_delta_discovery_request(data: bytes) -> DeltaDiscoveryRequest:
    """Read an encoded `DeltaDiscoveryRequest`; raises `ProtocolError` when it is none, or holds too much."""
    if data[:1] == _DELTA_NODE_TAG or len(data) > _LONG:
        return _delta_discovery_request(data)
    return _short_delta_discovery_request(data) if len(data) <= _SHORT else _long_delta_discovery_request(data)


def _discovery_request(data: bytes) -> DiscoveryRequest:
    check_encoded(data)
    try:
        message = discovery_pb2.DiscoveryRequest.FromString(data)
    except DecodeError:
        raise ProtocolError("the request cannot be decoded as a DiscoveryRequest") from None
    check_names(message.resource_names)
    return DiscoveryRequest(
        type_url=message.type_url,
        names=tuple(message.resource_names),
        version=message.version_info,
        nonce=message.response_nonce,
        error=_error_detail(message),
        node=_node(message),
    )


def _delta_discovery_request(data: bytes) -> DeltaDiscoveryRequest:
    check_encoded(data)
    try:
        message = discovery_pb2.DeltaDiscoveryRequest.FromString(data)
    except DecodeError:
        raise ProtocolError("the request cannot be decoded as a DeltaDiscoveryRequest") from None
    for names in (
        message.resource_names_subscribe,
        message.resource_names_unsubscribe,
        message.initial_resource_versions,
    ):
        check_names(names)
    return DeltaDiscoveryRequest(
        type_url=message.type_url,
        subscribe=tuple(message.resource_names_subscribe),
        unsubscribe=tuple(message.resource_names_unsubscribe),
        initial_versions=dict(message.initial_resource_versions),
        nonce=message.response_nonce,
        error=_error_detail(message),
        node=_node(message),
    )


_short_discovery_request = lru_cache(_SHORT_KNOWN)(_discovery_request)
_short_delta_discovery_request = lru_cache(_SHORT_KNOWN)(_delta_discovery_request)
_long_discovery_request = lru_cache(_LONG_KNOWN)(_discovery_request)
_long_delta_discovery_request = lru_cache(_LONG_KNOWN)(_delta_discovery_request)

_Request = discovery_pb2.DiscoveryRequest | discovery_pb2.DeltaDiscoveryRequest


def _error_detail(request: _Request) -> ErrorDetail | None:
    if not request.HasField("error_detail"):
        return None
    return ErrorDetail(request.error_detail.code, request.error_detail.message)


def _node(request: _Request) -> Node | None:
    # Without the list of the node's extensions: 60 of an Envoy's 61 KB.
    if not request.HasField("node"):
        return None
    node, build = request.node, request.node.user_agent_build_version.version
    return Node(
        id=node.id,
        cluster=node.cluster,
        metadata=_plain_object(node.metadata),
        region=node.locality.region,
        zone=node.locality.zone,
        sub_zone=node.locality.sub_zone,
        user_agent=node.user_agent_name,
        user_agent_version=(
            f"{build.major_number}.{build.minor_number}.{build.patch}"
            if node.HasField("user_agent_build_version")
            else node.user_agent_version
        ),
    )


def _plain_object(struct: struct_pb2.Struct) -> dict[str, Any]:
    return {key: _plain(value) for key, value in struct.fields.items()}


def _plain(value: struct_pb2.Value) -> Any:
    # Not json_format, which refuses numbers that JSON does not know.
    match value.WhichOneof("kind"):
        case "string_value":
            return value.string_value
        case "number_value":
            return value.number_value
        case "bool_value":
            return value.bool_value
        case "struct_value":
            return _plain_object(value.struct_value)
        case "list_value":
            return [_plain(item) for item in value.list_value.values]
        case _:
            return None
