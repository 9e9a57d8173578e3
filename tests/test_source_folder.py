"""What files mean, rule by rule: no disk, no clock."""

import textwrap
from collections.abc import Mapping

import pytest
from fairlead.models.istio.gateway import Gateway
from fairlead.models.istio.virtual_service import VirtualService
from fairlead.problems import ObjectKey, Position, Problem, Severity
from fairlead.sources.base import Update
from fairlead.sources.files.folder import Content, Folder, Saved, Unreadable, is_hidden, is_object_file
from fairlead.world import ObjectName
from support.source_files import DENIED, GRACE, NAMELESS, NO_FOLDER, SYNTAX_ERROR, Harness, file, key, route


@pytest.fixture
def harness() -> Harness:
    return Harness()


# --- Which files ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("a.yaml", True),
        ("a.yml", True),
        ("a.json", True),
        ("with.dots.yaml", True),
        ("README.md", False),
        ("yaml", False),
        (".a.yaml", False),
        ("..data", False),
        ("..2024_11_21_13_00_00.123456789", False),
        # Vim: backup, swap file, test whether the folder can be written
        ("a.yaml~", False),
        (".a.yaml.swp", False),
        ("4913", False),
        # Emacs: autosave, lock
        ("#a.yaml#", False),
        (".#a.yaml", False),
        # others
        ("a.yaml.bak", False),
        ("a.yaml.tmp", False),
        ("a.yaml___jb_tmp___", False),
    ],
)
def test_object_files_are_told_by_their_names(name: str, expected: bool) -> None:
    assert is_object_file(name) is expected


@pytest.mark.parametrize(("name", "expected"), [(".git", True), ("..data", True), ("a", False), ("a.b", False)])
def test_hidden_names(name: str, expected: bool) -> None:
    assert is_hidden(name) is expected


# --- Good files -------------------------------------------------------------------------------------------------------


def test_objects_of_many_documents_and_lists_are_told_in_order(harness: Harness) -> None:
    items = "".join(textwrap.indent(route(name), "  ").replace("  api", "- api", 1) for name in ("c", "d"))
    as_list = f"apiVersion: v1\nkind: List\nitems:\n{items}"
    update = harness.change({"x.yaml": file(route("b"), "# nothing", route("a"), as_list), "y.yaml": b""})
    assert update is not None
    assert [obj.metadata.name for obj in update.put] == ["b", "a", "c", "d"]
    assert (update.removed, update.problems, update.synced) == ((), (), True)


def test_first_update_is_given_for_an_empty_folder_too(harness: Harness) -> None:
    assert harness.change({}) == Update((), (), (), synced=True)
    assert harness.update() is None


def test_objects_are_told_in_the_order_of_paths(harness: Harness) -> None:
    update = harness.change({"y.yaml": file(route("b")), "x.yaml": file(route("c")), "z.yaml": file(route("a"))})
    assert update is not None
    assert [obj.metadata.name for obj in update.put] == ["c", "b", "a"]


def test_becoming_synced_is_an_update_of_its_own() -> None:
    folder = Folder()
    assert folder.take(0.0, synced=False) == Update((), (), (), synced=False)
    assert folder.take(0.0, synced=False) is None
    assert folder.take(0.0, synced=True) == Update((), (), (), synced=True)


def test_unchanged_documents_are_not_parsed_again(harness: Harness) -> None:
    harness.change({"x.yaml": file(*(route(f"r{number}") for number in range(50)))})
    assert harness.folder.parsed == 50
    documents = [route(f"r{number}") for number in range(50)]
    documents[20] = route("r20", "2s")
    update = harness.change({"x.yaml": file(*documents), "y.yaml": file(route("r1"))})
    assert harness.folder.parsed == 51 + 1  # a text in the middle of a file begins with its marker, that of y does not
    assert update is not None
    assert [obj.metadata.name for obj in update.put] == ["r20"]


