"""Following real files: each test makes changes as people and programs make them, and waits for what comes of it."""

import asyncio
import os
import shutil
import time
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any

import pytest
from fairlead.models.istio.virtual_service import VirtualService
from fairlead.problems import Position
from fairlead.sources.files import disk, source, watch
from fairlead.sources.files.folder import Unreadable
from fairlead.sources.files.source import FilesSource
from fairlead.world import ObjectName
from support.source_files import file, following, key, route

GRACE = 0.05
NEVER = 1000.0


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with the routes `a` and `b`."""
    path = tmp_path / "config"
    path.mkdir()
    (path / "a.yaml").write_bytes(file(route("a")))
    (path / "b.yaml").write_bytes(file(route("b")))
    return path


@pytest.fixture
def only_events(monkeypatch: pytest.MonkeyPatch) -> None:
    """No look at all files may help out."""
    monkeypatch.setattr(source, "RESCAN", NEVER)


def replace(path: Path, content: bytes) -> None:
    """Write as careful programs do: a new file, renamed into place."""
    temporary = path.with_name(f".{path.name}.tmp")
    temporary.write_bytes(content)
    temporary.rename(path)


def source_of(*paths: Path, polling: bool = False) -> FilesSource:
    return FilesSource(paths, deletion_grace=GRACE, polling=polling)


# --- Changes ----------------------------------------------------------------------------------------------------------


def write_in_place(folder: Path) -> None:
    (folder / "a.yaml").write_bytes(file(route("a", "2s")))


def rename_into_place(folder: Path) -> None:
    replace(folder / "a.yaml", file(route("a", "2s")))


def write_as_vim_does(folder: Path) -> None:
    path = folder / "a.yaml"
    (folder / "4913").touch()
    (folder / "4913").unlink()
    (folder / ".a.yaml.swp").write_bytes(b"b0VIM 9.0")
    path.rename(folder / "a.yaml~")
    path.write_bytes(file(route("a", "2s")))
    (folder / "a.yaml~").unlink()
    (folder / ".a.yaml.swp").unlink()


def keep_the_time(folder: Path) -> None:
    path = folder / "a.yaml"
    times = path.stat()
    path.write_bytes(file(route("a", "2s")))
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))


def without_last_newline(folder: Path) -> None:
    (folder / "a.yaml").write_bytes(file(route("a", "2s")).rstrip())


def move_a_nested_folder_in(folder: Path) -> None:
    made = folder.parent / "made"
    (made / "deep").mkdir(parents=True)
    (made / "deep" / "a.yaml").write_bytes(file(route("a", "2s")))
    (folder / "a.yaml").unlink()
    made.rename(folder / "new")


def make_nested_folders(folder: Path) -> None:
    (folder / "a.yaml").unlink()
    (folder / "new" / "deep").mkdir(parents=True)
    (folder / "new" / "deep" / "a.yml").write_bytes(file(route("a", "2s")))


def as_json(folder: Path) -> None:
    (folder / "a.yaml").unlink()
    (folder / "a.json").write_text(
        '{"apiVersion": "networking.istio.io/v1", "kind": "VirtualService", "metadata": {"name": "a"}, "spec":'
        ' {"hosts": ["a"], "http": [{"timeout": "2s", "route": [{"destination": {"host": "b"}}]}]}}'
    )


CHANGES = [
    write_in_place,
    rename_into_place,
    write_as_vim_does,
    keep_the_time,
    without_last_newline,
    move_a_nested_folder_in,
    make_nested_folders,
    as_json,
]


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.usefixtures("only_events")
async def test_change_is_noticed_by_events(folder: Path, change: Callable[[Path], None]) -> None:
    async with following(source_of(folder)) as follower:
        assert (follower.timeouts, follower.synced) == ({"a": 1000, "b": 1000}, True)
        change(folder)
        updates = await follower.until_served(a=2000, b=1000)
        assert [update.removed for update in updates] == [()] * len(updates)
        assert follower.problems == ()


@pytest.mark.parametrize("change", CHANGES)
async def test_change_is_noticed_by_polling(
    folder: Path, change: Callable[[Path], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(source, "POLL", 0.02)
    async with following(source_of(folder, polling=True)) as follower:
        change(folder)
        await follower.until_served(a=2000, b=1000)
        (folder / "b.yaml").unlink()
        await follower.until_served(a=2000)


@pytest.mark.usefixtures("only_events")
async def test_folder_that_appeared_is_watched(folder: Path) -> None:
    async with following(source_of(folder)) as follower:
        (folder / "new").mkdir()
        (folder / "new" / "c.yaml").write_bytes(file(route("c")))
        await follower.until_served(a=1000, b=1000, c=1000)
        replace(folder / "new" / "c.yaml", file(route("c", "2s")))
        await follower.until_served(a=1000, b=1000, c=2000)
        (folder / "new").rename(folder / "newer")
        replace(folder / "newer" / "c.yaml", file(route("c", "3s")))
        await follower.until_served(a=1000, b=1000, c=3000)
        shutil.rmtree(folder / "newer")
        await follower.until_served(a=1000, b=1000)


@pytest.mark.usefixtures("only_events")
async def test_folder_that_was_replaced_by_its_like_is_watched(folder: Path) -> None:
    (folder / "sub").mkdir()
    async with following(source_of(folder)) as follower:
        (folder / "sub").rename(folder / ".old")
        (folder / "sub").mkdir()
        (folder / "sub" / "c.yaml").write_bytes(file(route("c")))
        await follower.until_served(a=1000, b=1000, c=1000)
        replace(folder / "sub" / "c.yaml", file(route("c", "2s")))
        await follower.until_served(a=1000, b=1000, c=2000)


@pytest.mark.usefixtures("only_events")
async def test_deletion_takes_effect_after_the_grace_period(folder: Path) -> None:
    async with following(source_of(folder)) as follower:
        (folder / "b.yaml").unlink()
        update = await follower.update()
        assert update.removed == ((VirtualService, ObjectName("default", "b")),)


def touch(folder: Path) -> None:
    os.utime(folder / "a.yaml")


def write_the_same(folder: Path) -> None:
    (folder / "a.yaml").write_bytes(file(route("a")))


def rename(folder: Path) -> None:
    (folder / "a.yaml").rename(folder / "z.yaml")


def move_to_a_new_folder(folder: Path) -> None:
    (folder / "sub").mkdir()
    (folder / "a.yaml").rename(folder / "sub" / "a.yaml")


def join_files(folder: Path) -> None:
    replace(folder / "b.yaml", file(route("b"), route("a")))
    (folder / "a.yaml").unlink()


def reformat(folder: Path) -> None:
    replace(folder / "a.yaml", b"# formatted\n" + file(route("a").replace("[a.example.com]", '\n  - "a.example.com"')))


def write_other_files(folder: Path) -> None:
    (folder / "README.md").write_text("# words")
    (folder / "b.yaml~").write_bytes(file(route("b", "7s")))
    (folder / ".git").mkdir()
    (folder / ".git" / "c.yaml").write_bytes(file(route("c")))


def change_permissions(folder: Path) -> None:
    (folder / "a.yaml").chmod(0o600)


@pytest.mark.usefixtures("only_events")
@pytest.mark.parametrize(
    "change",
    [
        touch,
        write_the_same,
        rename,
        move_to_a_new_folder,
        join_files,
        reformat,
        write_other_files,
        change_permissions,
    ],
)
async def test_nothing_is_told_when_no_object_changes(folder: Path, change: Callable[[Path], None]) -> None:
    """Shown by a later change that is the only one told."""
    async with following(FilesSource([folder], deletion_grace=0.5)) as follower:
        change(folder)
        (folder / "later.yaml").write_bytes(file(route("later")))
        update = await follower.update()
        assert [obj.metadata.name for obj in update.put] == ["later"]
        assert (update.removed, update.problems) == ((), ())


async def test_lost_event_is_made_up_for(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing tells of what happens to a file elsewhere that a link leads to."""
    monkeypatch.setattr(source, "RESCAN", 0.05)
    elsewhere = folder.parent / "c.txt"
    elsewhere.write_bytes(file(route("c")))
    (folder / "c.yaml").symlink_to(elsewhere)
    async with following(source_of(folder)) as follower:
        replace(elsewhere, file(route("c", "2s")))
        await follower.until_served(a=1000, b=1000, c=2000)


