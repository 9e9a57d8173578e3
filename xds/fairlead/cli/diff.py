"""`fairlead diff`: what a change of objects does to proxies, before it is made."""

import enum
import json
from pathlib import Path
from typing import Annotated

import typer

from fairlead.check.suppression import unsuppressed
from fairlead.cli.offline import all_problems, load
from fairlead.cli.output import ERR, OUT
from fairlead.cli.proxies import chosen, name_of
from fairlead.cli.render import resources
from fairlead.comparison import Difference, as_text, compare, service_changes
from fairlead.problems import Problem, Severity
from fairlead.resolve import runtime
from fairlead.sources.files.once import Reading
from fairlead.status import ProblemStatus, one_line
from fairlead.world import World


class Format(enum.StrEnum):
    """How to write."""

    TEXT = "text"
    JSON = "json"


def diff(
    old: Annotated[Path, typer.Argument(help="Folder or file with the objects as they are.")],
    new: Annotated[Path, typer.Argument(help="Folder or file with the objects as they shall be.")],
    proxy: Annotated[
        str,
        typer.Option(
            help="Only for this proxy, [sidecar:]NAMESPACE/k=v,...; without: all that objects must be meant for."
        ),
    ] = "",
    namespace: Annotated[str, typer.Option(help="Namespace of the proxy that --labels describes.")] = "default",
    labels: Annotated[str, typer.Option(help="Labels of a proxy, k=v,...")] = "",
    output: Annotated[Format, typer.Option("--format", help="For people, or for scripts.")] = Format.TEXT,
) -> None:
    """Say which requests go elsewhere, which connections drain, which resources and problems change. Needs no server.

    Exit code 0 when nothing differs, 1 when something does, 2 when the command cannot be carried out.

    \b
    fairlead diff /etc/fairlead ./new
    git worktree add /tmp/main main && fairlead diff /tmp/main/objects ./objects
    """  # noqa: D301  # \b keeps typer from filling the lines
    (before, old_reading), (after, new_reading) = load([old]), load([new])
    proxies = dict.fromkeys(each for world in (before, after) for each in chosen(world, proxy, namespace, labels))
    if not proxies:
        ERR.print("no object tells of a proxy; name one with --proxy", markup=False)
    differences = [compare(name_of(each), resources(before, each), resources(after, each)) for each in proxies]
    was, will = _problems(before, old_reading), _problems(after, new_reading)
    found = Difference(
        proxies=tuple(each for each in differences if each.resources),
        unchanged=sum(not each.resources for each in differences),
        services=service_changes(runtime.configuration(before), runtime.configuration(after)),
        appeared=tuple(ProblemStatus.of(problem) for key, problem in will.items() if key not in was),
        vanished=tuple(ProblemStatus.of(problem) for key, problem in was.items() if key not in will),
    )
    if output is Format.JSON:
        print(json.dumps(found.as_json(), indent=2))
    else:
        OUT.print("\n".join(map(one_line, as_text(found).splitlines())), markup=False)
    if not found.empty:
        raise typer.Exit(1)


def _problems(world: World, reading: Reading) -> dict[tuple[object, ...], Problem]:
    """The problems that `fairlead check` shows, by all that makes them the same wherever they are written."""
    return {
        (problem.code, problem.key, problem.path, problem.message): problem
        for problem in unsuppressed(world, all_problems(world, reading), ())
        if problem.severity is not Severity.INFO
    }
