"""Derived values: equal to a computation from scratch after any edits, and never recomputed without a reason."""

import gc
import itertools
import weakref
from collections.abc import Iterator

import pytest
from fairlead.derive import Collection, Graph, Index, Input, KeyedMap, derived, derived_index, derived_map
from hypothesis import given, settings
from hypothesis import strategies as st


class Shop:
    """A world of prices and stocks; what is derived from them crosses every kind of node."""

    def __init__(self) -> None:
        self.graph = Graph()
        self.prices: Input[int, int] = Input(self.graph)
        self.limits: Input[str, int] = Input(self.graph)


@derived
def limit(shop: Shop) -> int:
    return shop.limits.get("limit") or 0


@derived
def price_class(shop: Shop, item: int) -> int:
    """Many prices have the same class, so that edits are cut off here."""
    price = shop.prices.get(item) or 0
    if price > limit(shop):
        return -1
    return price // 10


def all_prices(shop: Shop) -> Collection[int, int]:
    return shop.prices


@derived_map(all_prices)
def offers(shop: Shop, item: int) -> tuple[int, int] | None:
    found = price_class(shop, item)
    return None if found < 0 else (item, found)


@derived_index(offers)
def by_class(_shop: Shop, _item: int, offer: tuple[int, int]) -> list[int]:
    return [offer[1], offer[1] + 100]


@derived
def known_classes(shop: Shop) -> frozenset[int]:
    return frozenset(by_class(shop).keys())


@derived_map(known_classes)
def shelves(shop: Shop, group: int) -> str:
    members = by_class(shop).get(group) or frozenset()
    neighbour = by_class(shop).get(group + 1) or frozenset()
    return f"{sorted(members)} next to {len(neighbour)}, cheapest {min(offers(shop).get(m) or (0, 0) for m in members)}"


@derived
def summary(shop: Shop, count: int) -> str:
    groups = sorted(known_classes(shop))[:count]
    return " | ".join(shelves(shop).get(group) or "gone" for group in groups)


def everything(shop: Shop) -> object:
    return (
        {key: offers(shop).get(key) for key in sorted(offers(shop).keys())},
        {key: by_class(shop).get(key) for key in sorted(by_class(shop).keys())},
        {key: shelves(shop).get(key) for key in sorted(shelves(shop).keys())},
        [summary(shop, count) for count in range(3)],
    )


def rebuilt(shop: Shop) -> Shop:
    fresh = Shop()
    for item, price in shop.prices._values.items():
        fresh.prices.set(item, price)
    for name, number in shop.limits._values.items():
        fresh.limits.set(name, number)
    return fresh


def run(steps: Iterator[None]) -> None:
    for _ in steps:
        pass


edits = st.lists(
    st.one_of(
        st.tuples(st.just("price"), st.integers(0, 6), st.one_of(st.none(), st.integers(0, 60))),
        st.tuples(st.just("limit"), st.just(0), st.one_of(st.none(), st.integers(0, 60))),
        st.tuples(
            st.sampled_from(["shelves", "summary", "offers", "changes", "close", "all", "settle", "urgent"]),
            st.just(0),
            st.none(),
        ),
        st.tuples(st.sampled_from(["broken-off", "broken-off-settling"]), st.integers(0, 12), st.none()),
    ),
    max_size=25,
)


def apply(shop: Shop, kind: str, item: int, value: int | None) -> None:
    if kind == "price":
        if value is None:
            shop.prices.delete(item)
        else:
            shop.prices.set(item, value)
    elif kind == "limit":
        if value is None:
            shop.limits.delete("limit")
        else:
            shop.limits.set("limit", value)


def ask(shop: Shop, kind: str, item: int) -> None:
    if kind == "shelves":
        shelves(shop).keys()
    elif kind == "summary":
        summary(shop, 2)
    elif kind == "offers":
        offers(shop).get(1)
    elif kind == "all":
        everything(shop)
    elif kind in ("settle", "urgent"):
        run(shop.graph.settle_steps(urgent=kind == "urgent"))
    elif kind == "broken-off":
        for _ in itertools.islice(shelves(shop).refresh_steps(), item):
            pass
    elif kind == "broken-off-settling":
        for _ in itertools.islice(shop.graph.settle_steps(urgent=False), item):
            pass


