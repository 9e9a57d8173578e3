"""Which requests are counted together, and what is answered."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple

from fairlead.intent import CountedDescriptor, RateLimitDomain
from fairlead.runtime.counters import Entries, Hit, window_start
from fairlead.runtime.outcomes import Object


class Limit(NamedTuple):
    """How many requests of a descriptor may pass in a window."""

    quota: int
    window: int
    """In seconds."""
    origin: Object
    of_value: bool
    """Each value that comes is counted by itself."""

    def hit(self, domain: str, entries: Entries, number: int) -> Hit:
        """The requests to count."""
        return Hit(domain, entries, self.of_value, self.window, number)


class Verdict(NamedTuple):
    """What comes of having counted: the state of one limit."""

    limit: Limit
    remaining: int
    """Requests that may still pass in this window."""
    until_reset: int
    """Seconds until the next one begins, at least 1."""
    over: bool
    """The request may not pass."""


@dataclass(frozen=True, slots=True)
class _Domain:
    exact: dict[Entries, Limit]
    by_keys: dict[tuple[str, ...], list[tuple[Entries, Limit]]]
    """Keys -> the descriptors in which one of the values stands for any."""


class Limits:
    """The limits of all domains, looked up by what proxies send."""

    def __init__(self, domains: Iterable[RateLimitDomain] = ()) -> None:
        self._domains = {domain.name: _domain(domain.descriptors) for domain in domains}

    def find(self, domain: str, entries: Entries) -> Limit | None:
        """The limit of a descriptor, None when nothing is said of it.

        The one that names all values comes first, then those in which some stand for any, in their order.
        """
        known = self._domains.get(domain)
        if known is None:
            return None
        found = known.exact.get(entries)
        if found is None and known.by_keys:
            for written, limit in known.by_keys.get(tuple(key for key, _ in entries), ()):
                if all(value in {"", own} for (_, value), (_, own) in zip(written, entries, strict=True)):
                    return limit
        return found


def judge(limit: Limit, count: int, now: float) -> Verdict:
    """What comes of the number of requests in the window of `now`, in seconds since 1970."""
    until_reset = window_start(limit.window, now) + limit.window - int(now // 1)
    return Verdict(limit, max(0, limit.quota - count), until_reset, count > limit.quota)


def _domain(descriptors: Iterable[CountedDescriptor]) -> _Domain:
    domain = _Domain({}, {})
    for descriptor in descriptors:
        of_value = any(not value for _, value in descriptor.entries)
        limit = Limit(descriptor.quota, descriptor.window, str(descriptor.origin), of_value)
        if of_value:
            keys = tuple(key for key, _ in descriptor.entries)
            domain.by_keys.setdefault(keys, []).append((descriptor.entries, limit))
        else:
            domain.exact[descriptor.entries] = limit
    return domain
