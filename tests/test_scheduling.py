"""The scheduler, in virtual time: rates, shares, order, deadlines, several policies on one request."""

import math
import random

import pytest
from fairlead.runtime.outcomes import Outcome
from fairlead.runtime.scheduling.fair_queue import MOST_OF_FLOW
from fairlead.runtime.scheduling.scheduler import Passed, Refused
from support.scheduling import Scheduling, Sent, concurrency, label_is, policy, queueing, quota, workload

GUEST_AND_SUBSCRIBER = (workload("guest", 50), workload("subscriber", 200))


def passed(*requests: Sent) -> int:
    return sum(isinstance(request.verdict, Passed) for request in requests)


# --- Rate limits ------------------------------------------------------------------------------------------------------


def test_a_rate_limit_lets_a_burst_pass_and_then_what_comes() -> None:
    scheduling = Scheduling(policy(status=429, quota=quota(3, 2)))
    first = [scheduling.send() for _ in range(5)]
    assert passed(*first) == 3
    assert first[3].verdict == Refused(429, 0.5)
    scheduling.clock.advance(0.75)
    assert scheduling.send().verdict == Passed()
    assert scheduling.send().verdict == Refused(429, 0.25)
    scheduling.clock.advance(100)
    assert passed(*(scheduling.send() for _ in range(10))) == 3, "no more than the bucket holds"
    of = "QuotaLimiting istio-system/policy"
    assert scheduling.counts == {(of, Outcome.ALLOWED): 7, (of, Outcome.LIMITED): 10}


def test_tokens_may_come_at_the_end_of_each_interval() -> None:
    scheduling = Scheduling(policy(quota=quota(4, 4, 2, continuous=False)))
    assert passed(*(scheduling.send() for _ in range(5))) == 4
    scheduling.clock.advance(1.9)
    refused = scheduling.send().verdict
    assert isinstance(refused, Refused)
    assert refused.retry_after == pytest.approx(0.1)
    scheduling.clock.advance(0.1)
    assert passed(*(scheduling.send() for _ in range(5))) == 4


def test_a_bucket_may_be_empty_at_first() -> None:
    scheduling = Scheduling(policy(quota=quota(10, 10, starts_empty=True)))
    assert scheduling.send().verdict == Refused(503, 0.1)
    scheduling.clock.advance(0.35)
    assert passed(*(scheduling.send() for _ in range(10))) == 3


def test_a_bucket_that_is_never_filled_rejects_after_its_burst() -> None:
    scheduling = Scheduling(policy(quota=quota(1, 0)), policy("queue", quota=quota(2, 0), queueing=queueing()))
    assert scheduling.send().verdict == Passed()
    assert scheduling.send().verdict == Refused(503, math.inf)
    scheduling.configure(scheduling.policies[1])
    assert scheduling.send().verdict == Passed()
    assert scheduling.send().verdict == Refused(503, math.inf), "there is nothing to wait for"


def test_each_value_of_a_label_has_a_bucket_and_requests_without_the_label_pass() -> None:
    scheduling = Scheduling(policy(quota=quota(2, 0), by_label="user"))
    assert passed(*(scheduling.send("anna") for _ in range(5))) == 2
    assert passed(*(scheduling.send("bert") for _ in range(5))) == 2
    assert passed(*(scheduling.send() for _ in range(5))) == 5


def test_a_bucket_that_nobody_uses_is_forgotten() -> None:
    scheduling = Scheduling(policy(quota=quota(2, 0), by_label="user", max_idle=60_000_000_000))
    assert passed(*(scheduling.send("anna") for _ in range(3))) == 2
    scheduling.clock.advance(59)
    assert passed(scheduling.send("anna")) == 0
    scheduling.clock.advance(61)
    assert passed(*(scheduling.send("anna") for _ in range(3))) == 2


def test_a_label_says_how_many_tokens_a_request_takes() -> None:
    scheduling = Scheduling(policy(quota=quota(10, 0), tokens_label="cost"))
    assert passed(scheduling.send(cost="7")) == 1
    assert passed(scheduling.send(cost="4")) == 0
    assert passed(scheduling.send(cost="2.5")) == 1
    assert passed(scheduling.send(cost="nan"), scheduling.send(cost="-1")) == 0, "they count as one"
    assert passed(*(scheduling.send(cost="0") for _ in range(9))) == 9


