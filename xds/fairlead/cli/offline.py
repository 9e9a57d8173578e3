"""Objects read from files, for the commands that need no server."""

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from fairlead.check.findings import findings
from fairlead.check.formats import in_order
from fairlead.cli.output import fail
from fairlead.errors import SourceError
from fairlead.problems import Position, Problem
from fairlead.sources.files.once import Reading, read_once
from fairlead.world import World


def load(paths: Sequence[Path]) -> tuple[World, Reading]:
    """The world of the accepted objects, and how they were read; ends the command when a path cannot be read."""
    try:
        reading = read_once(paths)
    except SourceError as error:
        fail(str(error))
    world = World()
    for obj in reading.update.put:
        world.put(obj)
    return world, reading


def all_problems(world: World, reading: Reading) -> list[Problem]:
    """What is wrong with the documents and with the objects, with places, in the order of the files."""
    found = set(reading.update.problems)
    for problem in findings(world, datetime.now(UTC)):
        place = reading.locate(problem.key, problem.path) if problem.key and not problem.position else problem.position
        found.add(problem.at(place))
    return in_order(found)


def line_of(position: Position) -> str:
    """The text of a line of a file; empty when it cannot be read."""
    try:
        with Path(position.file).open(encoding="utf-8", errors="replace") as file:
            return next((line.rstrip("\r\n") for number, line in enumerate(file, 1) if number == position.line), "")
    except OSError:
        return ""
