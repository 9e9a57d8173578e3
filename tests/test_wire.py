"""Hand-made frames are what protobuf itself would write, and requests are read into plain values."""

import math

import pytest
from fairlead._pb.envoy.config.core.v3.base_pb2 import BuildVersion, ControlPlane, Extension, Locality
from fairlead._pb.envoy.config.core.v3.base_pb2 import Node as NodeMessage
from fairlead._pb.envoy.config.route.v3.route_components_pb2 import VirtualHost
from fairlead._pb.envoy.service.discovery.v3 import discovery_pb2
from fairlead._pb.envoy.type.v3.semantic_version_pb2 import SemanticVersion
from fairlead._pb.google.protobuf.any_pb2 import Any as AnyMessage
from fairlead._pb.google.protobuf.struct_pb2 import Struct, Value
from fairlead._pb.google.rpc.status_pb2 import Status
from fairlead.errors import ProtocolError
from fairlead.snapshot import wire
from fairlead.snapshot.messages import (
    NOT_FOUND,
    DeltaDiscoveryRequest,
    DiscoveryRequest,
    ErrorDetail,
    Node,
    Response,
)
from hypothesis import given
from hypothesis import strategies as st

TYPE = "type.googleapis.com/envoy.config.route.v3.VirtualHost"

# Lengths around the places where a length takes another byte.
bodies = st.one_of(
    st.binary(max_size=300),
    st.sampled_from([126, 127, 128, 129, 16_383, 16_384, 2_097_151, 2_097_152]).map(lambda n: b"x" * n),
)


# --- Framing ----------------------------------------------------------------------------------------------------------


@given(st.text(max_size=200), bodies)
def test_discovery_response_item_is_an_encoded_field(type_url: str, body: bytes) -> None:
    message = discovery_pb2.DiscoveryResponse(resources=[AnyMessage(type_url=type_url, value=body)])
    item = wire.discovery_response_item(type_url, body)
    assert discovery_pb2.DiscoveryResponse.FromString(item) == message
    if type_url:
        assert item == message.SerializeToString()


@given(st.text(max_size=200), st.text(max_size=200), bodies)
def test_delta_discovery_response_item_is_an_encoded_field(name: str, version: str, body: bytes) -> None:
    resource = discovery_pb2.Resource(name=name, version=version, resource=AnyMessage(type_url=TYPE, value=body))
    message = discovery_pb2.DeltaDiscoveryResponse(resources=[resource])
    item = wire.delta_discovery_response_item(TYPE, name, version, body)
    assert discovery_pb2.DeltaDiscoveryResponse.FromString(item) == message
    if name and version:
        assert item == message.SerializeToString()


def test_absence_is_a_resource_that_is_its_own_alias_and_has_no_body() -> None:
    resource = discovery_pb2.Resource(name="http.80/a:80", aliases=["http.80/a:80"])
    expected = discovery_pb2.DeltaDiscoveryResponse(resources=[resource])
    assert wire.delta_absence_item("http.80/a:80") == expected.SerializeToString()


@given(st.integers(min_value=1, max_value=(1 << 29) - 1), st.integers(min_value=0, max_value=(1 << 31) - 1))
def test_field_prefixes_are_tag_and_length(number: int, length: int) -> None:
    def read(data: bytes) -> tuple[int, bytes]:
        value = 0
        for index, byte in enumerate(data):
            value |= (byte & 0x7F) << 7 * index
            if byte < 0x80:
                return value, data[index + 1 :]
        raise AssertionError("a varint that does not end")

    tag, rest = read(wire.field_prefix(number, length))
    assert (tag >> 3, tag & 7) == (number, 2)
    assert read(rest) == (length, b"")


def test_an_appended_field_replaces_a_scalar() -> None:
    body = VirtualHost(name="a:80", domains=["a"]).SerializeToString()
    renamed = VirtualHost.FromString(body + wire.length_delimited(1, b"http.80/a:80"))
    assert renamed == VirtualHost(name="http.80/a:80", domains=["a"])


# --- Hashes -----------------------------------------------------------------------------------------------------------