# --- Queues -----------------------------------------------------------------------------------------------------------


def test_what_finds_no_token_waits_for_one() -> None:
    scheduling = Scheduling(policy(quota=quota(2, 10), queueing=queueing()))
    requests = [scheduling.send() for _ in range(5)]
    scheduling.clock.advance(1)
    assert [request.waited for request in requests] == [0, 0, 0.1, 0.2, 0.3]
    assert passed(*requests) == 5
    of = "QuotaScheduling istio-system/policy"
    assert scheduling.counts == {(of, Outcome.ALLOWED): 2, (of, Outcome.QUEUED): 3}


def test_a_request_waits_until_its_workloads_timeout_or_the_proxys_deadline() -> None:
    timeouts = queueing(workload("hasty", timeout=0.25), workload("never", timeout=0), deadline_margin=20_000_000)
    scheduling = Scheduling(policy(quota=quota(1, 1), queueing=timeouts))
    assert passed(scheduling.send()) == 1
    first = scheduling.send()
    hasty, never, patient = scheduling.send("hasty"), scheduling.send("never"), scheduling.send(deadline=0.8)
    scheduling.clock.advance(2)
    assert passed(first) == 1
    assert [hasty.waited, never.waited, patient.waited] == [0.25, 0, 0.78], "the margin is for the way back"
    assert hasty.verdict == never.verdict == patient.verdict == Refused(503, math.inf)


def test_the_one_that_wants_too_much_does_not_hold_up_the_others() -> None:
    scheduling = Scheduling(policy(quota=quota(1, 1), tokens_label="cost", queueing=queueing()))
    scheduling.send()
    greedy, modest = scheduling.send(cost="20", deadline=10), scheduling.send()
    assert greedy.verdict == Refused(503, math.inf), "at once, since it would wait for 20 s"
    scheduling.clock.advance(1)
    assert modest.verdict == Passed()
    large = scheduling.send(cost="4")
    scheduling.clock.advance(4)
    assert (large.verdict, large.waited) == (Passed(), 4), "more than the bucket holds takes its time"


def test_without_shortage_priorities_mean_nothing() -> None:
    scheduling = Scheduling(policy(quota=quota(10, 10), queueing=queueing(*GUEST_AND_SUBSCRIBER)))
    for _ in range(30):
        assert scheduling.send("guest").verdict == Passed()
        scheduling.clock.advance(0.1)


def test_the_first_workload_that_matches_takes_a_request_and_the_default_takes_the_others() -> None:
    both = workload("both", 7)
    settings = queueing(workload("a", 5), both.__class__("both", label_is("user", "a", "b"), 7))
    scheduling = Scheduling(policy(quota=quota(1, 1), queueing=settings))
    scheduling.send()
    scheduling.send()  # it takes the token that comes next
    last = [scheduling.send(), scheduling.send("a"), scheduling.send("b")]
    scheduling.clock.advance(10)
    assert [request.waited for request in last] == [4, 3, 2], "by priority: 1, 5, 7"


@pytest.mark.parametrize("timeout", [0.3, 2, 10])
@pytest.mark.parametrize("clients", [16, 40])
def test_shares_are_as_the_priorities_whatever_the_timeout(timeout: float, clients: int) -> None:
    workloads = (workload("guest", 50, timeout), workload("subscriber", 200, timeout))
    scheduling = Scheduling(policy(quota=quota(10, 10), queueing=queueing(*workloads)))
    found = saturate(scheduling, {"guest": clients, "subscriber": clients}, seconds=10)
    assert found["guest"] == pytest.approx(20, abs=1)
    assert found["subscriber"] == pytest.approx(80, abs=1)


