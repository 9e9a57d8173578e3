"""NACK containment: what a client has refused, narrowed down to what is at fault, and what it is offered instead.

A response is refused whole. Envoy says which clusters and listeners it means, and takes in the others; of all other
types it takes in none of what came after the fault, or none at all, and does not say where the fault is. So

- what was new in a refused response is suspected, and tried again in halves until one unit is found guilty: a
  resource, or one item of those that are composed of several (a virtual host, a filter chain);
- a guilty unit, and a suspect that waits for its trial, is replaced by what the client accepted last, or left out if
  it never accepted any; all else goes on;
- when the content of a unit changes, it is as innocent as any other;
- what only the client's machine is against, such as a port that is taken, is tried again from time to time.

The number of trials has a bound, and none repeats another: a client that refuses everything is soon left alone.
"""

import math
import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import NamedTuple

from fairlead.problems import ObjectKey
from fairlead.protocol.rules import NAMED_IN_REFUSALS, NEEDS_ITEMS, NOT_ABOUT_CONTENT
from fairlead.snapshot.messages import ErrorDetail
from fairlead.snapshot.resource import Resource

MOST_REFUSALS = 64
"""After how many a group that is refused is not divided any more, but guilty. To find one among 10,000 takes 14."""

FIRST_RETRY, LAST_RETRY = 2.0, 60.0
"""Seconds after which something is offered again that was refused for what the client's machine is like, such as a port
that another process has: at first, and at most, for each time takes twice as long as the one before."""

UNKNOWN = ""
"""The version of which it is not known, or does not matter, which one the client holds."""

_WITHIN_NAME, _NAME_GOES_ON = re.compile(r"[\w.|/~-]"), re.compile(r"[\w|/~-]|\.\w")

Held = Resource | str | None
"""What a client holds under a name: a resource, the version of one whose content is not known here, or nothing."""


class Unit(NamedTuple):
    """Something that can be at fault: a resource as a whole, one of its items, or what surrounds its items."""

    resource: str
    item: str | None
    """None: the whole, by its version, or what surrounds the items, by theirs."""
    version: str


@dataclass(frozen=True, slots=True)
class Contained:
    """What a client does not have because it refuses it."""

    resource: str
    """Name of the resource."""
    item: str | None
    """Name of the item of the resource, if it is one that is at fault."""
    origin: tuple[ObjectKey, ...]
    """The objects that it was made of."""
    error: ErrorDetail
    """Why, in the client's words."""


@dataclass(slots=True)
class _Retry:
    delay: float = FIRST_RETRY
    at: float | None = None
    """None: to be set; infinite: the client has to answer first."""


