"""A small language for conversations with a stream: what is done, and the exact responses, on each line.

    have cds A=1 B=1      -> cds A=1 B=1       the tables change; what comes is in state-of-the-world or delta notation
    ack cds                                    no arrow: silence is expected
    have cds A=2; rds R=- -> cds A=2 | rds -R  several types in one change; several responses in their order

Contents are short words that stand for a body. In responses, `A=1` is a resource, `A=empty` one without anything but
its name (of `ecds`, one to be refused), `A=~` an entry without a body, `-A` a removal, `!A` an error, and `(empty)` a
response without anything.

Requests (`version` and `nonce` are those of the newest response that the client has seen, unless said otherwise):

    ask T [names]         state of the world: the list of names from now on
    ask T +A -B [A:1]     delta: subscribe to A, unsubscribe from B, hold A in the version of content 1
    ack T [names...]      answer the newest response; in the state of the world with the last names if none follow
    nack T [...]          the same with an error
    stale T [...]         the same with a nonce that is not the newest
    nonceless T [...]     the same without a nonce
    wait 15               time passes, in seconds
    connect               a new stream of the same client
    move cds A=1; ...     the client belongs to another group from now on, which is offered this
"""

import re
from dataclasses import dataclass

from fairlead._pb.envoy.service.discovery.v3 import discovery_pb2
from fairlead.protocol.delta import DeltaStream
from fairlead.protocol.sotw import StateOfTheWorldStream
from fairlead.snapshot import wire
from fairlead.snapshot.absent import idle_extension_config
from fairlead.snapshot.messages import DeltaDiscoveryRequest, DiscoveryRequest, ErrorDetail, Response
from fairlead.snapshot.resource import Resource
from fairlead.snapshot.table import Snapshot, Variant
from fairlead.snapshot.types import EXTENSION_CONFIG, SHORT_NAMES

TYPES = {short: type_url for type_url, short in SHORT_NAMES.items()}

_CONTENT_FIELD = 1000  # unknown to all messages
_ERROR = ErrorDetail(13, "refused")


def resource(type_url: str, name: str, content: str) -> Resource:
    if type_url == EXTENSION_CONFIG and content == "empty":
        return idle_extension_config(name)
    body = wire.length_delimited(1, name.encode())
    if content != "empty":
        body += wire.length_delimited(_CONTENT_FIELD, content.encode())
    return Resource(type_url, name, body)


def read_fields(body: bytes) -> dict[int, list[bytes]]:
    """The fields of a message of which all are length-delimited."""
    fields: dict[int, list[bytes]] = {}
    at = 0

    def varint() -> int:
        nonlocal at
        value = shift = 0
        while True:
            byte = body[at]
            at += 1
            value |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                return value

    while at < len(body):
        number, length = varint() >> 3, varint()
        fields.setdefault(number, []).append(body[at : at + length])
        at += length
    return fields


def read_body(body: bytes) -> tuple[str, str]:
    """The inverse of `resource`."""
    fields = read_fields(body)
    return fields.get(1, [b""])[-1].decode(), fields.get(_CONTENT_FIELD, [b"empty"])[-1].decode()


@dataclass(frozen=True)
class Got:
    """A response as the client reads it."""

    type_url: str
    nonce: str
    version: str
    resources: tuple[tuple[str, str], ...]
    removed: tuple[str, ...]
    errors: tuple[str, ...]
    versions: tuple[str, ...] = ()

    def __str__(self) -> str:
        words = [f"{name}={content}" for name, content in self.resources]
        words += [f"-{name}" for name in self.removed] + [f"!{name}" for name in self.errors]
        return " ".join([SHORT_NAMES[self.type_url], *(words or ["(empty)"])])


def read(variant: Variant, response: Response) -> Got:
    """Encode the response as the server does, and decode it as a client does."""
    if variant is Variant.DELTA:
        delta = discovery_pb2.DeltaDiscoveryResponse.FromString(wire.delta_discovery_response(response, "test"))
        for item in delta.resources:
            assert list(item.aliases) == ([] if item.HasField("resource") else [item.name])
            assert not item.HasField("resource") or read_body(item.resource.value)[0] == item.name
        resources = tuple(
            (item.name, read_body(item.resource.value)[1] if item.HasField("resource") else "~")
            for item in delta.resources
        )
        versions = tuple(item.version for item in delta.resources)
        removed, version, message = tuple(delta.removed_resources), delta.system_version_info, delta
    else:
        full = discovery_pb2.DiscoveryResponse.FromString(wire.discovery_response(response, "test"))
        resources = tuple(read_body(item.value) for item in full.resources)
        assert all(item.type_url == full.type_url for item in full.resources)
        versions, removed, version, message = (), (), full.version_info, full
    errors = tuple(item.resource_name.name for item in message.resource_errors)
    assert version
    assert message.nonce
    return Got(message.type_url, message.nonce, version, resources, removed, errors, versions)


