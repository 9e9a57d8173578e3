"""Who a client is by what gRPC tells of it, and when its stream has its turn."""

import contextlib
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import structlog
from fairlead.certificates.issuing import issue
from fairlead.errors import IdentityError, LimitError, ProtocolError
from fairlead.http2 import call, connection, frames
from fairlead.server import admission, flow
from fairlead.server.admission import THIS_HOST, Admission, host_of
from fairlead.server.identity import Identity, identity_of
from fairlead.server.settings import Settings
from fairlead.snapshot import limits
from fairlead.snapshot.limits import NODE_BYTES, check_encoded
from support.identities import of_namespace

NOW = datetime.now(UTC).replace(microsecond=0)
PEM = issue("x", start=NOW - timedelta(hours=1), lifetime=timedelta(hours=2), uris=["urn:x"]).certificate_pem


# --- Identities -------------------------------------------------------------------------------------------------------


def told(*uris: str, hosts: tuple[str, ...] = (), pem: bytes = PEM) -> dict[str, list[bytes]]:
    """What gRPC tells of a client with such a certificate."""
    return {
        "transport_security_type": [b"ssl"],
        "x509_pem_cert": [pem],
        "peer_uri": [uri.encode() for uri in uris],
        "peer_dns": [host.encode() for host in hosts],
    }


def identify(
    authenticated: Mapping[str, Any], trust_domain: str = "", *, allow_unidentified: bool = False, now: datetime = NOW
) -> Identity | None:
    return identity_of(authenticated, now, trust_domain=trust_domain, allow_unidentified=allow_unidentified)


@pytest.mark.parametrize(
    ("uris", "hosts", "namespace"),
    [
        ([of_namespace("edge")], [], "edge"),
        ([of_namespace("edge", "sa.with.dots", "td.example")], [], "edge"),
        ([of_namespace("edge"), "https://example.com/"], ["a.shop.svc"], "edge"),
        (["urn:uuid:1"], ["a.shop.svc"], "shop"),
        ([], ["a.shop.svc"], "shop"),
        ([], ["a.shop.svc.cluster.local"], "shop"),
        ([], ["www.example.com", "a.shop.svc", "b.shop.svc.cluster.local"], "shop"),
    ],
)
def test_namespaces(uris: list[str], hosts: list[str], namespace: str) -> None:
    found = identify(told(*uris, hosts=tuple(hosts)))
    assert found is not None
    assert found.namespace == namespace
    assert found.name in (*uris, *hosts)


@pytest.mark.parametrize(
    "uri",
    [
        *("spiffe://", "spiffe://td", "spiffe:///ns/a/sa/b", "spiffe://td/ns/a", "spiffe://td/ns//sa/b"),
        *("spiffe://td/ns/a/sa/", "spiffe://td/ns/a/sa/b/", "spiffe://td/ns/a/sa/b/c", "spiffe://td/sa/b/ns/a"),
        *("spiffe://TD/ns/a/sa/b", "spiffe://td:1/ns/a/sa/b", "spiffe://u@td/ns/a/sa/b", "spiffe://td/ns/A/sa/b"),
        *("spiffe://td/ns/a%2Fb/sa/c", "spiffe://td/ns/../sa/c", "spiffe://td/ns/a/sa/b?x", "spiffe://td/ns/a/sa/b#x"),
        *("spiffe://td/ns/a/sa/b\n", "spiffe://td/ns/a\n/sa/b", "spiffe://td/ns/-a/sa/b", "spiffe://td/ns/ä/sa/b"),
        f"spiffe://td/ns/{'a' * 64}/sa/b",
        "sPiFfE://td/ns/a/sa/b",
    ],
)
def test_what_is_no_spiffe_id_of_a_proxy(uri: str) -> None:
    for allow_unidentified in (False, True):
        with pytest.raises(IdentityError, match="is not of the form spiffe://<trust domain>/ns/"):
            identify(told(uri, hosts=("a.shop.svc",)), allow_unidentified=allow_unidentified)


