"""What the services decide by that proxies call while they serve requests."""

from dataclasses import dataclass

from fairlead.intent.scheduling import SchedulingPolicy
from fairlead.problems import ObjectKey

OBJECT_TAG = "fairlead.object"
"""Tag of a request that a proxy tells of: the object that has decided about it, `Kind namespace/name`."""
OUTCOME_TAG = "fairlead.outcome"
"""Tag of such a request: what the object has done, such as `limited`."""
SLOTS_TAG = "fairlead.slots"
"""Tag of a request that has ended: what it held, as the scheduler has named it in its answer about the request."""


@dataclass(frozen=True, slots=True)
class CountedDescriptor:
    """Requests that are counted together, and how many of them may pass in each window of time."""

    entries: tuple[tuple[str, str], ...]
    """Keys and values, in the order in which proxies send them; an empty value stands for any, and each value that
    comes is counted by itself. Within a domain no two descriptors have the same."""
    quota: int
    window: int
    """In seconds: 1, 60, 3600 or 86400. Windows begin at whole multiples of it since 1970-01-01 UTC."""
    origin: ObjectKey
    """The object by which they are told in metrics."""


@dataclass(frozen=True, slots=True)
class RateLimitDomain:
    """Descriptors that proxies ask for by the name of their domain, which their rate limit filters say."""

    name: str
    descriptors: tuple[CountedDescriptor, ...]


@dataclass(frozen=True, slots=True)
class RuntimeConfiguration:
    """All that the services know; while it is empty, nobody needs them."""

    rate_limits: tuple[RateLimitDomain, ...] = ()
    """Each domain once, ordered by name."""
    counts_rejections: bool = False
    """Proxies tell of requests that they have rejected."""
    scheduling: tuple[SchedulingPolicy, ...] = ()
    """Ordered by their objects."""
