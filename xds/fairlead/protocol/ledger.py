"""What a client has been offered of one type, told by how it differs from the table that it is offered from.

A client in step holds what the table held at a mark. All else are exceptions:

`due`
    Names that it has asked for and holds nothing of.
`behind`
    Other names, that it holds in another version than the table does, or that only one of the two holds.
`kept`
    Names that the table has lost, but that the client is to keep until nothing of it refers to them.
`instead`
    Names under which the client is offered something else than the table has, because it refuses that.

So memory and work are those of the difference, not of the table.
"""

import math
import sys
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from itertools import chain

from fairlead.protocol.containment import UNKNOWN, Contained, Containment, Held
from fairlead.protocol.rules import EMPTY, NAMED_IN_REFUSALS, REMOVAL_WAITS_FOR
from fairlead.protocol.subscription import Subscription, shared
from fairlead.snapshot.messages import ErrorDetail
from fairlead.snapshot.resource import Resource
from fairlead.snapshot.table import Table

REMOVAL_PATIENCE = 15.0
"""Seconds that a removal waits for acknowledgements, so that a client that is stuck does not keep everything for ever.
Envoy itself waits as long for a resource before it goes on without (`ConfigSource.initial_fetch_timeout`)."""

MANY_CHANGES = 256
"""How many changed names are worth putting off: to take note of as many takes about 0.1 ms."""

_NOTHING: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Kept:
    """A resource that has left the table, and until when the client keeps it at the latest."""

    resource: Resource
    until: float
    """Seconds; infinite: until nothing that is retained refers to it."""
    known: bool = True
    """Whether it is what the client has: it may have refused it, and have something else."""


