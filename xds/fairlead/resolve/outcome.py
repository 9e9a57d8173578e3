"""A result together with what was wrong with the objects that it was made from."""

from dataclasses import dataclass
from typing import Generic, TypeVar

from fairlead.problems import Problem

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Outcome(Generic[T]):
    """A value and the problems that were found on the way; a value can be whole in spite of problems."""

    value: T
    problems: tuple[Problem, ...] = ()
