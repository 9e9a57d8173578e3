"""One resource type on one stream: what both variants of the protocol have in common.

How a request is understood depends on the response that it names by its nonce, and on whether it carries an error;
see `MEANINGS`. Versions do not enter into it: they cannot tell an acknowledgement from a refusal once names change
while versions do not.

Rules for responses:

- A response is caused by a change of state or of the subscription; a request that changes neither causes none. The one
  exception: a state-of-the-world client that repeats its request asks again (`sotw`).
- One response per type is under way; it holds the newest state. Other types never wait for it, but for removals.
- What a client has been offered counts as sent, whether it accepts or refuses it. So nothing that was refused is sent
  again before it changes or is asked for.
"""

import enum
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar, Generic, NamedTuple, TypeVar

from fairlead.protocol.containment import Containment, Held
from fairlead.protocol.events import Acknowledged, Event, FaultsFound, Rejected, Subscribed, SyncState, TypeStatus
from fairlead.protocol.ledger import Ledger
from fairlead.protocol.rules import EMPTY, NAMED_IN_REFUSALS, UNDIVIDED
from fairlead.protocol.subscription import Subscription
from fairlead.snapshot.messages import (
    FAILED_PRECONDITION,
    NOT_FOUND,
    DeltaDiscoveryRequest,
    DiscoveryRequest,
    ErrorDetail,
    Response,
)
from fairlead.snapshot.resource import Resource
from fairlead.snapshot.table import Part, Table, Variant
from fairlead.snapshot.types import SEND_ORDER, SHORT_NAMES

RESPONSE_BYTES = 3 << 20
"""Responses that can be divided are, at this size: gRPC clients refuse more than 4 MiB by default, all included."""

ABSENCES_PER_RESPONSE = 4_000
"""How many names that do not exist are answered in one response: they come on top of `RESPONSE_BYTES`, and a list of
very many must not hold up others."""

RequestT = TypeVar("RequestT", DiscoveryRequest, DeltaDiscoveryRequest)


class Nonce(enum.Enum):
    """Which response of its type and stream a request names."""

    NONE_SENT = enum.auto()
    """There is none yet: whatever it names belongs to an earlier stream."""
    AWAITED = enum.auto()
    """The newest, which has not been answered."""
    ANSWERED = enum.auto()
    """The newest, once more."""
    OTHER = enum.auto()
    """An older one, or none."""


class Meaning(enum.Enum):
    """What a request says about the responses."""

    OPENING = enum.auto()
    ACKNOWLEDGEMENT = enum.auto()
    REFUSAL = enum.auto()
    REPETITION = enum.auto()
    """The client has answered already and says nothing new about the response."""
    REPEATED_REFUSAL = enum.auto()
    STALE = enum.auto()
    """The client has not seen the newest response yet."""


MEANINGS: Mapping[tuple[Nonce, bool], Meaning] = {
    # nonce, whether there is an error
    (Nonce.NONE_SENT, False): Meaning.OPENING,
    (Nonce.NONE_SENT, True): Meaning.OPENING,
    (Nonce.AWAITED, False): Meaning.ACKNOWLEDGEMENT,
    (Nonce.AWAITED, True): Meaning.REFUSAL,
    (Nonce.ANSWERED, False): Meaning.REPETITION,
    (Nonce.ANSWERED, True): Meaning.REPEATED_REFUSAL,
    (Nonce.OTHER, False): Meaning.STALE,
    (Nonce.OTHER, True): Meaning.STALE,
}


@dataclass(slots=True)
class Draft:
    """A response in the making."""

    version: str
    frames: list[bytes] = field(default_factory=list)
    resources: tuple[Resource, ...] = ()
    removed: list[str] = field(default_factory=list)
    errors: list[tuple[str, ErrorDetail]] = field(default_factory=list)
    full_state: bool = False
    """Whether what is not in it is thereby removed."""
    changed: frozenset[str] = frozenset()
    """Names of the resources in it that the client did not hold, or not in this version."""
    before: Mapping[str, Held] = field(default_factory=dict)
    """What the client held under these names, if anything."""
    new: frozenset[str] = frozenset()
    """Those of them that the client did not hold in any version, or has asked for anew."""

    def add(self, part: Part) -> None:
        """Add resources."""
        self.frames.append(part.frame)
        self.resources = self.resources + part.resources if self.resources else part.resources

    def __bool__(self) -> bool:
        """Whether it says anything."""
        return bool(self.full_state or self.frames or self.removed or self.errors)


