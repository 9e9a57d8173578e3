"""Destinations of VirtualServices' routes."""

from collections.abc import Iterator, Sequence

from fairlead.models.istio.virtual_service import Destination, HTTPRouteDestination, RouteDestination
from fairlead.problems import FieldPath, Problem, error
from fairlead.validation import common
from fairlead.validation.istio import checks

_MAX_TOTAL_WEIGHT = 2**32 - 1


def destination(value: Destination, path: FieldPath) -> Iterator[Problem]:
    """A service, or a subset of it."""
    if value.host == "*":
        yield error("invalid-host", "the destination * is no service", path=(*path, "host"))
    else:
        yield from checks.service_host(value.host, (*path, "host"))
    if value.subset:
        yield from checks.dns_label(value.subset, "subset", (*path, "subset"))
    if value.port is not None:
        yield from common.port(value.port.number, (*path, "port", "number"))


def weighted(routes: Sequence[HTTPRouteDestination | RouteDestination], path: FieldPath) -> Iterator[Problem]:
    """Destinations with weights."""
    for index, route in enumerate(routes):
        yield from destination(route.destination, (*path, index, "destination"))
        yield from checks.not_negative(route.weight, (*path, index, "weight"))
    total = sum(route.weight for route in routes)
    if len(routes) > 1 and not any(route.weight for route in routes):
        message = f"all {len(routes)} destinations have weight 0, so that none gets requests"
        yield error("zero-weights", message, path=path, hint="give each a weight, such as its share in per cent")
    elif total > _MAX_TOTAL_WEIGHT:
        message = f"the weights add up to {total}, more than the {_MAX_TOTAL_WEIGHT} that Envoy takes"
        yield error("invalid-value", message, path=path)