def test_content_hash_is_a_function_of_the_content_alone() -> None:
    """The literal is XXH3-64 of no bytes: another hash, or a seed, would re-send everything after an upgrade."""
    assert wire.content_hash(b"") == "2d06800538d394c2"
    assert wire.content_hash(b"a") == wire.content_hash(bytes(bytearray(b"a")))
    assert len({wire.content_hash(bytes([byte])) for byte in range(256)}) == 256


# --- Responses --------------------------------------------------------------------------------------------------------


def test_discovery_response_joins_frames() -> None:
    bodies = [b"one", b"", b"three" * 50]
    response = Response(
        type_url=TYPE,
        nonce="7",
        version="v1",
        frames=tuple(wire.discovery_response_item(TYPE, body) for body in bodies),
        errors=(("gone", ErrorDetail(NOT_FOUND, "there is no Secret gone")),),
    )
    assert discovery_pb2.DiscoveryResponse.FromString(
        wire.discovery_response(response, "fairlead")
    ) == discovery_pb2.DiscoveryResponse(
        type_url=TYPE,
        nonce="7",
        version_info="v1",
        resources=[AnyMessage(type_url=TYPE, value=body) for body in bodies],
        control_plane=ControlPlane(identifier="fairlead"),
        resource_errors=[
            discovery_pb2.ResourceError(
                resource_name=discovery_pb2.ResourceName(name="gone"),
                error_detail=Status(code=5, message="there is no Secret gone"),
            )
        ],
    )


def test_delta_discovery_response_joins_frames() -> None:
    response = Response(
        type_url=TYPE,
        nonce="7",
        version="whole",
        frames=(wire.delta_discovery_response_item(TYPE, "a", "v1", b"one"), wire.delta_absence_item("b")),
        removed=("c", ""),
        errors=(("c", ErrorDetail(NOT_FOUND, "gone")),),
    )
    assert discovery_pb2.DeltaDiscoveryResponse.FromString(
        wire.delta_discovery_response(response, "fairlead")
    ) == discovery_pb2.DeltaDiscoveryResponse(
        type_url=TYPE,
        nonce="7",
        system_version_info="whole",
        resources=[
            discovery_pb2.Resource(name="a", version="v1", resource=AnyMessage(type_url=TYPE, value=b"one")),
            discovery_pb2.Resource(name="b", aliases=["b"]),
        ],
        removed_resources=["c", ""],
        control_plane=ControlPlane(identifier="fairlead"),
        resource_errors=[
            discovery_pb2.ResourceError(
                resource_name=discovery_pb2.ResourceName(name="c"), error_detail=Status(code=5, message="gone")
            )
        ],
    )


# --- Requests ---------------------------------------------------------------------------------------------------------