class Script:
    """One client, and the control plane that serves it."""

    def __init__(self, variant: Variant) -> None:
        self.variant = variant
        self.now = 100.0
        self.snapshot = Snapshot("first")
        self.nonces: set[str] = set()
        self.connect()

    def connect(self) -> None:
        self.stream = DeltaStream() if self.variant is Variant.DELTA else StateOfTheWorldStream()
        self.stream.offer(self.snapshot, self.now)
        self.newest: dict[str, Got] = {}
        self.names: dict[str, tuple[str, ...]] = {}
        self.nonces = set()

    def drain(self) -> list[Got]:
        got = []
        while (response := self.stream.next_response(self.now)) is not None:
            read_back = read(self.variant, response)
            assert read_back.nonce not in self.nonces
            assert len({name for name, _ in read_back.resources}) == len(read_back.resources)
            assert not {name for name, _ in read_back.resources} & {*read_back.removed, *read_back.errors}
            self.nonces.add(read_back.nonce)
            self.newest[read_back.type_url] = read_back
            got.append(read_back)
            assert len(got) < 20, "a loop"
        return got

    def have(self, snapshot: Snapshot, text: str) -> None:
        for clause in text.split(";"):
            short, *items = clause.split()
            type_url = TYPES[short]
            pairs = (item.split("=") for item in items)
            snapshot.tables[type_url].update(
                {name: None if content == "-" else resource(type_url, name, content) for name, content in pairs}
            )

    def request(self, verb: str, type_url: str, words: list[str]) -> None:
        newest = self.newest.get(type_url)
        nonce = newest.nonce if newest and verb != "nonceless" else ""
        if verb == "stale":
            nonce = "stale"
        error = _ERROR if verb == "nack" else None
        if self.variant is Variant.DELTA:
            request = DeltaDiscoveryRequest(
                type_url,
                subscribe=tuple(word[1:] for word in words if word[0] == "+"),
                unsubscribe=tuple(word[1:] for word in words if word[0] == "-"),
                initial_versions={
                    name: resource(type_url, name, content).version
                    for name, content in (word.split(":") for word in words if word[0] not in "+-")
                },
                nonce=nonce,
                error=error,
            )
            assert isinstance(self.stream, DeltaStream)
            self.stream.receive(request)
            return
        names = tuple("" if word == '""' else word for word in words)
        if verb == "ask" or (words and verb in ("ack", "nack")):
            self.names[type_url] = names
        assert isinstance(self.stream, StateOfTheWorldStream)
        self.stream.receive(
            DiscoveryRequest(
                type_url,
                names=names or self.names.get(type_url, ()),
                version=newest.version if newest else "",
                nonce=nonce,
                error=error,
            )
        )

    def do(self, action: str) -> None:
        verb, _, rest = action.partition(" ")
        match verb:
            case "have":
                self.have(self.snapshot, rest)
            case "move":
                self.snapshot = Snapshot("second")
                self.have(self.snapshot, rest)
                self.stream.offer(self.snapshot, self.now)
            case "wait":
                self.now += float(rest)
            case "connect":
                self.connect()
            case "ask" | "ack" | "nack" | "stale" | "nonceless":
                short, *words = rest.split()
                self.request(verb, TYPES.get(short, short), words)
            case _:
                raise AssertionError(f"no such verb: {verb}")

    def run(self, text: str) -> None:
        for number, line in enumerate(text.strip().splitlines(), 1):
            action, _, expected = re.sub(r"\s+", " ", line.strip()).partition(" ->")
            self.do(action.strip())
            got = [str(response) for response in self.drain()]
            want = [response.strip() for response in expected.split("|") if response.strip()]
            assert got == want, f"line {number}: {line.strip()}"