SAME = {
    "touched": ({"x.yaml": file(route("a"), route("b"))}, {"x.yaml": file(route("a"), route("b"))}),
    "reordered": ({"x.yaml": file(route("a"), route("b"))}, {"x.yaml": file(route("b"), route("a"))}),
    "commented": ({"x.yaml": file(route("a"))}, {"x.yaml": b"# why\n\n" + file(route("a"))}),
    "reformatted": ({"x.yaml": file(route("a"))}, {"x.yaml": file(route("a").replace("1s", '"1000ms"'))}),
    "renamed": ({"x.yaml": file(route("a"))}, {"x.yaml": None, "y.yaml": file(route("a"))}),
    "split": ({"x.yaml": file(route("a"), route("b"))}, {"x.yaml": file(route("b")), "y.yaml": file(route("a"))}),
    "merged": (
        {"x.yaml": file(route("a")), "y.yaml": file(route("b"))},
        {"x.yaml": None, "y.yaml": file(route("b"), route("a"))},
    ),
    "another version": ({"x.yaml": file(route("a"))}, {"x.yaml": file(route("a").replace("io/v1", "io/v1beta1"))}),
}


@pytest.mark.parametrize(("before", "after"), SAME.values(), ids=SAME)
def test_equal_objects_are_not_told_again(
    harness: Harness, before: Mapping[str, Content], after: Mapping[str, Content]
) -> None:
    harness.change(before)
    assert harness.change(after) is None
    assert harness.later() is None


def test_changed_object_is_told(harness: Harness) -> None:
    harness.change({"x.yaml": file(route("a"), route("b"))})
    update = harness.change({"x.yaml": file(route("a", "2s"), route("b"))})
    assert update is not None
    assert [obj.metadata.name for obj in update.put] == ["a"]
    assert harness.timeouts == {"a": 2000, "b": 1000}


# --- Deletion ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("change", [{"x.yaml": file(route("a"))}, {"x.yaml": None}, {"x.yaml": b""}])
def test_absent_objects_are_removed_after_the_grace_period(harness: Harness, change: Mapping[str, Content]) -> None:
    harness.change({"x.yaml": file(route("a"), route("b"))})
    assert harness.folder.next_deadline is None
    assert harness.change(change) is None
    assert harness.folder.next_deadline == harness.now + GRACE
    assert harness.change({}, after=GRACE * 0.9) is None
    update = harness.change({}, after=GRACE * 0.1)
    assert update is not None
    assert (VirtualService, ObjectName("default", "b")) in update.removed
    assert "b" not in harness.timeouts
    assert harness.folder.next_deadline is None


def test_grace_periods_end_one_after_the_other(harness: Harness) -> None:
    harness.change({"x.yaml": file(route("a")), "y.yaml": file(route("b"))})
    harness.change({"x.yaml": None})
    harness.change({"y.yaml": None}, after=0.2)
    assert harness.change({}, after=0.3) == Update((), ((VirtualService, ObjectName("default", "a")),), (), synced=True)
    assert harness.change({}, after=0.2) == Update((), ((VirtualService, ObjectName("default", "b")),), (), synced=True)


def test_object_that_returns_in_time_is_never_removed(harness: Harness) -> None:
    harness.change({"x.yaml": file(route("a"))})
    harness.change({"x.yaml": None})
    assert harness.change({"y.yaml": file(route("a"))}, after=GRACE * 0.9) is None
    assert harness.folder.next_deadline is None
    assert harness.later() is None


def test_object_that_returns_changed_is_told_without_removal(harness: Harness) -> None:
    harness.change({"x.yaml": file(route("a"))})
    harness.change({"x.yaml": None})
    update = harness.change({"y.yaml": file(route("a", "2s"))}, after=GRACE * 0.9)
    assert update is not None
    assert update.removed == ()
    assert harness.timeouts == {"a": 2000}


def test_object_that_returns_too_late_is_told_again(harness: Harness) -> None:
    harness.change({"x.yaml": file(route("a"))})
    harness.change({"x.yaml": None})
    harness.later()
    assert harness.timeouts == {}
    harness.change({"x.yaml": file(route("a"))})
    assert harness.timeouts == {"a": 1000}


def test_object_that_came_and_went_is_not_told(harness: Harness) -> None:
    harness.change({})
    for content in (file(route("a")), None):
        list(harness.folder.apply({"x.yaml": content}, harness.now))
    update = harness.later()
    assert update is not None
    assert update.put == ()


# --- Faults -----------------------------------------------------------------------------------------------------------

UNKNOWN_FIELD = route("a").replace("  http:", "  htpp: 1\n  http:")


def test_problem_has_key_path_and_place(harness: Harness) -> None:
    update = harness.change({"x.yaml": file(route("ok"), route("a", "soon"))})
    assert update is not None
    assert [obj.metadata.name for obj in update.put] == ["ok"]
    (problem,) = update.problems
    assert (problem.severity, problem.key) == (Severity.ERROR, key("a"))
    assert problem.path == ("spec", "http", 0, "timeout")
    assert problem.position == Position("x.yaml", 11 + 8, 14)
    assert "accepted" not in problem.hint


