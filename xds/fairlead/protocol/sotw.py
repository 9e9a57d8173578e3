"""The state-of-the-world variant: each request names all that the client wants.

What a request does, by its meaning (`conversation.MEANINGS`):

- Stale: nothing. The client is about to answer the newest response too, with its full list.
- Repetition, of the same names: the client asks again. Envoy does so when a cluster or listener warms anew, and waits
  for the answer; so the resources are sent once more. Not of types whose responses are the full state.
- All others: the list of names is taken over, that of a refusal as well.

New names are sent although no version has changed, and although they may have been sent before without being asked for.
"""

from fairlead.protocol.conversation import Conversation, Draft, Meaning
from fairlead.protocol.ledger import Ledger
from fairlead.protocol.rules import DELTA_ONLY, FULL_STATE, IMPLICIT_WILDCARD
from fairlead.protocol.stream import Stream
from fairlead.snapshot.messages import DiscoveryRequest
from fairlead.snapshot.table import Part, Variant
from fairlead.snapshot.types import SEND_ORDER


class StateOfTheWorldConversation(Conversation[DiscoveryRequest]):
    """One type on a state-of-the-world stream."""

    variant = Variant.STATE_OF_THE_WORLD

    def receive(self, request: DiscoveryRequest) -> None:
        """Take in a request."""
        meaning = self._understand(request)
        if meaning is Meaning.OPENING:
            self._returning = bool(request.version)
        if meaning is Meaning.STALE:
            return
        self._settle(meaning, request.error)
        before = self.subscription
        after = before.listed(request.names, self.type_url in IMPLICIT_WILDCARD)
        if after.wildcard != before.wildcard:
            self.owes_answer = after.wildcard and self.type_url in FULL_STATE
        asked = after.names - before.names if after.names is not before.names else frozenset()
        if before.wildcard and after.wildcard and self.ledger is not None:
            asked -= self.ledger.table.present(asked)  # those it has been sent
        if meaning is Meaning.REPETITION and after == before and self.type_url not in FULL_STATE:
            asked = after.names
        self._resubscribe(after, asked)

    def _draft(self, ledger: Ledger) -> Draft:
        if self.type_url in FULL_STATE:
            return self._state(ledger)
        draft = self._changes(ledger)
        draft.removed = []  # which this variant has no words for
        return draft

    def _state(self, ledger: Ledger) -> Draft:
        table, pending = ledger.table, ledger.pending()
        others = [item.resource for item in ledger.kept.values()]
        others += [resource for resource in ledger.instead.values() if resource is not None]
        version = table.version_with(others, without=ledger.instead)
        draft = Draft(version, changed=table.present(pending), full_state=True)
        present = table.names() if self.subscription.wildcard else table.present(self.subscription.names)
        for part in table.parts(self.variant, present.difference(ledger.instead) if ledger.instead else present, None):
            draft.add(part)
        if others:
            draft.add(Part.of(self.variant, others))
        named = sorted(pending & self.subscription.names)
        draft.errors = [(name, self._why_absent(name, ledger)) for name in named if ledger.get(name) is None]
        draft.before = ledger.offered(pending)
        return draft


class StateOfTheWorldStream(Stream[DiscoveryRequest]):
    """A stream of `StreamAggregatedResources`, or of one type in the same variant."""

    types = tuple(type_url for type_url in SEND_ORDER if type_url not in DELTA_ONLY)

    def _converse(self, type_url: str) -> StateOfTheWorldConversation:
        return StateOfTheWorldConversation(type_url, self._events)
