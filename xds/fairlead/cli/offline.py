"""Objects read from files, for the commands that need no server."""

import io
import sys
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

from fairlead.certificates import EXPIRES_SOON
from fairlead.check.findings import findings
from fairlead.check.formats import LineOf, in_order
from fairlead.cli.output import fail
from fairlead.errors import SourceError
from fairlead.problems import FieldPath, ObjectKey, Position, Problem
from fairlead.sources.files.once import Reading, read_once
from fairlead.world import World

STDIN = "<stdin>"
"""How places in the standard input are called."""


def load(paths: Sequence[Path]) -> tuple[World, Reading]:
    """The world of the accepted objects, and how they were read; ends the command when a path cannot be read.

    The path `-` is the standard input.
    """
    given = {STDIN: sys.stdin.buffer.read()} if Path("-") in paths else {}
    try:
        reading = read_once([path for path in paths if path != Path("-")], given)
    except SourceError as error:
        fail(str(error))
    world = World()
    for obj in reading.update.put:
        world.put(obj)
    return world, reading


def all_problems(
    world: World, reading: Reading, *, now: datetime | None = None, soon: timedelta = EXPIRES_SOON
) -> list[Problem]:
    """What is wrong with the documents and with the objects, with places, in the order of the files.

    Certificates are judged at `now`, which is the present unless given.
    """

    def place(key: ObjectKey | None, path: FieldPath, position: Position | None) -> Position | None:
        return reading.locate(key, path) if key and not position else position

    found = set()
    for problem in {*reading.update.problems, *findings(world, now or datetime.now(UTC), soon)}:
        related = tuple(
            other._replace(position=place(other.key, other.path, other.position)) for other in problem.related
        )
        found.add(problem.at(place(problem.key, problem.path, problem.position), related))
    return in_order(found)


def lines_of(reading: Reading) -> LineOf:
    """Gives the text of a line of what was read; empty when it cannot be read any more."""
    files: dict[str, list[str]] = {}

    def line_of(position: Position) -> str:
        if position.file not in files:
            files[position.file] = _lines(position.file, reading)
        lines = files[position.file]
        return lines[position.line - 1] if position.line <= len(lines) else ""

    return line_of


def _lines(file: str, reading: Reading) -> list[str]:
    try:
        data = reading.given[file] if file in reading.given else Path(file).read_bytes()
    except OSError:
        return []
    # As documents count lines: other characters that end a line for str.splitlines do not.
    return [line.rstrip("\r\n") for line in io.StringIO(data.decode(errors="replace"))]
