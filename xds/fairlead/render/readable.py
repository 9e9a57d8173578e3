"""Resources as people read them: Envoy's JSON form, without private keys."""

import json
from collections.abc import Mapping
from typing import Any

from google.protobuf import json_format
from google.protobuf.message import Message

from fairlead._pb import POOL
from fairlead._pb.envoy.config.cluster.v3.cluster_pb2 import Cluster
from fairlead._pb.envoy.config.core.v3.extension_pb2 import TypedExtensionConfig
from fairlead._pb.envoy.config.endpoint.v3.endpoint_pb2 import ClusterLoadAssignment
from fairlead._pb.envoy.config.listener.v3.listener_pb2 import Listener
from fairlead._pb.envoy.config.route.v3.route_components_pb2 import VirtualHost
from fairlead._pb.envoy.config.route.v3.route_pb2 import RouteConfiguration
from fairlead._pb.envoy.extensions.transport_sockets.tls.v3.secret_pb2 import Secret
from fairlead.snapshot import types
from fairlead.snapshot.resource import Resource

REDACTED = b"[redacted]"

_MESSAGES: Mapping[str, type[Message]] = {
    types.CLUSTER: Cluster,
    types.CLUSTER_LOAD_ASSIGNMENT: ClusterLoadAssignment,
    types.EXTENSION_CONFIG: TypedExtensionConfig,
    types.LISTENER: Listener,
    types.ROUTE_CONFIGURATION: RouteConfiguration,
    types.SECRET: Secret,
    types.VIRTUAL_HOST: VirtualHost,
}


def readable(resource: Resource) -> dict[str, Any]:
    """The resource in protobuf's JSON form with the fields' own names; private keys are `[redacted]`, in base64."""
    message = _MESSAGES[resource.type_url].FromString(resource.body)
    if isinstance(message, Secret) and message.HasField("tls_certificate"):
        message.tls_certificate.private_key.inline_bytes = REDACTED
    text = json_format.MessageToJson(message, preserving_proto_field_name=True, descriptor_pool=POOL)
    found: dict[str, Any] = json.loads(text)  # plain dicts throughout, unlike those of MessageToDict
    return found