async def test_without_events_files_are_polled(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def out_of_watches(*_args: object, **_options: object) -> None:
        raise OSError("OS file watch limit reached")

    monkeypatch.setattr(watch, "awatch", out_of_watches)
    monkeypatch.setattr(source, "POLL", 0.02)
    async with following(source_of(folder)) as follower:
        await follower.until(lambda: follower.codes == ["not-watched"])
        assert "OS file watch limit reached" in follower.problems[0].message
        (folder / "b.yaml").unlink()
        await follower.until_served(a=1000)
        monkeypatch.undo()
        await follower.until(lambda: follower.codes == [])


@pytest.mark.usefixtures("only_events")
async def test_what_happens_before_the_watch_begins_is_noticed(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class LateWatcher(watch.Watcher):
        async def start(self, folders: Collection[str]) -> None:
            if not (folder / "sub").exists():
                (folder / "sub").mkdir()
                (folder / "sub" / "c.yaml").write_bytes(file(route("c")))
            await super().start(folders)

    monkeypatch.setattr(source, "Watcher", LateWatcher)
    async with following(source_of(folder)) as follower:
        await follower.until_served(a=1000, b=1000, c=1000)
        replace(folder / "sub" / "c.yaml", file(route("c", "2s")))
        await follower.until_served(a=1000, b=1000, c=2000)


# --- Mounted ConfigMaps -----------------------------------------------------------------------------------------------


def mount(folder: Path, generation: int, **files: bytes) -> None:
    """Update a mounted ConfigMap as Kubernetes does; the first generation makes it."""
    data = folder / f"..2024_11_21_13_00_0{generation}.123"
    data.mkdir(parents=True)
    for name, content in files.items():
        (data / f"{name}.yaml").write_bytes(content)
    (folder / "..data_tmp").symlink_to(data.name)
    (folder / "..data_tmp").rename(folder / "..data")
    for name in files:
        link = folder / f"{name}.yaml"
        if not link.is_symlink():
            link.symlink_to(f"..data/{name}.yaml")
    for link in folder.glob("*.yaml"):
        if link.stem not in files:
            link.unlink()
    for old in folder.glob("..2024*"):
        if old != data:
            shutil.rmtree(old)


@pytest.mark.usefixtures("only_events")
async def test_mounted_config_map(tmp_path: Path) -> None:
    mounted = tmp_path / "mounted"
    mount(mounted, 1, a=file(route("a")), b=file(route("b")))
    async with following(source_of(mounted)) as follower:
        assert (follower.timeouts, follower.problems) == ({"a": 1000, "b": 1000}, ())
        mount(mounted, 2, a=file(route("a", "2s")), b=file(route("b")))
        update = await follower.update()
        assert [obj.metadata.name for obj in update.put] == ["a"]
        assert (update.removed, update.problems) == ((), ())
        mount(mounted, 3, a=file(route("a", "2s")), c=file(route("c")))
        await follower.until_served(a=2000, c=1000)
        assert follower.problems == ()


@pytest.mark.usefixtures("only_events")
async def test_root_that_is_a_link_to_the_current_release(tmp_path: Path) -> None:
    for release in ("1s", "2s"):
        (tmp_path / release).mkdir()
        (tmp_path / release / "a.yaml").write_bytes(file(route("a", release)))
    current = tmp_path / "current"
    current.symlink_to("1s")
    async with following(source_of(current)) as follower:
        assert follower.timeouts == {"a": 1000}
        (tmp_path / "next").symlink_to("2s")
        (tmp_path / "next").rename(current)
        await follower.until_served(a=2000)
        replace(tmp_path / "2s" / "a.yaml", file(route("a", "3s")))
        await follower.until_served(a=3000)


# --- Half-written files -----------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("only_events")
async def test_half_written_file_is_left_alone(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(source, "UNFINISHED", NEVER)
    monkeypatch.setattr(source, "PATIENCE", NEVER)
    whole = file(route("c"), route("d"))
    async with following(source_of(folder)) as follower:
        with (folder / "c.yaml").open("wb", buffering=0) as writing:
            writing.write(whole[:50])  # one would say that this is a faulty object
            (folder / "later.yaml").write_bytes(file(route("later")))
            await follower.until_served(a=1000, b=1000, later=1000)
            assert follower.problems == ()
            writing.write(whole[50:])
        updates = await follower.until_served(a=1000, b=1000, later=1000, c=1000, d=1000)
        assert [len(update.put) for update in updates] == [2]


@pytest.mark.usefixtures("only_events")
async def test_file_that_is_emptied_and_written_anew_removes_nothing(folder: Path) -> None:
    async with following(FilesSource([folder], deletion_grace=NEVER)) as follower:
        with (folder / "a.yaml").open("wb", buffering=0) as writing:
            (folder / "later.yaml").write_bytes(file(route("later")))
            await follower.until_served(a=1000, b=1000, later=1000)
            writing.write(file(route("a", "2s")))
        updates = await follower.until_served(a=2000, b=1000, later=1000)
        assert [update.removed for update in updates] == [()] * len(updates)


@pytest.mark.usefixtures("only_events")
async def test_file_that_never_rests_is_read_in_the_end(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(source, "PATIENCE", 0.1)
    monkeypatch.setattr(source, "SETTLE", NEVER)
    monkeypatch.setattr(source, "UNFINISHED", NEVER)

    async def write_on() -> None:
        with (folder / "c.yaml").open("wb", buffering=0) as writing:
            writing.write(file(route("c")))
            while True:
                writing.write(b"# more\n")
                await asyncio.sleep(0.001)

    async with following(source_of(folder)) as follower:
        writer = asyncio.create_task(write_on())
        try:
            await follower.until_served(a=1000, b=1000, c=1000)
        finally:
            writer.cancel()


@pytest.mark.usefixtures("only_events")
async def test_file_that_was_written_long_ago_is_read_at_once(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(source, "SETTLE", NEVER)
    monkeypatch.setattr(source, "PATIENCE", NEVER)
    written = folder.parent / "c.yaml"
    for path in (written, folder / "a.yaml", folder / "b.yaml"):
        path.write_bytes(file(route(path.stem)))
        os.utime(path, (0, 0))
    async with following(source_of(folder)) as follower:
        shutil.move(written, folder)
        await follower.until_served(a=1000, b=1000, c=1000)


# --- Roots ------------------------------------------------------------------------------------------------------------


def write_in_new_folder(folder: Path) -> None:
    folder.mkdir()
    write_in_place(folder)


@pytest.mark.usefixtures("only_events")
async def test_folder_that_vanishes_and_returns(folder: Path) -> None:
    async with following(FilesSource([folder], deletion_grace=0.5)) as follower:
        shutil.rmtree(folder)
        await follower.until(lambda: follower.codes == ["no-such-path"])
        assert follower.timeouts == {"a": 1000, "b": 1000}
        assert follower.problems[0].position == Position(str(folder), 1, 1)
        write_in_new_folder(folder)
        updates = await follower.until_served(a=2000)  # b is not there any more, which is now for sure
        assert follower.problems == ()
        assert sum(len(update.removed) for update in updates) == 1
        replace(folder / "a.yaml", file(route("a", "3s")))
        await follower.until_served(a=3000)


@pytest.mark.usefixtures("only_events")
async def test_folder_that_returns_unchanged_is_no_change(folder: Path) -> None:
    async with following(FilesSource([folder], deletion_grace=0.5)) as follower:
        away = shutil.move(folder, folder.with_name("away"))
        await follower.until(lambda: follower.codes == ["no-such-path"])
        shutil.move(away, folder)
        update = await follower.update()
        assert (update.put, update.removed, update.problems) == ((), (), ())


@pytest.mark.usefixtures("only_events")
async def test_folder_that_does_not_exist_at_start_is_waited_for(folder: Path, tmp_path: Path) -> None:
    missing = tmp_path / "mount" / "point"
    async with following(source_of(folder, missing)) as follower:
        assert (follower.timeouts, follower.synced) == ({"a": 1000, "b": 1000}, False)
        assert follower.codes == ["no-such-path"]
        made = tmp_path / "made"
        made.mkdir()
        (made / "c.yaml").write_bytes(file(route("c")))
        missing.parent.mkdir()
        made.rename(missing)
        update = await follower.update()
        assert (update.synced, update.problems) == (True, ())
        assert follower.timeouts == {"a": 1000, "b": 1000, "c": 1000}


@pytest.mark.usefixtures("only_events")
async def test_root_may_be_a_file_of_any_name(tmp_path: Path) -> None:
    path = tmp_path / "objects.txt"
    path.write_bytes(file(route("a")))
    (tmp_path / "b.yaml").write_bytes(file(route("b")))
    async with following(source_of(path)) as follower:
        assert follower.timeouts == {"a": 1000}
        replace(path, file(route("a", "2s")))
        await follower.until_served(a=2000)
        path.write_bytes(file(route("a", "3s")))
        await follower.until_served(a=3000)
        path.rename(tmp_path / "away")
        await follower.until(lambda: follower.codes == ["no-such-path"])
        (tmp_path / "away").rename(path)
        await follower.until(lambda: follower.codes == [])
        assert follower.timeouts == {"a": 3000}


@pytest.mark.usefixtures("only_events")
async def test_file_root_that_returns_exactly_as_it_was(folder: Path) -> None:
    async with following(FilesSource([folder / "a.yaml"], deletion_grace=0.5)) as follower:
        away = shutil.move(folder, folder.with_name("away"))
        await follower.until(lambda: follower.codes == ["no-such-path"])
        shutil.move(away, folder)
        await follower.until(lambda: follower.codes == [])
        assert follower.timeouts == {"a": 1000}
        replace(folder / "a.yaml", file(route("a", "2s")))
        await follower.until_served(a=2000)


@pytest.mark.usefixtures("only_events")
async def test_relative_paths_are_shown_as_they_are_given(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    async with following(source_of(Path())) as follower:
        assert follower.source.locate(key("a"), ("kind",)) == Position("a.yaml", 2, 7)
        (folder / "a.yaml").write_bytes(file(route("a", "soon")))
        await follower.until(lambda: follower.problems != ())
        assert follower.problems[0].position == Position("a.yaml", 8, 14)
        assert follower.source.locate(key("a"), ("spec", "http", 0, "timeout")) == Position("a.yaml", 8, 14)


# --- Files that cannot be read ----------------------------------------------------------------------------------------


@pytest.mark.usefixtures("only_events")
async def test_file_that_turns_into_something_unreadable_keeps_its_objects(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(source, "RESCAN", 0.05)
    async with following(source_of(folder)) as follower:
        (folder / "link").symlink_to("gone")
        (folder / "link").rename(folder / "a.yaml")
        await follower.until(lambda: follower.codes == ["unreadable-file"])
        (folder / "gone").write_bytes(file(route("a", "2s")))
        await follower.until_served(a=2000, b=1000)
        assert follower.problems == ()


async def test_file_that_could_not_be_read_is_tried_again(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a network file system that fails for a while: nothing about the file changes."""
    monkeypatch.setattr(source, "RESCAN", 0.05)
    with monkeypatch.context() as failing:
        failing.setattr(disk, "read", lambda _path: Unreadable("unreadable-file", "Input/output error"))
        async with following(source_of(folder)) as follower:
            assert follower.codes == ["unreadable-file"] * 2
            failing.undo()
            monkeypatch.setattr(source, "RESCAN", 0.05)
            await follower.until_served(a=1000, b=1000)
            assert follower.problems == ()


# --- Much to read -----------------------------------------------------------------------------------------------------


async def test_first_read_lets_the_event_loop_live(tmp_path: Path) -> None:
    (tmp_path / "many.yaml").write_bytes(file(*(route(f"r{number}") for number in range(2000))))
    turns = 0

    async def count_turns() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    counting = asyncio.create_task(count_turns())
    files = FilesSource([tmp_path])
    async with following(files) as follower:
        counting.cancel()
        assert len(follower.served) == files.parsed == 2000
    assert turns > 20  # at least 20 * SLICE of work on any machine


async def test_an_update_tells_when_the_first_of_it_was_noticed(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """That is before it is read, for which a file has to be at rest."""
    read: list[float] = []

    def read_settled(*arguments: Any, **more: Any) -> Any:
        read.append(time.monotonic())
        return settled(*arguments, **more)

    settled = source._read_settled
    async with following(FilesSource([folder])) as follower:
        monkeypatch.setattr(source, "_read_settled", read_settled)
        begun = time.monotonic()
        (folder / "fresh.yaml").write_bytes(file(route("fresh", "1s")))
        updates = await follower.until(lambda: "fresh" in follower.timeouts)
        assert updates[-1].noticed is not None
        assert begun <= updates[-1].noticed <= read[-1]
