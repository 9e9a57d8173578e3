"""`fairlead check`: what is wrong with a folder of objects."""

import enum
from collections.abc import Iterable
from datetime import timedelta
from importlib.metadata import version
from pathlib import Path
from typing import Annotated

import typer
from rich.text import Text

from fairlead.certificates import EXPIRES_SOON
from fairlead.check.formats import Piece, Role, as_json, as_text, summary
from fairlead.check.sarif import as_sarif
from fairlead.check.suppression import Suppression, parse, unsuppressed
from fairlead.cli.offline import all_problems, lines_of, load
from fairlead.cli.output import OUT
from fairlead.problems import Severity

_STYLES = {
    Role.PLAIN: "",
    Role.PLACE: "bold",
    Role.ERROR: "bold red",
    Role.WARNING: "bold yellow",
    Role.INFO: "bold cyan",
    Role.MARK: "blue",
}


class Format(enum.StrEnum):
    """How to write."""

    TEXT = "text"
    JSON = "json"
    SARIF = "sarif"


class FailOn(enum.StrEnum):
    """Which problems make the exit code 1."""

    ERROR = "error"
    WARNING = "warning"


def check(
    paths: Annotated[
        list[Path], typer.Argument(help="Folders and files with objects, in YAML or JSON; - is the standard input.")
    ],
    output: Annotated[Format, typer.Option("--format", help="For people, for scripts, for code review.")] = Format.TEXT,
    fail_on: Annotated[FailOn, typer.Option(help="Which problems make the exit code 1.")] = FailOn.ERROR,
    suppress: Annotated[
        list[str] | None,
        typer.Option(metavar="CODE[=OBJECT]", help="Leave out a code, of objects like Kind/namespace/name with *."),
    ] = None,
    notes: Annotated[
        bool, typer.Option("--notes", help="Show also what is worth a thought, as of severity info.")
    ] = False,
    expires_within: Annotated[
        int, typer.Option(min=0, metavar="DAYS", help="Tell of certificates that end within so many days.")
    ] = EXPIRES_SOON.days,
) -> None:
    """Say what is wrong with objects: the line, why it matters, and what to do. Needs no server.

    Exit code 0 when nothing is wrong, 1 when something is, 2 when the command cannot be carried out.
    """
    suppressions = [_suppression(text) for text in suppress or ()]
    world, reading = load(paths)
    found = all_problems(world, reading, soon=timedelta(days=expires_within))
    kept = unsuppressed(world, found, suppressions)
    shown = [problem for problem in kept if notes or problem.severity is not Severity.INFO]
    match output:
        case Format.JSON:
            print(as_json(shown))
        case Format.SARIF:
            print(as_sarif(shown, version("fairlead")))
        case Format.TEXT:
            _print(as_text(shown, lines_of(reading)))
            print(summary(shown, world.size(), suppressed=len(found) - len(kept), hidden=len(kept) - len(shown)))
    severe = {Severity.ERROR} if fail_on is FailOn.ERROR else {Severity.ERROR, Severity.WARNING}
    if any(problem.severity in severe for problem in kept):
        raise typer.Exit(1)


def _suppression(text: str) -> Suppression:
    try:
        return parse(text)
    except ValueError as fault:
        raise typer.BadParameter(str(fault), param_hint="--suppress") from fault


def _print(pieces: Iterable[Piece]) -> None:
    """Write in colour on a terminal, and plainly elsewhere."""
    text = Text.assemble(*((piece.text, _STYLES[piece.role]) for piece in pieces))
    if OUT.is_terminal:
        OUT.print(text, end="")
    else:
        print(text.plain, end="")