@settings(max_examples=400, deadline=None)
@given(edits)
def test_any_edits_and_questions_give_what_a_build_from_scratch_gives(steps: list[tuple[str, int, int | None]]) -> None:
    shop = Shop()
    changes = shelves(shop).changes(urgent=True)
    mirror: dict[int, str | None] = {}
    open_ = True
    for kind, item, value in steps:
        apply(shop, kind, item, value)
        ask(shop, kind, item)
        if kind == "changes" and open_:
            for key in changes.take():
                mirror[key] = shelves(shop).get(key)
        elif kind == "close" and open_:
            changes.close()
            open_ = False
    assert everything(shop) == everything(rebuilt(shop))
    if open_:
        for key in changes.take():
            mirror[key] = shelves(shop).get(key)
        shelf_map = shelves(shop)
        expected = {key: shelf_map.get(key) for key in list(shelf_map.keys())}
        assert {key: text for key, text in mirror.items() if text is not None} == expected


def stocked(count: int = 50) -> Shop:
    shop = Shop()
    shop.limits.set("limit", 10_000)
    for item in range(count):
        shop.prices.set(item, item * 10)
    shelves(shop).changes().take()
    shop.graph.computed.clear()
    return shop


def test_nothing_runs_without_a_question() -> None:
    shop = stocked()
    shop.prices.set(3, 7777)
    assert not shop.graph.computed


def test_an_equal_value_recomputes_nothing() -> None:
    shop = stocked()
    shop.prices.set(3, 30)
    shelves(shop).refresh()
    assert not shop.graph.computed


def test_an_equal_result_stops_the_wave() -> None:
    shop = stocked()
    shop.prices.set(3, 35)
    shelves(shop).refresh()
    assert shop.graph.computed == {"price_class": 1}


def test_one_edit_costs_one_member_at_each_level() -> None:
    shop = stocked()
    shop.prices.set(3, 42)
    shelves(shop).refresh()
    # The item leaves the shelves 3 and 103 and joins 4 and 104; the shelves before them count it as a neighbour.
    assert shop.graph.computed["price_class"] == shop.graph.computed["offers"] == 1
    assert shop.graph.computed["shelves"] <= 8


def test_changes_name_just_the_keys_that_changed() -> None:
    shop = stocked()
    changes = offers(shop).changes()
    changes.take()
    shop.prices.set(3, 42)
    shop.prices.set(60, 70)
    shop.prices.delete(7)
    shop.prices.set(8, 81)
    assert changes.take() == {3, 60, 7}
    assert changes.take() == set()


def test_absence_is_a_dependency() -> None:
    shop = Shop()
    assert price_class(shop, 9) == 0
    shop.limits.set("limit", 1000)
    shop.prices.set(9, 90)
    assert price_class(shop, 9) == 9


def test_steps_can_be_interrupted_between_members() -> None:
    shop = stocked(10)
    for item in range(10):
        shop.prices.set(item, item * 10 + 500)
    steps = offers(shop).refresh_steps()
    while shop.graph.computed["offers"] < 4:
        next(steps)
    assert shop.graph.computed["offers"] == 4
    for _ in steps:
        pass
    assert shop.graph.computed["offers"] == 10


def test_a_change_is_carried_on_without_a_question_to_what_it_concerns() -> None:
    shop = stocked(10)
    told: list[str] = []
    changes = shelves(shop).changes(lambda: told.append("shelves"), urgent=True)
    others = by_class(shop).changes(lambda: told.append("classes"))
    changes.take(), others.take()
    shop.graph.computed.clear()
    told.clear()
    shop.prices.set(3, 999)
    assert told == []
    run(shop.graph.settle_steps(urgent=True))
    assert told == ["classes", "shelves"]
    assert shop.graph.computed["offers"] == 1
    before = shop.graph.computed.copy()
    assert changes.take() == {2, 3, 99, 102, 103, 199}
    assert {key: shelves(shop).get(key) for key in sorted(shelves(shop).keys())} == everything(rebuilt(shop))[2]
    assert shop.graph.computed == before, "nothing is left to do"


def test_what_nobody_waits_for_can_be_left_for_later() -> None:
    shop = stocked(10)
    urgent, later = offers(shop).changes(urgent=True), shelves(shop).changes()
    urgent.take(), later.take()
    shop.prices.set(3, 999)
    shop.graph.computed.clear()
    run(shop.graph.settle_steps(urgent=True))
    assert set(shop.graph.computed) == {"offers", "price_class"}
    run(shop.graph.settle_steps(urgent=False))
    assert "shelves" in shop.graph.computed


def test_what_nobody_reads_is_forgotten() -> None:
    shop = stocked(5)
    changes = shelves(shop).changes()
    changes.take()
    nodes = sum(map(len, shop.graph._memo.values()))
    shop.prices.delete(0)
    changes.take()
    assert sum(map(len, shop.graph._memo.values())) < nodes
    map_ref = weakref.ref(shelves(shop))
    for reader in (*shelves(shop)._readers,):
        reader.close()
    del reader, changes
    gc.collect()
    assert map_ref() is None
    assert shop.graph._memo == {}
    assert shop.prices._readers == []


