"""What holds of the scheduler whatever is sent to it, and whenever."""

import math
from itertools import pairwise

from fairlead.runtime.scheduling.scheduler import Passed, Refused
from hypothesis import given, settings
from hypothesis import strategies as st
from support.scheduling import Scheduling, Sent, concurrency, policy, queueing, quota, workload

USERS = ("a", "b", "c", "")
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("send"), st.sampled_from(USERS), st.integers(1, 3)),
        st.tuples(st.just("wait"), st.floats(0.01, 1.5), st.just(0)),
        st.tuples(st.just("leave"), st.integers(0, 100), st.just(0)),
        st.tuples(st.just("finish"), st.integers(0, 100), st.just(0)),
    ),
    max_size=60,
)
WORKLOADS = (workload("a", 1, 0.5), workload("b", 10, 3), workload("c", 100))


def run(scheduling: Scheduling, steps: list[tuple[str, object, int]]) -> list[tuple[Sent, int]]:
    """Returns all requests, with what they cost, when all have been answered or have given up."""
    sent: list[tuple[Sent, int]] = []
    for step, argument, cost in steps:
        match step, argument:
            case "send", str(user):
                sent.append((scheduling.send(user, cost=str(cost)), cost))
            case "wait", float(seconds):
                scheduling.clock.advance(seconds)
            case "leave", int(number) if sent:
                request = sent[number % len(sent)][0]
                assert request.way is not None
                request.way.leave()
                if request.verdict is None:
                    request.answered = math.inf
            case "finish", int(number) if sent:
                verdict = sent[number % len(sent)][0].verdict
                if isinstance(verdict, Passed):
                    for slot in verdict.slots:
                        scheduling.scheduler.finished(slot)
    scheduling.clock.advance(60)
    return sent


@given(STEPS, st.integers(0, 5), st.integers(1, 5))
def test_all_are_answered_in_time_and_no_more_pass_than_the_quota_allows(
    steps: list[tuple[str, object, int]], capacity: int, rate: int
) -> None:
    limit = policy(quota=quota(capacity, rate), tokens_label="cost", queueing=queueing(*WORKLOADS))
    scheduling = Scheduling(limit)
    sent = run(scheduling, steps)
    for request, _ in sent:
        assert request.answered is not None, "no request is lost"
        if request.verdict is not None:
            assert request.answered - request.sent <= 15 + 1e-6
    taken = sorted((each.answered, cost) for each, cost in sent if isinstance(each.verdict, Passed) and each.answered)
    for first in range(len(taken)):
        total = 0
        for time, cost in taken[first:]:
            total += cost
            assert total <= capacity + rate * (time - taken[first][0]) + max(cost for _, cost in taken) + 1e-6
    if all(step != "leave" for step, _, _ in steps):
        total = sum(cost for _, cost in taken)
        assert not taken or total <= capacity + rate * (taken[-1][0] - 1000) + 1e-6


@settings(max_examples=20)
@given(st.lists(st.tuples(st.integers(1, 50), st.integers(1, 5)), min_size=2, max_size=4), st.booleans())
def test_shares_are_in_proportion_to_the_priorities_and_nothing_is_left_unused(
    classes: list[tuple[int, int]], has_timeout: bool
) -> None:
    """Each class has always somebody who waits: whoever leaves, or is let go, sends the next."""
    timeout = 3.0 if has_timeout else None
    workloads = [workload(f"{number}", priority, timeout) for number, (priority, _) in enumerate(classes)]
    scheduling = Scheduling(policy(quota=quota(1, 20), queueing=queueing(*workloads)))
    waiting: dict[str, list[Sent]] = {f"{number}": [] for number in range(len(classes))}
    counts = dict.fromkeys(waiting, 0)
    rounds = 600
    for _ in range(rounds):
        for number, (_, tokens) in enumerate(classes):
            name = f"{number}"
            for request in waiting[name]:
                counts[name] += isinstance(request.verdict, Passed)
            waiting[name] = [request for request in waiting[name] if request.verdict is None]
            waiting[name] += [scheduling.send(name) for _ in range(3 + tokens - len(waiting[name]))]
        scheduling.clock.advance(0.05)
    assert rounds - 10 <= sum(counts.values()) <= rounds + 5, "20 a second, for 30 s"
    everything = sum(priority for priority, _ in classes)
    for number, (priority, _) in enumerate(classes):
        share = rounds * priority / everything
        assert abs(counts[f"{number}"] - share) <= 0.05 * share + 4, (counts, classes)


@given(STEPS, st.integers(1, 3))
def test_no_more_are_under_way_than_there_are_places(steps: list[tuple[str, object, int]], size: int) -> None:
    scheduling = Scheduling(policy(concurrency=concurrency(size, seconds=4), queueing=queueing(*WORKLOADS)))
    ends: dict[str, float] = {}
    finished = scheduling.scheduler.finished

    def finish(slot: str) -> None:
        ends.setdefault(slot, scheduling.clock.now)
        finished(slot)

    scheduling.scheduler.finished = finish  # type: ignore[method-assign]
    sent = [request for request, _ in run(scheduling, steps)]
    assert all(request.answered is not None for request in sent), "no request is lost"
    under_way = []
    for request in sent:
        if isinstance(request.verdict, Passed) and request.answered is not None:
            (slot,) = request.verdict.slots
            begin = request.answered
            under_way += [(begin, 1), (min(begin + 4, ends.get(slot, math.inf)), -1)]
    now = 0
    for _, change in sorted(under_way):
        now += change
        assert now <= size
    for request in sent:
        if isinstance(request.verdict, Refused) and request.answered is not None:
            assert request.answered > request.sent, "who finds no place waits"


def test_the_order_is_by_arrival_where_nothing_else_is_said() -> None:
    scheduling = Scheduling(policy(quota=quota(1, 10), queueing=queueing()))
    requests = [scheduling.send() for _ in range(50)]
    scheduling.clock.advance(10)
    times = [request.answered for request in requests if request.answered is not None]
    assert len(times) == 50
    assert all(earlier <= later for earlier, later in pairwise(times))