class Containment:
    """Of one type on one stream. It is made with the first refusal; most streams never need one."""

    def __init__(self, type_url: str, *, returning: bool) -> None:
        """`returning`: the client may hold resources from an earlier stream, of which it has not said which."""
        self._type_url = type_url
        self._returning = returning
        self._held: dict[str, Held] = {}
        """What the client accepted last, of the names that have guilty or suspected units."""
        self._newest: dict[str, Resource] = {}
        """What there is under these names."""
        self._against: dict[str, set[Unit]] = {}
        """Their guilty and suspected units."""
        self._guilty: dict[Unit, Contained] = {}
        self._suspects: list[set[Unit]] = []
        """In groups; the first one is on trial, the others wait."""
        self._tried = True
        """Whether the first group is offered already."""
        self._inseparable: set[frozenset[Unit]] = set()
        """Groups of which a part makes no difference without the rest."""
        self._retries: dict[str, _Retry] = {}
        """Resources at which only the client's machine is at fault."""
        self._pardoned: set[Unit] = set()
        """Of the guilty: those that are offered again."""
        self._refusals = 0
        self._found: list[Contained] = []

    def take_found(self) -> tuple[Contained, ...]:
        """What has been found guilty since the last call."""
        found, self._found = tuple(self._found), []
        return found

    @property
    def contained(self) -> tuple[Contained, ...]:
        """What has been found guilty."""
        return tuple(self._guilty.values())

    @property
    def names(self) -> Collection[str]:
        """The resources concerned."""
        return self._held.keys()

    @property
    def empty(self) -> bool:
        """Whether there is nothing to contain any more."""
        return not self._held

    # --- What the client says ---

    def refuse(
        self, sent: Iterable[Resource], new: frozenset[str], before: Mapping[str, Held], error: ErrorDetail
    ) -> Mapping[str, Held]:
        """The client has refused `sent`. `new`: the names of what was new to it; `before`: what it held, if anything.

        Returns the names of which it has to be decided anew what is offered, and what the client holds of them. After
        that, `next_trial` has to be called.
        """
        if not self._suspects:
            self._refusals = 0
            self._inseparable.clear()
        self._refusals += 1
        accused = [resource for resource in sent if resource.name in new]
        if self._type_url in NAMED_IN_REFUSALS:
            named = _named([resource.name for resource in sent], error.message)
            if not named:
                return self._leave(accused, error)
            # What the client has had all the time may be named as well, but the response cannot have brought the fault.
            self._clear(resource for resource in accused if resource.name not in named)
            groups = [[resource] for resource in accused if resource.name in named]
        else:
            groups = [accused]
        for group in groups:
            self._accuse(group, before, error)
        return {resource.name: self._held[resource.name] for group in groups for resource in group}

    def _leave(self, accused: Iterable[Resource], error: ErrorDetail) -> Mapping[str, Held]:
        """Which of them are meant is not known, nor what the client holds now."""
        for resource in accused:
            self._held[resource.name] = UNKNOWN
            self._newest.setdefault(resource.name, resource)
            unit = Unit(resource.name, None, resource.version)
            self._drop(self._against.setdefault(resource.name, set()) - self._guilty.keys())
            self._against[resource.name].add(unit)
            self._convict({unit: Contained(resource.name, None, resource.origin, error)})
        return {}

    def _convict(self, units: Mapping[Unit, Contained]) -> None:
        self._found += units.values()
        self._guilty.update(units)

    def _accuse(self, group: Iterable[Resource], before: Mapping[str, Held], error: ErrorDetail) -> None:
        accused: dict[Unit, Contained] = {}
        for resource in group:
            held = before.get(resource.name)
            held = self._held.setdefault(resource.name, UNKNOWN if held is None and self._returning else held)
            self._newest.setdefault(resource.name, resource)  # what was sent may be a stand-in
            against = self._against.setdefault(resource.name, set())
            units = self._units_at_fault(resource, held, error)
            self._pardoned.difference_update(units)
            if _is_about_machine(error):
                self._retries.setdefault(resource.name, _Retry()).at = None
            for unit, origin in units.items():
                if unit not in self._guilty:
                    accused[unit] = Contained(unit.resource, unit.item, origin, error)
            self._acquit(against & accused.keys())
            against.update(units)
        if len(accused) <= 1 or self._refusals >= MOST_REFUSALS or frozenset(accused) in self._inseparable:
            self._convict(accused)
        else:
            sorted_units = sorted(accused, key=lambda unit: (unit.resource, unit.item or "", unit.version))
            middle = len(sorted_units) // 2
            self._suspects[:0] = [set(sorted_units[:middle]), set(sorted_units[middle:])]
            self._tried = False

    def _units_at_fault(self, resource: Resource, held: Held, error: ErrorDetail) -> dict[Unit, tuple[ObjectKey, ...]]:
        """The units of a refused resource of which at least one is at fault, for a client that holds `held`."""
        whole = Unit(resource.name, None, resource.version)
        if resource.composition is None or isinstance(held, str) or _is_about_machine(error):
            return {whole: resource.origin}
        units = _units(resource)
        del units[whole]
        for innocent in _units(held) if held is not None else ():
            units.pop(innocent, None)
        if held is None and self._type_url in NEEDS_ITEMS:
            # What surrounds the items cannot be tried without them: if it is at fault, they all are found guilty.
            units.pop(Unit(resource.name, None, resource.composition.frame_version), None)
        return units or {whole: resource.origin}

    def accept(self, sent: Iterable[Resource]) -> Mapping[str, Held]:
        """The client has taken in `sent`; returns the same as `refuse`."""
        known = [resource for resource in sent if resource.name in self._held]
        self._clear(known)
        return {resource.name: resource for resource in known}

    def next_trial(self) -> Mapping[str, Held]:
        """If others are on trial than before: the names that have units among them; returns the same as `refuse`.

        To be called when what there is under the names that were returned before is known (`follow`).
        """
        while self._suspects and not self._tried:
            self._tried = True
            tried = {name: self._held[name] for name in {unit.resource for unit in self._suspects[0]}}
            if any(_differ(self.offer(self._newest[name]), held) for name, held in tried.items()):
                return tried
            # By themselves they make no difference, such as what surrounds no items.
            first, *others = self._suspects
            if not others:
                self._drop(first)
                return tried
            self._suspects = [first | others[0], *others[1:]]
            self._inseparable.add(frozenset(self._suspects[0]))
            self._tried = False
        return {}

    def _clear(self, accepted: Iterable[Resource]) -> None:
        for resource in accepted:
            if resource.name in self._held:
                self._held[resource.name] = resource
                self._drop({unit for unit in self._against[resource.name] if _is_of(unit, resource)})
                self._forget(resource.name)

    def _drop(self, units: Collection[Unit]) -> None:
        """There is nothing against them any more."""
        for unit in units:
            self._against[unit.resource].discard(unit)
            self._guilty.pop(unit, None)
            self._pardoned.discard(unit)
        self._acquit(units)

    def _acquit(self, units: Collection[Unit]) -> None:
        if units and self._suspects:
            first = self._suspects[0]
            for group in self._suspects:
                group.difference_update(units)
            self._suspects = [group for group in self._suspects if group]
            self._tried = self._tried and bool(first)

    def _forget(self, name: str) -> None:
        """If nothing is held against it any more."""
        if not self._against[name]:
            for known in (self._held, self._newest, self._against, self._retries):
                known.pop(name, None)

    # --- Time passes ---

    @property
    def retry_at(self) -> float:
        """When `retry` has to be called next; infinite if never."""
        return min((retry.at for retry in self._retries.values() if retry.at is not None), default=math.inf)

    def retry(self, now: float) -> Mapping[str, Held]:
        """Offer again what only the client's machine was against, if it is time; returns the same as `refuse`."""
        found = {}
        for name, retry in self._retries.items():
            if retry.at is None:
                retry.at = now + retry.delay
            elif retry.at <= now:
                retry.at, retry.delay = math.inf, min(2 * retry.delay, LAST_RETRY)
                self._pardoned.update(self._against[name] & self._guilty.keys())
                found[name] = self._held[name]
        return found

    # --- What it is offered ---

    def follow(self, name: str, resource: Resource | None) -> None:
        """The resource of that name is this one from now on, or gone: what others were accused of is of no account."""
        if name in self._held:
            if resource is not None:
                self._newest[name] = resource
            self._drop({unit for unit in self._against[name] if resource is None or not _is_of(unit, resource)})
            self._forget(name)

    def leaves_alone(self, resource: Resource) -> bool:
        """Whether the client, which refuses the resource, is to keep what it holds, whatever that is."""
        held = self._held.get(resource.name)
        return isinstance(held, str) and self._is_blocked(Unit(resource.name, None, resource.version))

    def offer(self, resource: Resource) -> Resource | None:
        """What the client is offered instead of the resource; the same one if there is nothing against it."""
        if resource.name not in self._held:
            return resource
        held = self._held[resource.name]
        if self._is_blocked(Unit(resource.name, None, resource.version)):
            return resource if isinstance(held, str) else held
        composition = resource.composition
        if composition is None or isinstance(held, str):
            return resource
        last = held.composition if held is not None else None
        frame = None
        if self._is_blocked(Unit(resource.name, None, composition.frame_version)):
            if last is None:
                return None
            frame = last
        blocked = {
            unit.item: last.by_name.get(unit.item) if last is not None else None
            for unit in self._against[resource.name]
            if unit.item is not None and _is_of(unit, resource) and self._is_blocked(unit)
        }
        if not blocked and frame is None:
            return resource
        found = resource.with_items(blocked, frame)
        if self._type_url in NEEDS_ITEMS and found.composition is not None and not found.composition.items:
            return held
        return found

    def _is_blocked(self, unit: Unit) -> bool:
        if unit in self._guilty:
            return unit not in self._pardoned
        return unit in self._against[unit.resource] and unit not in self._suspects[0]