def test_problem_of_a_list_has_a_path_in_the_object_and_a_place_in_the_list(harness: Harness) -> None:
    item = textwrap.indent(route("a", "soon"), "  ").replace("  api", "- api", 1)
    harness.change({"x.yaml": f"apiVersion: v1\nkind: List\nitems:\n{item}".encode()})
    (problem,) = harness.problems
    assert problem.path == ("spec", "http", 0, "timeout")
    assert problem.position == Position("x.yaml", 3 + 8, 16)


def test_warning_is_told_at_the_name_of_the_field_and_the_object_served(harness: Harness) -> None:
    harness.change({"x.yaml": UNKNOWN_FIELD.encode()})
    (problem,) = harness.problems
    assert (problem.code, problem.severity) == ("unknown-field", Severity.WARNING)
    assert problem.position == Position("x.yaml", 7, 3)
    assert harness.timeouts == {"a": 1000}


def test_place_follows_the_document(harness: Harness) -> None:
    harness.change({"x.yaml": file(route("a", "soon"))})
    harness.change({"x.yaml": file(route("b"), route("a", "soon"))})
    assert [problem.position for problem in harness.problems] == [Position("x.yaml", 19, 14)]


def test_problem_ends_with_its_cause(harness: Harness) -> None:
    harness.change({"x.yaml": file(route("a", "soon"))})
    update = harness.change({"x.yaml": file(route("a", "3s"))})
    assert update is not None
    assert (harness.timeouts, update.problems) == ({"a": 3000}, ())


FAULTS = {
    "wrong value": file(route("a", "soon"), route("b", "2s")),
    "syntax": file(SYNTAX_ERROR, route("b", "2s")),
    "no name": file(NAMELESS, route("b", "2s")),
    "no kind": file(route("a").replace("kind: VirtualService", ""), route("b", "2s")),
    "no UTF-8": file(route("b", "2s")) + b"---\n\xff\xfe\n",
    "binary": file(route("b", "2s")) + b"---\n\x00\x01\x02\n",
}


@pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS)
def test_faulty_object_keeps_its_last_version_and_harms_no_other(harness: Harness, fault: bytes) -> None:
    harness.change({"x.yaml": file(route("a"), route("b"))})
    harness.change({"x.yaml": fault})
    assert harness.timeouts == {"a": 1000, "b": 2000}
    assert harness.later() is None
    (problem,) = harness.problems
    assert problem.severity is Severity.ERROR
    assert "until then" in problem.hint
    assert problem.position is not None
    # and when the fault is mended without it, it goes
    harness.change({"x.yaml": file(route("b", "2s"))})
    harness.later()
    assert (harness.timeouts, harness.problems) == ({"b": 2000}, ())


@pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS)
def test_object_that_was_never_accepted_is_not_served(harness: Harness, fault: bytes) -> None:
    harness.change({"x.yaml": fault})
    assert harness.timeouts == {"b": 2000}
    assert "until then" not in harness.problems[0].hint


def test_retained_objects_of_a_document_are_counted(harness: Harness) -> None:
    harness.change({"x.yaml": file(route("a"), route("b"), route("c"))})
    harness.change({"x.yaml": file(SYNTAX_ERROR, route("b"))})
    assert harness.problems[0].hint.endswith("until then 2 objects read from it earlier stay as they were")
    harness.change({"y.yaml": file(route("c"))})
    assert harness.problems[0].hint.endswith("until then one object read from it earlier stays as it was")


@pytest.mark.parametrize("unreadable", [DENIED, b"\xff\xfe\xfd", Unreadable("file-too-large", "65 MiB")])
def test_objects_of_a_file_that_cannot_be_read_are_kept(harness: Harness, unreadable: Content) -> None:
    harness.change({"x.yaml": file(route("a"))})
    harness.change({"x.yaml": unreadable})
    assert harness.later() is None
    assert harness.timeouts == {"a": 1000}
    (problem,) = harness.problems
    assert (problem.severity, problem.position and problem.position[:2]) == (Severity.ERROR, ("x.yaml", 1))
    assert problem.hint.endswith("until then one object read from it earlier stays as it was")
    harness.change({"x.yaml": file(route("a"))})
    assert harness.problems == ()


