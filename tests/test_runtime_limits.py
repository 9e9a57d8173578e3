"""Limits that services count: which descriptors are the same, how windows follow each other, what is answered."""

import asyncio
import tracemalloc
from collections import Counter
from typing import Any

import pytest
from fairlead._pb.envoy.service.ratelimit.v3.rls_pb2 import RateLimitResponse
from fairlead.intent import CountedDescriptor
from fairlead.runtime.counters import Hit, MemoryCounters
from fairlead.runtime.limits import Limits, judge
from fairlead.runtime.outcomes import Outcome, Outcomes
from fairlead.runtime.rate_limit_service import RateLimitService
from hypothesis import given
from hypothesis import strategies as st
from support.runtime import OBJECT, asked, descriptor, limiting

Entries = tuple[tuple[str, str], ...]


def limits(*descriptors: CountedDescriptor) -> Limits:
    return Limits(limiting(*descriptors).rate_limits)


@pytest.mark.parametrize(
    ("domain", "entries", "quota"),
    [
        ("fairlead", {"a": "1"}, 1),
        ("fairlead", {"a": "1", "b": "2"}, 2),
        ("fairlead", {"a": "1", "user": "kim"}, 3),
        ("fairlead", {"a": "1", "user": ""}, 3),
        ("fairlead", {"a": "1", "user": "ann"}, 4),
        ("fairlead", {"b": "2", "a": "1"}, None),
        ("fairlead", {"a": "2"}, None),
        ("fairlead", {"a": "2", "user": "kim"}, None),
        ("fairlead", {}, None),
        ("other", {"a": "1"}, None),
    ],
)
def test_what_is_limited(domain: str, entries: dict[str, str], quota: int | None) -> None:
    known = limits(
        descriptor(1, a="1"),
        descriptor(2, a="1", b="2"),
        descriptor(3, a="1", user=""),
        descriptor(4, a="1", user="ann"),
    )
    found = known.find(domain, tuple(entries.items()))
    assert (None if found is None else found.quota) == quota


@pytest.mark.parametrize(
    ("window", "now", "count", "remaining", "until_reset", "over"),
    [
        (1, 1000.0, 1, 9, 1, False),
        (1, 1000.999, 10, 0, 1, False),
        (60, 1020.0, 11, 0, 60, True),
        (60, 1079.9, 12, 0, 1, True),
        (3600, 7200.5, 0, 10, 3600, False),
        (86400, 86399.0, 5, 5, 1, False),
    ],
)
def test_what_comes_of_a_number(
    window: int, now: float, count: int, remaining: int, *, until_reset: int, over: bool
) -> None:
    found = limits(descriptor(10, window, a="1")).find("fairlead", (("a", "1"),))
    assert found is not None
    assert judge(found, count, now)[1:] == (remaining, until_reset, over)