class _Sent(NamedTuple):
    nonce: str
    version: str
    resources: tuple[Resource, ...]
    removed: tuple[str, ...]
    changed: frozenset[str]
    before: Mapping[str, Held]


class Conversation(ABC, Generic[RequestT]):
    """The requests and responses for one type on one stream."""

    variant: ClassVar[Variant]

    def __init__(self, type_url: str, events: list[Event]) -> None:
        self.type_url = type_url
        self.rank = SEND_ORDER.index(type_url)
        """Its place in the order in which types are sent."""
        self._events = events
        self.subscription = Subscription()
        self.ledger: Ledger | None = None
        """None until there is a table to serve from."""
        self.owes_answer = False
        """Whether the client waits for a response even if there is nothing to send."""
        self._claims: Mapping[str, str] = {}
        self._returning = False
        """Whether the client holds resources from an earlier stream without saying which."""
        self._nonce = ""
        self._awaited: _Sent | None = None
        self._version = ""
        self._error: ErrorDetail | None = None
        """Of the newest refusal, unless a response has been acknowledged since."""
        self._blames_nothing = False
        """Whether it was a refusal of a response without any resources that could be contained."""

    # --- Input ---

    def serve(self, table: Table) -> None:
        """Begin to serve from `table`."""
        self.ledger = Ledger(table, self.subscription, self._claims)
        self._claims = {}

    def doubt(self, names: frozenset[str]) -> None:
        """What the client says that it holds of these is not to be relied upon; before `serve`."""
        if not names.isdisjoint(self._claims):
            self._claims = {name: held for name, held in self._claims.items() if name not in names}

    @abstractmethod
    def receive(self, request: RequestT) -> None:
        """Take in a request."""

    def _understand(self, request: RequestT) -> Meaning:
        if not self._nonce:
            nonce = Nonce.NONE_SENT
        elif request.nonce != self._nonce:
            nonce = Nonce.OTHER
        else:
            nonce = Nonce.AWAITED if self._awaited else Nonce.ANSWERED
        return MEANINGS[nonce, request.error is not None]

    def _settle(self, meaning: Meaning, error: ErrorDetail | None) -> None:
        sent = self._awaited
        if sent is None or meaning not in (Meaning.ACKNOWLEDGEMENT, Meaning.REFUSAL):
            return
        self._awaited, self._error = None, error
        if error is None:
            self._version = sent.version
            self._events.append(Acknowledged(self.type_url, sent.nonce, sent.version, sent.resources, sent.removed))
            if self.ledger is not None:
                self.ledger.accepted(sent.resources)
        else:
            self._events.append(Rejected(self.type_url, sent.nonce, sent.version, sent.resources, sent.removed, error))
            if self.ledger is not None:
                self._contain(self.ledger, sent, error)

    def _contain(self, ledger: Ledger, sent: _Sent, error: ErrorDetail) -> None:
        found = ledger.refused(sent.resources, sent.changed, sent.before, error, returning=self._returning)
        if found:
            self._events.append(FaultsFound(self.type_url, found))
        self._blames_nothing = ledger.containment is None
        if sent.changed and self.type_url not in NAMED_IN_REFUSALS:
            # Of what else the response said, nothing has been taken in either. Alone it will not be told a third time.
            told = {*sent.removed, *(resource.name for resource in sent.resources)} - sent.changed
            ledger.renew(frozenset(name for name in told if name in self.subscription))

    def _resubscribe(self, subscription: Subscription, asked: frozenset[str]) -> None:
        before, self.subscription = self.subscription, subscription
        if self.ledger is not None:
            self.ledger.resubscribe(subscription, asked)
        if (before.names, before.wildcard) != (subscription.names, subscription.wildcard):
            added, removed = subscription.names - before.names, before.names - subscription.names
            self._events.append(Subscribed(self.type_url, added, removed, subscription.wildcard))

    # --- Output ---

    @property
    def ready(self) -> bool:
        """Whether there is something to say, as soon as the client has answered."""
        return self.ledger is not None and bool(self.owes_answer or self.ledger.due or self.ledger.behind)

    @property
    def waiting(self) -> bool:
        """Whether there is something to say, be it that other types have to be acknowledged first."""
        return self.ready or (self.ledger is not None and bool(self.ledger.kept))

    @property
    def free(self) -> bool:
        """Whether a response may be sent: the last one has been answered."""
        return self._awaited is None

    @property
    def rests(self) -> bool:
        """Whether there is nothing to say, nor anything to wait for, until something happens."""
        return self.free and not self.waiting and self._containment is None

    @property
    def settled(self) -> bool:
        """Whether the client has acknowledged all that it is to have."""
        return self.free and not self.waiting and not self._refuses

    @property
    def _containment(self) -> Containment | None:
        return None if self.ledger is None else self.ledger.containment

    @property
    def _refuses(self) -> bool:
        """Whether the client lacks something because it refuses it."""
        return self._containment is not None or (self._error is not None and self._blames_nothing)

    def draft(self) -> Draft | None:
        """The next response, from the newest state; what is in it counts as offered.

        None when there is nothing that this variant of the protocol has words for.
        """
        if self.ledger is None:
            return None
        draft, owed = self._draft(self.ledger), self.owes_answer
        self.owes_answer = False
        return draft if draft or owed else None

    @abstractmethod
    def _draft(self, ledger: Ledger) -> Draft:
        """What can be sent now; it counts as offered."""

    def send(self, draft: Draft, nonce: str) -> Response:
        """Note that a draft is under way."""
        self._nonce = nonce
        self._awaited = _Sent(nonce, draft.version, draft.resources, tuple(draft.removed), draft.changed, draft.before)
        return Response(
            type_url=self.type_url,
            nonce=nonce,
            version=draft.version,
            frames=tuple(draft.frames),
            removed=tuple(draft.removed),
            errors=tuple(draft.errors),
        )

    def _changes(self, ledger: Ledger) -> Draft:
        # Only what the client lacks, as far as it fits into one response.
        draft, pending = Draft(ledger.table.version), ledger.pending()
        present = ledger.table.present(pending.difference(ledger.instead) if ledger.instead else pending)
        parts = ledger.table.parts(self.variant, present, None if self.type_url in UNDIVIDED else RESPONSE_BYTES)
        if len(parts) > 1:
            present, absent = parts[0].names, []
        else:
            absent = sorted(pending - present)[:ABSENCES_PER_RESPONSE]
        for part in parts[:1]:
            draft.add(part)
        stand_ins = [resource for name in absent if (resource := self._tell_absent(name, ledger, draft)) is not None]
        if stand_ins:
            draft.add(Part.of(self.variant, stand_ins))
            present = present.union(name for name in absent if ledger.instead.get(name) is not None)
        draft.changed, draft.new = present, ledger.new(present)
        draft.before = ledger.offered(present.union(absent))
        return draft

    def _tell_absent(self, name: str, ledger: Ledger, draft: Draft) -> Resource | None:
        # What stands for a name that is not in the table, unless it is to be told otherwise.
        resource, empty = ledger.get(name), EMPTY.get(self.type_url)
        if resource is not None:
            return resource
        if empty is not None and name in self.subscription.names:
            return empty(name)
        named = name in self.subscription.names
        if named:
            draft.errors.append((name, self._why_absent(name, ledger)))
        if named or ledger.holds(name):
            draft.removed.append(name)
        return None

    def _why_absent(self, name: str, ledger: Ledger) -> ErrorDetail:
        if name in ledger.instead:
            said = (
                f"{SHORT_NAMES[self.type_url]} resource {name!r} was refused; it is offered again when it has changed"
            )
            return ErrorDetail(FAILED_PRECONDITION, said)
        return not_found(self.type_url, name)

    @property
    def status(self) -> TypeStatus:
        """How the client stands."""
        # A client that comes back holding all that it asks for need not be sent anything.
        if not self._nonce and (self.ledger is None or self.waiting or not self.subscription.names):
            state = SyncState.NOT_SENT
        elif self.free and self._refuses and not self.ready:
            state = SyncState.REJECTED
        else:
            state = SyncState.SYNCED if self.settled else SyncState.STALE
        error = self._error if self._refuses else None
        contained = self._containment.contained if self._containment is not None else ()
        wanted = self.subscription
        return TypeStatus(state, self._version, error, wanted.wildcard, wanted.names, contained)


def not_found(type_url: str, name: str) -> ErrorDetail:
    """Why a name that was asked for is not served."""
    return ErrorDetail(NOT_FOUND, f"{SHORT_NAMES[type_url]} resource {name!r} does not exist")