METADATA = Struct()
METADATA.update(
    {
        "NAMESPACE": "shop",
        "LABELS": {"app": "gateway", "version": "1"},
        "VHDS": True,
        "weights": [1.5, None, {"nested": [False]}],
    }
)
NODE_MESSAGE = NodeMessage(
    id="router~10.0.0.1~gw.shop~shop.svc.cluster.local",
    cluster="gw",
    metadata=METADATA,
    locality=Locality(region="r", zone="z", sub_zone="s"),
    user_agent_name="envoy",
    user_agent_build_version=BuildVersion(version=SemanticVersion(major_number=1, minor_number=40, patch=2)),
    extensions=[Extension(name="envoy.filters.http.router")],
)
NODE = Node(
    id="router~10.0.0.1~gw.shop~shop.svc.cluster.local",
    cluster="gw",
    metadata={
        "NAMESPACE": "shop",
        "LABELS": {"app": "gateway", "version": "1"},
        "VHDS": True,
        "weights": [1.5, None, {"nested": [False]}],
    },
    region="r",
    zone="z",
    sub_zone="s",
    user_agent="envoy",
    user_agent_version="1.40.2",
)


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        (discovery_pb2.DiscoveryRequest(), DiscoveryRequest(type_url="")),
        (
            discovery_pb2.DiscoveryRequest(type_url=TYPE, node=NODE_MESSAGE, resource_names=["b", "a", "b"]),
            DiscoveryRequest(type_url=TYPE, node=NODE, names=("b", "a", "b")),
        ),
        (
            discovery_pb2.DiscoveryRequest(type_url=TYPE, version_info="v1", response_nonce="3"),
            DiscoveryRequest(type_url=TYPE, version="v1", nonce="3"),
        ),
        (
            discovery_pb2.DiscoveryRequest(
                type_url=TYPE, response_nonce="3", error_detail=Status(code=13, message="no")
            ),
            DiscoveryRequest(type_url=TYPE, nonce="3", error=ErrorDetail(13, "no")),
        ),
        # A refusal needs no text.
        (
            discovery_pb2.DiscoveryRequest(type_url=TYPE, error_detail=Status()),
            DiscoveryRequest(type_url=TYPE, error=ErrorDetail(0, "")),
        ),
    ],
)
def test_discovery_requests_are_read(message: discovery_pb2.DiscoveryRequest, expected: DiscoveryRequest) -> None:
    assert wire.decode_discovery_request(message.SerializeToString()) == expected


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        (discovery_pb2.DeltaDiscoveryRequest(), DeltaDiscoveryRequest(type_url="")),
        (
            discovery_pb2.DeltaDiscoveryRequest(
                type_url=TYPE,
                node=NODE_MESSAGE,
                resource_names_subscribe=["*", "a"],
                resource_names_unsubscribe=["b"],
                initial_resource_versions={"a": "v1", "c": "v2"},
            ),
            DeltaDiscoveryRequest(
                type_url=TYPE,
                node=NODE,
                subscribe=("*", "a"),
                unsubscribe=("b",),
                initial_versions={"a": "v1", "c": "v2"},
            ),
        ),
        (
            discovery_pb2.DeltaDiscoveryRequest(
                type_url=TYPE, response_nonce="3", error_detail=Status(code=13, message="no")
            ),
            DeltaDiscoveryRequest(type_url=TYPE, nonce="3", error=ErrorDetail(13, "no")),
        ),
    ],
)
def test_delta_discovery_requests_are_read(
    message: discovery_pb2.DeltaDiscoveryRequest, expected: DeltaDiscoveryRequest
) -> None:
    assert wire.decode_delta_discovery_request(message.SerializeToString()) == expected


def test_a_user_agent_may_have_a_version_of_free_form() -> None:
    node = NodeMessage(id="n", user_agent_name="gRPC C-core", user_agent_version="C-core 1.85")
    request = discovery_pb2.DiscoveryRequest(node=node).SerializeToString()
    assert wire.decode_discovery_request(request).node == Node(
        id="n", user_agent="gRPC C-core", user_agent_version="C-core 1.85"
    )


def test_metadata_that_is_no_json_is_read_all_the_same() -> None:
    metadata = Struct(fields={"empty": Value(), "infinite": Value(number_value=math.inf)})
    request = discovery_pb2.DiscoveryRequest(node=NodeMessage(id="n", metadata=metadata)).SerializeToString()
    node = wire.decode_discovery_request(request).node
    assert node is not None
    assert node.metadata == {"empty": None, "infinite": math.inf}


def deeply_nested_metadata() -> bytes:
    """Metadata of 5,000 objects within each other, built from bytes because protobuf would not encode it."""
    encoded = b""
    for _ in range(5000):
        entry = wire.length_delimited(1, b"k") + wire.length_delimited(2, wire.length_delimited(5, encoded))
        encoded = wire.length_delimited(1, entry)
    return wire.length_delimited(2, wire.length_delimited(3, encoded))


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(b"\xff", id="a tag that does not end"),
        pytest.param(b"\x0a\x05ab", id="a string that is cut off"),
        pytest.param(wire.length_delimited(4, b"\xff\xfe") + wire.length_delimited(2, b"\xff"), id="not UTF-8"),
        pytest.param(
            wire.length_delimited(2, deeply_nested_metadata()) + wire.length_delimited(1, deeply_nested_metadata()),
            id="metadata nested beyond protobuf's limit",
        ),
    ],
)
def test_what_cannot_be_decoded_is_a_protocol_error(data: bytes) -> None:
    with pytest.raises(ProtocolError, match="cannot be decoded as a DiscoveryRequest"):
        wire.decode_discovery_request(data)
    with pytest.raises(ProtocolError, match="cannot be decoded as a DeltaDiscoveryRequest"):
        wire.decode_delta_discovery_request(data)
