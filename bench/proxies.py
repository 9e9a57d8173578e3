"""Simulated proxies: each asks and answers on its stream as an Envoy with VHDS does in the incremental variant.

- It begins with all clusters, then asks for their endpoints, then for listeners, then for what these refer to, and for
  virtual hosts when a RouteConfiguration leaves them to discovery. Its node is in the first request only.
- A cluster that changes warms until its endpoints come: only then is the response acknowledged.
- When it comes back it asks for all that it asked for before, and says in which versions it holds what it has.

It takes everything as it comes: it refuses nothing.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Protocol

from fairlead._pb.envoy.config.core.v3.base_pb2 import Node
from fairlead.cli.bootstrap import ProxyIdentity, XdsServer, bootstrap_document
from fairlead.snapshot import types
from fairlead.snapshot.wire import length_delimited
from google.protobuf import json_format

from bench.http2 import GrpcStream
from bench.responses import NOTHING, Content, Held, decode

_NODE, _TYPE_URL, _SUBSCRIBE, _UNSUBSCRIBE, _INITIAL_VERSIONS, _RESPONSE_NONCE = 1, 2, 3, 4, 5, 6
"""Fields of DeltaDiscoveryRequest."""
_WILDCARD = (types.CLUSTER, types.LISTENER)
_ENVOYS_EXTENSIONS = 600
"""An Envoy lists what it is built of in its node: 60 KB that mean nothing to a control plane."""

Names = frozenset[str]
_NO_NAMES: Names = frozenset()

_encoded_type = {type_url: length_delimited(_TYPE_URL, type_url.encode()) for type_url in types.SEND_ORDER}


class Watcher(Protocol):
    """Whoever has the proxies."""

    def complete(self, proxy: "SimulatedProxy") -> None:
        """It holds all that it has asked for, or has been told that it does."""

    def received(self, proxy: "SimulatedProxy", content: Content) -> None: ...

    def acknowledged(self, proxy: "SimulatedProxy", content: Content) -> None: ...

    def closed(self, proxy: "SimulatedProxy", reason: str) -> None:
        """Its stream has ended, by whomsoever."""


def encoded_node(identity: ProxyIdentity) -> bytes:
    """The node that a proxy says that it is, with as much noise as Envoy makes."""
    document = bootstrap_document(identity, XdsServer(address="127.0.0.1:1"))
    node = Node()
    json_format.ParseDict(document["node"], node)
    node.user_agent_name = "envoy"
    node.user_agent_build_version.version.major_number = 1
    node.user_agent_build_version.version.minor_number = 40
    return node.SerializeToString() + _extensions()


def _extensions() -> bytes:
    node = Node()
    for number in range(_ENVOYS_EXTENSIONS):
        extension = node.extensions.add(name=f"envoy.extension.number_{number:03}", category="envoy.filters.http")
        extension.type_urls.append(f"envoy.extensions.filters.http.number_{number:03}.v3.Number")
    return node.SerializeToString()


class _Encoded:
    """Requests as bytes: proxies that are alike say the same, thousands of times."""

    def __init__(self) -> None:
        self._names: dict[tuple[int, Names], bytes] = {}
        self._versions: dict[int, tuple[Held, bytes]] = {}

    def names(self, number: int, names: Names) -> bytes:
        found = self._names.get((number, names))
        if found is None:
            encoded = b"".join(length_delimited(number, name.encode()) for name in sorted(names))
            found = self._names[number, names] = encoded
        return found

    def versions(self, held: Held) -> bytes:
        known = self._versions.get(id(held))
        if known is None:
            known = self._versions[id(held)] = held, b"".join(_version(*item) for item in held.versions.items())
        return known[1]


def _version(name: str, version: str) -> bytes:
    entry = length_delimited(1, name.encode()) + length_delimited(2, version.encode())
    return length_delimited(_INITIAL_VERSIONS, entry)


_encoded = _Encoded()


class SimulatedProxy:
    """One of them; it outlives its stream."""

    __slots__ = ("_awaited", "_node", "_stream", "_subscribed", "_warming", "_watcher", "held")

    def __init__(self, node: bytes, watcher: Watcher) -> None:
        self._node = length_delimited(_NODE, node)
        self._watcher = watcher
        self._stream: GrpcStream | None = None
        self.held: dict[str, Held] = {}
        """By type."""
        self._subscribed: dict[str, Names] = {}
        self._awaited: set[str] | None = set()
        """Types of which a response is expected; None once it is complete."""
        self._warming: tuple[Names, Callable[[], None]] | None = None
        """Clusters without endpoints, and what is to be done when they have them."""

    # --- The stream ---

    def opened(self, stream: GrpcStream) -> None:
        self._stream, self._warming = stream, None
        before, self._subscribed = self._subscribed, {}
        if not before:
            self._awaited = {types.CLUSTER}
            self._ask(types.CLUSTER, _NO_NAMES)
            return
        # A server answers those that name nothing, even if it has nothing to send.
        self._awaited = {type_url for type_url in before if type_url in (*_WILDCARD, types.VIRTUAL_HOST)}
        for type_url in types.SEND_ORDER:
            if type_url in before:
                self._ask(type_url, before[type_url])

    def close(self) -> None:
        """End the stream, and remember what was held."""
        assert self._stream is not None
        self._stream.close()

    def closed(self, reason: str) -> None:
        self._watcher.closed(self, reason)

    def received(self, message: bytes) -> None:
        content, nonce = decode(message)
        self._watcher.received(self, content)
        type_url, first = content.type_url, self._awaited is not None
        after, changed = self.held.get(type_url, NOTHING).after(content)
        self.held[type_url] = after
        if type_url == types.CLUSTER and not first and (warming := _with_endpoints(after, changed)):
            self._warming = warming, lambda: self._acknowledge(content, nonce)
        else:
            self._acknowledge(content, nonce)
        if type_url == types.CLUSTER_LOAD_ASSIGNMENT:
            self._warm(content.names)
        if type_url in (types.CLUSTER, types.LISTENER, types.ROUTE_CONFIGURATION):
            self._follow()
        if self._awaited is not None:
            self._awaited.discard(type_url)
            self._advance()

    # --- What it says ---

    def _ask(self, type_url: str, names: Names) -> None:
        assert self._stream is not None
        before = self._subscribed.get(type_url)
        request = _encoded_type[type_url]
        if not self._subscribed:
            request = self._node + request
        # Virtual hosts are asked for without naming any: they come as their RouteConfigurations want them.
        if type_url != types.VIRTUAL_HOST:
            request += _encoded.names(_SUBSCRIBE, names - (before or _NO_NAMES))
            request += _encoded.names(_UNSUBSCRIBE, (before or _NO_NAMES) - names)
        if before is None and type_url in self.held:
            request += _encoded.versions(self.held[type_url])
        self._subscribed[type_url] = names
        self._stream.send(request)

    def _acknowledge(self, content: Content, nonce: str) -> None:
        assert self._stream is not None
        self._stream.send(_encoded_type[content.type_url] + length_delimited(_RESPONSE_NONCE, nonce.encode()))
        self._watcher.acknowledged(self, content)

    def _warm(self, names: Names) -> None:
        if self._warming is not None:
            waiting, acknowledge = self._warming
            waiting -= names
            self._warming = (waiting, acknowledge) if waiting else None
            if not waiting:
                acknowledge()

    def _follow(self) -> None:
        """Ask for what is referred to, and no more."""
        clusters, listeners, tables = (
            self.held.get(type_url, NOTHING).references
            for type_url in (types.CLUSTER, types.LISTENER, types.ROUTE_CONFIGURATION)
        )
        wanted = {
            types.CLUSTER_LOAD_ASSIGNMENT: clusters.get(types.CLUSTER_LOAD_ASSIGNMENT, _NO_NAMES),
            types.SECRET: _together(clusters, listeners, types.SECRET),
            types.ROUTE_CONFIGURATION: listeners.get(types.ROUTE_CONFIGURATION, _NO_NAMES),
            types.VIRTUAL_HOST: tables.get(types.VIRTUAL_HOST, _NO_NAMES),
        }
        for type_url, names in wanted.items():
            if names != self._subscribed.get(type_url, _NO_NAMES):
                if self._awaited is not None:
                    self._awaited.add(type_url)
                self._ask(type_url, names)

    def _advance(self) -> None:
        """Go on with the first load: listeners once clusters have endpoints, and complete when all is there."""
        if self._awaited or any(
            not self._subscribed.get(type_url, _NO_NAMES) <= self.held.get(type_url, NOTHING).names
            for type_url in (types.CLUSTER_LOAD_ASSIGNMENT, types.SECRET, types.ROUTE_CONFIGURATION)
        ):
            return
        if types.LISTENER not in self._subscribed:
            assert self._awaited is not None
            self._awaited.add(types.LISTENER)
            self._ask(types.LISTENER, _NO_NAMES)
            return
        self._awaited = None
        self._watcher.complete(self)


def _with_endpoints(clusters: Held, changed: Iterable[str]) -> Names:
    references: Mapping[str, Mapping[str, Names]] = clusters.by_resource
    return frozenset[str]().union(
        *(references.get(name, {}).get(types.CLUSTER_LOAD_ASSIGNMENT, _NO_NAMES) for name in changed)
    )


def _together(one: Mapping[str, Names], other: Mapping[str, Names], type_url: str) -> Names:
    return one.get(type_url, _NO_NAMES) | other.get(type_url, _NO_NAMES)
