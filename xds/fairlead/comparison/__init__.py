"""What differs between two states of what proxies are sent: resources, requests, connections, problems."""

from collections.abc import Iterable

from fairlead.comparison.requests import request_changes
from fairlead.comparison.resources import drains, resource_changes
from fairlead.comparison.services import service_changes
from fairlead.comparison.text import as_text
from fairlead.comparison.values import Difference, DrainedListener, ProxyDifference, RequestChange, ResourceChange
from fairlead.snapshot.resource import Resource

__all__ = [
    "Difference",
    "DrainedListener",
    "ProxyDifference",
    "RequestChange",
    "ResourceChange",
    "as_text",
    "compare",
    "service_changes",
]


def compare(proxy: str, old: Iterable[Resource], new: Iterable[Resource]) -> ProxyDifference:
    """What differs in what a proxy, called `proxy`, is sent."""
    before, after = list(old), list(new)
    changes = resource_changes(before, after)
    if not changes:
        return ProxyDifference(proxy)
    requests, untried = request_changes(before, after)
    return ProxyDifference(proxy, changes, requests, drains(before, after), untried)