def test_who_gives_up_before_its_turn_does_not_lose_what_its_class_has_waited_for() -> None:
    """Guests have a turn every 0.5 s, and wait for 0.45 s: there are moments at which no guest waits."""
    workloads = (workload("guest", 50, 0.45), workload("subscriber", 200, 0.45))
    scheduling = Scheduling(policy(quota=quota(10, 10), queueing=queueing(*workloads)))
    found = saturate(scheduling, {"guest": 3, "subscriber": 3}, seconds=30, pause=0.05)
    assert found["guest"] == pytest.approx(60, abs=2)
    assert found["subscriber"] == pytest.approx(240, abs=2)


def test_one_class_alone_may_use_all() -> None:
    scheduling = Scheduling(policy(quota=quota(10, 10), queueing=queueing(*GUEST_AND_SUBSCRIBER)))
    assert saturate(scheduling, {"guest": 16}, seconds=10) == {"guest": 100}


def test_within_a_workload_the_values_of_a_label_have_equal_shares() -> None:
    settings = queueing(*GUEST_AND_SUBSCRIBER, fairness_label="tenant")
    scheduling = Scheduling(policy(quota=quota(10, 10), queueing=settings))
    many = {("guest", "a"): 30, ("guest", "b"): 5, ("subscriber", "c"): 10}
    found = saturate(scheduling, {f"{user} {tenant}": number for (user, tenant), number in many.items()}, seconds=30)
    assert found["guest a"] == pytest.approx(30, abs=2)
    assert found["guest b"] == pytest.approx(30, abs=2)
    assert found["subscriber c"] == pytest.approx(240, abs=4)


def test_labels_say_the_priority_and_the_workload_of_a_request() -> None:
    settings = queueing(priority_label="priority", workload_label="class")
    scheduling = Scheduling(policy(quota=quota(1, 1), queueing=settings))
    scheduling.send()
    scheduling.send()  # it takes the token that comes next
    low, high = scheduling.send(priority="1", **{"class": "x"}), scheduling.send(priority="9", **{"class": "y"})
    scheduling.clock.advance(9)
    assert (low.waited, high.waited) == (3, 2)


def test_no_queue_grows_without_bound() -> None:
    scheduling = Scheduling(policy(quota=quota(1, 1), queueing=queueing(*GUEST_AND_SUBSCRIBER)))
    scheduling.send("guest")
    guests = [scheduling.send("guest", deadline=1e6) for _ in range(MOST_OF_FLOW + 1)]
    assert guests[-1].verdict == Refused(503, math.inf)
    assert guests[-2].verdict is None
    subscriber = scheduling.send("subscriber")
    scheduling.clock.advance(3)
    assert passed(subscriber) == 1, "there is room for others"


def test_who_gives_up_leaves_the_queue_and_gives_back() -> None:
    scheduling = Scheduling(policy(quota=quota(1, 1), queueing=queueing()))
    scheduling.send()
    first, second, third = scheduling.send(), scheduling.send(), scheduling.send()
    scheduling.clock.advance(0.5)
    assert first.way is not None
    assert second.way is not None
    first.way.leave()  # it had taken the token that comes next
    second.way.leave()
    scheduling.clock.advance(0.5)
    assert (third.verdict, third.waited) == (Passed(), 1)
    assert first.verdict is second.verdict is None


def saturate(scheduling: Scheduling, clients: dict[str, int], seconds: float, pause: float = 0.004) -> dict[str, int]:
    """How many requests pass in that time if clients send the next when they are answered, after such a pause at most.

    A client's name is a user, and perhaps a tenant.
    """
    source = random.Random(1)
    counts = dict.fromkeys(clients, 0)
    counting = False

    def client(name: str) -> None:
        user, _, tenant = name.partition(" ")
        sent = scheduling.send(user, tenant=tenant)
        tell = sent.tell

        def answered(verdict: Passed | Refused) -> None:
            tell(verdict)
            counts[name] += counting and isinstance(verdict, Passed)
            scheduling.clock.call_at(scheduling.clock.now + source.random() * pause, client, name)

        assert sent.way is not None
        if sent.verdict is None:
            sent.way.then = answered
        else:
            counts[name] += counting and isinstance(sent.verdict, Passed)
            scheduling.clock.call_at(scheduling.clock.now + source.random() * pause, client, name)

    for name, number in clients.items():
        for _ in range(number):
            client(name)
    scheduling.clock.advance(3)  # the burst is over
    counting = True
    scheduling.clock.advance(seconds)
    return counts


