"""A difference as plain values, and as JSON: fields may be added to that, none changes its meaning."""

from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

from fairlead.status import ProblemStatus


class FieldChange(NamedTuple):
    """One field that differs."""

    path: str
    """Such as `virtual_hosts[a.example.com:80].routes[0].route.timeout`; items that have names are named."""
    old: Any
    """JSON; None when it was not there."""
    new: Any
    """JSON; None when it is not there any more."""


@dataclass(frozen=True, slots=True)
class ResourceChange:
    """One resource that differs, or one object as the runtime services know it."""

    change: str
    """`added`, `removed` or `changed`."""
    type: str
    """`cds`, `ecds`, `eds`, `lds`, `rds`, `sds`; `runtime` for what the runtime services know of an object."""
    name: str
    fields: tuple[FieldChange, ...] = ()
    """Of a changed one."""


@dataclass(frozen=True, slots=True)
class RequestChange:
    """Requests that end elsewhere, or are limited otherwise."""

    request: str
    """One of them, such as `GET http://a.example.com:8080/cart`."""
    old: str
    """Where it ended, in words."""
    new: str
    others: int
    """How many more requests of the same host were tried and go the same new way."""


@dataclass(frozen=True, slots=True)
class DrainedListener:
    """A listener of which connections are drained."""

    listener: str
    whole: bool
    """All its connections are."""
    why: tuple[str, ...]
    """The fields that make it so; or the filter chains whose connections are drained, while others stay."""


@dataclass(frozen=True, slots=True)
class ProxyDifference:
    """What differs for the proxies of one kind."""

    proxy: str
    """Namespace and labels, as `--proxy` takes them."""
    resources: tuple[ResourceChange, ...] = ()
    requests: tuple[RequestChange, ...] = ()
    drains: tuple[DrainedListener, ...] = ()
    untried: int = 0
    """Number of routes for which no request could be thought out, so that nothing is known of their requests."""


@dataclass(frozen=True, slots=True)
class Difference:
    """Everything that differs."""

    proxies: tuple[ProxyDifference, ...]
    """Those for which something does."""
    unchanged: int
    """Number of kinds of proxies for which nothing does."""
    appeared: tuple[ProblemStatus, ...] = ()
    """Problems that were not there before."""
    vanished: tuple[ProblemStatus, ...] = ()
    services: tuple[ResourceChange, ...] = ()
    """What differs for the runtime services, such as a limit that they count: proxies are told nothing of it."""

    @property
    def empty(self) -> bool:
        """Nothing differs."""
        return not (self.proxies or self.appeared or self.vanished or self.services)

    def as_json(self) -> dict[str, Any]:
        """Plain JSON values, with the names of the fields."""
        found = asdict(self)
        resources = [resource for proxy in found["proxies"] for resource in proxy["resources"]]
        for resource in (*resources, *found["services"]):
            resource["fields"] = [dict(zip(FieldChange._fields, field, strict=True)) for field in resource["fields"]]
        return found
