"""What Istio's own validation refuses or warns about, kind by kind."""

from collections.abc import Callable, Iterable
from typing import Any

from fairlead.problems import Problem

RULES: dict[type, Callable[[Any], Iterable[Problem]]] = {}
"""The rules of each kind."""
