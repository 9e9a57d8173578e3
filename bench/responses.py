"""Responses as a fleet of like proxies sees them: each distinct one is decoded once, whoever receives it."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from weakref import WeakKeyDictionary

import xxhash
from fairlead._pb.envoy.config.cluster.v3.cluster_pb2 import Cluster
from fairlead._pb.envoy.config.listener.v3.listener_pb2 import Listener
from fairlead._pb.envoy.config.route.v3.route_pb2 import RouteConfiguration
from fairlead._pb.envoy.extensions.filters.network.http_connection_manager.v3.http_connection_manager_pb2 import (
    HttpConnectionManager,
)
from fairlead._pb.envoy.extensions.transport_sockets.tls.v3.tls_pb2 import (
    CommonTlsContext,
    DownstreamTlsContext,
    UpstreamTlsContext,
)
from fairlead._pb.envoy.service.discovery.v3.discovery_pb2 import DeltaDiscoveryResponse
from fairlead.snapshot import types

_NONCE = 5 << 3 | 2
"""The tag of `DeltaDiscoveryResponse.nonce`."""
_LONGEST_NONCE = 32
_RESPONSES_KEPT = 300

References = Mapping[str, frozenset[str]]
"""Type URL -> the names of that type that a resource refers to."""


@dataclass(frozen=True, eq=False)
class Content:
    """What a response says, whatever its nonce."""

    type_url: str
    versions: Mapping[str, str]
    """Of its resources, by name."""
    references: Mapping[str, References]
    """Of its resources that refer to any, by name."""
    removed: frozenset[str]
    body: bytes = field(repr=False)

    @cached_property
    def names(self) -> frozenset[str]:
        return frozenset(self.versions)


@dataclass(frozen=True, eq=False)
class Held:
    """What a proxy holds of one type; the same object for all proxies that have received the same."""

    versions: Mapping[str, str]
    by_resource: Mapping[str, References]
    _next: "WeakKeyDictionary[Content, tuple[Held, frozenset[str]]]" = field(
        default_factory=WeakKeyDictionary, repr=False
    )

    @cached_property
    def names(self) -> frozenset[str]:
        return frozenset(self.versions)

    @cached_property
    def references(self) -> References:
        """Of all resources together."""
        found: dict[str, frozenset[str]] = {}
        for references in self.by_resource.values():
            for type_url, names in references.items():
                found[type_url] = found.get(type_url, frozenset()) | names
        return found

    def after(self, content: Content) -> "tuple[Held, frozenset[str]]":
        """What is held after a response, and the names of what is not as before."""
        known = self._next.get(content)
        if known is None:
            kept = [name for name in self.versions if name not in content.removed]
            versions = {**{name: self.versions[name] for name in kept}, **content.versions}
            unchanged = {name: self.by_resource[name] for name in kept if name in self.by_resource}
            changed = [name for name, version in content.versions.items() if self.versions.get(name) != version]
            after = Held(versions, {**unchanged, **content.references})
            known = self._next[content] = after, frozenset(changed)
        return known


NOTHING = Held({}, {})

_known: dict[tuple[int, int], Content] = {}


def decode(data: bytes) -> tuple[Content, str]:
    """A delta response, and its nonce."""
    # With the nonce at its end, all that is before it is the same for all streams.
    for length in range(1, _LONGEST_NONCE):
        if data[-length - 2 : -length] == bytes((_NONCE, length)):
            key = len(data) - length, xxhash.xxh3_64_intdigest(memoryview(data)[: -length - 2])
            content = _known.get(key)
            if content is None:
                if len(_known) >= _RESPONSES_KEPT:
                    _known.clear()
                content = _known[key] = _content(DeltaDiscoveryResponse.FromString(data), data)
            return content, data[-length:].decode()
    response = DeltaDiscoveryResponse.FromString(data)
    return _content(response, data), response.nonce


def _content(response: DeltaDiscoveryResponse, data: bytes) -> Content:
    found = {item.name: dict(_references(response.type_url, item.resource.value)) for item in response.resources}
    return Content(
        response.type_url,
        {item.name: item.version for item in response.resources},
        {name: references for name, references in found.items() if references},
        frozenset(response.removed_resources),
        data,
    )


def _references(type_url: str, body: bytes) -> Iterator[tuple[str, frozenset[str]]]:
    secrets: set[str] = set()
    if type_url == types.CLUSTER:
        cluster = Cluster.FromString(body)
        if cluster.type == Cluster.EDS:
            yield types.CLUSTER_LOAD_ASSIGNMENT, frozenset({cluster.eds_cluster_config.service_name or cluster.name})
        if cluster.HasField("transport_socket"):
            context = UpstreamTlsContext.FromString(cluster.transport_socket.typed_config.value)
            secrets |= _secrets(context.common_tls_context)
    elif type_url == types.LISTENER:
        listener, tables = Listener.FromString(body), set()
        for chain in (*listener.filter_chains, listener.default_filter_chain):
            if chain.HasField("transport_socket"):
                downstream = DownstreamTlsContext.FromString(chain.transport_socket.typed_config.value)
                secrets |= _secrets(downstream.common_tls_context)
            for each in chain.filters:
                if each.typed_config.type_url.endswith(".HttpConnectionManager"):
                    tables.add(HttpConnectionManager.FromString(each.typed_config.value).rds.route_config_name)
        yield types.ROUTE_CONFIGURATION, frozenset(tables - {""})
    elif type_url == types.ROUTE_CONFIGURATION:
        table = RouteConfiguration.FromString(body)
        if table.HasField("vhds"):
            yield types.VIRTUAL_HOST, frozenset({table.name})
    if secrets:
        yield types.SECRET, frozenset(secrets)


def _secrets(context: CommonTlsContext) -> set[str]:
    names = {each.name for each in context.tls_certificate_sds_secret_configs}
    names.add(context.validation_context_sds_secret_config.name)
    names.add(context.combined_validation_context.validation_context_sds_secret_config.name)
    return names - {""}