def test_faulty_file_that_is_deleted_keeps_nothing(harness: Harness) -> None:
    harness.change({"x.yaml": file(route("a")), "y.yaml": file(route("b"))})
    harness.change({"x.yaml": file(SYNTAX_ERROR), "y.yaml": file(route("b", "soon"))})
    harness.change({"x.yaml": None, "y.yaml": None})
    harness.later()
    assert (harness.timeouts, harness.problems) == ({}, ())


@pytest.mark.parametrize("fault", [file(SYNTAX_ERROR), file(route("a", "soon"))])
@pytest.mark.parametrize("at_once", [True, False])
def test_faulty_file_that_is_renamed_keeps_what_it_kept(harness: Harness, fault: bytes, at_once: bool) -> None:
    harness.change({"x.yaml": file(route("a"))})
    harness.change({"x.yaml": fault})
    if at_once:
        harness.change({"x.yaml": None, "y.yaml": fault})
    else:
        harness.change({"x.yaml": None})
        harness.change({"y.yaml": fault}, after=0.1)
    for content in (fault, file(SYNTAX_ERROR, SYNTAX_ERROR)):  # nor does a further fault change that
        harness.change({"y.yaml": content})
        harness.later()
        assert harness.timeouts == {"a": 1000}
        assert "until then" in harness.problems[0].hint
    harness.change({"y.yaml": file(route("b"))})
    harness.later()
    assert harness.timeouts == {"b": 1000}


def test_file_that_returns_mended_has_no_heir(harness: Harness) -> None:
    harness.change({"x.yaml": file(route("a"))})
    harness.change({"x.yaml": file(SYNTAX_ERROR)})
    harness.change({"x.yaml": None})
    harness.change({"x.yaml": file(route("b")), "y.yaml": file(SYNTAX_ERROR)})
    harness.later()
    assert harness.timeouts == {"b": 1000}


def test_version_accepted_before_a_fault_is_located_where_it_was(harness: Harness) -> None:
    harness.change({"x.yaml": file(route("b"), route("a"))})
    harness.change({"x.yaml": file(route("a", "soon"))})
    assert harness.folder.locate(key("a"), ("spec", "hosts")) == Position("x.yaml", 11 + 6, 10)
    assert harness.folder.locate(key("nobody"), ()) is None


def test_documents_that_are_no_objects_are_a_warning_and_keep_nothing(harness: Harness) -> None:
    harness.change({"x.yaml": file(route("a"))})
    harness.change({"x.yaml": file("replicas: 3\nimage: nginx")})
    harness.later()
    (problem,) = harness.problems
    assert (problem.code, problem.severity) == ("not-an-object", Severity.WARNING)
    assert problem.position == Position("x.yaml", 1, 1)
    assert harness.served == {}


def test_kinds_that_are_not_read_keep_nothing_and_are_no_duplicates(harness: Harness) -> None:
    unread = "apiVersion: networking.istio.io/v1alpha3\nkind: EnvoyFilter\nmetadata: {name: a}"
    foreign = "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: a}"
    harness.change({"x.yaml": file(route("a"), unread, unread, foreign, foreign)})
    harness.change({"x.yaml": file(unread, unread, foreign, foreign)})
    harness.later()
    assert harness.served == {}
    assert harness.codes == ["unsupported-kind"] * 2


def test_our_own_mistake_harms_one_object(harness: Harness, monkeypatch: pytest.MonkeyPatch) -> None:
    def validate(obj: VirtualService) -> tuple[Problem, ...]:
        if obj.metadata.name == "a":
            raise ZeroDivisionError("secret text")
        return ()

    monkeypatch.setattr("fairlead.sources.files.accept.validate", validate)
    harness.change({"x.yaml": file(route("a"), route("b"))})
    assert harness.timeouts == {"b": 1000}
    assert harness.codes == ["internal"]
    assert "ZeroDivisionError" in harness.problems[0].message
    assert "secret text" not in str(harness.problems)


# --- Folders that vanish ----------------------------------------------------------------------------------------------


