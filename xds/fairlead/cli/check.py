"""`fairlead check`: what is wrong with a folder of objects."""

import enum
from importlib.metadata import version
from pathlib import Path
from typing import Annotated

import typer

from fairlead.check.formats import as_json, as_sarif, as_text, summary
from fairlead.cli.offline import all_problems, line_of, load
from fairlead.problems import Severity


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
    paths: Annotated[list[Path], typer.Argument(help="Folders and files with objects, in YAML or JSON.")],
    output: Annotated[Format, typer.Option("--format", help="For people, for scripts, for code review.")] = Format.TEXT,
    fail_on: Annotated[FailOn, typer.Option(help="Which problems make the exit code 1.")] = FailOn.ERROR,
) -> None:
    """Say what is wrong with objects: the line, why, and what to do. Needs no server.

    Exit code 0 when nothing is wrong, 1 when something is, 2 when the command cannot be carried out.
    """
    world, reading = load(paths)
    problems = all_problems(world, reading)
    match output:
        case Format.JSON:
            print(as_json(problems))
        case Format.SARIF:
            print(as_sarif(problems, version("fairlead")))
        case Format.TEXT:
            if problems:
                print(as_text(problems, line_of))
            print(summary(problems, world.size()))
    severe = {Severity.ERROR} if fail_on is FailOn.ERROR else {Severity.ERROR, Severity.WARNING}
    if any(problem.severity in severe for problem in problems):
        raise typer.Exit(1)
