"""Token buckets in a Redis, so that several processes share one rate.

The tokens are shared, the queues are not: each process gives the requests that wait in it their shares, and which
process has the next token is up to chance.
"""

import asyncio
import math
from collections.abc import Callable
from typing import NamedTuple

import structlog
import xxhash
from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

from fairlead.intent import Quota, SchedulingPolicy, policy_name
from fairlead.runtime.scheduling.buckets import Tokens

_WITHIN = 1.0
"""Seconds that Redis has to answer."""
_BATCH = 500
"""Buckets that are asked in one exchange with Redis."""
_SECOND = 1_000_000_000  # nanoseconds
_EVER = 1e18
"""Seconds: a bucket that owes more than it is given back takes it all the same."""

TAKE = """
local count, longest, capacity, fill = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4])
local interval, continuous, empty, idle = tonumber(ARGV[5]), ARGV[6] == '1', ARGV[7] == '1', tonumber(ARGV[8])
local time = redis.call('TIME')
local now = tonumber(time[1]) + tonumber(time[2]) / 1000000
local found = redis.call('HMGET', KEYS[1], 'available', 'filled')
local available, filled = tonumber(found[1]), tonumber(found[2])
if not available then
    available, filled = empty and 0 or capacity, now
end
filled = math.min(filled, now) -- clocks are set back, and another Redis may take over with one of its own
local intervals = (now - filled) / interval
if continuous then
    filled = now
else
    intervals = math.floor(intervals + 1e-9)
    filled = filled + intervals * interval
end
available = math.min(available + intervals * fill, capacity)
local missing, wait = count - available, 0
if missing > 1e-9 then
    if fill == 0 then
        wait = math.huge
    elseif continuous then
        wait = missing / fill * interval
    else
        wait = filled + math.ceil(missing / fill - 1e-9) * interval - now
    end
end
if wait <= longest then
    available = math.min(available - count, capacity)
end
redis.call('HSET', KEYS[1], 'available', string.format('%.17g', available), 'filled', string.format('%.17g', filled))
redis.call('PEXPIRE', KEYS[1], idle)
return wait == math.huge and 'inf' or string.format('%.17g', wait)
"""
"""As `fairlead.runtime.scheduling.buckets.Bucket` does it, by the clock of Redis. To give back is to take less than
nothing."""

log = structlog.get_logger()


class _Question(NamedTuple):
    key: str
    arguments: tuple[float | int | str, ...]
    then: Callable[[float], None]


class RedisBuckets:
    """Buckets in a Redis. What is asked for while an exchange is under way goes together with the next one.

    A bucket is a hash `fairlead:tokens:<policy>:<hash of the label's value>`. While Redis does not answer, all pass:
    one request at a time finds out whether it does again, and the others do not wait for that.
    """

    def __init__(self, url: str) -> None:
        """`url` as redis-py takes it: `redis://`, `rediss://` or `unix://`. Raises `ValueError` for others."""
        self._redis = Redis.from_url(
            url, socket_timeout=_WITHIN, socket_connect_timeout=_WITHIN, retry=Retry(NoBackoff(), 0)
        )
        self._questions: list[_Question] = []
        self._exchanging: asyncio.Task[None] | None = None
        self._available = True

    def of(self, policy: SchedulingPolicy) -> Tokens:
        """See `Buckets`."""
        assert policy.quota is not None
        return _RedisTokens(self, policy_name(policy.origin), policy.quota, policy.max_idle / _SECOND)

    def ask(self, key: str, arguments: tuple[float | int | str, ...], then: Callable[[float], None]) -> None:
        """Run the script; `then` is told the wait."""
        if not self._available and self._exchanging is not None:
            then(0.0)
            return
        self._questions.append(_Question(key, arguments, then))
        if self._exchanging is None:
            self._exchanging = asyncio.create_task(self._exchange_all())

    async def _exchange_all(self) -> None:
        try:
            while self._questions:
                batch, self._questions = self._questions[:_BATCH], self._questions[_BATCH:]
                waits = await self._exchange(batch)
                if waits is None:
                    batch, self._questions = [*batch, *self._questions], []
                for question, wait in zip(batch, waits or [0.0] * len(batch), strict=True):
                    question.then(wait)
        finally:
            self._exchanging = None

    async def _exchange(self, batch: list[_Question]) -> list[float] | None:
        try:
            async with asyncio.timeout(_WITHIN), self._redis.pipeline(transaction=False) as pipeline:
                for question in batch:
                    _ = pipeline.eval(TAKE, 1, question.key, *question.arguments)  # it only is noted here
                waits = [float(wait) for wait in await pipeline.execute()]
        except (RedisError, OSError, TimeoutError) as error:
            if self._available:
                self._available = False
                log.error("requests do not wait for tokens: Redis does not answer", error=str(error) or repr(error))  # noqa: TRY400  # Redis's fault, not ours
            return None
        if not self._available:
            self._available = True
            log.info("Redis answers again: requests wait for tokens")
        return waits

    async def close(self) -> None:
        """See `Buckets`."""
        if self._exchanging is not None:
            self._exchanging.cancel()
        await self._redis.aclose()


class _RedisTokens:
    """The buckets of a policy."""

    def __init__(self, buckets: RedisBuckets, name: str, quota: Quota, max_idle: float) -> None:
        self._buckets = buckets
        self._name = name
        self.configure(quota, max_idle)

    def configure(self, quota: Quota, max_idle: float) -> None:
        """See `Tokens`."""
        interval = quota.interval / _SECOND
        self._settings = (
            *(quota.capacity, quota.fill_amount, interval, int(quota.continuous), int(quota.starts_empty)),
            math.ceil(max_idle * 1000),
        )

    def take(self, key: str, count: float, longest_wait: float, then: Callable[[float], None]) -> None:
        """See `Tokens`."""
        identity = xxhash.xxh3_128_hexdigest(key.encode())
        name = f"fairlead:tokens:{self._name}:{identity}"
        self._buckets.ask(name, (count, longest_wait, *self._settings), then)

    def give_back(self, key: str, count: float) -> None:
        """See `Tokens`."""
        self.take(key, -count, _EVER, _forget)


def _forget(_wait: float) -> None:
    """What has been given back is given back."""
