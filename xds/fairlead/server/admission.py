"""Who is let in, how many at once, and how fast: what is checked of a stream before its client has said anything.

Streams are counted by peer: the name in the client's certificate or, where there is none, the address without its port.
All replicas of a gateway may share a certificate, and all proxies behind one NAT an address; so a peer may have many
streams. A peer whose streams come faster than they can be served well waits, and with it nobody else: after a restart
of the control plane all its proxies come at once, and refusing them would only make them come again.

The limits are in docs/security.md.
"""

import asyncio
import contextlib
import ipaddress
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from datetime import UTC, datetime
from typing import Any, NoReturn, Protocol
from urllib.parse import unquote

import structlog

from fairlead.errors import IdentityError, LimitError, ProtocolError
from fairlead.http2.frames import StatusCode
from fairlead.http2.server import Limits
from fairlead.server.identity import Identity, identity_of
from fairlead.server.settings import Settings

log = structlog.get_logger()

STREAMS_PER_PEER = 4_000
"""Streams that one peer may have open, which is also how many may come at once."""

STREAMS_OF_THIS_HOST = 20_000
"""The same for all clients on loopback or a unix socket together that show no certificate."""

STREAMS_PER_SECOND = 200
"""New streams of one peer after those that may come at once."""

LONGEST_WAIT = 15.0
"""Seconds that a new stream waits for its turn; it is refused when it would have to wait longer."""

FIRST_REQUEST_WITHIN = 15.0
"""Seconds from a stream's turn until its first request has arrived."""

HANDSHAKE_WITHIN = 10.0
"""Seconds from a connection's beginning until TLS and HTTP/2 are spoken on it."""

IDLE_CONNECTION = 60.0
"""Seconds that a connection may be without a stream."""

CONNECTION_AGE = 3600.0
"""Seconds, a tenth more or less, after which clients have to connect anew. They show their certificate then, by when
they may have another one, or be let in no more; those that are served in delta are sent what is new only."""

CONNECTION_END = 30.0
"""Seconds that the streams of a connection of that age go on at most."""

PING_AFTER = 30.0
"""Seconds that a client may be silent before it is asked whether it is there."""

PONG_WITHIN = 20.0
"""Seconds that it has to answer."""

REQUEST_BYTES = 64 << 20
"""Size of a request. The first one after a reconnect names all that the proxy holds."""

STRAINS_PER_SECOND = 10
"""Calls that a client may reset, and the like, beside those that a connection may at once."""

THIS_HOST = "this host"

_PEERS_REMEMBERED = 1000
_REFUSALS_REMEMBERED = 1000
_REPEATED_AFTER = 300.0
"""Seconds after which a refusal is logged once more."""


class Call(Protocol):
    """What the transport knows of a client."""

    def peer(self) -> str:
        """Its address, such as `ipv4:127.0.0.1:40000`."""
        ...

    def auth_context(self) -> Mapping[str, Any]:
        """What has been verified of it, by names of gRPC's."""
        ...


class EndableCall(Call, Protocol):
    """A call that can be ended."""

    async def abort(self, code: StatusCode, details: str) -> NoReturn:
        """End it; raises what lets the transport know."""
        ...


