"""Wildcard rules of both variants, as tables."""

import pytest
from fairlead.protocol.subscription import Subscription, shared

Lists = list[list[str]]


@pytest.mark.parametrize(
    ("requests", "wildcard", "names"),
    [
        ([[]], True, ""),
        ([[], []], True, ""),
        ([["*"]], True, ""),
        ([["*", "A"]], True, "A"),
        ([[], ["*", "A"]], True, "A"),
        ([["*", "A"], ["A"]], False, "A"),
        ([["A"]], False, "A"),
        ([["A"], []], False, ""),
        ([[], ["A"], []], False, ""),
        ([["*"], []], False, ""),
        ([["A"], [], ["*"]], True, ""),
        ([["A"], ["B"]], False, "B"),
        ([[""]], False, ""),
        ([[""], []], False, ""),
        ([["", "A", "A"]], False, "A"),
    ],
)
def test_lists_of_a_type_with_an_implicit_wildcard(requests: Lists, wildcard: bool, names: str) -> None:
    subscription = Subscription()
    for request in requests:
        subscription = subscription.listed(request, implicit_wildcard=True)
    assert (subscription.wildcard, subscription.names) == (wildcard, frozenset(names))


@pytest.mark.parametrize(
    ("requests", "wildcard", "names"),
    [([[]], False, ""), ([["*"]], True, ""), ([["A"], []], False, ""), ([["*"], ["A"]], False, "A")],
)
def test_lists_of_other_types(requests: Lists, wildcard: bool, names: str) -> None:
    subscription = Subscription()
    for request in requests:
        subscription = subscription.listed(request, implicit_wildcard=False)
    assert (subscription.wildcard, subscription.names) == (wildcard, frozenset(names))


Changes = list[tuple[list[str], list[str]]]


@pytest.mark.parametrize(
    ("requests", "wildcard", "names"),
    [
        ([([], [])], True, ""),
        ([([], []), (["A"], [])], True, "A"),
        ([([], []), (["A"], []), ([], ["A"])], True, ""),
        ([([], []), ([], ["*"])], False, ""),
        ([(["A"], [])], False, "A"),
        ([(["A"], []), ([], [])], False, "A"),
        ([(["A"], []), ([], ["A"]), ([], [])], False, ""),
        ([(["*", "A"], []), ([], ["*"])], False, "A"),
        ([(["A", "B"], ["B"])], False, "A"),
        ([(["*"], ["*"])], False, ""),
        ([([""], [])], False, ""),
        ([(["A"], []), (["B"], ["A", "C"])], False, "B"),
    ],
)
def test_changes_of_a_type_with_an_implicit_wildcard(requests: Changes, wildcard: bool, names: str) -> None:
    subscription = Subscription()
    for number, (subscribe, unsubscribe) in enumerate(requests):
        subscription = subscription.changed(subscribe, unsubscribe, implicit_wildcard=number == 0)
    assert (subscription.wildcard, subscription.names) == (wildcard, frozenset(names))


def test_streams_that_want_the_same_share_the_names() -> None:
    one = Subscription().listed([f"cluster-{number}" for number in range(100)], implicit_wildcard=False)
    other = Subscription().listed([f"cluster-{number}" for number in reversed(range(100))], implicit_wildcard=False)
    assert one.names is other.names
    assert shared(frozenset({"elsewhere"})) is not one.names