def test_vanished_folder_keeps_everything(harness: Harness) -> None:
    harness.change({"x/a.yaml": file(route("a")), "x/sub/b.yaml": file(route("b")), "y/c.yaml": file(route("c"))})
    harness.change({"x/a.yaml": None, "y/c.yaml": None})  # the beginning of rm -r x y
    harness.change({"x": NO_FOLDER}, after=0.1)
    harness.later()
    assert harness.timeouts == {"a": 1000, "b": 1000}
    (problem,) = harness.problems
    assert (problem.code, problem.position) == ("no-such-path", Position("x", 1, 1))
    assert problem.hint == "until then 2 objects read from it earlier stay as they were"
    # it returns with other things in it
    harness.change({"x": None, "x/sub/b.yaml": None, "x/d.yaml": file(route("d"))})
    assert harness.timeouts == {"a": 1000, "b": 1000, "d": 1000}
    harness.later()
    assert (harness.timeouts, harness.problems) == ({"d": 1000}, ())


def test_relative_root_covers_the_files_below_it(harness: Harness) -> None:
    harness.change({"sub/a.yaml": file(route("a"))})
    harness.change({"sub/a.yaml": None, ".": NO_FOLDER})
    assert harness.later() is None
    assert harness.timeouts == {"a": 1000}


# --- The same object twice --------------------------------------------------------------------------------------------


def test_first_by_path_serves_and_the_problem_names_both(harness: Harness) -> None:
    harness.change({"b.yaml": file(route("ok"), route("a", "2s"))})
    assert harness.problems == ()
    harness.change({"a.yaml": file(route("a", "1s"))})
    assert harness.timeouts == {"a": 1000, "ok": 1000}
    (problem,) = harness.problems
    assert (problem.code, problem.severity, problem.key) == ("duplicate-object", Severity.ERROR, key("a"))
    assert problem.position == Position("b.yaml", 12, 1)
    assert "a.yaml:1:1" in problem.message


def test_first_in_the_file_serves(harness: Harness) -> None:
    harness.change({"a.yaml": file(route("a", "1s"), route("a", "2s"), route("a", "3s"))})
    assert harness.timeouts == {"a": 1000}
    assert [problem.position and problem.position.line for problem in harness.problems] == [12, 23]
    assert all("a.yaml:1:1" in problem.message for problem in harness.problems)


def test_second_serves_when_the_first_goes(harness: Harness) -> None:
    harness.change({"a.yaml": file(route("a", "1s")), "b.yaml": file(route("a", "2s")), "c.yaml": file(route("a"))})
    update = harness.change({"a.yaml": None})
    assert update is not None
    assert (update.removed, harness.timeouts) == ((), {"a": 2000})
    (problem,) = harness.problems
    assert (problem.position, "b.yaml:1:1" in problem.message) == (Position("c.yaml", 1, 1), True)
    harness.change({"c.yaml": None})
    assert harness.problems == ()


def test_place_of_the_first_in_the_problem_follows_it(harness: Harness) -> None:
    harness.change({"a.yaml": file(route("a")), "b.yaml": file(route("a"))})
    harness.change({"a.yaml": b"# why\n" + file(route("a"))})
    assert "a.yaml:2:1" in harness.problems[0].message


def test_problem_of_faulty_duplicates_refers_to_the_first(harness: Harness) -> None:
    faulty = file(route("a", "soon"))

    def referred() -> list[tuple[str, str]]:
        duplicates = [problem for problem in harness.problems if problem.code == "duplicate-object"]
        return [
            (found.position.file, found.message.split(" is also at ")[1][:6]) for found in duplicates if found.position
        ]

    harness.change({"b.yaml": faulty, "c.yaml": faulty})
    assert referred() == [("c.yaml", "b.yaml")]
    harness.change({"a.yaml": faulty})
    assert referred() == [("b.yaml", "a.yaml"), ("c.yaml", "a.yaml")]
    harness.change({"a.yaml": None})
    assert referred() == [("c.yaml", "b.yaml")]
    harness.change({"b.yaml": None})
    assert referred() == []


def test_problem_refers_to_the_place_of_what_is_served(harness: Harness) -> None:
    harness.change({"b.yaml": file(route("a"))})
    harness.change({"b.yaml": None})
    harness.change({"a.yaml": file(route("a", "soon"))})
    assert harness.codes == ["invalid-value"]
    harness.change({"b.yaml": file(route("a"))})
    assert [(problem.code, problem.position and problem.position.file) for problem in harness.problems] == [
        ("invalid-value", "a.yaml"),
        ("duplicate-object", "a.yaml"),
    ]


def test_faulty_first_keeps_serving_what_it_served(harness: Harness) -> None:
    harness.change({"a.yaml": file(route("a", "1s")), "b.yaml": file(route("a", "2s"))})
    harness.change({"a.yaml": file(route("a", "soon"))})
    assert harness.timeouts == {"a": 1000}
    assert [(problem.code, problem.position and problem.position.file) for problem in harness.problems] == [
        ("invalid-value", "a.yaml"),
        ("duplicate-object", "b.yaml"),
    ]