@derived
def broken_when_odd(shop: Shop, item: int) -> int:
    price = shop.prices.get(item) or 0
    if price % 2:
        raise ZeroDivisionError(price)
    return price


@derived_map(all_prices)
def fragile(shop: Shop, item: int) -> int:
    return broken_when_odd(shop, item)


def test_a_failing_member_keeps_its_value_and_is_tried_again_when_its_reason_is_gone() -> None:
    shop = Shop()
    failures: list[object] = []
    shop.graph.on_failure = lambda function, key, error: failures.append((function, key, str(error)))
    shop.prices.set(1, 2)
    shop.prices.set(2, 4)
    changes = fragile(shop).changes()
    changes.take()
    shop.prices.set(1, 3)
    shop.prices.set(2, 6)
    changes.take()
    assert failures == [("fragile", 1, "3")]
    assert [fragile(shop).get(1), fragile(shop).get(2)] == [2, 6]
    shop.prices.set(2, 8)
    changes.take()
    assert len(failures) == 1, "it is not tried again for somebody else's change"
    shop.prices.set(1, 10)
    assert changes.take() == {1}
    assert fragile(shop).get(1) == 10


@derived
def keys_when_even(shop: Shop) -> frozenset[int]:
    if broken_when_odd(shop, 0) >= 0:
        return frozenset(shop.prices.keys())
    return frozenset()


@derived_map(keys_when_even)
def on_failing_keys(shop: Shop, item: int) -> int | None:
    return shop.prices.get(item)


def test_failing_keys_stay_as_they_were_and_are_told_once() -> None:
    shop = Shop()
    failures: list[object] = []
    shop.graph.on_failure = lambda function, key, error: failures.append((function, key, str(error)))
    shop.prices.set(0, 1)
    changes = on_failing_keys(shop).changes()
    for _ in range(2):  # there are none that could stay
        with pytest.raises(ZeroDivisionError):
            changes.take()
    shop.prices.set(0, 2)
    shop.prices.set(1, 10)
    assert changes.take() == {0, 1}
    shop.prices.set(0, 3)
    shop.prices.set(2, 20)
    for _ in range(2):
        shop.prices.set(1, (shop.prices.get(1) or 0) + 1)
        changes.take()
        assert set(on_failing_keys(shop).keys()) == {0, 1}
    assert on_failing_keys(shop).get(1) == 12, "the members that are known go on"
    assert failures == [("keys_when_even", (), "3")]
    shop.prices.set(0, 4)
    assert changes.take() == {0, 2}


@derived_index(all_prices)
def by_fragile_class(_shop: Shop, _item: int, price: int) -> tuple[str]:
    if price == 13:
        raise ValueError(price)
    return ("cheap",) if price < 10 else ("dear",)


def test_an_index_leaves_a_failing_key_where_it_was() -> None:
    shop = Shop()
    failures: list[object] = []
    shop.graph.on_failure = lambda function, key, error: failures.append((function, key, str(error)))
    shop.prices.set(1, 5)
    assert by_fragile_class(shop).get("cheap") == {1}
    shop.prices.set(1, 13)
    shop.prices.set(2, 20)
    assert (by_fragile_class(shop).get("cheap"), by_fragile_class(shop).get("dear")) == ({1}, {2})
    assert failures == [("by_fragile_class", 1, "13")]
    shop.prices.set(1, 20)
    assert by_fragile_class(shop).get("dear") == {1, 2}


def test_without_a_callback_a_failure_is_raised_each_time() -> None:
    shop = Shop()
    shop.prices.set(1, 3)
    for _ in range(2):
        with pytest.raises(ZeroDivisionError):
            fragile(shop).refresh()
        with pytest.raises(ZeroDivisionError):
            broken_when_odd(shop, 1)


@derived
def vicious(shop: Shop, number: int) -> int:
    return vicious(shop, 1 - number)


@derived
def meddling(shop: Shop) -> int:
    shop.prices.set(1, 1)
    return 1


def test_cycles_and_side_effects_are_refused() -> None:
    with pytest.raises(RuntimeError, match="depends on itself"):
        vicious(Shop(), 0)
    with pytest.raises(RuntimeError, match="changes an input"):
        meddling(Shop())


def test_collections_are_told_apart_by_their_arguments() -> None:
    shop = stocked()
    assert isinstance(offers(shop), KeyedMap)
    assert isinstance(by_class(shop), Index)
    assert offers(shop) is offers(shop)
    assert offers(shop) is not offers(Shop())
