"""Load balancing of DestinationRules."""

import itertools
import math
from collections.abc import Iterator

from fairlead.models.istio.destination_rule import (
    ConsistentHashLB,
    LoadBalancerSettings,
    LocalityLoadBalancerSetting,
    SimpleLB,
    WarmupConfiguration,
)
from fairlead.problems import FieldPath, Problem, error, warning
from fairlead.validation import common
from fairlead.validation.istio import checks

_HASH_KEYS = ("http_header_name", "http_cookie", "use_source_ip", "http_query_parameter_name")
# Limits of envoy.extensions.load_balancing_policies.ring_hash.v3.RingHash and of maglev.v3.Maglev.
_MAX_RING_SIZE = 8 * 1024 * 1024
_MAX_TABLE_SIZE = 5_000_011
_TOPOLOGY_LABELS = {
    "topology.kubernetes.io/region",
    "topology.kubernetes.io/zone",
    "topology.istio.io/subzone",
}


def load_balancer(settings: LoadBalancerSettings, path: FieldPath) -> Iterator[Problem]:
    """Load balancing, of a service or of one of its ports."""
    yield from common.at_most_one(settings, ("simple", "consistent_hash"), path)
    if settings.simple is SimpleLB.LEAST_CONN:
        yield checks.deprecated("LEAST_CONN", (*path, "simple"), "write LEAST_REQUEST, which is the same")
    if settings.consistent_hash is not None:
        yield from _consistent_hash(settings.consistent_hash, (*path, "consistentHash"))
    if settings.locality_lb_setting is not None:
        yield from locality(settings.locality_lb_setting, (*path, "localityLbSetting"))
    yield from _warmups(settings, path)


def _warmups(settings: LoadBalancerSettings, path: FieldPath) -> Iterator[Problem]:
    seconds, warmup = settings.warmup_duration_secs, settings.warmup
    if seconds is not None:
        where = (*path, "warmupDurationSecs")
        yield checks.deprecated("warmupDurationSecs", where, f"write warmup.duration: {checks.show_duration(seconds)}")
        yield from checks.duration(seconds, where)
        if warmup is not None:
            yield checks.no_effect("warmupDurationSecs", "warmup is set", where)
    if warmup is not None:
        yield from _warmup(warmup, (*path, "warmup"))


def _warmup(warmup: WarmupConfiguration, path: FieldPath) -> Iterator[Problem]:
    yield from checks.duration(warmup.duration, (*path, "duration"))
    if warmup.minimum_percent is not None:
        yield from common.percent(warmup.minimum_percent, (*path, "minimumPercent"))
    if warmup.aggression is not None and not warmup.aggression >= 1:  # NaN as well
        yield error("invalid-value", f"{warmup.aggression:g} is less than 1", path=(*path, "aggression"))


def _consistent_hash(settings: ConsistentHashLB, path: FieldPath) -> Iterator[Problem]:
    yield from common.at_most_one(settings, _HASH_KEYS, path)
    if not any(getattr(settings, key) for key in _HASH_KEYS if key != "http_cookie") and settings.http_cookie is None:
        message = "without a key to hash, requests go to hosts at random"
        hint = "set httpHeaderName, httpCookie, useSourceIp or httpQueryParameterName"
        yield warning("missing-hash-key", message, path=path, hint=hint)
    if settings.http_header_name is not None:
        yield from common.header_name(settings.http_header_name, (*path, "httpHeaderName"))
    if settings.http_query_parameter_name == "":
        where = (*path, "httpQueryParameterName")
        yield error("missing-field", "the name of the query parameter is empty", path=where)
    if settings.http_cookie is not None:
        cookie, where = settings.http_cookie, (*path, "httpCookie")
        yield from checks.required(cookie.name, "the cookie's name", (*where, "name"))
        yield from checks.duration(cookie.ttl, (*where, "ttl"), minimum=0)
        for index, attribute in enumerate(cookie.attributes):
            name_path = (*where, "attributes", index, "name")
            yield from checks.required(attribute.name, "the attribute's name", name_path)
    yield from _hash_algorithm(settings, path)


