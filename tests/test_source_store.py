"""What outlives a restart of a source, however it ends."""

import os
import shutil
import signal
import sqlite3
import stat
import sys
from asyncio import create_subprocess_exec, subprocess, timeout
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path

import pytest
import xxhash
from fairlead.problems import ObjectKey, Position
from fairlead.sources.files import keeper
from fairlead.sources.files.folder import Saved
from fairlead.sources.files.source import FilesSource
from fairlead.sources.files.store import FILE_NAME, Entry, Store
from support.source_files import BOUND, SYNTAX_ERROR, file, following, key, route

TESTS = Path(__file__).parent


def saved(text: bytes, path: str = "/x.yaml", line: int = 1) -> Saved:
    return Saved(path, line, text, xxhash.xxh3_64_intdigest(text))


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    opened = Store(tmp_path / "state")
    yield opened
    opened.close()


def documents_in(store: Store) -> set[bytes]:
    return {text for (text,) in store._database.execute("SELECT text FROM documents")}


# --- The database -----------------------------------------------------------------------------------------------------


def test_what_is_written_is_read(store: Store) -> None:
    versions: dict[ObjectKey, Saved | None] = {key("a"): saved(b"A", line=7), key("b"): saved(b"B", "/y.yaml")}
    store.write(versions)
    store.close()
    again = Store(store.path.parent)
    assert not again.damaged
    assert again.entries() == {
        key("a"): Entry("/x.yaml", xxhash.xxh3_64_intdigest(b"A")),
        key("b"): Entry("/y.yaml", xxhash.xxh3_64_intdigest(b"B")),
    }
    assert again.read([key("b"), key("unknown"), key("a")]) == versions
    again.close()


def test_documents_are_kept_once_and_as_long_as_they_are_needed(store: Store) -> None:
    store.write({key("a"): saved(b"list"), key("b"): saved(b"list")})
    assert documents_in(store) == {b"list"}
    store.write({key("a"): saved(b"new")})
    assert documents_in(store) == {b"list", b"new"}
    store.write({key("b"): None})
    assert documents_in(store) == {b"new"}
    store.write({key("a"): saved(b"new", "/renamed.yaml")})
    assert (documents_in(store), store.entries()[key("a")].path) == ({b"new"}, "/renamed.yaml")


def test_write_is_proportional_to_the_change(store: Store) -> None:
    store.write({key(f"r{number}"): saved(b"%d" % number) for number in range(5000)})
    before = store._database.total_changes
    store.write({key("r2500"): saved(b"changed")})
    assert store._database.total_changes - before <= 4


def test_nobody_else_can_read_it(tmp_path: Path) -> None:
    mask = os.umask(0)
    try:
        store = Store(tmp_path / "new" / "state")
        store.write({key("a"): saved(b"private key")})
        with store._database as database:  # a transaction has a journal
            database.execute("DELETE FROM objects")
            modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in store.path.parent.iterdir()}
        store.close()
    finally:
        os.umask(mask)
    assert modes == {FILE_NAME: 0o600, f"{FILE_NAME}-journal": 0o600}
    assert stat.S_IMODE((tmp_path / "new" / "state").stat().st_mode) == 0o700


def test_permissions_of_an_older_file_are_taken_back(store: Store) -> None:
    store.close()
    store.path.chmod(0o644)
    Store(store.path.parent).close()
    assert stat.S_IMODE(store.path.stat().st_mode) == 0o600


def test_what_is_deleted_is_overwritten(store: Store) -> None:
    store.write({key("a"): saved(b"PRIVATE KEY" * 1000)})
    assert b"PRIVATE KEY" in store.path.read_bytes()
    store.write({key("a"): None})
    assert b"PRIVATE KEY" not in store.path.read_bytes()


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:5000])


def overwrite(path: Path) -> None:
    path.write_bytes(b"apiVersion: v1\n" * 1000)