# --- Concurrency ------------------------------------------------------------------------------------------------------


def test_as_many_requests_are_under_way_as_are_allowed() -> None:
    scheduling = Scheduling(policy(status=429, concurrency=concurrency(2)))
    first, second, third = scheduling.send(), scheduling.send(), scheduling.send()
    assert third.verdict == Refused(429, math.inf)
    assert isinstance(first.verdict, Passed)
    assert isinstance(second.verdict, Passed)
    assert first.verdict.slots != second.verdict.slots
    scheduling.scheduler.finished(*first.verdict.slots)
    scheduling.scheduler.finished(*first.verdict.slots)
    scheduling.scheduler.finished("another scheduler's")
    assert passed(scheduling.send(), scheduling.send()) == 1, "an end that is told twice counts once"


def test_a_request_whose_end_nobody_tells_counts_as_finished() -> None:
    scheduling = Scheduling(policy(concurrency=concurrency(1, seconds=5)))
    assert passed(scheduling.send()) == 1
    scheduling.clock.advance(4.9)
    assert passed(scheduling.send()) == 0
    scheduling.clock.advance(0.1)
    assert passed(scheduling.send()) == 1


def test_who_waits_for_a_place_gets_it_in_the_order_of_priorities() -> None:
    scheduling = Scheduling(policy(concurrency=concurrency(1, seconds=60), queueing=queueing(*GUEST_AND_SUBSCRIBER)))
    first = scheduling.send("guest")
    guest, subscriber = scheduling.send("guest"), scheduling.send("subscriber")
    assert isinstance(first.verdict, Passed)
    scheduling.scheduler.finished(*first.verdict.slots)
    assert passed(subscriber) == 1
    assert guest.verdict is None
    scheduling.clock.advance(15)
    assert guest.verdict == Refused(503, math.inf)


def test_who_waits_for_a_place_gets_that_of_a_request_whose_end_nobody_tells() -> None:
    scheduling = Scheduling(policy(concurrency=concurrency(1, seconds=5), queueing=queueing()))
    scheduling.send()
    waiting = scheduling.send()
    scheduling.clock.advance(15)
    assert (passed(waiting), waiting.waited) == (1, 5)


def test_each_value_of_a_label_has_places() -> None:
    scheduling = Scheduling(policy(concurrency=concurrency(1), by_label="user"))
    assert passed(scheduling.send("anna"), scheduling.send("anna"), scheduling.send("bert")) == 2
    assert passed(scheduling.send(), scheduling.send()) == 2


# --- Several policies -------------------------------------------------------------------------------------------------


def test_what_earlier_policies_gave_comes_back_when_a_later_one_refuses() -> None:
    rate, places = policy("rate", 429, quota=quota(5, 0)), policy("places", 430, concurrency=concurrency(3))
    queue = policy("queue", 503, quota=quota(1, 0), queueing=queueing())
    scheduling = Scheduling(queue, places, rate)
    assert passed(scheduling.send()) == 1
    assert scheduling.send().verdict == Refused(503, math.inf), "the quota is asked last"
    scheduling.configure(places, rate)
    assert passed(*(scheduling.send() for _ in range(5))) == 2, "one of three places is taken"
    assert scheduling.send().verdict == Refused(430, math.inf)
    scheduling.configure(rate)
    assert passed(*(scheduling.send() for _ in range(5))) == 2, "three of five tokens are taken"


def test_who_gives_up_gives_back_what_earlier_policies_gave() -> None:
    rate, queue = policy("rate", quota=quota(2, 0)), policy("queue", quota=quota(1, 1), queueing=queueing())
    scheduling = Scheduling(rate, queue)
    scheduling.send()
    waiting = scheduling.send()
    assert waiting.way is not None
    waiting.way.leave()
    waiting.way.leave()
    scheduling.clock.advance(1)
    assert passed(scheduling.send(), scheduling.send()) == 1


def test_what_is_given_back_after_the_request_was_told_to_go_comes_back_once() -> None:
    scheduling = Scheduling(policy(concurrency=concurrency(1)))
    sent = scheduling.send()
    assert sent.way is not None
    sent.way.give_back()
    sent.way.give_back()
    assert passed(scheduling.send(), scheduling.send()) == 1