def _hash_algorithm(settings: ConsistentHashLB, path: FieldPath) -> Iterator[Problem]:
    yield from common.at_most_one(settings, ("ring_hash", "maglev"), path)
    sizes = [((*path, "minimumRingSize"), settings.minimum_ring_size)]
    if settings.minimum_ring_size:
        where = (*path, "minimumRingSize")
        hint = f"write ringHash.minimumRingSize: {settings.minimum_ring_size}"
        yield checks.deprecated("minimumRingSize", where, hint)
        if settings.ring_hash is not None or settings.maglev is not None:
            other = "ringHash" if settings.ring_hash is not None else "maglev"
            yield error("conflicting-fields", f"minimumRingSize cannot be combined with {other}", path=where)
    if settings.ring_hash is not None:
        sizes.append(((*path, "ringHash", "minimumRingSize"), settings.ring_hash.minimum_ring_size))
    for where, size in sizes:
        if size > _MAX_RING_SIZE:
            yield error("invalid-value", f"{size} is more than the {_MAX_RING_SIZE} that Envoy takes", path=where)
    if settings.maglev is not None and settings.maglev.table_size:
        size, where = settings.maglev.table_size, (*path, "maglev", "tableSize")
        if size > _MAX_TABLE_SIZE:
            yield error("invalid-value", f"{size} is more than the {_MAX_TABLE_SIZE} that Envoy takes", path=where)
        elif not _is_prime(size):
            hint = f"write {next(filter(_is_prime, itertools.count(size)))}"
            yield error("not-prime", f"{size} is no prime number, as Maglev needs", path=where, hint=hint)


def _is_prime(number: int) -> bool:
    return number > 1 and all(number % factor for factor in range(2, math.isqrt(number) + 1))


def locality(settings: LocalityLoadBalancerSetting, path: FieldPath) -> Iterator[Problem]:
    """Preferences among localities."""
    if settings.distribute and settings.failover:
        message = "distribute and failover exclude each other"
        yield error("conflicting-fields", message, path=(*path, "failover"), hint="keep one of them")
    origins = []
    for index, share in enumerate(settings.distribute):
        where: FieldPath = (*path, "distribute", index)
        origins.append((share.from_, (*where, "from")))
        yield from _shares(share.to, (*where, "to"))
    yield from _localities(origins)
    for index, failover in enumerate(settings.failover):
        where = (*path, "failover", index)
        for name, region in (("from", failover.from_), ("to", failover.to)):
            yield from checks.required(region, "the region", (*where, name))
            if "/" in region or "*" in region:
                message = f"{region!r} is no region: hosts fail over from one region to another"
                yield error("invalid-locality", message, path=(*where, name), hint=f"write {region.split('/')[0]}")
        if failover.from_ and failover.from_ == failover.to:
            message = f"the region {failover.to!r} cannot fail over to itself"
            yield error("invalid-locality", message, path=(*where, "to"))
    for index, label in enumerate(settings.failover_priority):
        if settings.failover and label in _TOPOLOGY_LABELS:
            message = f"failover and the label {label} both decide by locality"
            hint = "keep one of them"
            yield error("conflicting-fields", message, path=(*path, "failoverPriority", index), hint=hint)


def _shares(shares: dict[str, int], path: FieldPath) -> Iterator[Problem]:
    for locality, weight in shares.items():
        if not 1 <= weight <= 100:
            yield error("invalid-value", f"{weight} is no percentage between 1 and 100", path=(*path, locality))
    total = sum(shares.values())
    if total != 100:
        message = f"the shares add up to {total}, not to 100"
        yield error("invalid-value", message, path=path)
    yield from _localities([(locality, (*path, locality)) for locality in shares])


def _localities(localities: list[tuple[str, FieldPath]]) -> Iterator[Problem]:
    """Localities that must be well-formed, and not contain each other."""
    seen: list[str] = []
    for locality, path in localities:
        parts = locality.split("/")
        stem = locality.removesuffix("*")
        if "" in parts or len(parts) > 3 or "*" in stem:
            message = f"{locality!r} is no locality"
            hint = "write region, region/zone or region/zone/subzone; the end may be *"
            yield error("invalid-locality", message, path=path, hint=hint)
            continue
        for other in seen:
            if _contains(other, locality) or _contains(locality, other):
                message = f"the localities {other!r} and {locality!r} overlap"
                yield error("overlapping-localities", message, path=path)
                break
        seen.append(locality)


def _contains(outer: str, inner: str) -> bool:
    """Whether a locality contains another one: parts that are missing are as `*`."""
    parts = outer.split("/")
    parts += ["*"] * (3 - len(parts))
    others = inner.split("/")
    others += ["*"] * (3 - len(others))
    return all(part in {"*", other} for part, other in zip(parts, others, strict=True))
