"""Tables and their history."""

import gc
import weakref

from fairlead.problems import ObjectKey
from fairlead.snapshot import types
from fairlead.snapshot.resource import Resource
from fairlead.snapshot.table import Mark, Snapshot, Table, Variant
from hypothesis import given
from hypothesis import strategies as st
from support.xds_script import resource

CDS = types.CLUSTER


def _cluster(name: str, content: str = "1") -> Resource:
    return resource(CDS, name, content)


def _content(table: Table) -> dict[str, str]:
    return {name: found.version for name in table.names() if (found := table.get(name))}


def test_update_tells_what_has_changed() -> None:
    table = Table(CDS, [_cluster("A"), _cluster("B")])
    assert table.revision == 1
    assert table.update({"A": _cluster("A"), "B": _cluster("B", "2"), "C": _cluster("C"), "D": None}) == {"B", "C"}
    assert table.revision == 2
    assert table.update({"A": None, "B": _cluster("B", "2")}) == {"A"}
    assert table.update({"A": None}) == frozenset()
    assert table.revision == 3
    assert table.names() == {"B", "C"}
    assert "A" not in table
    assert len(table) == 2


def test_another_origin_is_no_change_but_is_kept() -> None:
    table = Table(CDS, [_cluster("A")])
    key = ObjectKey("", "Service", "default", "a")
    mark = table.mark
    assert table.update({"A": Resource(CDS, "A", _cluster("A").body, (key,))}) == frozenset()
    assert table.mark is mark
    found = table.get("A")
    assert found is not None
    assert found.origin == (key,)


def test_marks_tell_what_was_there_before() -> None:
    table = Table(CDS, [_cluster("A"), _cluster("B")])
    start = table.mark
    table.update({"A": _cluster("A", "2")})
    middle = table.mark
    table.update({"A": _cluster("A", "3"), "B": None, "C": _cluster("C")})
    assert table.mark.before() == {}
    assert middle.before() == {"A": _cluster("A", "2"), "B": _cluster("B"), "C": None}
    assert start.before() == {"A": _cluster("A"), "B": _cluster("B"), "C": None}


names = st.sampled_from("ABCD")
contents = st.sampled_from(["-", "1", "2"])
histories = st.lists(st.dictionaries(names, contents, min_size=1), max_size=8)


@given(histories)
def test_each_point_of_history_can_be_recovered(history: list[dict[str, str]]) -> None:
    table = Table(CDS)
    points: list[tuple[Mark, dict[str, str]]] = []
    for change in history:
        points.append((table.mark, _content(table)))
        table.update({name: None if new == "-" else _cluster(name, new) for name, new in change.items()})
    for mark, content in points:
        recovered = _content(table)
        for name, found in mark.before().items():
            recovered.pop(name, None)
            if found is not None:
                recovered[name] = found.version
        assert recovered == content


@given(histories)
def test_the_version_is_that_of_the_content(history: list[dict[str, str]]) -> None:
    table = Table(CDS)
    versions = {table.version: _content(table)}
    for change in history:
        table.update({name: None if new == "-" else _cluster(name, new) for name, new in change.items()})
        assert versions.setdefault(table.version, _content(table)) == _content(table)
    fresh = Table(CDS, [found for name in sorted(table.names(), reverse=True) if (found := table.get(name))])
    assert fresh.version == table.version
    assert all(content != _content(table) for version, content in versions.items() if version != table.version)


def test_the_version_with_others_is_that_of_a_table_that_has_them() -> None:
    table = Table(CDS, [_cluster("A")])
    assert table.version_with([_cluster("B"), _cluster("C")]) == Table(CDS, map(_cluster, "CAB")).version
    assert table.version_with([]) == table.version


def test_history_that_nobody_needs_is_freed() -> None:
    table = Table(CDS, [_cluster("A")])
    held = table.mark
    old = _cluster("A", "2")
    trace = weakref.ref(old)
    table.update({"A": old})
    table.update({"A": _cluster("A", "3")})
    del old
    gc.collect()
    assert trace() is not None, "somebody stands before that change"
    held = table.mark
    gc.collect()
    assert trace() is None
    assert held.before() == {}


def test_parts_are_cut_by_size_sorted_and_shared_until_the_table_changes() -> None:
    table = Table(CDS, map(_cluster, "CBAD"))
    size = len(_cluster("A").delta_frame)
    everything = table.names()
    assert table.parts(Variant.DELTA, everything, 2 * size) == table.parts(Variant.DELTA, everything, 2 * size)
    parts = table.parts(Variant.DELTA, everything, 2 * size)
    assert [[item.name for item in part.resources] for part in parts] == [["A", "B"], ["C", "D"]]
    assert all(part.frame == b"".join(item.delta_frame for item in part.resources) for part in parts)
    assert table.parts(Variant.DELTA, frozenset("ABCD"), 2 * size) is parts
    (whole,) = table.parts(Variant.STATE_OF_THE_WORLD, everything, None)
    assert whole.frame == b"".join(item.state_of_the_world_frame for item in whole.resources)
    assert [item.name for item in whole.resources] == ["A", "B", "C", "D"]
    assert table.parts(Variant.DELTA, frozenset(), 2 * size) == ()

    table.update({"A": None})
    assert [item.name for item in table.parts(Variant.DELTA, frozenset("B"), None)[0].resources] == ["B"]


def test_a_resource_larger_than_the_limit_has_a_part_of_its_own() -> None:
    table = Table(CDS, [_cluster("A"), _cluster("B", "x" * 1000), _cluster("C")])
    parts = table.parts(Variant.DELTA, table.names(), 500)
    assert [[item.name for item in part.resources] for part in parts] == [["A"], ["B"], ["C"]]


def test_the_kept_parts_are_few() -> None:
    table = Table(CDS, (_cluster(str(number)) for number in range(1000)))
    first = table.parts(Variant.DELTA, frozenset({"0"}), None)
    for number in range(1000):
        table.parts(Variant.DELTA, frozenset({str(number)}), None)
    assert table.parts(Variant.DELTA, frozenset({"0"}), None) is not first


def test_present_tells_names_that_exist() -> None:
    table = Table(CDS, map(_cluster, "AB"))
    both = frozenset("AB")
    assert table.present(both) is both
    assert table.present(frozenset("BC")) == {"B"}


def test_a_snapshot_has_a_table_of_every_type() -> None:
    table = Table(CDS, [_cluster("A")])
    snapshot = Snapshot("group", [table])
    assert snapshot.tables[CDS] is table
    assert set(snapshot.tables) == set(types.SEND_ORDER)
    assert len(snapshot.tables[types.LISTENER]) == 0
