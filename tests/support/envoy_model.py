"""Envoy as the control plane sees it, without input and output: requests out, responses in, resources held.

It asks for all that what it holds refers to, and forgets what nothing refers to any more. What it refuses depends on
the content, and it keeps the last version of that. As Envoy does, it names clusters and listeners that it refuses, and
takes in the others; of other types it takes in nothing of such a response. It judges what it is sent: nothing that it
has taken in before, unless it has asked for it, has refused something else of that name since, or, for endpoints, has
been sent their cluster anew.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import cache
from typing import Any

from fairlead._pb import POOL
from fairlead._pb.envoy.config.cluster.v3.cluster_pb2 import Cluster
from fairlead._pb.envoy.config.core.v3.extension_pb2 import TypedExtensionConfig
from fairlead._pb.envoy.config.endpoint.v3.endpoint_pb2 import ClusterLoadAssignment
from fairlead._pb.envoy.config.listener.v3.listener_pb2 import Listener
from fairlead._pb.envoy.config.route.v3.route_pb2 import RouteConfiguration
from fairlead._pb.envoy.extensions.transport_sockets.tls.v3.secret_pb2 import Secret
from fairlead._pb.envoy.service.discovery.v3.discovery_pb2 import (
    DeltaDiscoveryRequest,
    DeltaDiscoveryResponse,
    DiscoveryRequest,
    DiscoveryResponse,
)
from fairlead.protocol.rules import EMPTY
from fairlead.snapshot.resource import Resource
from fairlead.snapshot.table import Table
from fairlead.snapshot.types import SEND_ORDER, SHORT_NAMES
from google.protobuf import json_format

TYPES = {short: type_url for type_url, short in SHORT_NAMES.items()}
KINDS = tuple(SHORT_NAMES[type_url] for type_url in SEND_ORDER)
WILDCARD = ("cds", "lds")
REFERRED = ("eds", "sds", "ecds", "rds")
_MESSAGES: dict[str, Any] = {
    "cds": Cluster,
    "ecds": TypedExtensionConfig,
    "eds": ClusterLoadAssignment,
    "lds": Listener,
    "rds": RouteConfiguration,
    "sds": Secret,
}

Refuse = Callable[[str, bytes], bool]
"""Type and content of a resource -> whether to refuse it."""


class EnvoyModel:
    """One proxy, over all its streams."""

    def __init__(
        self,
        *,
        delta: bool,
        node_id: str = "model",
        metadata: dict[str, Any] | None = None,
        refuse: Refuse = lambda _kind, _body: False,
        judges: bool = True,
    ) -> None:
        self.delta = delta
        self.metadata = metadata or {}
        self.discovers_hosts = delta and bool(self.metadata.get("VHDS"))
        self.held: dict[str, dict[str, bytes]] = {kind: {} for kind in KINDS}
        self.refused: dict[str, dict[str, bytes]] = {kind: {} for kind in KINDS}
        """What it has refused of what it was sent."""
        self.extra: dict[str, set[str]] = {kind: set() for kind in KINDS}
        """Names that it wants although nothing refers to them."""
        self.responses = 0
        self.resources = 0
        """How many it was sent on its present stream."""
        self._node = DiscoveryRequest().node
        self._node.id = node_id
        self._node.metadata.update(self.metadata)
        self._refuse = refuse
        self._judges = judges
        self._wanted: dict[str, set[str]] = {kind: set() for kind in KINDS}
        self._item_versions: dict[tuple[str, str], str] = {}
        self._versions: dict[str, str] = {}
        self._begin()

    def _begin(self) -> None:
        self.resources = 0
        self.opened: set[str] = set()
        """Types that it has asked for on its present stream."""
        self._nonces: dict[str, str] = {}
        self._sent = {kind: dict(self.held[kind]) if self.delta else {} for kind in KINDS}
        self._credit: Counter[tuple[str, str]] = Counter()
        self._awaits: set[tuple[str, str]] = set()

    # --- What it says -------------------------------------------------------------------------------------------------

    def connect(self) -> list[bytes]:
        """The first requests of a stream."""
        self._begin()
        kinds = [kind for kind in KINDS if kind in WILDCARD or self._wanted[kind]]
        if self.discovers_hosts and self.held["rds"]:
            kinds.append("vhds")
        return [self._open(kind) for kind in kinds]

    def want(self, kind: str, names: set[str]) -> list[bytes]:
        """Ask for names that nothing refers to, and for no others any more."""
        self.extra[kind] = names
        return list(self._follow())

    def speak_stale(self, kind: str) -> bytes:
        """A request that answers a response that is not the newest."""
        request = self._request(kind)
        request.response_nonce = "no such nonce"
        return request.SerializeToString()

    def _request(self, kind: str) -> Any:
        request: DiscoveryRequest | DeltaDiscoveryRequest
        if self.delta:
            request = DeltaDiscoveryRequest()
        else:
            request = DiscoveryRequest(version_info=self._versions.get(kind, ""))
            request.resource_names.extend(sorted(self._wanted[kind]))
        if not self.opened:
            request.node.CopyFrom(self._node)
        self.opened.add(kind)
        request.type_url, request.response_nonce = TYPES[kind], self._nonces.get(kind, "")
        return request

    def _open(self, kind: str) -> bytes:
        request = self._request(kind)
        if self.delta:
            held = self.held[kind]
            request.initial_resource_versions.update({name: self._item_versions[kind, name] for name in held})
            if kind != "vhds":
                request.resource_names_subscribe.extend(sorted(self._wanted[kind]))
        self._expect(kind, self._wanted[kind] - self._sent[kind].keys())
        return bytes(request.SerializeToString())

    def _follow(self) -> Iterator[bytes]:
        """Ask for what is referred to, and no more."""
        for kind in REFERRED:
            before, wanted = self._wanted[kind], self._referred(kind) | self.extra[kind]
            if wanted == before:
                continue
            self._wanted[kind] = wanted
            added, gone = wanted - before, before - wanted
            for name in gone:
                for known in (self.held, self.refused, self._sent):
                    known[kind].pop(name, None)
                self._credit.pop((kind, name), None)
                self._awaits.discard((kind, name))
            if kind == "rds":
                self._drop_hosts(gone)
            if kind not in self.opened:
                yield self._open(kind)
                continue
            request = self._request(kind)
            if self.delta:
                request.resource_names_subscribe.extend(sorted(added))
                request.resource_names_unsubscribe.extend(sorted(gone))
            self._expect(kind, added)
            yield request.SerializeToString()
        if self.discovers_hosts and self.held["rds"] and "vhds" not in self.opened:
            yield self._open("vhds")

    def _expect(self, kind: str, names: Iterable[str]) -> None:
        """These have to be sent, or told not to exist, whether it has been sent them before or not."""
        expected = [(kind, name) for name in names]
        self._credit.update(expected)
        self._awaits.update(expected)

    def _referred(self, kind: str) -> set[str]:
        return {
            name
            for holder in WILDCARD
            for body in self.held[holder].values()
            for found, name in references(holder, body)
            if found == kind
        }

    # --- What it hears ------------------------------------------------------------------------------------------------

    def take(self, data: bytes) -> list[bytes]:
        """Take a response in; returns the requests that follow."""
        self.responses += 1
        if self.delta:
            response = DeltaDiscoveryResponse.FromString(data)
            kind = SHORT_NAMES[response.type_url]
            items = [item for item in response.resources if item.HasField("resource")]
            found = {item.name: item.resource.value for item in items}
            versions = {item.name: item.version for item in items}
            removed, version = list(response.removed_resources), ""
            told = {*removed, *(item.name for item in response.resources)}
        else:
            full = DiscoveryResponse.FromString(data)
            kind, removed, version = SHORT_NAMES[full.type_url], [], full.version_info
            found = {_name(kind, resource.value): resource.value for resource in full.resources}
            versions = dict.fromkeys(found, version)
            told = {*found, *(error.resource_name.name for error in full.resource_errors)}
            response = full
        self.resources += len(found)
        self._awaits -= {(kind, name) for name in told} | {(kind, _table(name)) for name in told if kind == "vhds"}
        self._judge(kind, found, removed)
        if not self.delta and kind in WILDCARD:
            removed = [name for name in self.held[kind] if name not in found]
        errors = self._apply(kind, found, versions, removed)
        self._nonces[kind] = response.nonce
        if not errors:
            self._versions[kind] = version
        request = self._request(kind)
        if errors:
            request.error_detail.code = 13
            request.error_detail.message = "; ".join(f"Error updating {name}: refused" for name in errors)
        return [request.SerializeToString(), *self._follow()]

    def _judge(self, kind: str, found: dict[str, bytes], removed: Iterable[str]) -> None:
        sent = self._sent[kind]
        if kind == "cds":
            changed = {name for name, body in found.items() if sent.get(name) != body}
            self._expect("eds", changed & self._wanted["eds"])
            self._credit.update(("eds", name) for name in changed - self._wanted["eds"])
        if not self._judges:
            return
        if not self.delta and kind in WILDCARD:
            known = kind in self._nonces and not self.refused[kind]
            assert found != sent or not known, f"{kind} once more, without a change"
            return
        for name, body in found.items():
            if sent.get(name) == body and name not in self.refused[kind]:
                assert self._credit[kind, name] > 0, f"{kind} {name} once more, without a change"
                self._credit[kind, name] -= 1
        for name in removed:
            known = name in sent or name in self.refused[kind] or self._credit[kind, name] > 0
            # Of virtual hosts, those of a table that it has dropped and got again may be named.
            assert known or kind == "vhds" or not self._takes(kind, name), f"{kind} {name} is removed, but never came"

    def _takes(self, kind: str, name: str) -> bool:
        """Whether it has a use for a resource: not for one that it has forgotten meanwhile."""
        if kind == "vhds":
            return _table(name) in self.held["rds"]
        return kind in WILDCARD or name in self._wanted[kind]

    def _apply(self, kind: str, found: dict[str, bytes], versions: dict[str, str], removed: Iterable[str]) -> list[str]:
        held, refused = self.held[kind], self.refused[kind]
        found = {name: body for name, body in found.items() if self._takes(kind, name)}
        errors = [name for name, body in found.items() if self._refuse(kind, body)]
        refused.update({name: found[name] for name in errors})
        if errors and kind not in WILDCARD:
            return errors
        if not self.delta and kind in WILDCARD:
            self._sent[kind] = {}
        for name, body in found.items():
            if name in errors:
                continue
            refused.pop(name, None)
            if kind == "rds" and name not in held:
                self._drop_hosts({name})  # a new table begins without any, and warms until it is sent one or told so
                if self.discovers_hosts and RouteConfiguration.FromString(body).HasField("vhds"):
                    self._awaits.add(("vhds", name))
            held[name] = self._sent[kind][name] = body
            self._item_versions[kind, name] = versions[name]
        for name in removed:
            for known in (held, refused, self._sent[kind]):
                known.pop(name, None)
        return errors

    def _drop_hosts(self, tables: set[str]) -> None:
        for known in (self.held, self.refused, self._sent):
            for name in [name for name in known["vhds"] if _table(name) in tables]:
                del known["vhds"][name]
        self._awaits -= {("vhds", name) for name in tables}

    # --- What it should hold ------------------------------------------------------------------------------------------

    def lacks(self, tables: Mapping[str, Table]) -> dict[str, tuple[bytes | None, bytes | None]]:
        """How it differs from tables: type and name -> what it holds, what it should hold.

        What it refuses, and what it cannot be told, is left out. What it waits for counts as not held.
        """
        differences: dict[str, tuple[bytes | None, bytes | None]] = {
            f"{kind} {name}, awaited": (None, None) for kind, name in self._awaits
        }
        for kind in KINDS:
            table, held = tables[TYPES[kind]], self.held[kind]
            for name in {*held, *self._wanted[kind], *(table.names() if kind in WILDCARD or kind == "vhds" else ())}:
                if not self._takes(kind, name) or (kind == "vhds" and not self.discovers_hosts):
                    continue
                should = table.get(name) or _empty(kind, name)
                body = should.body if should else None
                if body is None and kind == "sds" and not self.delta:
                    continue  # this variant has no words for it
                if held.get(name) != body and (body is None or not self._refuse(kind, body)):
                    differences[f"{kind} {name}"] = held.get(name), body
        return differences


def _table(host: str) -> str:
    return host.rpartition("/")[0]


def _empty(kind: str, name: str) -> Resource | None:
    made = EMPTY.get(TYPES[kind])
    return made(name) if made else None


@cache
def _name(kind: str, body: bytes) -> str:
    message = _MESSAGES[kind].FromString(body)
    return str(message.cluster_name if kind == "eds" else message.name)


@cache
def references(kind: str, body: bytes) -> frozenset[tuple[str, str]]:
    """What a cluster or listener refers to, by type and name."""
    message = _MESSAGES[kind].FromString(body)
    found = set(_references(json_format.MessageToDict(message, descriptor_pool=POOL)))
    if kind == "cds" and message.type == Cluster.EDS:
        found.add(("eds", message.name))
    return frozenset(found)


def _references(value: Any) -> Iterator[tuple[str, str]]:
    if isinstance(value, dict):
        if "routeConfigName" in value:
            yield "rds", value["routeConfigName"]
        if "configDiscovery" in value:
            yield "ecds", value["name"]
        if "sdsConfig" in value:
            yield "sds", value["name"]
        for item in value.values():
            yield from _references(item)
    elif isinstance(value, list):
        for item in value:
            yield from _references(item)
