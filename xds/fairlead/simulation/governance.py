"""What ASM's objects say of the requests of a route, in words: limits, breakers, scheduling."""

from collections.abc import Iterator, Mapping

from fairlead._pb.envoy.config.core.v3.extension_pb2 import TypedExtensionConfig
from fairlead._pb.envoy.config.route.v3.route_components_pb2 import Route
from fairlead._pb.envoy.extensions.filters.http.ext_authz.v3.ext_authz_pb2 import ExtAuthz, ExtAuthzPerRoute
from fairlead._pb.envoy.extensions.filters.http.local_ratelimit.v3.local_rate_limit_pb2 import LocalRateLimit
from fairlead._pb.envoy.extensions.filters.http.ratelimit.v3.rate_limit_pb2 import RateLimit, RateLimitPerRoute
from fairlead._pb.envoy.extensions.filters.network.http_connection_manager.v3.http_connection_manager_pb2 import (
    HttpConnectionManager,
)
from fairlead._pb.google.protobuf.duration_pb2 import Duration
from fairlead.simulation.facts import duration_in_words
from fairlead.simulation.values import Fact
from fairlead.simulation.words import backend

_LIMITS = "fairlead.limits"
"""In a route's metadata: the names of its limits."""
_BREAKER = "fairlead.breaker"
"""In a route's metadata: when its circuit opens, and what is answered then."""


class Governance:
    """The rules of one proxy's routes, as its filters know them."""

    def __init__(self, discovered: Mapping[str, TypedExtensionConfig]) -> None:
        """`discovered`: what listeners leave to discovery, by the names of filters."""
        self._discovered = discovered
        self._limits: dict[str, dict[str, list[str]]] = {}
        """Name of a filter -> name of a limit -> its buckets, in words: read once, since one filter has all limits."""

    def of_route(self, route: Route, manager: HttpConnectionManager) -> Iterator[Fact]:
        """What holds for the requests of a route."""
        metadata = route.metadata.filter_metadata
        named = metadata[_LIMITS].fields if _LIMITS in metadata else {}
        for item in manager.http_filters:
            config = self._discovered[item.name].typed_config if item.name in self._discovered else item.typed_config
            if named and config.TypeName() == LocalRateLimit.DESCRIPTOR.full_name:
                if item.name not in self._limits:
                    self._limits[item.name] = _local_limits(LocalRateLimit.FromString(config.value))
                for name in sorted(named):
                    for words in self._limits[item.name].get(name, ()):
                        yield Fact("limit", words)
            elif item.name in route.typed_per_filter_config and config.TypeName() == RateLimit.DESCRIPTOR.full_name:
                of_route = RateLimitPerRoute.FromString(route.typed_per_filter_config[item.name].value)
                yield _shared_limit(RateLimit.FromString(config.value), of_route)
            elif item.name in route.typed_per_filter_config and config.TypeName() == ExtAuthz.DESCRIPTOR.full_name:
                policies = ExtAuthzPerRoute.FromString(route.typed_per_filter_config[item.name].value)
                yield _scheduling(ExtAuthz.FromString(config.value), policies)
        if _BREAKER in metadata:
            fields = metadata[_BREAKER].fields
            yield _breaker(fields["policy"].string_value, fields["answer"].string_value)


def _local_limits(message: LocalRateLimit) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    each = " for each connection" if message.local_rate_limit_per_downstream_connection else ""
    for descriptor in message.descriptors:
        entries = {entry.key: entry.value for entry in descriptor.entries}
        name, bucket = next(iter(entries)), descriptor.token_bucket
        words = f"{bucket.max_tokens} in {duration_in_words(bucket.fill_interval)}{each}"
        override = entries.get("override")
        found.setdefault(name, []).append(f"{words} ({name}{f', {override}' if override else ''})")
    return found


def _shared_limit(found: RateLimit, of_route: RateLimitPerRoute) -> Fact:
    service = backend(found.rate_limit_service.grpc_service.envoy_grpc.cluster_name)
    names = dict.fromkeys(limit.actions[0].generic_key.descriptor_value for limit in of_route.rate_limits)
    without = "is refused" if found.failure_mode_deny else "passes"
    answer = f"what is not answered in {duration_in_words(found.timeout)} {without}"
    return Fact("limit", f"for all proxies, counted by {service}; {answer} ({', '.join(names)})")


def _scheduling(found: ExtAuthz, of_route: ExtAuthzPerRoute) -> Fact:
    service = backend(found.grpc_service.envoy_grpc.cluster_name)
    names = [name.replace("/", " ", 1) for name in sorted(of_route.check_settings.context_extensions)]
    without = "passes" if found.failure_mode_allow else "is refused"
    answer = f"what is not answered in {duration_in_words(found.grpc_service.timeout)} {without}"
    return Fact("scheduling", f"asks {service} when to pass; {answer} ({', '.join(names)})")


def _breaker(policy: str, answer: str) -> Fact:
    """When a route's circuit opens, and for how long; the numbers are those that `envoy/breaker/policy.h` lists."""
    *texts, circuit = policy.split(" ", 8)
    window, opened, slow_time, slow, average, errors, gateway_errors, least = map(int, texts)
    conditions = [f"{slow} slower than {_time(slow_time)}"] if slow else []
    if average:
        conditions.append(f"an average above {_time(average)}")
    conditions += [f"{share} % {what}" for share, what in ((errors, "5xx"), (gateway_errors, "502, 503, 504")) if share]
    of_several = f" of {least} requests or more" if least and (average or errors or gateway_errors) else ""
    status = answer.partition("\n")[0]
    words = f"{' or '.join(conditions)}{of_several} in {_time(window)}: {status} for {_time(opened)}"
    return Fact("breaker", f"{words} ({circuit.partition('|')[0]})")


def _time(nanoseconds: int) -> str:
    return duration_in_words(Duration(seconds=nanoseconds // 10**9, nanos=nanoseconds % 10**9))
