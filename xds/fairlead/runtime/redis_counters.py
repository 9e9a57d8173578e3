"""Counters in a Redis, so that several processes count as one."""

import asyncio
from collections.abc import Sequence
from typing import NamedTuple

import structlog
from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

from fairlead.runtime.counters import CountersUnavailableError, Hit, identity, window_start

_WITHIN = 1.0
"""Seconds that Redis has to answer."""

_BATCH = 500
"""Calls that are counted in one exchange with Redis."""

_UNAVAILABLE = "Redis does not answer, so that requests cannot be counted"

log = structlog.get_logger()


class _Waiting(NamedTuple):
    hits: Sequence[Hit]
    now: float
    counts: asyncio.Future[list[int]]


class RedisCounters:
    """Counters in a Redis. What is asked for while an exchange is under way goes together with the next one.

    While Redis does not answer, one call at a time finds out whether it does again; the others fail at once.

    A counter is a key `fairlead:limit:<window>:<start>:<hash>`, which expires one window after its last request.
    """

    def __init__(self, url: str) -> None:
        """`url` as redis-py takes it: `redis://`, `rediss://` or `unix://`. Raises `ValueError` for others."""
        self.available = True
        self._redis = Redis.from_url(
            url, socket_timeout=_WITHIN, socket_connect_timeout=_WITHIN, retry=Retry(NoBackoff(), 0)
        )
        self._waiting: list[_Waiting] = []
        self._exchanging: asyncio.Task[None] | None = None

    async def add(self, hits: Sequence[Hit], now: float) -> list[int]:
        """As `Counters` says."""
        if not self.available and self._exchanging is not None:
            raise CountersUnavailableError(_UNAVAILABLE)
        counts: asyncio.Future[list[int]] = asyncio.get_running_loop().create_future()
        self._waiting.append(_Waiting(hits, now, counts))
        if self._exchanging is None:
            self._exchanging = asyncio.create_task(self._exchange_all())
        return await counts

    async def _exchange_all(self) -> None:
        try:
            while self._waiting:
                batch, self._waiting = self._waiting[:_BATCH], self._waiting[_BATCH:]
                await self._exchange([waiting for waiting in batch if not waiting.counts.done()])
        finally:
            self._exchanging = None

    async def _exchange(self, batch: list[_Waiting]) -> None:
        try:
            async with asyncio.timeout(_WITHIN):
                found = iter(await self._count(batch))
        except (RedisError, OSError, TimeoutError) as error:
            if self.available:
                self.available = False
                log.error("requests cannot be counted: proxies do what failure modes say", error=_said(error))  # noqa: TRY400  # Redis's fault, not ours
            failed, self._waiting = [*batch, *self._waiting], []
            for waiting in failed:
                if not waiting.counts.done():
                    waiting.counts.set_exception(CountersUnavailableError(_UNAVAILABLE))
            return
        if not self.available:
            self.available = True
            log.info("Redis answers again: requests are counted")
        for waiting in batch:
            counts = [next(found) for _ in waiting.hits]
            if not waiting.counts.done():
                waiting.counts.set_result(counts)

    async def _count(self, batch: list[_Waiting]) -> list[int]:
        async with self._redis.pipeline(transaction=False) as pipeline:
            for hits, now, _ in batch:
                for hit in hits:
                    key = _key(hit, now)
                    pipeline.execute_command("INCRBY", key, hit.number)
                    pipeline.execute_command("EXPIRE", key, hit.window)
            return (await pipeline.execute())[::2]

    async def close(self) -> None:
        """Close the connections."""
        if self._exchanging is not None:
            self._exchanging.cancel()
        await self._redis.aclose()


def _key(hit: Hit, now: float) -> str:
    return f"fairlead:limit:{hit.window}:{window_start(hit.window, now)}:{identity(hit).hex()}"


def _said(error: Exception) -> str:
    return str(error) or type(error).__name__
