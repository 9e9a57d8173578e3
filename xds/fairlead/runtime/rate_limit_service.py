"""Envoy's rate limit service (envoy/service/ratelimit/v3/rls.proto)."""

from collections.abc import Callable, Iterator

from google.protobuf.message import DecodeError

from fairlead._pb.envoy.service.ratelimit.v3.rls_pb2 import RateLimitRequest, RateLimitResponse
from fairlead.http2.call import Call
from fairlead.http2.frames import StatusCode
from fairlead.runtime.counters import Counters, CountersUnavailableError, Entries
from fairlead.runtime.decoding import decoded
from fairlead.runtime.limits import Limits, Verdict, judge
from fairlead.runtime.outcomes import Outcome, Outcomes

SERVICE = "envoy.service.ratelimit.v3.RateLimitService"

_Unit = RateLimitResponse.RateLimit.Unit
_UNITS = {1: _Unit.SECOND, 60: _Unit.MINUTE, 3600: _Unit.HOUR, 86400: _Unit.DAY}
_MOST_HITS = 1_000_000_000
"""Of one request; Envoy documents this bound for `hits_addend` of a descriptor."""
_MOST_REMAINING = 0xFFFF_FFFF

_OK = RateLimitResponse.OK
_OVER_LIMIT = RateLimitResponse.OVER_LIMIT


class RateLimitService:
    """Answers with the state of every limit, from which Envoy makes its `x-ratelimit` headers.

    All limits of a request are counted, whichever is exceeded. What nothing is said of is let pass. When requests
    cannot be counted the answer is an error, so that the proxy does what its failure mode says.
    """

    def __init__(self, counters: Counters, outcomes: Outcomes, clock: Callable[[], float]) -> None:
        """`clock` tells seconds since 1970."""
        self.limits = Limits()
        self._counters = counters
        self._outcomes = outcomes
        self._clock = clock

    async def should_rate_limit(self, call: Call) -> None:
        """Serve one call."""
        try:
            request = decoded(RateLimitRequest, await call.read() or b"")
        except DecodeError:
            await call.abort(StatusCode.INVALID_ARGUMENT, "this is no RateLimitRequest")
        try:
            response = await self.answer(request)
        except CountersUnavailableError as error:
            await call.abort(StatusCode.UNAVAILABLE, str(error))
        await call.answer(response.SerializeToString())

    async def answer(self, request: RateLimitRequest) -> RateLimitResponse:
        """What is answered; raises `CountersUnavailableError`."""
        now = self._clock()
        found = [
            (self.limits.find(request.domain, entries), entries, number) for entries, number in _descriptors(request)
        ]
        hits = [limit.hit(request.domain, entries, number) for limit, entries, number in found if limit is not None]
        counts = iter(await self._counters.add(hits, now) if hits else ())
        verdicts = [None if limit is None else judge(limit, next(counts), now) for limit, _, _ in found]
        self._tell(verdicts)
        return _response(verdicts)

    def _tell(self, verdicts: list[Verdict | None]) -> None:
        """An object with several limits has limited a request when one of them has."""
        over: dict[str, bool] = {}
        for verdict in verdicts:
            if verdict is not None:
                over[verdict.limit.origin] = over.get(verdict.limit.origin, False) or verdict.over
        for origin, is_over in over.items():
            self._outcomes.add(origin, Outcome.LIMITED if is_over else Outcome.ALLOWED)


def _descriptors(request: RateLimitRequest) -> Iterator[tuple[Entries, int]]:
    """The entries of each descriptor, and as how many requests it counts."""
    of_all = request.hits_addend or 1
    for descriptor in request.descriptors:
        number = descriptor.hits_addend.value if descriptor.HasField("hits_addend") else of_all
        yield tuple((entry.key, entry.value) for entry in descriptor.entries), min(number, _MOST_HITS)


def _response(verdicts: list[Verdict | None]) -> RateLimitResponse:
    response = RateLimitResponse(overall_code=_OK)
    for verdict in verdicts:
        status = response.statuses.add(code=_OK)
        if verdict is None:
            continue
        if verdict.over:
            status.code = response.overall_code = _OVER_LIMIT
        status.current_limit.requests_per_unit = verdict.limit.quota
        status.current_limit.unit = _UNITS[verdict.limit.window]
        status.limit_remaining = min(verdict.remaining, _MOST_REMAINING)
        status.duration_until_reset.seconds = verdict.until_reset
    return response
