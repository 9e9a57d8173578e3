"""What happened on a stream, for those who watch: logs, metrics, status, containment.

Events are tuples, and so is what a stream remembers of a response: to make a frozen dataclass takes three times as
long, and a change of a fleet's configuration makes thousands of them.
"""

import enum
from dataclasses import dataclass
from typing import NamedTuple

from fairlead.protocol.containment import Contained
from fairlead.snapshot.messages import ErrorDetail
from fairlead.snapshot.resource import Resource


class Subscribed(NamedTuple):
    """A client wants other names of a type than before."""

    type_url: str
    added: frozenset[str]
    removed: frozenset[str]
    wildcard: bool
    """Whether it wants everything of the type, besides the names."""


class Acknowledged(NamedTuple):
    """A client has taken in a response, which does not mean that it serves it yet."""

    type_url: str
    nonce: str
    version: str
    resources: tuple[Resource, ...]
    removed: tuple[str, ...]


class Rejected(NamedTuple):
    """A client has refused a response. Envoy applies the faultless resources of it all the same."""

    type_url: str
    nonce: str
    version: str
    resources: tuple[Resource, ...]
    removed: tuple[str, ...]
    error: ErrorDetail
    """In the client's words, which name the resources at fault if they do."""


class FaultsFound(NamedTuple):
    """What is at fault in refused responses has been found, maybe after some more of them."""

    type_url: str
    contained: tuple[Contained, ...]


Event = Subscribed | Acknowledged | Rejected | FaultsFound


class SyncState(enum.StrEnum):
    """How a client and what it is offered of a type stand to each other."""

    NOT_SENT = "not sent"
    SYNCED = "synced"
    """The client has everything: it has acknowledged it, or said that it holds it from an earlier stream."""
    STALE = "stale"
    """Something is under way, or waits for the acknowledgement of something else."""
    REJECTED = "rejected"
    """The client refuses something, and has what it accepted before instead."""


@dataclass(frozen=True, slots=True)
class TypeStatus:
    """How a client stands with one type."""

    state: SyncState
    version: str
    """Of the response that was acknowledged last; empty when none was."""
    error: ErrorDetail | None
    """Why the newest response was refused, if it was."""
    wildcard: bool
    names: frozenset[str]
    """What is subscribed to by name."""
    contained: tuple[Contained, ...] = ()
    """What the client lacks because it refuses it: as far as that is known, for suspects may still be on trial."""