def scribble(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[4096 : 4096 * 3] = b"\xff" * 4096 * 2
    path.write_bytes(content)


def use_for_something_else(path: Path) -> None:
    path.unlink()
    with sqlite3.connect(path) as database:
        database.execute("CREATE TABLE objects (colour TEXT)")
    database.close()


@pytest.mark.parametrize("damage", [truncate, overwrite, scribble, use_for_something_else])
def test_damaged_database_is_begun_anew(store: Store, damage: object) -> None:
    assert callable(damage)
    store.write({key(f"r{number}"): saved(b"%d" % number * 100) for number in range(500)})
    store.close()
    damage(store.path)
    again = Store(store.path.parent)
    assert (again.damaged, again.entries()) == (True, {})
    again.write({key("a"): saved(b"A")})
    again.close()
    once_more = Store(store.path.parent)
    assert (once_more.damaged, once_more.entries().keys()) == (False, {key("a")})
    once_more.close()


def test_damaged_document_is_left_out(store: Store) -> None:
    store.write({key("a"): saved(b"A"), key("b"): saved(b"B")})
    store._database.execute("UPDATE documents SET text = x'00' WHERE text = x'41'")
    assert store.read([key("a"), key("b")]).keys() == {key("b")}


def test_locked_database_is_not_taken_for_a_damaged_one(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    store.write({key("a"): saved(b"A")})
    monkeypatch.setattr(sqlite3, "connect", partial(sqlite3.connect, timeout=0))
    store._database.execute("BEGIN EXCLUSIVE")
    with pytest.raises(sqlite3.OperationalError, match="locked"):
        Store(store.path.parent)
    store._database.rollback()
    assert store.read([key("a")]) == {key("a"): saved(b"A")}


# --- A source with a store --------------------------------------------------------------------------------------------


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    path = tmp_path / "config"
    path.mkdir()
    (path / "a.yaml").write_bytes(file(route("a"), route("b")))
    (path / "c.yaml").write_bytes(file(route("c")))
    return path


def source_of(folder: Path) -> FilesSource:
    return FilesSource([folder], deletion_grace=0.05, state_dir=folder.parent / "state")


async def run_once(folder: Path) -> None:
    """A first life; what it accepts is kept when it has ended."""
    async with following(source_of(folder)) as follower:
        assert follower.synced


BREAKS = {
    "syntax": lambda folder: (folder / "a.yaml").write_bytes(file(SYNTAX_ERROR, route("b", "2s"))),
    "wrong value": lambda folder: (folder / "a.yaml").write_bytes(file(route("a", "soon"), route("b", "2s"))),
}


@pytest.mark.parametrize("break_it", BREAKS.values(), ids=BREAKS)
async def test_restart_while_a_file_is_broken_loses_nothing(folder: Path, break_it: object) -> None:
    assert callable(break_it)
    await run_once(folder)
    break_it(folder)
    for _ in range(3):  # nor does any later one
        async with following(source_of(folder)) as follower:
            assert follower.timeouts == {"a": 1000, "b": 2000, "c": 1000}
            assert "until then" in follower.problems[0].hint
            place = follower.source.locate(key("a"), ("spec", "hosts"))
            assert place == Position(str(folder / "a.yaml"), 6, 10)
    (folder / "a.yaml").write_bytes(file(route("b", "3s")))
    async with following(source_of(folder)) as follower:
        assert (follower.timeouts, follower.problems) == ({"b": 3000, "c": 1000}, ())


async def test_what_has_gone_while_nobody_looked_is_not_served(folder: Path) -> None:
    await run_once(folder)
    (folder / "a.yaml").write_bytes(file(route("b")))
    (folder / "c.yaml").unlink()
    async with following(source_of(folder)) as follower:
        assert follower.timeouts == {"b": 1000}
    (folder / "a.yaml").write_bytes(file(SYNTAX_ERROR))
    async with following(source_of(folder)) as follower:
        assert follower.timeouts == {"b": 1000}


async def test_what_was_accepted_last_is_kept(folder: Path) -> None:
    async with following(source_of(folder)) as follower:
        (folder / "a.yaml").write_bytes(file(route("a", "2s")))
        await follower.until_served(a=2000, c=1000)
        (folder / "c.yaml").rename(folder / "d.yaml")
        (folder / "e.yaml").write_bytes(file(route("e")))
        await follower.until_served(a=2000, c=1000, e=1000)
    (folder / "a.yaml").write_bytes(file(SYNTAX_ERROR))
    (folder / "d.yaml").write_bytes(file(SYNTAX_ERROR))
    async with following(source_of(folder)) as follower:
        assert follower.timeouts == {"a": 2000, "c": 1000, "e": 1000}


async def test_restart_writes_nothing_that_is_kept_already(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    await run_once(folder)
    written: list[set[str]] = []

    class TellingStore(Store):
        def write(self, changes: Mapping[ObjectKey, Saved | None]) -> None:
            written.append({found.name for found in changes})
            super().write(changes)

    monkeypatch.setattr(keeper, "Store", TellingStore)
    await run_once(folder)
    assert written == []
    (folder / "a.yaml").write_bytes(file(route("a", "2s")))
    await run_once(folder)
    assert written == [{"a", "b"}]


async def test_folder_that_is_missing_at_start_comes_back_with_what_was_kept(folder: Path) -> None:
    await run_once(folder)
    (folder / "a.yaml").write_bytes(file(SYNTAX_ERROR))
    away = shutil.move(folder, folder.with_name("away"))
    async with following(source_of(folder)) as follower:
        assert (follower.timeouts, follower.synced) == ({}, False)
    async with following(source_of(folder)) as follower:
        shutil.move(away, folder)
        await follower.until(lambda: follower.synced)
        assert follower.timeouts == {"a": 1000, "b": 1000, "c": 1000}


async def test_versions_of_another_folder_are_not_served(folder: Path) -> None:
    await run_once(folder)
    other = folder.with_name("other")
    other.mkdir()
    (other / "a.yaml").write_bytes(file(SYNTAX_ERROR))
    async with following(source_of(other)) as follower:
        assert follower.timeouts == {}


async def test_relative_and_absolute_paths_are_the_same(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    await run_once(folder)
    (folder / "a.yaml").write_bytes(file(SYNTAX_ERROR))
    monkeypatch.chdir(folder.parent)
    files = FilesSource(["config"], state_dir=folder.parent / "state")
    async with following(files) as follower:
        assert follower.timeouts == {"a": 1000, "b": 1000, "c": 1000}
        assert files.locate(key("a"), ()) == Position("config/a.yaml", 1, 1)


async def test_damaged_state_is_a_problem_and_no_more(folder: Path) -> None:
    await run_once(folder)
    overwrite(folder.parent / "state" / FILE_NAME)
    async with following(source_of(folder)) as follower:
        assert follower.codes == ["state-damaged"]
        assert follower.timeouts == {"a": 1000, "b": 1000, "c": 1000}


async def test_state_folder_that_cannot_be_used_is_a_problem_and_no_more(folder: Path) -> None:
    (folder.parent / "state").write_text("no folder")
    async with following(source_of(folder)) as follower:
        assert follower.codes == ["state-unusable"]
        assert follower.timeouts == {"a": 1000, "b": 1000, "c": 1000}


async def test_failed_write_is_told_and_made_up_for(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class FullDisk(Store):
        def write(self, changes: object) -> None:
            raise sqlite3.OperationalError("database or disk is full")

    monkeypatch.setattr(keeper, "Store", FullDisk)
    async with following(source_of(folder)) as follower:
        (folder / "d.yaml").write_bytes(file(route("d")))
        await follower.until(lambda: follower.codes == ["state-unusable"])
        assert "disk is full" in follower.problems[0].message
        monkeypatch.undo()
        monkeypatch.setattr(FullDisk, "write", Store.write)
        (folder / "e.yaml").write_bytes(file(route("e")))
        await follower.until(lambda: follower.codes == [] and "e" in follower.timeouts)
    store = Store(folder.parent / "state")
    assert {found.name for found in store.entries()} == {"a", "b", "c", "d", "e"}
    store.close()


# --- Killed -----------------------------------------------------------------------------------------------------------

_WRITE_ON = """
import sys
from pathlib import Path
from fairlead.sources.files.store import Store
from support.source_files import key
from test_source_store import saved

store = Store(Path(sys.argv[1]))
print("begin", flush=True)
number = 0
while True:
    number += 1
    text = b"%d" % number * 1000
    store.write({key(f"r{number % 7 + other}"): saved(text) if number % 5 else None for other in range(3)})
    print(number, flush=True)
"""


async def test_killed_at_any_moment_the_store_is_whole(tmp_path: Path) -> None:
    environment = os.environ | {"PYTHONPATH": str(TESTS)}
    for lives in range(3):
        writer = await create_subprocess_exec(
            sys.executable, "-c", _WRITE_ON, str(tmp_path), env=environment, stdout=subprocess.PIPE
        )
        assert writer.stdout is not None
        async with timeout(BOUND):
            for _ in range(5 + 3 * lives):
                assert await writer.stdout.readline()
        writer.send_signal(signal.SIGKILL)
        await writer.communicate()
        store = Store(tmp_path)
        assert not store.damaged
        entries = store.entries()
        assert store.read(entries).keys() == entries.keys() != set()
        assert documents_in(store) == {version.text for version in store.read(entries).values()}
        store.close()


_FOLLOW = """
import asyncio, sys
from pathlib import Path
from fairlead.sources.files import keeper
from test_source_store import source_of

class TellingStore(keeper.Store):
    def write(self, changes):
        super().write(changes)
        print(*sorted(key.name for key in changes), flush=True)

async def deliver(update):
    pass

keeper.Store = TellingStore
asyncio.run(source_of(Path(sys.argv[1])).run(deliver))
"""


async def test_killed_while_a_file_is_broken(folder: Path) -> None:
    environment = os.environ | {"PYTHONPATH": str(TESTS)}
    server = await create_subprocess_exec(
        sys.executable, "-c", _FOLLOW, str(folder), env=environment, stdout=subprocess.PIPE
    )
    assert server.stdout is not None
    async with timeout(BOUND):
        assert await server.stdout.readline() == b"a b c\n"
        (folder / "a.yaml").write_bytes(file(SYNTAX_ERROR))
        (folder / "d.yaml").write_bytes(file(route("d")))
        assert await server.stdout.readline() == b"d\n"
    server.send_signal(signal.SIGKILL)
    await server.communicate()
    async with following(source_of(folder)) as follower:
        assert follower.timeouts == {"a": 1000, "b": 1000, "c": 1000, "d": 1000}
