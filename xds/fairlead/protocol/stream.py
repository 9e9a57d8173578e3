"""One stream: the conversations about all types, and the order among them.

- Make before break: responses go out in the order of `types.SEND_ORDER`. No type waits for the acknowledgement of
  another, for Envoy withholds that of clusters until it has their endpoints. But removals wait, for those of the types
  that can refer to what is removed (`rules.REMOVAL_WAITS_FOR`).
- Endpoints follow every changed cluster, changed or not: Envoy lets the cluster warm until they come, for 15 seconds
  by default, and does not ask for them in the incremental variant. Those of a new cluster follow unasked: by the time
  that Envoy has asked for them, it would have the routes that use the cluster, and answer 503. An endpoint assignment
  is named like its cluster.
"""

import math
from abc import ABC, abstractmethod
from operator import attrgetter
from typing import ClassVar, Generic

from fairlead.errors import LimitError, ProtocolError
from fairlead.protocol.conversation import Conversation, Draft, RequestT
from fairlead.protocol.events import Event, TypeStatus
from fairlead.protocol.rules import REMOVAL_WAITS_FOR
from fairlead.snapshot.limits import NAMES
from fairlead.snapshot.messages import Node, Response
from fairlead.snapshot.table import Snapshot
from fairlead.snapshot.types import CLUSTER, CLUSTER_LOAD_ASSIGNMENT, ROUTE_CONFIGURATION

_RANK = attrgetter("rank")

_FOLLOWED = frozenset({CLUSTER, ROUTE_CONFIGURATION})
"""Types of which a response can make another type due."""


