"""Looking at folders, reading files, and telling half-written ones from whole ones."""

import os
import time
from pathlib import Path

import pytest
from fairlead.errors import SourceError
from fairlead.problems import Position
from fairlead.sources.files import disk, source
from fairlead.sources.files.disk import MAX_FILE_SIZE, Signature
from fairlead.sources.files.folder import Content, Unreadable
from fairlead.sources.files.once import read_once
from fairlead.sources.files.source import FilesSource
from support.source_files import SYNTAX_ERROR, file, following, key, route


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with the routes `a` and `b`."""
    path = tmp_path / "config"
    path.mkdir()
    (path / "a.yaml").write_bytes(file(route("a")))
    (path / "b.yaml").write_bytes(file(route("b")))
    return path


def write_keeping_the_time(path: Path, content: bytes) -> None:
    times = path.stat()
    path.write_bytes(content)
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))


# --- Looking and reading ----------------------------------------------------------------------------------------------


def test_scan_passes_over_what_is_hidden_and_reads_links_once(folder: Path) -> None:
    (folder / ".hidden").mkdir()
    (folder / ".hidden" / "c.yaml").touch()
    (folder / "sub").mkdir()
    (folder / "sub" / "d.yml").touch()
    (folder / "sub" / "circle").symlink_to(folder)
    (folder / "zub").symlink_to("sub")
    found = disk.scan([str(folder)])
    assert sorted(found.files) == [str(folder / name) for name in ("a.yaml", "b.yaml", "sub/d.yml")]
    assert {identity.path for identity in found.folders} == {str(folder), str(folder / "sub")}
    assert found.unreadable == {}


def test_scan_tells_a_changed_file_by_its_signature(folder: Path) -> None:
    path = str(folder / "a.yaml")
    before = disk.scan([str(folder)]).files
    write_keeping_the_time(folder / "a.yaml", file(route("a", "2s")))
    after = disk.scan([str(folder)]).files
    assert before[path] != after[path]
    assert before[str(folder / "b.yaml")] == after[str(folder / "b.yaml")]


def test_what_cannot_be_read_says_why(folder: Path) -> None:
    (folder / "nowhere.yaml").symlink_to("gone")
    (folder / "circle.yaml").symlink_to("circle.yaml")
    os.mkfifo(folder / "pipe.yaml")
    with (folder / "large.yaml").open("wb") as large:
        large.truncate(MAX_FILE_SIZE + 1)
    for name, code, words in [
        ("nowhere.yaml", "unreadable-file", "leads to gone"),
        ("circle.yaml", "unreadable-file", "symbolic links"),
        ("pipe.yaml", "unreadable-file", "no regular file"),
        ("large.yaml", "file-too-large", "64 MiB"),
    ]:
        content = disk.read(str(folder / name))
        assert isinstance(content, Unreadable)
        assert content.code == code
        assert words in content.message
    assert disk.read(str(folder / "not there.yaml")) is None
    assert disk.read(str(folder / "a.yaml" / "below a file")) is None


@pytest.mark.skipif(os.geteuid() == 0, reason="nothing is forbidden to root")
def test_permissions(folder: Path) -> None:
    (folder / "a.yaml").chmod(0)
    content = disk.read(str(folder / "a.yaml"))
    assert isinstance(content, Unreadable)
    assert "Permission denied" in content.message
    folder.chmod(0)
    assert list(disk.scan([str(folder)]).unreadable) == [str(folder)]
    folder.chmod(0o700)


# --- Half-written files -----------------------------------------------------------------------------------------------


def read_settled(path: Path, signature: Signature | None, *, patient: bool = True) -> source._Read:
    return source._read_settled(str(path), source._Pending(0.0, 0.0, signature), patient=patient)


@pytest.mark.parametrize(
    ("name", "content", "age", "whole"),
    [
        ("x.yaml", b"a: 1\n", 0.0, True),
        ("x.yaml", b"a: 1", 0.0, False),
        ("x.yaml", b"", 0.0, False),
        ("x.yaml", b"a: 1", 100.0, True),
        ("x.yaml", b"", 100.0, True),
        ("x.yaml", b"a: {b: c}", 0.0, False),
        ("x.json", b'{"a": [1]}', 0.0, True),
        ("x.json", b'{"a": [1], ', 0.0, False),
    ],
)
def test_file_that_ends_within_a_line_is_waited_for(
    tmp_path: Path, name: str, content: bytes, age: float, whole: bool
) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    written = time.time() + 10.0 - age  # a clock ahead of ours makes the test independent of time that passes
    os.utime(path, (written, written))
    result = read_settled(path, disk.signature(str(path)))
    assert (result.content, result.wait) == ((content, 0.0) if whole else (None, source.UNFINISHED))
    assert result.signature == disk.signature(str(path))
    assert read_settled(path, None, patient=False).content == content


def test_file_that_changes_is_waited_for(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = folder / "a.yaml"
    before = disk.signature(str(path))
    path.write_bytes(file(route("a"), route("c")))
    after = disk.signature(str(path))
    assert read_settled(path, before) == (None, after, source.SETTLE)  # since it was noticed

    read = disk.read

    def read_slowly(name: str) -> Content:
        content = read(name)
        (folder / "a.yaml").write_bytes(file(route("a", "2s")))
        return content

    monkeypatch.setattr(disk, "read", read_slowly)
    result = read_settled(path, after)  # while it is read
    assert (result.content, result.signature, result.wait) == (None, disk.signature(str(path)), source.SETTLE)


# --- Reading once -----------------------------------------------------------------------------------------------------


def test_reading_once(folder: Path) -> None:
    (folder / "sub").mkdir()
    (folder / "sub" / "c.yaml").write_bytes(file(route("c"), SYNTAX_ERROR, route("a")))
    reading = read_once([folder])
    assert [obj.metadata.name for obj in reading.update.put] == ["a", "b", "c"]
    assert reading.update.synced
    assert [problem.code for problem in reading.update.problems] == ["syntax", "duplicate-object"]
    assert reading.locate(key("c"), ("spec", "hosts")) == Position(str(folder / "sub" / "c.yaml"), 6, 10)


def test_reading_once_what_does_not_exist(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=r"nowhere does not exist"):
        read_once([tmp_path, tmp_path / "nowhere"])


async def test_following_begins_with_what_reading_once_finds(folder: Path) -> None:
    (folder / "c.yaml").write_bytes(file(route("c", "soon"), SYNTAX_ERROR, route("a")))
    async with following(FilesSource([folder])) as follower:
        once = read_once([folder]).update
        assert list(follower.served.values()) == list(once.put)
        assert follower.problems == once.problems
