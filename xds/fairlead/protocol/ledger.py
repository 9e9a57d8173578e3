"""What a client has been offered of one type, told by how it differs from the table that it is offered from.

A client in step holds what the table held at a mark. All else are exceptions:

`due`
    Names that it has asked for and holds nothing of.
`behind`
    Other names, that it holds in another version than the table does, or that only one of the two holds.
`kept`
    Names that the table has lost, but that the client is to keep until nothing of it refers to them.

So memory and work are those of the difference, not of the table.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import chain

from fairlead.protocol.rules import EMPTY, REMOVAL_WAITS_FOR
from fairlead.protocol.subscription import Subscription, shared
from fairlead.snapshot.resource import Resource
from fairlead.snapshot.table import Table

REMOVAL_PATIENCE = 15.0
"""Seconds that a removal waits for acknowledgements, so that a client that is stuck does not keep everything for ever.
Envoy itself waits as long for a resource before it goes on without (`ConfigSource.initial_fetch_timeout`)."""

MANY_CHANGES = 256
"""How many changed names are worth putting off: to take note of as many takes about 0.1 ms."""

_NOTHING: frozenset[str] = frozenset()
_UNKNOWN = ""
"""The version of which it is not known, or does not matter, which one the client holds: it is sent anew."""


@dataclass(frozen=True, slots=True)
class Kept:
    """A resource that has left the table, and until when the client keeps it at the latest."""

    resource: Resource
    until: float


class Ledger:
    """What one client has been offered of one type."""

    __slots__ = ("_keeps", "_mark", "_put_off", "behind", "due", "kept", "subscription", "table")

    def __init__(self, table: Table, subscription: Subscription, claims: Mapping[str, str]) -> None:
        """Begin with a client that says that it holds `claims`, versions by name."""
        self.table = table
        self.subscription = subscription
        self.behind: dict[str, str | None] = {}
        self.kept: dict[str, Kept] = {}
        self._keeps = table.type_url in REMOVAL_WAITS_FOR
        self._mark = table.mark
        self._put_off = False
        self.due = table.names() if subscription.wildcard else _NOTHING
        if subscription.names:
            self.due = shared(self.due | subscription.names)
        if claims:
            self.due = shared(self.due.difference(claims))
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
        return kept.resource if kept else self.table.get(name)

    def pending(self) -> frozenset[str]:
        """The names that have to be sent, or told to be gone."""
        return self.due.union(self.behind) if self.behind else self.due

    def holds(self, name: str) -> bool:
        """Whether the client may hold something under a pending name."""
        return name not in self.due and self.behind.get(name) is not None

    def new(self, names: frozenset[str]) -> frozenset[str]:
        """Those of the pending `names` that the client does not hold, or that it has asked for anew."""
        return (self.due & names).union(name for name, held in self.behind.items() if not held and name in names)

    def offered(self, names: frozenset[str]) -> None:
        """Note that the client has been offered `names` as they are now."""
        if self.due:
            self.due = _NOTHING if self.due <= names else shared(self.due - names)
        if self.behind.keys() <= names:
            self.behind.clear()
        else:
            for name in self.behind.keys() & names:
                del self.behind[name]

    # --- The client's side changes ---

    def resubscribe(self, subscription: Subscription, asked: frozenset[str]) -> None:
        """The client wants other names than before; `asked` have to be sent whatever it holds."""
        before, self.subscription = self.subscription, subscription
        if subscription.wildcard and not before.wildcard:
            asked = asked | (self.table.names() - before.names)
        if (before.wildcard and not subscription.wildcard) or not before.names <= subscription.names:
            wanted = subscription.names.union(self.table.names()) if subscription.wildcard else subscription.names
            self.due = shared(self.due & wanted)
            for exceptions in (self.behind, self.kept):
                for name in [name for name in exceptions if name not in subscription]:
                    del exceptions[name]
        if not asked:
            return
        known = asked if before.wildcard else asked & before.names
        changed = self._mark.before()
        held = frozenset(name for name in known if self._held(name, changed) is not None)
        self.renew(held)
        self.ask(asked - held)

    def _held(self, name: str, changed: Mapping[str, Resource | None]) -> str | None:
        if name in self.due or name in self.behind:
            return self.behind.get(name)
        return _version(changed[name] if name in changed else self.get(name))

    def ask(self, names: frozenset[str]) -> None:
        """The client has to be sent these, or told that they do not exist; it holds nothing of them."""
        if names:
            self.due = shared(self.due | names) if self.due else names
            for name in self.behind.keys() & names:
                del self.behind[name]

    def renew(self, names: frozenset[str]) -> None:
        """The client has to be sent these once more, or told that they are gone; it may well hold them."""
        self.behind.update(dict.fromkeys(names - self.due, _UNKNOWN))

    # --- The table's side changes ---

    def glance(self, now: float) -> bool:
        """Take note of what has changed in the table; returns whether that has been put off.

        Very many changes are put off until they are sent, once: thousands of clients are told of them at a time.
        """
        if not self._put_off and len(self._mark.before()) > MANY_CHANGES:
            self._put_off = True
        else:
            self.catch_up(now)
        return self._put_off

    def catch_up(self, now: float) -> None:
        """Take note of what has changed in the table."""
        self._put_off = False
        if self._mark is not self.table.mark:
            before, self._mark = self._mark.before(), self.table.mark
            wanted = None if self.subscription.wildcard else self.subscription.names
            for name, resource in before.items():
                if wanted is None or name in wanted:
                    self._note(name, resource, now)

    def move(self, table: Table, now: float) -> None:
        """Go on with another table."""
        if table is self.table:
            return
        self.catch_up(now)
        old, self.table, self._mark = self.table, table, table.mark
        names = (
            chain(old.names(), table.names() - old.names()) if self.subscription.wildcard else self.subscription.names
        )
        for name in names:
            self._note(name, old.get(name), now)

    def _note(self, name: str, before: Resource | None, now: float) -> None:
        # That the table had `before` under that name, when the client was in step but for the exceptions.
        if name in self.due:
            return
        current, kept = self.table.get(name), self.kept.pop(name, None)
        if kept is not None:
            before = kept.resource
        held = self.behind.pop(name, _version(before))
        if current is None and before is not None and held is not None and self._keeps:
            self.kept[name] = kept or Kept(before, now + REMOVAL_PATIENCE)
            current = before
        if held != _version(current):
            self.behind[name] = held

    def release(self, until: float = math.inf) -> None:
        """Stop to keep what would have been kept until then at the latest."""
        for name, kept in list(self.kept.items()):
            if kept.until <= until:
                del self.kept[name]
                self.behind.setdefault(name, kept.resource.version)


def _version(resource: Resource | None) -> str | None:
    return resource.version if resource is not None else None
