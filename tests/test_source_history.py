"""Whatever has happened to the files of a folder, what is served depends on how they are now, once they are good."""

from fairlead.sources.files.folder import Content
from hypothesis import given, settings
from hypothesis import strategies as st
from support.source_files import DENIED, GRACE, NAMELESS, NO_FOLDER, SYNTAX_ERROR, Harness, file, route

_NAMES = st.sampled_from("abcde")
_GOOD = st.builds(route, _NAMES, st.sampled_from(["1s", "2s"]))
_ANY = st.one_of(_GOOD, st.builds(route, _NAMES, st.just("soon")), st.sampled_from([SYNTAX_ERROR, NAMELESS, "a: 1"]))
_PATHS = st.sampled_from(["a.yaml", "b.yaml", "sub/a.yaml", "sub/c.yaml"])
_EDIT = st.tuples(
    _PATHS,
    st.one_of(
        st.none(), st.sampled_from([DENIED, b"\xff"]), st.lists(_ANY, max_size=4).map(lambda texts: file(*texts))
    ),
)
_VANISH = st.tuples(st.just("sub"), st.sampled_from([NO_FOLDER, None]))
_RENAME = st.tuples(_PATHS, _PATHS)
_GOOD_FOLDER = st.dictionaries(_PATHS, st.lists(_GOOD, max_size=4).map(lambda texts: file(*texts)))


@settings(max_examples=200, deadline=None)
@given(
    st.lists(st.tuples(st.one_of(_EDIT, _VANISH, _RENAME), st.sampled_from([0.0, 0.2, GRACE])), max_size=12),
    _GOOD_FOLDER,
)
def test_any_history_ends_as_a_fresh_read_of_its_end(
    history: list[tuple[tuple[str, Content | str], float]], end: dict[str, bytes]
) -> None:
    harness = Harness()
    files: dict[str, Content] = {}
    for (path, content), wait in history:
        renamed = isinstance(content, str)
        changes = {path: None, content: files.pop(path, None)} if renamed else {path: content}
        files |= changes
        harness.change(changes, after=wait)
        assert_consistent(harness)
    harness.change(dict.fromkeys(files) | end)
    harness.later()
    fresh = Harness()
    fresh.change(end)
    assert harness.served == fresh.served
    assert harness.problems == fresh.problems
    assert harness.folder.next_deadline is None
    for found in fresh.served:
        assert harness.folder.locate(found, ()) == fresh.folder.locate(found, ())


def assert_consistent(harness: Harness) -> None:
    """What holds at any time: nothing is told in vain, problems are up to date, and each has a place."""
    harness.folder._stale.update(harness.folder._files)
    assert harness.update() is None
    assert all(problem.position is not None for problem in harness.problems)
    assert all(harness.folder.locate(found, ()) is not None for found in harness.served)