class Ledger:
    """What one client has been offered of one type."""

    __slots__ = (
        "_keeps",
        "_put_off",
        "behind",
        "containment",
        "due",
        "instead",
        "kept",
        "mark",
        "subscription",
        "table",
    )

    def __init__(self, table: Table, subscription: Subscription, claims: Mapping[str, str]) -> None:
        """Begin with a client that says that it holds `claims`, versions by name."""
        self.table = table
        self.subscription = subscription
        self.behind: dict[str, Held] = {}
        self.containment: Containment | None = None
        """Set while there is something that the client refuses."""
        self.instead: dict[str, Resource | None] = {}
        self.kept: dict[str, Kept] = {}
        self._keeps = table.type_url in REMOVAL_WAITS_FOR
        self.mark = table.mark
        """Up to where changes of the table have been taken note of."""
        self._put_off = False
        self.due = table.names() if subscription.wildcard else subscription.names
        if subscription.wildcard and subscription.names:
            self.due = shared(self.due | subscription.names)
        if claims:
            self.due = shared(self.due.difference(claims))
            if claims != table.versions():
                self._compare(claims)

    def _compare(self, claims: Mapping[str, str]) -> None:
        versions, empty = self.table.versions(), EMPTY.get(self.table.type_url)
        for name, held in [claim for claim in claims.items() if versions.get(claim[0]) != claim[1]]:
            if name in self.subscription:
                self.behind[name] = held
                if empty is not None and held == empty(name).version:  # it has been told that there is none
                    if name in versions:
                        self.behind[name] = None
                    else:
                        del self.behind[name]

    def get(self, name: str) -> Resource | None:
        """What the client is offered under that name."""
        kept = self.kept.get(name)
        return kept.resource if kept else self._offer(name)

    def _offer(self, name: str) -> Resource | None:
        return self.instead[name] if name in self.instead else self.table.get(name)

    def pending(self) -> frozenset[str]:
        """The names that have to be sent, or told to be gone."""
        return self.due.union(self.behind) if self.behind else self.due

    def holds(self, name: str) -> bool:
        """Whether the client may hold something under a pending name."""
        return name not in self.due and self.behind.get(name) is not None

    def new(self, names: frozenset[str]) -> frozenset[str]:
        """Those of the pending `names` that the client does not hold, or that it has asked for anew."""
        return (self.due & names).union(name for name, held in self.behind.items() if not held and name in names)

    def offered(self, names: frozenset[str]) -> Mapping[str, Held]:
        """Note that the client has been offered `names` as they are now; returns what it held of them, if anything."""
        if self.due:
            self.due = _NOTHING if self.due <= names else shared(self.due - names)
        if self.behind.keys() <= names:
            before, self.behind = self.behind, {}
            return before
        return {name: self.behind.pop(name) for name in self.behind.keys() & names}

    # --- The client's side changes ---

    def resubscribe(self, subscription: Subscription, asked: frozenset[str]) -> None:
        """The client wants other names than before; `asked` have to be sent whatever it holds."""
        before, self.subscription = self.subscription, subscription
        if subscription.wildcard and not before.wildcard:
            asked = asked | (self.table.names() - before.names)
        if (before.wildcard and not subscription.wildcard) or not before.names <= subscription.names:
            wanted = subscription.names.union(self.table.names()) if subscription.wildcard else subscription.names
            self.due = shared(self.due & wanted)
            refused = self.containment.names if self.containment is not None else ()
            for name in {name for name in (*self.behind, *self.kept, *refused) if name not in subscription}:
                self._forget(name)
        if not asked:
            return
        known = asked if before.wildcard else asked & before.names
        changed = self.mark.before()
        held = frozenset(name for name in known if self._held(name, changed) is not None)
        self.renew(held)
        self.ask(asked - held)

    def _forget(self, name: str) -> None:
        self.behind.pop(name, None)
        self.kept.pop(name, None)
        self.instead.pop(name, None)
        if self.containment is not None:
            self.containment.follow(name, None)

    def _held(self, name: str, changed: Mapping[str, Resource | None]) -> Held:
        if name in self.due or name in self.behind:
            return self.behind.get(name)
        return changed[name] if name in changed and name not in self.instead else self.get(name)

    def ask(self, names: frozenset[str]) -> None:
        """The client has to be sent these, or told that they do not exist; it holds nothing of them."""
        if names:
            self.due = shared(self.due | names) if self.due else names
            for name in self.behind.keys() & names:
                del self.behind[name]

    def renew(self, names: frozenset[str]) -> None:
        """The client has to be sent these once more, or told that they are gone; it may well hold them."""
        self.behind.update(dict.fromkeys(names - self.due, UNKNOWN))

    # --- The table's side changes ---

    def glance(self, now: float) -> bool:
        """Take note of what has changed in the table; returns whether that has been put off.

        Very many changes are put off until they are sent, once: thousands of clients are told of them at a time.
        """
        if self.mark is self.table.mark:
            return False
        if not self._put_off and len(self.mark.before()) > MANY_CHANGES:
            self._put_off = True
        else:
            self.catch_up(now)
        return self._put_off

    def catch_up(self, now: float) -> None:
        """Take note of what has changed in the table."""
        if self.mark is self.table.mark:
            return
        self._put_off = False
        before, self.mark = self.mark.before(), self.table.mark
        wanted = None if self.subscription.wildcard else self.subscription.names
        for name, resource in before.items():
            if wanted is None or name in wanted:
                self._note(name, resource, now)

    def move(self, table: Table, now: float) -> None:
        """Go on with another table."""
        if table is self.table:
            return
        self.catch_up(now)
        old, self.table, self.mark = self.table, table, table.mark
        names = (
            chain(old.names(), table.names() - old.names()) if self.subscription.wildcard else self.subscription.names
        )
        for name in names:
            self._note(name, old.get(name), now)

    def _note(self, name: str, before: Resource | None, now: float) -> None:
        # That the table had `before` under that name, when the client was in step but for the exceptions.
        before, unknown = self.instead.get(name, before), False
        if self.containment is not None:
            unknown = before is not None and self.containment.leaves_alone(before)
            self._judge(self.containment, name)
        if name in self.due:
            return
        current, kept = self._offer(name), self.kept.pop(name, None)
        if kept is not None:
            before, unknown = kept.resource, not kept.known
        keeps = current is None and self._keeps
        held = self.behind.pop(name, UNKNOWN if unknown and not keeps else before)
        if keeps and before is not None and held is not None:
            self.kept[name] = kept or Kept(before, now + REMOVAL_PATIENCE, known=not unknown)
            current = before
        if _version(held) != _version(current):
            self.behind[name] = held

    # --- The client refuses something ---

    def refused(
        self,
        sent: Iterable[Resource],
        new: frozenset[str],
        before: Mapping[str, Held],
        error: ErrorDetail,
        *,
        returning: bool,
    ) -> tuple[Contained, ...]:
        """The client has refused a response, see `Containment`; returns what has been found to be at fault."""
        if self.containment is None:
            self.containment = Containment(self.table.type_url, returning=returning)
        containment = self.containment
        self._reconsider(containment, containment.refuse(sent, new, before, error))
        return containment.take_found()

    def accepted(self, sent: Iterable[Resource]) -> None:
        """The client has taken in a response."""
        if self.containment is not None:
            self._reconsider(self.containment, self.containment.accept(sent))

    def retry(self, now: float) -> None:
        """Offer what may be tried now: what only the client's machine was against, if it is time, and who is next."""
        if self.containment is not None:
            self._reconsider(self.containment, self.containment.retry(now))

    @property
    def wake_at(self) -> float:
        """When there may be something to send though nothing else happens; infinite if never."""
        retry_at = math.inf if self.containment is None else self.containment.retry_at
        return min(retry_at, *(kept.until for kept in self.kept.values())) if self.kept else retry_at

    def _reconsider(self, containment: Containment, names: Mapping[str, Held]) -> None:
        self._judge_all(containment, names)
        while trial := containment.next_trial():
            self._judge_all(containment, trial)
        if containment.empty:
            self.containment = None

    def _judge_all(self, containment: Containment, names: Mapping[str, Held]) -> None:
        changed = self.mark.before()
        for name, held in names.items():
            if name not in self.subscription:
                containment.follow(name, None)
                continue
            self._judge(containment, name)
            resource = self.table.get(name)
            if name in self.due or self.behind.get(name) == UNKNOWN:
                continue  # it is to be sent whatever the client holds
            self.behind.pop(name, None)
            kept = self.kept.pop(name, None)
            if kept is not None and isinstance(held, Resource):  # else there is nothing to keep
                self.kept[name] = replace(kept, resource=held, known=True)
            if resource is not None and containment.leaves_alone(resource):
                continue
            offered = self.get(name)
            named = name in self.subscription.names and self.table.type_url not in NAMED_IN_REFUSALS
            if held is None and named:
                self.ask(frozenset({name}))  # what refers to it waits, be it to be told that there is nothing
            elif _version(held) != _version(offered):
                self.behind[name] = held
            elif name in changed:
                self.behind[name] = held  # the table has something else than when the client was last in step

    def _judge(self, containment: Containment, name: str) -> None:
        """Find out what the client is offered under that name."""
        resource = self.table.get(name)
        containment.follow(name, resource)
        offered = containment.offer(resource) if resource is not None else None
        if offered is resource:
            self.instead.pop(name, None)
        else:
            self.instead[name] = offered
        if containment.empty:
            self.containment = None

    @property
    def retained(self) -> list[bytes]:
        """What the client has of earlier states, encoded: instead of what it refuses, and what that refers to."""
        instead = [resource.body for resource in self.instead.values() if resource is not None]
        return instead + [kept.resource.body for kept in self.kept.values() if kept.until == math.inf]

    def retain(self, referrers: Collection[bytes], now: float) -> None:
        """Keep what these refer to as long as they are there: each refers by name, so it contains the name."""
        for name, kept in self.kept.items():
            encoded = name.encode()
            if any(encoded in referrer for referrer in referrers):
                self.kept[name] = replace(kept, until=math.inf)
            elif kept.until == math.inf:
                self.kept[name] = replace(kept, until=now + REMOVAL_PATIENCE)

    def release(self, until: float = sys.float_info.max) -> None:
        """Stop to keep what would have been kept until then at the latest; not what is retained."""
        for name, kept in list(self.kept.items()):
            if kept.until <= until:
                del self.kept[name]
                self.behind.setdefault(name, kept.resource)


def _version(held: Held) -> str | None:
    return held.version if isinstance(held, Resource) else held