def test_good_second_serves_when_the_first_was_never_good(harness: Harness) -> None:
    harness.change({"a.yaml": file(route("a", "soon")), "b.yaml": file(route("a", "2s"))})
    assert harness.timeouts == {"a": 2000}
    duplicate = next(problem for problem in harness.problems if problem.code == "duplicate-object")
    assert duplicate.position == Position("a.yaml", 1, 1)
    assert "b.yaml:1:1" in duplicate.message


def test_kinds_of_the_same_name_are_different_objects(harness: Harness) -> None:
    gateway = (
        "apiVersion: networking.istio.io/v1\nkind: Gateway\nmetadata: {name: a}\nspec:\n  servers:\n"
        "  - port: {number: 80, name: http, protocol: HTTP}\n    hosts: ['*']"
    )
    harness.change({"a.yaml": file(route("a"), gateway)})
    assert harness.problems == ()
    assert {type(obj) for obj in harness.served.values()} == {VirtualService, Gateway}
    harness.change({"a.yaml": file(route("a"))})
    harness.later()
    assert {type(obj) for obj in harness.served.values()} == {VirtualService}


# --- A restart --------------------------------------------------------------------------------------------------------


def saved_by(harness: Harness) -> dict[ObjectKey, Saved]:
    return {found: saved for found, saved in harness.folder.take_unsaved().items() if saved is not None}


def restart(harness: Harness, files: Mapping[str, Content], saved: Mapping[ObjectKey, Saved]) -> Harness:
    """A new process that reads the files and then what was saved."""
    harness.folder.take_unsaved()
    again = Harness()
    for _ in again.folder.apply(files, again.now):
        pass
    wanted = {found: version for found, version in saved.items() if again.folder.wants(found, version.path)}
    for _ in again.folder.restore(wanted, again.now):
        pass
    again.update()
    return again


@pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS)
def test_saved_version_serves_while_the_file_is_faulty(harness: Harness, fault: bytes) -> None:
    harness.change({"x.yaml": file(route("b"), route("a"))})
    again = restart(harness, {"x.yaml": fault}, saved_by(harness))
    assert again.timeouts == {"a": 1000, "b": 2000}
    assert "until then" in again.problems[0].hint
    assert again.folder.locate(key("a"), ("kind",)) == Position("x.yaml", 11 + 2, 7)
    again.change({"x.yaml": file(route("b", "2s"))})
    again.later()
    assert again.timeouts == {"b": 2000}


@pytest.mark.parametrize("files", [{}, {"x.yaml": file(route("b"))}, {"y.yaml": file(SYNTAX_ERROR)}])
def test_saved_version_of_an_object_that_is_gone_is_not_served(harness: Harness, files: Mapping[str, Content]) -> None:
    harness.change({"x.yaml": file(route("a"))})
    assert "a" not in restart(harness, files, saved_by(harness)).timeouts


def test_present_version_is_better_than_a_saved_one(harness: Harness) -> None:
    harness.change({"x.yaml": file(route("a"))})
    files = {"x.yaml": file(SYNTAX_ERROR), "y.yaml": file(route("a", "2s"))}
    again = restart(harness, files, saved_by(harness))
    assert again.timeouts == {"a": 2000}
    assert not again.folder.wants(key("a"), "x.yaml")


def test_saved_version_that_is_no_longer_acceptable_is_ignored(harness: Harness) -> None:
    text = file(route("a", "soon"))
    saved = {key("a"): Saved("x.yaml", 1, text, 1)}
    assert restart(harness, {"x.yaml": file(SYNTAX_ERROR)}, saved).timeouts == {}


def test_only_what_has_changed_is_to_be_saved(harness: Harness) -> None:
    harness.change({"x.yaml": file(route("a"), route("b"), route("c"))})
    assert saved_by(harness).keys() == {key("a"), key("b"), key("c")}
    harness.change({"x.yaml": file(route("new"), "# text", route("b", "2s"), route("c"))})
    unsaved = harness.folder.take_unsaved()
    assert {found.name: saved is not None for found, saved in unsaved.items()} == {"new": True, "b": True}
    harness.later()
    assert harness.folder.take_unsaved() == {key("a"): None}
