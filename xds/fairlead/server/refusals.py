"""What a client has refused and therefore does not have, and which objects that was made of.

The protocol tells only about the newest response of a type: a client that refused one resource and then took in others
is in step with the protocol, and still without the one. It is so until it gets another version of it.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass

from fairlead.problems import ObjectKey
from fairlead.protocol.events import Acknowledged, Event, Rejected, TypeStatus
from fairlead.snapshot.messages import ErrorDetail
from fairlead.snapshot.resource import Resource
from fairlead.snapshot.table import Table

_LONGEST_ERROR = 2000
_PRIVATE_KEY = re.compile(r"-----BEGIN[^-]*PRIVATE KEY-----.*?(-----END[^-]*PRIVATE KEY-----|$)", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Refusal:
    """Resources of one type that a client has refused."""

    error: str
    """Why, in the client's words."""
    resources: tuple[Resource, ...]

    @classmethod
    def of(cls, event: Rejected) -> "Refusal":
        """The resources are those that the words name; all of the response when they name none."""
        error = in_words(event.error)
        return cls(error, tuple(_named(event.resources, error)) or event.resources)

    @property
    def objects(self) -> tuple[ObjectKey, ...]:
        """What the resources were made of."""
        return tuple(sorted({key for resource in self.resources for key in resource.origin}))


class Refusals:
    """All refusals on one stream."""

    def __init__(self) -> None:
        self._refused: dict[str, dict[str, tuple[Resource, str]]] = {}

    def note(self, event: Event) -> None:
        """Take note of what has happened on the stream."""
        if isinstance(event, Acknowledged | Rejected):
            refused = self._refused.setdefault(event.type_url, {})
            for name in (*(resource.name for resource in event.resources), *event.removed):
                refused.pop(name, None)
            if isinstance(event, Rejected):
                refusal = Refusal.of(event)
                refused.update({resource.name: (resource, refusal.error) for resource in refusal.resources})

    def present(self, table: Table, status: TypeStatus) -> Refusal | None:
        """What the client lacks of what it is offered and wants."""
        found = [
            (resource, error)
            for name, (resource, error) in self._refused.get(table.type_url, {}).items()
            if (status.wildcard or name in status.names) and _version(table.get(name)) == resource.version
        ]
        if not found:
            return None
        return Refusal("; ".join(dict.fromkeys(error for _, error in found)), tuple(resource for resource, _ in found))


def in_words(error: ErrorDetail) -> str:
    """Why a client has refused something, fit to be shown: some clients quote what they refuse."""
    return _PRIVATE_KEY.sub("[private key]", error.message)[:_LONGEST_ERROR]


def _named(resources: tuple[Resource, ...], text: str) -> Iterator[Resource]:
    # Longer names first, for they may hold shorter ones.
    for resource in sorted(resources, key=lambda resource: -len(resource.name)):
        if resource.name in text:
            text = text.replace(resource.name, " ")
            yield resource


def _version(resource: Resource | None) -> str | None:
    return None if resource is None else resource.version
