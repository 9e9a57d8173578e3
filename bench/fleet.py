"""A fleet of simulated proxies in this process: how long until all of them have what there is to have."""

import asyncio
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from fairlead.cli.bootstrap import ProxyIdentity

from bench.http2 import GrpcStream, request_headers
from bench.proxies import SimulatedProxy, encoded_node
from bench.responses import Content, Held

_METHOD = "/envoy.service.discovery.v3.AggregatedDiscoveryService/DeltaAggregatedResources"
_CONNECTING = 64
"""How many connect at once."""
WITHIN = 60.0
"""Seconds after which a fleet has not converged."""


class NotConverged(Exception):  # noqa: N818  # it is a result
    """Not all proxies got what they should have."""


@dataclass
class Change:
    """How one change reached the fleet, in seconds of the performance counter."""

    begun: float
    first_received: float = 0.0
    last_acknowledged: float = 0.0

    @property
    def total(self) -> float:
        return self.last_acknowledged - self.begun

    @property
    def fan_out(self) -> float:
        """Without the time until the first proxy had it."""
        return self.last_acknowledged - self.first_received


@dataclass
class _Awaited:
    """What is being waited for."""

    proxies: set[SimulatedProxy]
    done: asyncio.Future[None]
    marker: bytes = b""
    change: Change | None = None

    def met(self, proxy: SimulatedProxy) -> None:
        self.proxies.discard(proxy)
        if not self.proxies and not self.done.done():
            self.done.set_result(None)


class Fleet:
    """Proxies that are alike but for their names."""

    def __init__(self, count: int, labels: dict[str, str], namespace: str) -> None:
        identities = (
            ProxyIdentity(id=f"proxy-{n}", namespace=namespace, labels=tuple(labels.items())) for n in range(count)
        )
        self.proxies = [SimulatedProxy(encoded_node(identity), self) for identity in identities]
        self.resources = 0
        """How many all of them have received."""
        self.responses: list[Content] = []
        """What the first of them has received."""
        self._awaited: _Awaited | None = None
        self._disconnecting = False

    async def connect(self, address: str, within: float = WITHIN) -> float:
        """Connect those that are not, and wait until all are complete; returns the seconds."""
        loop, host_and_port = asyncio.get_running_loop(), address.rpartition(":")
        headers, limit = request_headers(_METHOD, address), asyncio.Semaphore(_CONNECTING)

        async def connect(proxy: SimulatedProxy) -> None:
            async with limit:
                await loop.create_connection(
                    lambda: GrpcStream(proxy, headers), host_and_port[0], int(host_and_port[2])
                )

        started = time.perf_counter()
        done = self._await(self.proxies)
        await asyncio.gather(*map(connect, self.proxies))
        await self._converge(done, within, "is complete")
        return time.perf_counter() - started

    async def change(self, begin: Callable[[], object], marker: bytes, within: float = WITHIN) -> Change:
        """Begin a change, and wait until each proxy has acknowledged something that holds the marker."""
        done = self._await(self.proxies, marker)
        assert self._awaited is not None
        change = self._awaited.change = Change(time.perf_counter())
        begin()
        await self._converge(done, within, f"has acknowledged {marker!r}")
        change.last_acknowledged = time.perf_counter()
        return change

    async def disconnect(self) -> None:
        """End all streams; the proxies remember what they held."""
        done, self._disconnecting = self._await(self.proxies), True
        for proxy in self.proxies:
            proxy.close()
        await done
        self._disconnecting = False

    def differences(self) -> int:
        """How many proxies hold something else than the first one."""
        first = self.proxies[0].held
        return sum(not _same(proxy.held, first) for proxy in self.proxies)

    def _await(self, proxies: Iterable[SimulatedProxy], marker: bytes = b"") -> "asyncio.Future[None]":
        done = asyncio.get_running_loop().create_future()
        self._awaited = _Awaited(set(proxies), done, marker)
        return done

    async def _converge(self, done: "asyncio.Future[None]", within: float, what: str) -> None:
        assert self._awaited is not None
        try:
            await asyncio.wait_for(done, within)
        except TimeoutError:
            missing, count = len(self._awaited.proxies), len(self.proxies)
            raise NotConverged(f"not within {within:g} s: each proxy {what}; {missing} of {count} do not") from None
        if different := self.differences():
            raise NotConverged(f"{different} of {len(self.proxies)} proxies hold something else than the first")

    # --- What proxies tell ---

    def complete(self, proxy: SimulatedProxy) -> None:
        if self._awaited is not None and not self._awaited.marker:
            self._awaited.met(proxy)

    def received(self, proxy: SimulatedProxy, content: Content) -> None:
        self.resources += len(content.versions)
        if proxy is self.proxies[0]:
            self.responses.append(content)
        awaited = self._awaited
        if awaited is not None and awaited.change is not None and not awaited.change.first_received:
            awaited.change.first_received = time.perf_counter()

    def acknowledged(self, proxy: SimulatedProxy, content: Content) -> None:
        if self._awaited is not None and self._awaited.marker and self._awaited.marker in content.body:
            self._awaited.met(proxy)

    def closed(self, proxy: SimulatedProxy, reason: str) -> None:
        if self._awaited is not None and self._disconnecting:
            self._awaited.met(proxy)
        elif self._awaited is not None and not self._awaited.done.done():
            self._awaited.done.set_exception(NotConverged(f"a stream has ended: {reason}"))


def _same(one: dict[str, Held], other: dict[str, Held]) -> bool:
    return one.keys() == other.keys() and all(
        held is other[type_url] or held.versions == other[type_url].versions for type_url, held in one.items()
    )