@given(
    st.lists(
        st.tuples(
            st.sampled_from([1, 60, 3600, 86400]),
            st.sampled_from(["a", "b"]),
            st.booleans(),
            st.integers(0, 3),
            st.floats(0, 200_000, allow_nan=False),
        ),
        max_size=60,
    )
)
def test_numbers_are_those_of_the_windows(requests: list[tuple[int, str, bool, int, float]]) -> None:
    """Whatever comes when, the number is that of all that came in the same window of absolute time."""

    async def compare() -> None:
        counters, expected = MemoryCounters(), Counter[tuple[Any, ...]]()
        for window, key, of_value, number, now in sorted(requests, key=lambda each: each[-1]):
            begin = int(now // window)
            expected[window, key, of_value, begin] += number
            hit = Hit("d", ((key, str(of_value)),), of_value, window, number)
            assert await counters.add([hit], now) == [expected[window, key, of_value, begin]]

    asyncio.run(compare())


async def test_counters_are_forgotten() -> None:
    counters = MemoryCounters(most_values=10)

    async def add(value: int, now: float, *, of_value: bool = True) -> int:
        return (await counters.add([Hit("d", (("user", str(value)),), of_value, 60, 1)], now))[0]

    for value in range(100):
        assert await add(value, 30.0) == 1
        assert await add(-1 - value, 30.0, of_value=False) == 1
    assert len(counters) == 110, "as many of values as there may be, and all others"
    assert await add(99, 31.0) == 2, "the newest are there"
    assert await add(-1, 31.0, of_value=False) == 2
    assert await add(0, 31.0) == 1, "the oldest begin anew"
    assert await add(0, 60.0) == 1
    assert len(counters) == 1, "the window is over"


async def test_long_values_cost_no_more_than_short_ones() -> None:
    counters = MemoryCounters()
    tracemalloc.start()
    try:
        for value in range(1000):
            await counters.add([Hit("d", (("user", f"{value:05}" * 10_000),), of_value=True, window=60, number=1)], 0.0)
        assert tracemalloc.get_traced_memory()[0] < 1_000_000
    finally:
        tracemalloc.stop()
    assert len(counters) == 1000


class Asked:
    """The service without a transport, at a time of its own."""

    def __init__(self, *descriptors: CountedDescriptor) -> None:
        self.now = 6000.0
        self.outcomes = Outcomes()
        self.service = RateLimitService(MemoryCounters(), self.outcomes, lambda: self.now)
        self.edit(*descriptors)

    def edit(self, *descriptors: CountedDescriptor) -> None:
        self.service.limits = limits(*descriptors)

    async def ask(self, *descriptors: dict[str, str], **more: Any) -> RateLimitResponse:
        return await self.service.answer(asked(*descriptors, **more))

    async def passes(self, *descriptors: dict[str, str], **more: Any) -> bool:
        return (await self.ask(*descriptors, **more)).overall_code == RateLimitResponse.OK


A, B = {"a": "1"}, {"b": "1"}


async def test_all_descriptors_are_counted_and_any_of_them_limits() -> None:
    service = Asked(descriptor(1, a="1"), descriptor(3, b="1"))
    assert [await service.passes(A, B) for _ in range(2)] == [True, False]
    assert [await service.passes(B) for _ in range(2)] == [True, False], "what was stopped by another has been counted"


async def test_how_each_limit_is_told() -> None:
    service = Asked(descriptor(5, 60, a="1"), descriptor(2, 1, b="1"))
    service.now = 6010.25
    answers = [await service.ask(A, {"unknown": "x"}, B) for _ in range(3)]
    told = [[(s.code, s.limit_remaining, s.duration_until_reset.seconds) for s in each.statuses] for each in answers]
    ok, over = RateLimitResponse.OK, RateLimitResponse.OVER_LIMIT
    assert told == [
        [(ok, 4, 50), (ok, 0, 0), (ok, 1, 1)],
        [(ok, 3, 50), (ok, 0, 0), (ok, 0, 1)],
        [(ok, 2, 50), (ok, 0, 0), (over, 0, 1)],
    ]
    assert [each.overall_code for each in answers] == [ok, ok, over]
    first, unknown, last = answers[0].statuses
    unit = RateLimitResponse.RateLimit
    assert (first.current_limit.requests_per_unit, first.current_limit.unit) == (5, unit.MINUTE)
    assert (last.current_limit.requests_per_unit, last.current_limit.unit) == (2, unit.SECOND)
    assert not unknown.HasField("current_limit"), "Envoy makes headers of those that have it"


@pytest.mark.parametrize(("window", "unit"), [(1, "SECOND"), (60, "MINUTE"), (3600, "HOUR"), (86400, "DAY")])
async def test_units(window: int, unit: str) -> None:
    (status,) = (await Asked(descriptor(1, window, a="1")).ask(A)).statuses
    assert status.current_limit.unit == RateLimitResponse.RateLimit.Unit.Value(unit)


async def test_a_request_may_count_as_several() -> None:
    service = Asked(descriptor(10, a="1"), descriptor(10, b="1"))
    assert await service.passes(A, hits=7)
    assert not await service.passes(A, hits=4)
    request = asked(B, hits=7)
    request.descriptors[0].hits_addend.value = 10
    assert (await service.service.answer(request)).overall_code == RateLimitResponse.OK, "it says so itself"
    request.descriptors[0].hits_addend.value = 0
    assert (await service.service.answer(request)).overall_code == RateLimitResponse.OK, "it counts as none"
    assert not await service.passes(B)


async def test_what_is_unknown_passes_and_costs_no_memory() -> None:
    service = Asked(descriptor(0, a="1"))
    assert await service.passes({"c": "1"})
    assert await service.passes(A, domain="other")
    assert await service.passes()
    assert not await service.passes(A), "a quota of 0 lets nothing pass"


async def test_an_edit_counts_what_has_been() -> None:
    service = Asked(descriptor(5, a="1"))
    assert [await service.passes(A) for _ in range(3)] == [True] * 3
    service.edit(descriptor(4, a="1"))
    assert [await service.passes(A) for _ in range(2)] == [True, False]
    service.edit(descriptor(6, a="1"))
    assert [await service.passes(A) for _ in range(2)] == [True, False]
    service.now += 3600
    assert await service.passes(A)


async def test_what_is_told_of_objects() -> None:
    other = OBJECT._replace(name="other")
    service = Asked(descriptor(1, a="1"), descriptor(9, b="1"), descriptor(5, origin=other, c="1"))
    for _ in range(2):
        await service.ask(A, B, {"c": "1"})
    assert service.outcomes.take() == {
        ("ASMGlobalRateLimiter default/shop", Outcome.ALLOWED): 1,
        ("ASMGlobalRateLimiter default/shop", Outcome.LIMITED): 1,
        ("ASMGlobalRateLimiter default/other", Outcome.ALLOWED): 2,
    }
    assert not service.outcomes.take()
