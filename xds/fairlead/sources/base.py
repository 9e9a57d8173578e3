"""What the hub knows of a source of objects.

A source reads objects, sets the faulty ones aside, and tells the difference to what it told before. It is left to
itself: when the place that it reads from vanishes, it keeps what it has told, reports a problem and waits.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Protocol

from fairlead.models.base import KubernetesObject
from fairlead.problems import FieldPath, ObjectKey, Position, Problem
from fairlead.world import ObjectName


@dataclass(frozen=True, slots=True)
class Update:
    """What has changed in a source since the update before."""

    put: tuple[KubernetesObject, ...]
    """Objects that are new or differ from what was told before."""
    removed: tuple[tuple[type[KubernetesObject], ObjectName], ...]
    """Objects that are gone, as `World.remove` takes them, even such that went before they were told."""
    problems: tuple[Problem, ...]
    """All present problems of the source, not only new ones, with their positions."""
    synced: bool
    """Everything that the source was told to read has been read once. It never turns back to False."""
    noticed: float | None = None
    """When the source noticed the first of it: a time of `time.monotonic`. None: just now."""


Deliver = Callable[[Update], Awaitable[None]]


class Source(Protocol):
    """A source of objects. Sources of one server must not have objects in common."""

    async def run(self, deliver: Deliver) -> None:
        """Read, and go on to follow changes until cancelled.

        The first update comes when all that can be read has been read. Between two updates the source waits for
        `deliver`; what happens meanwhile is in the next one.
        """
        ...

    def locate(self, key: ObjectKey, path: FieldPath) -> Position | None:
        """The place of a field of an object in the text that the object was last accepted from.

        None when the source has no such object. The field's closest ancestor stands for one that is not written.
        """
        ...