@pytest.mark.parametrize(
    "host",
    [
        *("example.com", "www.example.com", "a.shop", "shop.svc", "svc", ".shop.svc", "a..svc", "a.shop.svc.", "*"),
        *("*.shop.svc", "a.*.svc", "a.shop.svcx", "A.shop.svc", "a.shop.svc\n", "a/b.shop.svc", ""),
    ],
)
def test_host_names_that_tell_no_namespace(host: str) -> None:
    with pytest.raises(IdentityError, match="the client certificate names no namespace"):
        identify(told(hosts=(host,)))
    assert identify(told(hosts=(host,)), allow_unidentified=True) is None


def test_the_trust_domain() -> None:
    own = told(of_namespace("edge", trust_domain="prod.example"))
    assert identify(own, "prod.example") is not None
    for domain in ("cluster.local", "prod.example.com", "rod.example", "example"):
        with pytest.raises(IdentityError, match=f"--trust-domain is {domain}"):
            identify(own, domain, allow_unidentified=True)
    with pytest.raises(IdentityError, match="names no namespace"):
        identify(told(hosts=("a.shop.svc.prod.example",)), "prod.example")


def test_dates_are_looked_at_once_more() -> None:
    """Connections outlive the handshake."""
    own = told(of_namespace("edge"))
    assert identify(own, now=NOW + timedelta(hours=1)) is not None
    with pytest.raises(IdentityError, match=r"expired on .* UTC; renew it, and reconnect"):
        identify(own, now=NOW + timedelta(hours=1, seconds=1))


def test_what_is_no_certificate() -> None:
    assert identify({"transport_security_type": [b"ssl"]}) is None
    for pem in (b"junk", b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"):
        with pytest.raises(IdentityError, match="cannot be read"):
            identify(told(of_namespace("edge"), pem=pem))


# --- Addresses --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("peer", "host"),
    [
        ("ipv4:127.0.0.1:40000", THIS_HOST),
        ("ipv4:127.255.0.9:40000", THIS_HOST),
        ("ipv6:%5B::1%5D:40000", THIS_HOST),
        ("ipv6:[::1]:40000", THIS_HOST),
        ("ipv6:%5B::ffff:127.0.0.1%5D:40000", THIS_HOST),
        ("unix:", THIS_HOST),
        ("unix:/run/xds.sock", THIS_HOST),
        ("ipv4:192.0.2.1:40000", "192.0.2.1"),
        ("ipv6:%5B2001:db8::1%5D:40000", "2001:db8::1"),
        ("ipv6:%5Bfe80::1%25eth0%5D:40000", "fe80::1"),
        ("ipv6:%5B::ffff:192.0.2.1%5D:40000", "192.0.2.1"),
        # What is not understood is not from here.
        ("", ""),
        ("ipv4:localhost:1", "ipv4:localhost:1"),
        ("vsock:2:1", "vsock:2:1"),
    ],
)
def test_hosts(peer: str, host: str) -> None:
    assert host_of(peer) == host


class Client:
    """What gRPC knows of a client, made up."""

    def __init__(self, peer: str, *uris: str, encrypted: bool = False) -> None:
        self._peer = peer
        self._told: dict[str, Any] = {"transport_security_type": [b"ssl" if encrypted else b"insecure"]}
        if uris:
            self._told = told(*uris)

    def peer(self) -> str:
        return self._peer

    def auth_context(self) -> Mapping[str, Any]:
        return self._told


def door(**settings: Any) -> Admission:
    return Admission(Settings(paths=(Path(),), **settings))


ELSEWHERE, HERE = "ipv4:192.0.2.1:40000", "ipv4:127.0.0.1:40000"


@pytest.mark.parametrize(
    ("client", "settings", "message"),
    [
        (Client(HERE), {}, ""),
        (Client("unix:"), {}, ""),
        (Client(ELSEWHERE), {}, "192.0.2.1 is not on loopback, and private keys would travel in plaintext"),
        (Client("ipv6:%5B2001:db8::1%5D:1"), {}, "2001:db8::1 is not on loopback"),
        (Client(ELSEWHERE), {"allow_unidentified_proxies": True}, "private keys would travel in plaintext"),
        (Client(ELSEWHERE), {"allow_plaintext_secrets_off_host": True}, ""),
        (Client(HERE, encrypted=True), {}, ""),
        (Client(ELSEWHERE, encrypted=True), {}, "192.0.2.1 is not on loopback, and shows no certificate"),
        (Client(ELSEWHERE, encrypted=True), {"allow_plaintext_secrets_off_host": True}, "shows no certificate"),
        (Client(ELSEWHERE, encrypted=True), {"allow_unidentified_proxies": True}, ""),
        (Client(ELSEWHERE, of_namespace("edge")), {}, ""),
        (Client(HERE, "urn:x"), {}, "names no namespace"),
        (Client(ELSEWHERE, "urn:x"), {"allow_unidentified_proxies": True}, ""),
    ],
)
async def test_who_is_let_in(client: Client, settings: dict[str, Any], message: str) -> None:
    expected = pytest.raises(IdentityError, match=message) if message else contextlib.nullcontext()
    with expected:
        async with door(**settings).admit(client):
            pass


