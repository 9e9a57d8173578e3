"""The command `fairlead`."""

from importlib.metadata import version
from typing import Annotated

import typer

from fairlead.cli.bootstrap import bootstrap
from fairlead.cli.check import check
from fairlead.cli.demo import demo
from fairlead.cli.diff import diff
from fairlead.cli.explain import explain
from fairlead.cli.pki import pki
from fairlead.cli.ratelimit import ratelimit
from fairlead.cli.render import render
from fairlead.cli.serve import serve
from fairlead.cli.status import status

app = typer.Typer(
    name="fairlead",
    help="A control plane for stock Envoy proxies: YAML objects in, xDS out.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
for command in (serve, ratelimit, check, render, explain, diff, status, bootstrap, demo):
    app.command()(command)
app.add_typer(pki, name="pki")


def _show_version(asked: bool) -> None:
    if asked:
        typer.echo(f"fairlead {version('fairlead')}")
        raise typer.Exit


@app.callback()
def _options(
    _version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    pass


def main() -> None:
    """Run the command line."""
    app()
