"""What all renderers share: deterministic encoding, and the small messages that occur everywhere."""

from google.protobuf.message import Message

from fairlead._pb.envoy.config.core.v3 import address_pb2, config_source_pb2
from fairlead._pb.envoy.type.v3 import percent_pb2
from fairlead._pb.google.protobuf import any_pb2, duration_pb2
from fairlead.intent import Nanoseconds, Origin, PartsPerMillion
from fairlead.snapshot.resource import Resource

_SECOND = 1_000_000_000

AGGREGATED = config_source_pb2.ConfigSource(
    ads=config_source_pb2.AggregatedConfigSource(), resource_api_version=config_source_pb2.ApiVersion.V3
)
"""Discovery over the stream that the resource came by, waited for as long as Envoy waits by itself: 15 s."""


def encode(message: Message) -> bytes:
    """The message as bytes, always the same ones: versions are hashes of them."""
    return message.SerializeToString(deterministic=True)


def resource(type_url: str, name: str, message: Message, origin: Origin) -> Resource:
    """The message as a resource."""
    return Resource(type_url, name, encode(message), origin)


def packed(message: Message) -> any_pb2.Any:
    """The message as an `Any`, encoded deterministically, which `Any.Pack` does not do by itself."""
    return any_pb2.Any(type_url=f"type.googleapis.com/{message.DESCRIPTOR.full_name}", value=encode(message))


def duration(nanoseconds: Nanoseconds) -> duration_pb2.Duration:
    """A `Duration`."""
    seconds, nanos = divmod(nanoseconds, _SECOND)
    return duration_pb2.Duration(seconds=seconds, nanos=nanos)


def write_duration(message: duration_pb2.Duration, nanoseconds: Nanoseconds) -> None:
    """A `Duration` in place; one of 0 is there, not absent."""
    message.seconds, message.nanos = divmod(nanoseconds, _SECOND)


def whole_seconds(nanoseconds: Nanoseconds) -> int:
    """The duration in seconds, rounded up, so that something short does not become nothing."""
    return -(-nanoseconds // _SECOND)


def share(parts: PartsPerMillion) -> percent_pb2.FractionalPercent:
    """A `FractionalPercent`."""
    return percent_pb2.FractionalPercent(numerator=parts, denominator=percent_pb2.FractionalPercent.MILLION)


def write_address(message: address_pb2.Address, host: str, port: int) -> None:
    """An address: of a unix socket when `host` is an absolute path."""
    if host.startswith("/"):
        message.pipe.path = host
    else:
        message.socket_address.address = host
        message.socket_address.port_value = port
