"""Circuit breakers: a filter of our own, made of the Wasm module below `envoy/breaker`.

The filter is the same everywhere, and is not at work but for routes that turn it on and say in their metadata how: a
change of a breaker is one of routes. It is discovered apart from listeners (ECDS), so that these do not carry the
module, nor change when it does.
"""

from collections.abc import Iterable
from functools import cache
from importlib import resources

from fairlead._pb.envoy.config.core.v3.config_source_pb2 import ExtensionConfigSource
from fairlead._pb.envoy.config.core.v3.extension_pb2 import TypedExtensionConfig
from fairlead._pb.envoy.config.route.v3 import route_components_pb2
from fairlead._pb.envoy.extensions.filters.http.cors.v3.cors_pb2 import Cors
from fairlead._pb.envoy.extensions.filters.http.wasm.v3.wasm_pb2 import Wasm
from fairlead._pb.envoy.extensions.filters.network.http_connection_manager.v3.http_connection_manager_pb2 import (
    HttpFilter,
)
from fairlead._pb.envoy.extensions.wasm.v3 import wasm_pb2
from fairlead._pb.google.protobuf import any_pb2, wrappers_pb2
from fairlead.intent import Breaker, BrokenAnswer, Nanoseconds, RouteBreaker
from fairlead.render.encoding import AGGREGATED, packed, resource
from fairlead.snapshot import types
from fairlead.snapshot.absent import BREAKER_FILTER
from fairlead.snapshot.resource import Resource

_MODULE = "breaker.wasm"
_POLICY, _ANSWER = "policy", "answer"
"""In a route's metadata; `envoy/breaker/policy.c` reads them."""


# --- Routes -----------------------------------------------------------------------------------------------------------


def write_breaker(message: route_components_pb2.Route, breaker: RouteBreaker) -> None:
    """Turn the filter on for a route, and tell it how."""
    fields = message.metadata.filter_metadata[BREAKER_FILTER].fields
    fields[_POLICY].string_value = _policy(breaker.breaker, f"{breaker.name}|{breaker.circuit}")
    fields[_ANSWER].string_value = _answer(breaker.answer)
    message.typed_per_filter_config[BREAKER_FILTER].CopyFrom(_AT_WORK)


# A configuration that is there and empty is how Envoy turns on what is `disabled` (FilterConfig.config).
_AT_WORK = packed(route_components_pb2.FilterConfig(config=any_pb2.Any()))


def _policy(breaker: Breaker, circuit: str) -> str:
    numbers = (
        breaker.window,
        breaker.break_duration,
        breaker.slow_time,
        breaker.slow_requests,
        breaker.average_time,
        breaker.error_percent,
        breaker.gateway_error_percent,
        breaker.least_requests,
    )
    return " ".join((*map(str, numbers), circuit))


def _answer(answer: BrokenAnswer) -> str:
    return "\n".join((str(answer.status), *(f"{name}: {value}" for name, value in answer.headers), "", answer.body))


# --- The filter -------------------------------------------------------------------------------------------------------


def _breaker() -> HttpFilter:
    # What does nothing stands in for it where it is not known or refused.
    discovery = ExtensionConfigSource(
        config_source=AGGREGATED,
        default_config=packed(Cors()),
        type_urls=[f"type.googleapis.com/{found.DESCRIPTOR.full_name}" for found in (Wasm, Cors)],
    )
    return HttpFilter(name=BREAKER_FILTER, config_discovery=discovery, disabled=True)


BREAKER = _breaker()
"""The filter in a connection manager; its configuration is discovered by its name."""


def filter_configuration(found: Iterable[RouteBreaker]) -> Resource:
    """The module, for a proxy with these breakers, as the resource by which it is discovered."""
    found = tuple(found)
    origin = tuple(dict.fromkeys(breaker.name.key for breaker in found))
    quick = min((_quick(breaker.breaker) for breaker in found), default=0)
    return resource(types.EXTENSION_CONFIG, BREAKER_FILTER, _configuration(quick), origin)


def _quick(breaker: Breaker) -> Nanoseconds:
    """What takes no longer makes no difference to the breaker."""
    watches_all = breaker.average_time or breaker.error_percent or breaker.gateway_error_percent
    return 0 if watches_all else breaker.slow_time


@cache
def _module() -> bytes:
    return resources.files("fairlead.render").joinpath(_MODULE).read_bytes()


def _configuration(quick: Nanoseconds) -> TypedExtensionConfig:
    plugin = wasm_pb2.PluginConfig(
        name=BREAKER_FILTER,
        root_id=BREAKER_FILTER,
        # All workers see the data of one `vm_id`, through changes of the module and of listeners.
        vm_config=wasm_pb2.VmConfig(vm_id=BREAKER_FILTER, runtime="envoy.wasm.runtime.v8"),
        failure_policy=wasm_pb2.FAIL_OPEN,
        configuration=packed(wrappers_pb2.StringValue(value=str(quick))),
    )
    plugin.vm_config.code.local.inline_bytes = _module()
    return TypedExtensionConfig(name=BREAKER_FILTER, typed_config=packed(Wasm(config=plugin)))
