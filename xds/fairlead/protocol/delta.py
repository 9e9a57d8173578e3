"""The incremental variant: requests change the set of names, responses hold what has changed.

Rules for requests:

- The nonce says which response a request answers, and nothing else: names are honoured whatever it is. One request can
  be an acknowledgement, a subscription and an unsubscription at once.
- The first request of a type says what the client holds. That is a claim, compared by version and corrected; it is no
  subscription.
- A name that is subscribed to is sent, even if the client should have it: it may have dropped it.
- A name that is unsubscribed from is forgotten, without an answer; unless the client has the wildcard too, and has to
  be told what remains of it.
"""

from collections.abc import Iterable

from fairlead.protocol.conversation import Conversation, Draft
from fairlead.protocol.ledger import Ledger
from fairlead.protocol.rules import IMPLICIT_WILDCARD
from fairlead.protocol.stream import Stream
from fairlead.protocol.subscription import WILDCARD
from fairlead.snapshot import wire
from fairlead.snapshot.messages import DeltaDiscoveryRequest
from fairlead.snapshot.resource import Resource
from fairlead.snapshot.table import Variant
from fairlead.snapshot.types import ROUTE_CONFIGURATION, SEND_ORDER, VIRTUAL_HOST


class DeltaConversation(Conversation[DeltaDiscoveryRequest]):
    """One type on an incremental stream."""

    variant = Variant.DELTA

    _opened = False

    def receive(self, request: DeltaDiscoveryRequest) -> None:
        """Take in a request."""
        opening, self._opened = not self._opened, True
        if opening:
            self._claims = request.initial_versions
        elif self._claims:
            asked = frozenset(request.subscribe)
            self._claims = {name: held for name, held in self._claims.items() if name not in asked}
        self._settle(self._understand(request), request.error)
        if opening or request.subscribe or request.unsubscribe:
            self._change(request, opening=opening)

    def _change(self, request: DeltaDiscoveryRequest, *, opening: bool) -> None:
        before = self.subscription
        after = before.changed(request.subscribe, request.unsubscribe, opening and self.type_url in IMPLICIT_WILDCARD)
        if after.wildcard != before.wildcard:
            self.owes_answer = after.wildcard
        self._resubscribe(after, after.names.intersection(request.subscribe))
        if self.ledger is not None and after.wildcard:
            if before.wildcard and WILDCARD in request.subscribe:
                self.ledger.renew(self.ledger.table.names().union(self.ledger.kept))
            self.ledger.renew(before.names - after.names)

    def _draft(self, ledger: Ledger) -> Draft:
        return self._changes(ledger)


class VirtualHostConversation(DeltaConversation):
    """Virtual hosts: a client takes those that it is sent, without asking for any.

    They are named ``<route configuration>/<host>``. A listener whose RouteConfiguration leaves them to discovery warms
    until it has got at least one entry for it, be it one without a body.
    """

    _unanswered: frozenset[str] = frozenset()
    """Route configurations for which the client waits."""

    @property
    def ready(self) -> bool:
        """Whether there is something to say, as soon as the client has answered."""
        return super().ready or (self.ledger is not None and bool(self._unanswered))

    def introduce(self, route_configurations: Iterable[str]) -> None:
        """The client has got these anew: what it was sent of their virtual hosts before, it has dropped."""
        tables = frozenset(route_configurations)
        self._unanswered |= tables
        if self.ledger is not None and tables:
            names = self.ledger.table.names().union(self.ledger.behind)
            self.ledger.ask(frozenset(name for name in names if name.rpartition("/")[0] in tables))

    def _draft(self, ledger: Ledger) -> Draft:
        draft = super()._draft(ledger)
        for table in sorted(self._unanswered):
            prefix = f"{table}/"
            if not any(name.startswith(prefix) for name in ledger.table.names()):
                draft.frames.append(wire.delta_absence_item(f"{prefix}*"))
        self._unanswered = frozenset()
        return draft

    def _tell_absent(self, name: str, ledger: Ledger, draft: Draft) -> Resource | None:
        if name in ledger.due and name in self.subscription.names:
            # Envoy holds the request that made it ask, until it gets an entry; a removal is no answer to it.
            draft.frames.append(wire.delta_absence_item(name))
            return None
        return super()._tell_absent(name, ledger, draft)


class DeltaStream(Stream[DeltaDiscoveryRequest]):
    """A stream of `DeltaAggregatedResources`, or of one type in the same variant."""

    types = SEND_ORDER

    def _converse(self, type_url: str) -> DeltaConversation:
        if type_url != VIRTUAL_HOST:
            return DeltaConversation(type_url, self._events)
        conversation = VirtualHostConversation(type_url, self._events)
        routes = self._conversations.get(ROUTE_CONFIGURATION)
        if routes is not None:
            conversation.introduce(routes.subscription.names)
        return conversation

    def _sent(self, type_url: str, draft: Draft) -> None:
        super()._sent(type_url, draft)
        hosts = self._conversations.get(VIRTUAL_HOST)
        if type_url == ROUTE_CONFIGURATION and isinstance(hosts, VirtualHostConversation):
            hosts.introduce(draft.new)
            self._restless.add(hosts)