class Admission:
    """The streams that there are, by peer."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._peers: dict[str, _Peer] = {}
        self._crowded = _PEERS_REMEMBERED
        self._silent_until: dict[tuple[str, str], float] = {}

    @contextlib.asynccontextmanager
    async def admit(self, call: Call) -> AsyncIterator[Identity | None]:
        """Let a stream in while the block runs; gives its client's identity, None when no certificate tells one.

        Waits for its turn first. Raises `IdentityError` or `LimitError` when it may not come in.
        """
        address = host_of(call.peer())
        authenticated = call.auth_context()
        settings = self._settings
        is_elsewhere, is_encrypted = address != THIS_HOST, _is_encrypted(authenticated)
        # A port on loopback may be reached from elsewhere too: when it is forwarded, for example.
        if is_elsewhere and not is_encrypted and not settings.allow_plaintext_secrets_off_host:
            raise IdentityError(
                f"{address} is not on loopback, and private keys would travel in plaintext; connect over TLS"
            )
        identity = identity_of(
            authenticated,
            datetime.now(UTC),
            trust_domain=settings.trust_domain,
            allow_unidentified=settings.allow_unidentified_proxies,
        )
        if identity is None and is_elsewhere and is_encrypted and not settings.allow_unidentified_proxies:
            raise IdentityError(f"{address} is not on loopback, and shows no certificate; the server needs --client-ca")
        name = address if identity is None else identity.name
        with self._counted(name, STREAMS_OF_THIS_HOST if name == THIS_HOST else STREAMS_PER_PEER) as peer:
            wait = peer.reserve(time.monotonic())
            if wait > LONGEST_WAIT:
                raise LimitError(
                    f"{name} opens streams faster than {STREAMS_PER_SECOND} a second; come back in a few seconds"
                )
            if wait > 0:
                await asyncio.sleep(wait)
            yield identity

    @contextlib.contextmanager
    def _counted(self, name: str, limit: int) -> Iterator["_Peer"]:
        peer = self._peers.get(name)
        if peer is None:
            self._forget_idle_peers()
            peer = self._peers[name] = _Peer(limit, time.monotonic())
        if peer.streams >= limit:
            raise LimitError(f"{name} has {peer.streams} streams open; {limit} are allowed")
        peer.streams += 1
        try:
            yield peer
        finally:
            peer.streams -= 1

    def _forget_idle_peers(self) -> None:
        if len(self._peers) >= self._crowded:
            now = time.monotonic()
            self._peers = {name: peer for name, peer in self._peers.items() if not peer.is_idle(now)}
            self._crowded = max(_PEERS_REMEMBERED, 2 * len(self._peers))

    def refused(self, peer: str, error: ProtocolError) -> None:
        """Log that a client was refused, unless that has been logged lately: refused clients come back at once."""
        now = time.monotonic()
        key = host_of(peer), str(error)
        if now < self._silent_until.get(key, now):
            return
        if len(self._silent_until) >= _REFUSALS_REMEMBERED:
            self._silent_until = {key: until for key, until in self._silent_until.items() if now < until}
            if len(self._silent_until) >= _REFUSALS_REMEMBERED:
                return
        self._silent_until[key] = now + _REPEATED_AFTER
        refused = isinstance(error, LimitError | IdentityError)
        log.warning("a client was refused" if refused else "a client broke the protocol", peer=peer, error=str(error))


class _Peer:
    """The streams of one peer: how many are open, and when the next one has its turn."""

    def __init__(self, limit: int, now: float) -> None:
        self.streams = 0
        self._burst = limit / STREAMS_PER_SECOND
        self._next = now - self._burst

    def reserve(self, now: float) -> float:
        """Seconds until the turn of one more stream. More than `LONGEST_WAIT`: it is not given one."""
        turn = max(self._next, now - self._burst)
        if turn - now <= LONGEST_WAIT:
            self._next = turn + 1 / STREAMS_PER_SECOND
        return max(0.0, turn - now)

    def is_idle(self, now: float) -> bool:
        """Whether it is as if it had never come."""
        return not self.streams and self._next <= now - self._burst


def connection_limits() -> Limits:
    """What connections may cost, whoever opens them."""
    return Limits(
        handshake_within=HANDSHAKE_WITHIN,
        idle=IDLE_CONNECTION,
        age=CONNECTION_AGE,
        end=CONNECTION_END,
        ping_after=PING_AFTER,
        pong_within=PONG_WITHIN,
        request_bytes=REQUEST_BYTES,
        strains_per_second=STRAINS_PER_SECOND,
    )


async def first_request(read: Callable[[], Awaitable[object]]) -> object:
    """What a client says first; raises `LimitError` when it takes too long."""
    try:
        async with asyncio.timeout(FIRST_REQUEST_WITHIN):
            return await read()
    except TimeoutError:
        raise LimitError(f"no request came within {FIRST_REQUEST_WITHIN:g} seconds of opening the stream") from None


def host_of(peer: str) -> str:
    """The address of a peer as gRPC writes it, without the port; `THIS_HOST` for loopback and unix sockets."""
    scheme, _, rest = peer.partition(":")
    if scheme == "unix":
        return THIS_HOST
    host = unquote(rest).rpartition(":")[0].strip("[]")
    try:
        address = ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return peer
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return THIS_HOST if (mapped or address).is_loopback else str(mapped or address)


@contextlib.asynccontextmanager
async def admitted(call: EndableCall, admission: Admission) -> AsyncIterator[Identity | None]:
    """`Admission.admit` for a call that is ended when it may not come in, or its client breaks the protocol."""
    try:
        async with admission.admit(call) as identity:
            yield identity
    except ProtocolError as error:
        admission.refused(call.peer(), error)
        await call.abort(status_of(error), str(error))


def status_of(error: ProtocolError) -> StatusCode:
    """How a client is told that it was refused."""
    match error:
        case LimitError():
            return StatusCode.RESOURCE_EXHAUSTED
        case IdentityError():
            return StatusCode.PERMISSION_DENIED
    return StatusCode.INVALID_ARGUMENT


def _is_encrypted(authenticated: Mapping[str, Any]) -> bool:
    return list(authenticated.get("transport_security_type", ())) == [b"ssl"]
