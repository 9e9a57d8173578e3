"""What commands write: for people with colour where there is a terminal, plain where there is none."""

import sys
from typing import NoReturn

import typer
from rich.console import Console
from rich.text import Text

_PIPE_WIDTH = 400
"""Columns where there is no terminal that would have a width: nothing is cut off."""

# Without emoji, for which `file.yaml:100:1` would be one.
OUT = Console(soft_wrap=True, highlight=False, emoji=False, width=None if sys.stdout.isatty() else _PIPE_WIDTH)
ERR = Console(stderr=True, soft_wrap=True, highlight=False, emoji=False)

USAGE_ERROR = 2


def fail(message: str, code: int = USAGE_ERROR) -> NoReturn:
    """Say what is wrong on standard error, and end the command."""
    ERR.print(Text.assemble(("error:", "bold red"), f" {message}"))
    raise typer.Exit(code)
