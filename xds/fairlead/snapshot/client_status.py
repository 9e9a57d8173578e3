"""The client status discovery service's messages: who has what, as `grpcdebug` and the like ask for it.

See https://www.envoyproxy.io/docs/envoy/latest/api-v3/service/status/v3/csds.proto.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum

from google.protobuf.message import DecodeError

from fairlead._pb.envoy.admin.v3 import config_dump_shared_pb2
from fairlead._pb.envoy.config.core.v3 import base_pb2
from fairlead._pb.envoy.service.status.v3 import csds_pb2
from fairlead._pb.envoy.type.matcher.v3 import string_pb2
from fairlead._pb.google.protobuf import any_pb2, timestamp_pb2
from fairlead.errors import LimitError, ProtocolError
from fairlead.snapshot.messages import Node
from fairlead.snapshot.wire import length_delimited

_RESPONSE_CONFIG = 1

_REQUEST_BYTES = 64 << 10
"""Size of a request: room for the ids of hundreds of clients."""


class ConfigState(Enum):
    """`ConfigStatus`: how far a client is with a type."""

    UNKNOWN = csds_pb2.UNKNOWN
    SYNCED = csds_pb2.SYNCED
    NOT_SENT = csds_pb2.NOT_SENT
    STALE = csds_pb2.STALE
    ERROR = csds_pb2.ERROR


class ResourceState(Enum):
    """`ClientResourceStatus`: what became of a resource."""

    UNKNOWN = config_dump_shared_pb2.UNKNOWN
    REQUESTED = config_dump_shared_pb2.REQUESTED
    DOES_NOT_EXIST = config_dump_shared_pb2.DOES_NOT_EXIST
    ACKED = config_dump_shared_pb2.ACKED
    NACKED = config_dump_shared_pb2.NACKED


@dataclass(frozen=True, slots=True)
class ClientResource:
    """One resource at one client."""

    type_url: str
    name: str
    version: str
    """Of what the client is offered; empty when there is no such resource."""
    config_state: ConfigState
    state: ResourceState
    answered: float | None = None
    """When the client has last answered a response of the type: seconds since 1970."""
    error: str = ""
    """Why it was refused."""
    body: bytes | None = None
    """The resource itself; None when it is not to be told."""


@dataclass(frozen=True, slots=True)
class StatusRequest:
    """Whose status is asked for."""

    matchers: tuple[string_pb2.StringMatcher, ...]
    """Of the ids of clients, one of which has to match; without any, all clients are asked for."""
    exclude_contents: bool

    def matches(self, node_id: str) -> bool:
        """Whether the client of that id is asked for."""
        return not self.matchers or any(_matches(matcher, node_id) for matcher in self.matchers)


def decode_status_request(data: bytes) -> StatusRequest:
    """Read an encoded `ClientStatusRequest`; raises `ProtocolError` when it is none, or asks what is not supported.

    `LimitError` is among them: it is too long.
    """
    if len(data) > _REQUEST_BYTES:
        raise LimitError(f"the request has {len(data)} bytes; {_REQUEST_BYTES} are allowed")
    try:
        message = csds_pb2.ClientStatusRequest.FromString(data)
    except DecodeError:
        raise ProtocolError("the request cannot be decoded as a ClientStatusRequest") from None
    for matcher in message.node_matchers:
        if matcher.node_metadatas or matcher.node_id.WhichOneof("match_pattern") not in _PATTERNS:
            raise ProtocolError("node_matchers can ask for a node_id that is exact, or has a prefix, suffix or part")
    matchers = tuple(matcher.node_id for matcher in message.node_matchers)
    return StatusRequest(matchers, message.exclude_resource_contents)


_PATTERNS = ("exact", "prefix", "suffix", "contains")


def _matches(matcher: string_pb2.StringMatcher, text: str) -> bool:
    pattern = str(getattr(matcher, matcher.WhichOneof("match_pattern") or "exact"))
    if matcher.ignore_case:
        pattern, text = pattern.lower(), text.lower()
    match matcher.WhichOneof("match_pattern"):
        case "prefix":
            return text.startswith(pattern)
        case "suffix":
            return text.endswith(pattern)
        case "contains":
            return pattern in text
    return text == pattern


def client_config_item(node: Node, resources: Iterable[ClientResource]) -> bytes:
    """One client as an item of `ClientStatusResponse.config`; the items of a response are joined."""
    described = base_pb2.Node(
        id=node.id,
        cluster=node.cluster,
        locality=base_pb2.Locality(region=node.region, zone=node.zone, sub_zone=node.sub_zone),
        user_agent_name=node.user_agent,
        user_agent_version=node.user_agent_version,
    )
    config = csds_pb2.ClientConfig(node=described, generic_xds_configs=map(_generic, resources))
    return length_delimited(_RESPONSE_CONFIG, config.SerializeToString())


def _generic(resource: ClientResource) -> csds_pb2.ClientConfig.GenericXdsConfig:
    message = csds_pb2.ClientConfig.GenericXdsConfig(
        type_url=resource.type_url,
        name=resource.name,
        version_info=resource.version,
        config_status=resource.config_state.value,
        client_status=resource.state.value,
    )
    answered = None if resource.answered is None else _timestamp(resource.answered)
    if resource.state is ResourceState.NACKED:
        failure = config_dump_shared_pb2.UpdateFailureState(
            details=resource.error, version_info=resource.version, last_update_attempt=answered
        )
        message.error_state.CopyFrom(failure)
    elif answered is not None:
        message.last_updated.CopyFrom(answered)
    if resource.body is not None:
        message.xds_config.CopyFrom(any_pb2.Any(type_url=resource.type_url, value=resource.body))
    return message


def _timestamp(seconds: float) -> timestamp_pb2.Timestamp:
    whole = int(seconds)
    return timestamp_pb2.Timestamp(seconds=whole, nanos=int((seconds - whole) * 1e9))
