"""What stands for a resource that does not exist, where Envoy would otherwise wait for it.

A cluster warms until its endpoints come, a listener until its routes and filters do, and a layer of the runtime until
its settings come, for 15 seconds by default. Told that there are none, as an empty resource of that name, all are ready
at once; cluster and listener answer 503 and 404.

Only for a filter there is no empty resource. Told by a removal that there is none, Envoy 1.40 waits for ever; but one
that it refuses ends the wait. Then its default configuration is used if the listener has one, else requests are
answered with 500; and a filter that Envoy has had before stays as it was.

Of our own filters it is known what they are without a limit or a breaker. Connections that are drained ask for them
longer than listeners do: they are given that, and nothing is refused.
"""

from fairlead.snapshot import wire
from fairlead.snapshot.resource import Resource
from fairlead.snapshot.types import CLUSTER_LOAD_ASSIGNMENT, EXTENSION_CONFIG, ROUTE_CONFIGURATION, RUNTIME

_NAME_FIELD = 1
"""Of `ClusterLoadAssignment.cluster_name`, and of `name` of the other types."""
_TYPED_CONFIG_FIELD = 2
"""Of `TypedExtensionConfig`."""
_TYPE_URL_FIELD = 1
"""Of `google.protobuf.Any`."""

LIMITS_FILTER, BREAKER_FILTER = "fairlead.local_rate_limit", "fairlead.breaker"
"""Names of our own filters; that of limits has a suffix where there are several, that of breakers is also
the name of the metadata of routes that it reads."""
_IDLE = {
    LIMITS_FILTER: (
        "type.googleapis.com/envoy.extensions.filters.http.local_ratelimit.v3.LocalRateLimit",
        wire.length_delimited(1, b"http_local_rate_limiter"),  # stat_prefix
    ),
    BREAKER_FILTER: ("type.googleapis.com/envoy.extensions.filters.http.cors.v3.Cors", b""),
}
"""Name -> type and content of a filter that does nothing, as listeners name it for their default."""
_VALUE_FIELD = 2
"""Of `google.protobuf.Any`."""

NO_FILTER = "type.googleapis.com/fairlead.FilterDoesNotExist"
"""The type of the filter that stands for one that does not exist: Envoy quotes it when it refuses it."""


def empty_cluster_load_assignment(name: str) -> Resource:
    """A ClusterLoadAssignment without endpoints."""
    return _nothing_but_name(CLUSTER_LOAD_ASSIGNMENT, name)


def empty_route_configuration(name: str) -> Resource:
    """A RouteConfiguration without virtual hosts."""
    return _nothing_but_name(ROUTE_CONFIGURATION, name)


def empty_runtime(name: str) -> Resource:
    """A Runtime layer without settings."""
    return _nothing_but_name(RUNTIME, name)


def idle_extension_config(name: str) -> Resource:
    """A TypedExtensionConfig that does nothing: of our own filters; others have a type that no proxy has."""
    ours = LIMITS_FILTER if name.startswith(LIMITS_FILTER) else name
    type_url, value = _IDLE.get(ours, (NO_FILTER, b""))
    no_filter = wire.length_delimited(_TYPE_URL_FIELD, type_url.encode())
    if value:
        no_filter += wire.length_delimited(_VALUE_FIELD, value)
    body = wire.length_delimited(_NAME_FIELD, name.encode()) + wire.length_delimited(_TYPED_CONFIG_FIELD, no_filter)
    return Resource(EXTENSION_CONFIG, name, body)


def _nothing_but_name(type_url: str, name: str) -> Resource:
    return Resource(type_url, name, wire.length_delimited(_NAME_FIELD, name.encode()))