# --- Turns ------------------------------------------------------------------------------------------------------------


async def test_streams_are_counted_by_certificate_or_else_by_address(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(admission, "STREAMS_PER_PEER", 1)
    at = door(allow_plaintext_secrets_off_host=True)
    each = [
        *(Client(ELSEWHERE, of_namespace("edge")), Client(ELSEWHERE, of_namespace("shop"))),
        *(Client(ELSEWHERE), Client("ipv4:192.0.2.2:40000"), Client(HERE)),
    ]
    same = [Client("ipv4:192.0.2.7:1", of_namespace("edge")), Client("ipv4:192.0.2.1:50000")]
    async with contextlib.AsyncExitStack() as places:
        for client in each:
            await places.enter_async_context(at.admit(client))
        for client in same:
            with pytest.raises(LimitError, match="has 1 streams open; 1 are allowed"):
                await places.enter_async_context(at.admit(client))
    async with at.admit(same[0]), at.admit(same[1]):
        pass


def test_turns() -> None:
    """As many as may be open come in at once; then they take turns, until it takes too long."""
    peer = admission._Peer(100, now=0.0)
    step = 1 / admission.STREAMS_PER_SECOND
    waits = [peer.reserve(0.0) for _ in range(5000)]
    assert waits[:100] == [0.0] * 100
    assert waits[101] == pytest.approx(step)
    assert waits[201] == pytest.approx(101 * step)
    let_in = [wait for wait in waits if wait <= admission.LONGEST_WAIT]
    assert len(let_in) == pytest.approx(100 + admission.LONGEST_WAIT / step, abs=2)
    refused = waits[len(let_in) :]
    assert max(refused) - min(refused) < step  # those that are refused take nobody's turn
    assert peer.reserve(1.0) == pytest.approx(admission.LONGEST_WAIT - 1.0, abs=2 * step)
    later = 1000.0
    assert [peer.reserve(later) for _ in range(101)] == [0.0] * 101
    assert peer.reserve(later) > 0


async def test_peers_that_are_gone_are_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(admission, "_PEERS_REMEMBERED", 10)
    at = door(allow_plaintext_secrets_off_host=True)
    clock = 0.0
    monkeypatch.setattr(admission, "time", SimpleNamespace(monotonic=lambda: clock))
    async with at.admit(Client("ipv4:198.51.100.1:1")):
        for number in range(1000):
            clock += 60
            async with at.admit(Client(f"ipv4:192.0.2.{number % 250}:1")):
                assert len(at._peers) <= 12
        assert "198.51.100.1" in at._peers


def test_refusals_are_logged_once_in_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    at = door()
    clock = 1000.0
    monkeypatch.setattr(admission, "time", SimpleNamespace(monotonic=lambda: clock))
    with structlog.testing.capture_logs() as log:
        for port in range(10):
            at.refused(f"ipv4:192.0.2.1:{port}", IdentityError("x"))
        at.refused("ipv4:192.0.2.2:1", IdentityError("x"))
        at.refused("ipv4:192.0.2.1:1", ProtocolError("y"))
        clock += 301
        at.refused("ipv4:192.0.2.1:1", IdentityError("x"))
        assert [(entry["event"], entry["peer"], entry["error"]) for entry in log] == [
            ("a client was refused", "ipv4:192.0.2.1:0", "x"),
            ("a client was refused", "ipv4:192.0.2.2:1", "x"),
            ("a client broke the protocol", "ipv4:192.0.2.1:1", "y"),
            ("a client was refused", "ipv4:192.0.2.1:1", "x"),
        ]
        for number in range(3000):
            at.refused("ipv4:192.0.2.1:1", IdentityError(f"words that change: {number}"))
        assert len(log) < 1100


# --- Requests that are too large to be decoded ------------------------------------------------------------------------


def _field(number: int, content: bytes) -> bytes:
    length, encoded = len(content), b""
    while length > 127:
        encoded += bytes([length & 127 | 128])
        length >>= 7
    return bytes([number << 3 | 2]) + encoded + bytes([length]) + content


@pytest.mark.parametrize(
    ("data", "message"),
    [
        pytest.param(_field(3, b"x" * 300) * 60_000, "", id="names"),
        pytest.param(_field(3, b"") * 1_000_000, "the request holds more than", id="empty names"),
        pytest.param(_field(2, bytes(NODE_BYTES)), "", id="a node"),
        pytest.param(_field(2, bytes(NODE_BYTES + 1)), "such as its node, of 1048577 bytes", id="a longer one"),
        pytest.param(b"\x08\xff\x01" * 100_000, "", id="numbers"),
        pytest.param(
            b"\x09" + bytes(8) + b"\x0d" + bytes(4) + _field(2, bytes(NODE_BYTES + 1)), "its node", id="after numbers"
        ),
        pytest.param(bytes(1_000_000), "the request holds more than", id="zeros"),
        # What is no message is told by the one who decodes it.
        pytest.param(b"\xff" * 1_000_000, "", id="no message"),
        pytest.param(_field(3, b"x" * 300) * 2000 + b"\x1a", "", id="cut off before a length"),
        pytest.param(_field(3, b"x" * 300) * 2000 + b"\x1a\xff", "", id="cut off in a length"),
    ],
)
def test_large_requests_are_looked_through(data: bytes, message: str) -> None:
    expected = pytest.raises(LimitError, match=message) if message else contextlib.nullcontext()
    with expected:
        check_encoded(data)


# --- The page about it ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("what", "limit"),
    [
        ("streams of one peer", f"{admission.STREAMS_PER_PEER:,}"),
        ("the same, of all clients on loopback", f"{admission.STREAMS_OF_THIS_HOST:,}"),
        ("new streams of one peer", f"{admission.STREAMS_PER_SECOND} a second"),
        ("new streams of one peer", f"refused after {admission.LONGEST_WAIT:g} s"),
        ("a request |", f"{admission.REQUEST_BYTES >> 20} MiB"),
        ("names in a request", f"{limits.NAMES:,}"),
        ("a name of a resource", f"{limits.LONGEST_NAME:,} characters"),
        ("a node |", f"{limits.NODE_BYTES >> 20} MiB"),
        ("from the connection to the end", f"{admission.HANDSHAKE_WITHIN:g} s"),
        ("a connection without a stream", f"{admission.IDLE_CONNECTION:g} s"),
        ("from the beginning of a stream", f"{admission.FIRST_REQUEST_WITHIN:g} s"),
        ("the time in which a client takes a response", f"{flow.WRITE_WITHIN:g} s"),
        ("streams of one connection |", f"{connection._CALLS:,}"),
        ("headers of a stream", f"{frames.HEADER_BYTES >> 10} KiB"),
        ("streams of one connection that", f"{connection._STRAINS:,}, and {admission.STRAINS_PER_SECOND} more"),
        ("what is sent and not read", f"{call.RECEIVED_AHEAD >> 20} MiB"),
        ("what waits to be sent", f"{connection._BUFFERED >> 10} KiB"),
        ("what waits to be sent", f"{admission.PING_AFTER + admission.PONG_WITHIN:g} s"),
        ("a client's host", f"{admission.PING_AFTER + admission.PONG_WITHIN:g} s"),
        ("the time in which a client takes in what is left", f"{admission.PONG_WITHIN:g} s"),
        ("the age of a connection", f"{admission.CONNECTION_AGE / 3600:g} hour"),
    ],
)
def test_limits_are_documented(what: str, limit: str) -> None:
    page = Path(__file__).resolve().parent.parent / "docs" / "security.md"
    (row,) = [line for line in page.read_text().splitlines() if line.startswith(f"| {what}")]
    assert limit in row