def test_the_selectors_that_a_route_names_are_asked() -> None:
    settings = policy(quota=quota(0.5, 0), selectors=(label_is("user", "anna"), label_is("user", "bert")))
    scheduling = Scheduling(settings)
    assert passed(scheduling.send("anna"), scheduling.send("bert")) == 1, "only the first is named"
    assert passed(scheduling.send("anna", selected=(0, 1)), scheduling.send("bert", selected=(0, 1))) == 0
    assert passed(scheduling.send("anna", selected=(7,))) == 1, "the route is newer than the policy"


# --- Changes ----------------------------------------------------------------------------------------------------------


def test_a_policy_that_is_no_more_lets_all_pass() -> None:
    waiting_for = (
        policy(quota=quota(1, 0.1), queueing=queueing()),
        policy(concurrency=concurrency(1), queueing=queueing()),
    )
    for settings in waiting_for:
        scheduling = Scheduling(settings)
        scheduling.send()
        waiting = [scheduling.send() for _ in range(3)]
        scheduling.scheduler.configure(())
        assert passed(*waiting, scheduling.send()) == 4


def test_each_passes_once_though_another_gives_its_tokens_back() -> None:
    """The first has the tokens of the next seconds, which are enough for the others when it needs them no more."""
    scheduling = Scheduling(policy(quota=quota(10, 0.1), tokens_label="cost", queueing=queueing()))
    scheduling.send(cost="9")
    waiting = [scheduling.send(cost="2"), *(scheduling.send() for _ in range(3))]
    assert passed(*waiting) == 0
    scheduling.scheduler.configure(())
    assert passed(*waiting) == 4
    assert scheduling.counts["QuotaScheduling istio-system/policy", Outcome.QUEUED] == 4


def test_a_higher_rate_is_for_those_who_wait() -> None:
    scheduling = Scheduling(policy(quota=quota(1, 1, 14), queueing=queueing()))
    scheduling.send()
    waiting = [scheduling.send() for _ in range(3)]
    scheduling.clock.advance(1)
    scheduling.configure(policy(quota=quota(10, 10), queueing=queueing()))
    scheduling.clock.advance(0.4)
    assert passed(*waiting) == 3


def test_less_time_under_way_is_for_those_who_wait() -> None:
    scheduling = Scheduling(policy(concurrency=concurrency(1, 3600), queueing=queueing()))
    scheduling.send()
    waiting = scheduling.send()
    scheduling.configure(policy(concurrency=concurrency(1, 2), queueing=queueing()))
    scheduling.clock.advance(2)
    assert passed(waiting) == 1


def test_who_waits_for_a_value_that_is_forgotten_has_the_next_place(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fairlead.runtime.scheduling.policies.MAX_KEYS", 2)
    scheduling = Scheduling(policy(concurrency=concurrency(1), by_label="user", queueing=queueing()))
    first, waiting = scheduling.send("anna"), scheduling.send("anna")
    assert passed(scheduling.send("bert"), scheduling.send("cleo")) == 2
    assert isinstance(first.verdict, Passed)
    scheduling.scheduler.finished(*first.verdict.slots)
    assert passed(waiting) == 1


def test_another_quota_does_not_fill_the_bucket() -> None:
    scheduling = Scheduling(policy(quota=quota(10, 1)))
    assert passed(*(scheduling.send() for _ in range(8))) == 8
    scheduling.configure(policy(quota=quota(20, 1)))
    assert passed(*(scheduling.send() for _ in range(8))) == 2
    scheduling.clock.advance(10)
    scheduling.configure(policy(quota=quota(3, 1)))
    assert passed(*(scheduling.send() for _ in range(8))) == 3


def test_more_places_are_for_those_who_wait() -> None:
    scheduling = Scheduling(policy(concurrency=concurrency(1), queueing=queueing()))
    scheduling.send()
    waiting = [scheduling.send() for _ in range(3)]
    scheduling.configure(policy(concurrency=concurrency(3), queueing=queueing()))
    assert passed(*waiting) == 2
