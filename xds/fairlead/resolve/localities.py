"""Which places a proxy prefers: the rules of Istio's locality load balancing, wherever endpoints come from.

Sources: istio.io/latest/docs/tasks/traffic-management/locality-load-balancing and the API reference of
`LocalityLoadBalancerSetting`.
"""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

from fairlead.intent import Endpoint, LocalityEndpoints
from fairlead.resolve.scope import Labels, Locality

TOPOLOGY_LABELS = ("topology.kubernetes.io/region", "topology.kubernetes.io/zone", "topology.istio.io/subzone")
"""The labels of a workload that are its region, zone and subzone."""


@dataclass(frozen=True, slots=True)
class Member:
    """An endpoint, and where it is."""

    endpoint: Endpoint
    locality: Locality
    labels: Labels = frozenset()
    """Those that the rules ask for, but for the labels of the topology."""


@dataclass(frozen=True, slots=True)
class LocalityRules:
    """How the endpoints of a backend are preferred."""

    prioritised: bool = False
    """Nearer endpoints are used first."""
    failover: tuple[tuple[str, str], ...] = ()
    """Region of the proxy -> the only other region that comes next."""
    labels: tuple[tuple[str, str | None], ...] = ()
    """Labels by which endpoints are alike to the proxy, most important first, with the value that is preferred; None
    for that of the proxy's locality."""
    distribute: tuple[tuple[str, tuple[tuple[str, int], ...]], ...] = ()
    """Locality of the proxy -> share of each locality. Replaces priorities."""
    weighted: bool = False
    """Localities have weights."""


def arrange(members: Iterable[Member], locality: Locality, rules: LocalityRules) -> tuple[LocalityEndpoints, ...]:
    """Put endpoints into groups of one place and priority, as a proxy at `locality` prefers them; sorted."""
    priority = _priority_of(locality, rules)
    groups: dict[tuple[int, Locality], set[Endpoint]] = {}
    for member in members:
        groups.setdefault((priority(member), member.locality), set()).add(member.endpoint)
    ranks = {value: rank for rank, value in enumerate(sorted({value for value, _ in groups}))}
    arranged = []
    for (value, place), endpoints in groups.items():
        ordered = tuple(sorted(endpoints, key=lambda endpoint: (endpoint.address, endpoint.port)))
        weight = sum(endpoint.weight for endpoint in ordered) if rules.weighted else None
        arranged.append(LocalityEndpoints(place.region, place.zone, place.subzone, ordered, ranks[value], weight))
    arranged.sort(key=lambda group: (group.priority, group.region, group.zone, group.subzone))
    for origin, shares in rules.distribute:
        if _matches(locality, origin):
            return _distributed(arranged, shares, locality)
    return tuple(arranged)


def parse(text: str) -> Locality:
    """The locality that a `region/zone/subzone` means; the label `istio-locality` may have dots for slashes."""
    region, zone, subzone, *_ = (*text.split("/" if "/" in text else "."), "", "")
    return Locality(region, zone, subzone)


def _seen_from(locality: Locality, place: Locality) -> Locality:
    """A place with its region filled in: EndpointSlices tell zones only, so it is taken for the proxy's region."""
    return replace(place, region=locality.region) if place.zone and not place.region else place


def _priority_of(locality: Locality, rules: LocalityRules) -> Callable[[Member], int]:
    if not rules.prioritised or rules.distribute:
        return lambda _member: 0
    if not rules.labels:
        return lambda member: _distance(locality, member.locality, rules)
    if not rules.failover:
        return lambda member: _mismatch(locality, member, rules)
    return lambda member: _mismatch(locality, member, rules) * 5 + _distance(locality, member.locality, rules)


def _distance(locality: Locality, place: Locality, rules: LocalityRules) -> int:
    place = _seen_from(locality, place)
    if place.region != locality.region:
        target = next((target for region, target in rules.failover if region == locality.region), place.region)
        return 3 if place.region == target else 4
    if place.zone != locality.zone:
        return 2
    return 1 if place.subzone != locality.subzone else 0


def _mismatch(locality: Locality, member: Member, rules: LocalityRules) -> int:
    """The number of labels from the first one on that differs."""
    place = _seen_from(locality, member.locality)
    own = _topology(locality)
    labels = dict(member.labels) | _topology(place)
    for index, (name, preferred) in enumerate(rules.labels):
        if labels.get(name, "") != (own.get(name, "") if preferred is None else preferred):
            return len(rules.labels) - index
    return 0


def _topology(place: Locality) -> dict[str, str]:
    return dict(zip(TOPOLOGY_LABELS, (place.region, place.zone, place.subzone), strict=True))


def _distributed(
    groups: Sequence[LocalityEndpoints], shares: Iterable[tuple[str, int]], locality: Locality
) -> tuple[LocalityEndpoints, ...]:
    """The groups that have a share; several under one pattern divide its share by their weights."""
    weights: dict[int, int] = {}
    remaining = dict(enumerate(groups))
    # The most specific pattern takes a place that several match.
    for pattern, share in sorted(shares, key=lambda item: (-_specificity(item[0]), item[0])):
        taken = [
            index
            for index, group in remaining.items()
            if _matches(_seen_from(locality, Locality(group.region, group.zone, group.subzone)), pattern)
        ]
        sizes = {index: sum(endpoint.weight for endpoint in remaining.pop(index).endpoints) for index in taken}
        total = sum(sizes.values())
        weights |= {index: math.ceil(size * share / total) for index, size in sizes.items() if size and share}
    return tuple(replace(group, weight=weights[index]) for index, group in enumerate(groups) if index in weights)


def _specificity(pattern: str) -> int:
    return sum(part not in ("", "*") for part in pattern.split("/"))


def _matches(place: Locality, pattern: str) -> bool:
    """Whether a place is one that a `region/zone/subzone` means, where `*` and absent parts stand for all."""
    region, zone, subzone, *_ = (*pattern.split("/"), "", "")
    return region in ("*", place.region) and zone in ("", "*", place.zone) and subzone in ("", "*", place.subzone)