def _units(resource: Resource) -> dict[Unit, tuple[ObjectKey, ...]]:
    """All units of a resource, and what each was made of."""
    units = {Unit(resource.name, None, resource.version): resource.origin}
    composition = resource.composition
    if composition is not None:
        units[Unit(resource.name, None, composition.frame_version)] = resource.origin
        units |= {Unit(resource.name, item.name, item.version): item.origin for item in composition.items}
    return units


def _is_of(unit: Unit, resource: Resource) -> bool:
    # Whether it is one of `_units(resource)`.
    composition = resource.composition
    if unit.item is None:
        return unit.version in (resource.version, composition.frame_version if composition is not None else None)
    item = composition.by_name.get(unit.item) if composition is not None else None
    return item is not None and item.version == unit.version


def _is_about_machine(error: ErrorDetail) -> bool:
    return any(words in error.message for words in NOT_ABOUT_CONTENT)


def _differ(offered: Resource | None, held: Held) -> bool:
    version = held.version if isinstance(held, Resource) else held
    return version != (offered and offered.version)


def _named(names: Iterable[str], text: str) -> frozenset[str]:
    # Envoy says `<name>: <what is wrong with it>`, and that may mention others.
    names = [name for name in names if name in text]
    return frozenset(name for name in names if _is_named(name, text, ": ")) or frozenset(
        name for name in names if _is_named(name, text, "")
    )


def _is_named(name: str, text: str, then: str) -> bool:
    # Not as a part of another name.
    at = text.find(name + then)
    while at >= 0:
        if not (at and _WITHIN_NAME.match(text, at - 1)) and not _NAME_GOES_ON.match(text, at + len(name)):
            return True
        at = text.find(name + then, at + 1)
    return False
