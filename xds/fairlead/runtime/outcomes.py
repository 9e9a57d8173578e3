"""What has become of requests, by the object that decided it."""

import enum
from collections import Counter
from collections.abc import Mapping

_MOST = 10_000
"""Objects and outcomes that are counted apart before they are taken: some are told by whoever can connect."""

Object = str
"""An object as `Kind namespace/name`."""


class Outcome(enum.StrEnum):
    """What an object has done to a request."""

    ALLOWED = "allowed"
    """It may pass."""
    LIMITED = "limited"
    """There were too many."""
    BROKEN = "broken"
    """Requests of its kind are stopped for a while, after too many slow or failed ones."""
    QUEUED = "queued"
    """It may pass, but had to wait."""
    REJECTED = "rejected"
    """It has waited in vain."""


class Outcomes:
    """Numbers of requests since they were taken last."""

    def __init__(self) -> None:
        self._counts: Counter[tuple[Object, Outcome]] = Counter()

    def add(self, of: Object, outcome: Outcome) -> None:
        """One more request."""
        key = (of, outcome)
        if key in self._counts or len(self._counts) < _MOST:
            self._counts[key] += 1

    def take(self) -> Mapping[tuple[Object, Outcome], int]:
        """The numbers, which begin anew."""
        taken, self._counts = self._counts, Counter()
        return taken
