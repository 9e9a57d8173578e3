"""Rendered resources as a bootstrap without a control plane, so that a real Envoy can judge or run them.

What would be discovered is put in place: route configurations into their connection managers, endpoints into their
clusters, filters into their listeners, Secrets among the static ones. Nothing else is changed.
"""

import json
import subprocess
from collections.abc import Iterable
from pathlib import Path
from typing import Any, TypeVar

from fairlead import _pb
from fairlead._pb.envoy.config.bootstrap.v3.bootstrap_pb2 import Bootstrap
from fairlead._pb.envoy.config.cluster.v3.cluster_pb2 import Cluster
from fairlead._pb.envoy.config.core.v3.config_source_pb2 import ApiConfigSource
from fairlead._pb.envoy.config.core.v3.extension_pb2 import TypedExtensionConfig
from fairlead._pb.envoy.config.endpoint.v3.endpoint_pb2 import ClusterLoadAssignment
from fairlead._pb.envoy.config.listener.v3.listener_pb2 import Listener
from fairlead._pb.envoy.config.route.v3.route_components_pb2 import VirtualHost
from fairlead._pb.envoy.config.route.v3.route_pb2 import RouteConfiguration
from fairlead._pb.envoy.extensions.filters.network.http_connection_manager.v3.http_connection_manager_pb2 import (
    HttpConnectionManager,
    HttpFilter,
)
from fairlead._pb.envoy.extensions.transport_sockets.tls.v3.secret_pb2 import SdsSecretConfig, Secret
from fairlead._pb.google.protobuf.any_pb2 import Any as AnyMessage
from fairlead.playground.envoy import find_envoy
from fairlead.snapshot import types
from fairlead.snapshot.resource import Resource
from google.protobuf import json_format, message_factory
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message

M = TypeVar("M", bound=Message)


def static_bootstrap(resources: Iterable[Resource], *, admin_port: int = 0) -> dict[str, Any]:
    """A bootstrap document of the resources; `admin_port` 0: without admin interface.

    A RouteConfiguration with discovery gets the virtual hosts among the resources that are its own. References to
    Secrets that are not among the resources stay as they are: Envoy waits for them, and listens all the same.
    """
    parts = _Parts(resources)
    bootstrap = Bootstrap()
    bootstrap.node.id = bootstrap.node.cluster = "static"
    for listener in parts.of(types.LISTENER, Listener):
        parts.put_in_place(listener)
        bootstrap.static_resources.listeners.append(listener)
    for cluster in parts.of(types.CLUSTER, Cluster):
        parts.put_in_place(cluster)
        bootstrap.static_resources.clusters.append(cluster)
    bootstrap.static_resources.secrets.extend(parts.secrets.values())
    # Envoy refuses references to ADS without it, though nobody listens there.
    bootstrap.static_resources.clusters.append(Cluster(name="nobody", connect_timeout={"seconds": 1}))
    source = bootstrap.dynamic_resources.ads_config
    source.api_type = ApiConfigSource.DELTA_GRPC
    source.grpc_services.add().envoy_grpc.cluster_name = "nobody"
    if admin_port:
        admin = bootstrap.admin.address.socket_address
        admin.address, admin.port_value = "127.0.0.1", admin_port
    return json_format.MessageToDict(bootstrap, descriptor_pool=_pb.POOL, preserving_proto_field_name=True)


def assert_envoy_accepts(resources: Iterable[Resource], folder: Path) -> None:
    """Fails with Envoy's words when a real Envoy refuses the resources, or warns of fields that will go away."""
    file = folder / "static.json"
    file.write_text(json.dumps(static_bootstrap(resources), indent=1))
    command = [find_envoy(), "--mode", "validate", "--config-path", file, "--log-level", "warning"]
    outcome = subprocess.run(command, capture_output=True, check=False, text=True, timeout=60)
    said = outcome.stdout + outcome.stderr
    assert outcome.returncode == 0, said
    assert "eprecated" not in said, said


class _Parts:
    """The resources, decoded and sorted by type."""

    def __init__(self, resources: Iterable[Resource]) -> None:
        self._resources = list(resources)
        self.secrets = {secret.name: secret for secret in self.of(types.SECRET, Secret)}
        self._filters = {found.name: found for found in self.of(types.EXTENSION_CONFIG, TypedExtensionConfig)}
        self._endpoints = {
            assignment.cluster_name: assignment
            for assignment in self.of(types.CLUSTER_LOAD_ASSIGNMENT, ClusterLoadAssignment)
        }
        self._routes = {routes.name: routes for routes in self.of(types.ROUTE_CONFIGURATION, RouteConfiguration)}
        for host in self.of(types.VIRTUAL_HOST, VirtualHost):
            self._routes[host.name.rpartition("/")[0]].virtual_hosts.append(host)
        for routes in self._routes.values():
            routes.ClearField("vhds")

    def of(self, type_url: str, message: type[M]) -> list[M]:
        return [message.FromString(resource.body) for resource in self._resources if resource.type_url == type_url]

    def put_in_place(self, message: Message) -> None:
        """Replaces references to what would be discovered, in a message and all that is in it."""
        match message:
            case AnyMessage(type_url=""):  # it turns a filter on
                return
            case AnyMessage():
                descriptor = _pb.POOL.FindMessageTypeByName(message.TypeName())
                content = message_factory.GetMessageClass(descriptor).FromString(message.value)
                self.put_in_place(content)
                message.value = content.SerializeToString(deterministic=True)
                return
            case HttpConnectionManager() if message.rds.route_config_name in self._routes:
                message.route_config.CopyFrom(self._routes[message.rds.route_config_name])
            case Cluster(type=Cluster.EDS):
                message.type = Cluster.STATIC
                message.load_assignment.cluster_name = message.name
                if message.eds_cluster_config.service_name in self._endpoints:
                    message.load_assignment.CopyFrom(self._endpoints[message.eds_cluster_config.service_name])
                message.ClearField("eds_cluster_config")
            case HttpFilter() if message.name in self._filters:
                message.typed_config.CopyFrom(self._filters[message.name].typed_config)
            case SdsSecretConfig() if message.name in self.secrets:
                message.ClearField("sds_config")
        for field, value in message.ListFields():
            if field.type != FieldDescriptor.TYPE_MESSAGE:
                continue
            if field.message_type.GetOptions().map_entry:
                for item in value.values():
                    if isinstance(item, Message):
                        self.put_in_place(item)
            else:
                for item in value if field.is_repeated else [value]:
                    self.put_in_place(item)