class Stream(ABC, Generic[RequestT]):
    """The state of one stream. `type_url` is given for streams that serve one type only."""

    types: ClassVar[tuple[str, ...]]
    """What can be asked for, in the order in which it is sent."""

    def __init__(self, type_url: str = "") -> None:
        self.node: Node | None = None
        """Who the client says that it is; from its first request that says so."""
        self._only = type_url
        self._snapshot: Snapshot | None = None
        self._revisions: tuple[int, ...] = ()
        """Those of the snapshot up to which changes of its tables have been noticed."""
        self._conversations: dict[str, Conversation[RequestT]] = {}
        self._restless: set[Conversation[RequestT]] = set()
        """Those that may have something to say, or to wait for: when a thousand streams have to be told something of
        one type, nobody looks at what each of them knows of the others."""
        self.exhausted = False
        """Whether the response that was taken last was the only one, until something happens."""
        self._warming: frozenset[str] = frozenset()
        """Clusters that there are, and that have been sent before the client has asked for endpoints."""
        self._nonces = 0
        self._events: list[Event] = []

    # --- Input ---

    def receive(self, request: RequestT) -> None:
        """Take in a request. Raises `ProtocolError` when the stream has to be ended for it, `LimitError` among them.

        Types that are not served are ignored: a client that asks for one may need the others.
        """
        type_url = request.type_url or self._only
        if not type_url:
            raise ProtocolError("a request on an aggregated stream must name a type_url")
        if self._only and type_url != self._only:
            raise ProtocolError(f"a request for {type_url} on a stream of {self._only}")
        self.node = self.node or request.node
        if type_url not in self.types:
            return
        conversation = self._conversations.get(type_url)
        if conversation is not None:
            conversation.receive(request)
            self._restless.add(conversation)
            if (asked := len(conversation.subscription.names)) > NAMES:
                raise LimitError(f"the stream asks for {asked} names of {type_url}; {NAMES} are allowed")
            return
        conversation = self._converse(type_url)
        conversation.receive(request)
        self._restless.add(conversation)
        conversations = {**self._conversations, type_url: conversation}
        self._conversations = {
            type_url: conversations[type_url] for type_url in self.types if type_url in conversations
        }
        if self._snapshot is not None:
            if type_url == CLUSTER_LOAD_ASSIGNMENT:
                conversation.doubt(self._warming)
                self._warming = frozenset()
            conversation.serve(self._snapshot.tables[type_url])

    @abstractmethod
    def _converse(self, type_url: str) -> Conversation[RequestT]:
        """Begin with a type."""

    def offer(self, snapshot: Snapshot, now: float) -> None:
        """Serve from `snapshot` from now on: what differs from what has been sent is sent, no more.

        Nothing is answered before the first time.
        """
        self._snapshot, self._revisions = snapshot, snapshot.revisions()
        for type_url, conversation in self._conversations.items():
            if conversation.ledger is None:
                conversation.serve(snapshot.tables[type_url])
            else:
                conversation.ledger.move(snapshot.tables[type_url], now)
        self._restless.update(self._conversations.values())

    def changed(self, now: float) -> bool:
        """Take note of changes of the tables; returns whether `next_response` may have something.

        Whoever changes tables calls it, when all tables of the snapshot belong to one state of the world.
        """
        self._notice()
        found = False
        for conversation in self._restless:
            if (ledger := conversation.ledger) is not None:
                put_off = ledger.glance(now)
                if conversation.free:
                    ledger.retry(now)
                    found = found or put_off or conversation.waiting
        return found

    def _notice(self) -> None:
        """Find the types whose tables have changed."""
        if self._snapshot is None or (revisions := self._snapshot.revisions()) == self._revisions:
            return
        for type_url, now, before in zip(self._snapshot.tables, revisions, self._revisions, strict=True):
            if now != before and type_url in self._conversations:
                self._restless.add(self._conversations[type_url])
        self._revisions = revisions

    # --- Output ---

    def next_response(self, now: float) -> Response | None:
        """The response to send next, made of the newest state; None when there is none for the time being.

        There may be one after the next call of `receive`, `offer` or `changed`, and at `wake_at`.
        """
        self._notice()
        free = []
        for conversation in self._restless if len(self._restless) == 1 else sorted(self._restless, key=_RANK):
            if (ledger := conversation.ledger) is not None:
                ledger.catch_up(now)
                if conversation.free:
                    ledger.retry(now)
                    free.append(conversation)
        while free:
            self._release(free, now)
            ready = [conversation for conversation in free if conversation.ready]
            if not ready:
                break
            for conversation in ready:
                draft = conversation.draft()
                if draft is not None:
                    self._nonces += 1
                    self._sent(conversation.type_url, draft)
                    self.exhausted = len(ready) == 1 and conversation.type_url not in _FOLLOWED
                    return conversation.send(draft, str(self._nonces))
            # What cannot be told counts as told, and may have been what removals of other types waited for.
        self._restless.difference_update([conversation for conversation in free if conversation.rests])
        return None

    def _release(self, conversations: list[Conversation[RequestT]], now: float) -> None:
        for conversation in conversations:
            if conversation.ledger is not None and conversation.ledger.kept:
                referrers = self._referrers(conversation.type_url)
                conversation.ledger.retain(self._retained(referrers), now)
                if all(referrer.settled for referrer in referrers):
                    conversation.ledger.release()
                else:
                    conversation.ledger.release(until=now)

    def _referrers(self, type_url: str) -> list[Conversation[RequestT]]:
        types = REMOVAL_WAITS_FOR[type_url]
        return [self._conversations[referrer] for referrer in types if referrer in self._conversations]

    def _retained(self, referrers: list[Conversation[RequestT]]) -> list[bytes]:
        return [body for referrer in referrers if referrer.ledger is not None for body in referrer.ledger.retained]

    def _sent(self, type_url: str, draft: Draft) -> None:
        endpoints = self._conversations.get(CLUSTER_LOAD_ASSIGNMENT)
        clusters = self._conversations.get(CLUSTER)
        if type_url != CLUSTER or clusters is None or clusters.ledger is None:
            return
        if endpoints is None:
            self._warming = clusters.ledger.table.present(self._warming | draft.changed)
        elif endpoints.ledger is not None:
            names = endpoints.subscription.names
            self._restless.add(endpoints)
            endpoints.ledger.renew(draft.changed & names)
            if names:
                endpoints.ledger.ask(endpoints.ledger.table.present(draft.changed - names))

    @property
    def wake_at(self) -> float | None:
        """When `next_response` has to be called at the latest, if nothing else happens: the time that `now` is of."""
        found = math.inf
        for conversation in self._restless:
            if conversation.free and conversation.ledger is not None:
                found = min(found, conversation.ledger.wake_at)
        return found if found < math.inf else None

    def events(self) -> list[Event]:
        """What has happened since the last call."""
        events, self._events[:] = list(self._events), []
        return events

    def status(self) -> dict[str, TypeStatus]:
        """How the client stands, by the types that it has asked for."""
        return {type_url: conversation.status for type_url, conversation in self._conversations.items()}
