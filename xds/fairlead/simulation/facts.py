"""What else is set on the way of a request, in words: of listeners, filter chains and routes."""

import re
from collections.abc import Iterable, Iterator
from operator import itemgetter

from fairlead._pb.envoy.config.core.v3.address_pb2 import Address
from fairlead._pb.envoy.config.core.v3.base_pb2 import HeaderValueOption
from fairlead._pb.envoy.config.listener.v3.listener_components_pb2 import FilterChain
from fairlead._pb.envoy.config.listener.v3.listener_pb2 import Listener
from fairlead._pb.envoy.config.route.v3.route_components_pb2 import RetryPolicy, Route, RouteAction
from fairlead._pb.envoy.config.route.v3.route_pb2 import RouteConfiguration
from fairlead._pb.envoy.extensions.filters.http.cors.v3.cors_pb2 import CorsPolicy
from fairlead._pb.envoy.extensions.filters.http.fault.v3.fault_pb2 import HTTPFault
from fairlead._pb.envoy.extensions.filters.network.http_connection_manager.v3.http_connection_manager_pb2 import (
    HttpConnectionManager,
)
from fairlead._pb.envoy.extensions.transport_sockets.tls.v3.tls_pb2 import DownstreamTlsContext
from fairlead._pb.envoy.type.v3.percent_pb2 import FractionalPercent
from fairlead._pb.google.protobuf.duration_pb2 import Duration
from fairlead.simulation.values import Fact, Request
from fairlead.simulation.words import backend

ISTIO_DEFAULT = "Istio's default"
"""Said of what Istio does where nobody says anything."""
_ISTIO_RETRIES = ("connect-failure", "refused-stream", "unavailable", "cancelled", "retriable-status-codes")
"""What Istio retries, twice, where a VirtualService says nothing
(https://istio.io/latest/docs/concepts/traffic-management/#retries)."""
_OWNER = re.compile(r"^(envoy\.filters\.http|fairlead)\.")
"""What names of filters begin with."""
_SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS", "PUT", "DELETE", "TRACE"})
"""To send these twice is the same as once (RFC 9110 section 9.2.2)."""
_BEFORE_THE_BACKEND = frozenset({"connect-failure", "refused-stream"})
"""Conditions under which the backend has not begun with the request."""
_STATUS_CODES = "retriable-status-codes"
_OF_CALLS = frozenset({"cancelled", "deadline-exceeded", "internal", "resource-exhausted", "unavailable"})
"""Conditions of gRPC: no other answer fulfils them."""


def address_in_words(address: Address) -> str:
    """Such as `10.0.0.1:80`, or the path of a unix socket."""
    if address.HasField("pipe"):
        return address.pipe.path
    host = address.socket_address.address
    return f"{f'[{host}]' if ':' in host else host}:{address.socket_address.port_value}"


def duration_in_words(duration: Duration) -> str:
    """Such as `1.5s` or `250ms`."""
    milliseconds = duration.seconds * 1000 + duration.nanos / 1e6
    return f"{milliseconds / 1000:g}s" if milliseconds >= 1000 or not milliseconds else f"{milliseconds:g}ms"


def percent(share: float) -> str:
    """Such as `12.5 %`; of 0 to 1."""
    return f"{100 * share:.4g} %"


def fraction(found: FractionalPercent) -> float:
    """Between 0 and 1."""
    denominators = {FractionalPercent.TEN_THOUSAND: 10_000, FractionalPercent.MILLION: 1_000_000}
    return found.numerator / denominators.get(found.denominator, 100)


# --- Listeners and filter chains --------------------------------------------------------------------------------------


def of_listener(listener: Listener) -> Iterator[Fact]:
    """What is set for all connections."""
    yield Fact("address", address_in_words(listener.address))
    if any(found.name.endswith("proxy_protocol") for found in listener.listener_filters):
        yield Fact("PROXY protocol", "is expected before anything else")


def of_chain(chain: FilterChain, context: DownstreamTlsContext | None) -> Iterator[Fact]:
    """What is set for connections that the chain takes."""
    if context is not None:
        common = context.common_tls_context
        if context.require_client_certificate.value:
            yield Fact("client certificate", "required")
        elif common.WhichOneof("validation_context_type"):
            yield Fact("client certificate", "asked for, not required")
        if common.alpn_protocols:
            yield Fact("ALPN", ", ".join(common.alpn_protocols))
    found = chain.filters[-1].typed_config
    if found.TypeName() == HttpConnectionManager.DESCRIPTOR.full_name:
        manager = HttpConnectionManager.FromString(found.value)
        if manager.xff_num_trusted_hops:
            yield Fact("trusted hops", f"{manager.xff_num_trusted_hops} in x-forwarded-for")
        names = [_OWNER.sub("", item.name) for item in manager.http_filters]
        yield Fact("filters", ", ".join(names) or "none")


# --- Routes -----------------------------------------------------------------------------------------------------------


def of_route(route: Route, request: Request) -> Iterator[Fact]:
    """What is done with requests that the route takes, except where they go."""
    if route.HasField("route"):
        yield from _of_action(route.route, request)
    for name, message in sorted(route.typed_per_filter_config.items(), key=itemgetter(0)):
        if name.endswith(".fault"):
            yield from _of_fault(HTTPFault.FromString(message.value))
        elif name.endswith(".cors"):
            yield from _of_cors(CorsPolicy.FromString(message.value))


def of_headers(*levels: Route | RouteConfiguration | object) -> Iterator[Fact]:
    """Changes of headers, of the route first."""
    for level in levels:
        for what, side in (("request headers", "request_headers"), ("response headers", "response_headers")):
            words = [
                *_operations(getattr(level, f"{side}_to_add")),
                *(f"-{name}" for name in getattr(level, f"{side}_to_remove")),
            ]
            if words:
                yield Fact(what, ", ".join(words))


def _operations(operations: Iterable[HeaderValueOption]) -> Iterator[str]:
    for operation in operations:
        appends = operation.append_action == HeaderValueOption.APPEND_IF_EXISTS_OR_ADD
        yield f"{'+' if appends else ''}{operation.header.key}{': ' if appends else ' = '}{operation.header.value}"


def _of_action(action: RouteAction, request: Request) -> Iterator[Fact]:
    timeout = action.timeout
    unlimited = not (timeout.seconds or timeout.nanos)
    yield Fact("timeout", f"none; {ISTIO_DEFAULT}" if action.HasField("timeout") and unlimited else _timeout(action))
    yield Fact("retries", _retries(action.retry_policy, request) if action.HasField("retry_policy") else "none")
    for mirror in action.request_mirror_policies:
        share = fraction(mirror.runtime_fraction.default_value) if mirror.HasField("runtime_fraction") else 1.0
        yield Fact("mirror", f"{percent(share)} to {backend(mirror.cluster)}")
    for key in action.hash_policy:
        kind = key.WhichOneof("policy_specifier")
        name = {
            "header": key.header.header_name,
            "cookie": key.cookie.name,
            "query_parameter": key.query_parameter.name,
        }
        yield Fact("sticky by", f"{(kind or '').replace('_', ' ')} {name.get(kind or '', '')}".strip())


def _timeout(action: RouteAction) -> str:
    return duration_in_words(action.timeout) if action.HasField("timeout") else "15s; Envoy's default"


def _retries(policy: RetryPolicy, request: Request) -> str:
    conditions = [found for found in policy.retry_on.split(",") if found]
    number = policy.num_retries.value if policy.HasField("num_retries") else 1
    words = f"{number} on {', '.join(conditions)}"
    if policy.retriable_status_codes:
        words += f" ({', '.join(map(str, policy.retriable_status_codes))})"
    if policy.HasField("per_try_timeout"):
        words += f", {duration_in_words(policy.per_try_timeout)} for each try"
    if tuple(conditions) == _ISTIO_RETRIES and number == 2:
        words += f"; {ISTIO_DEFAULT}"
    if request.method not in _SAFE_METHODS and _repeats_work(policy, set(conditions), request):
        words += f"; a {request.method} may arrive more than once: `retries: {{attempts: 0}}` prevents that"
    return words


def _repeats_work(policy: RetryPolicy, conditions: set[str], request: Request) -> bool:
    """Whether a request may be sent again that a backend has begun with."""
    harmless = set(_BEFORE_THE_BACKEND)
    if not policy.retriable_status_codes:
        harmless.add(_STATUS_CODES)
    if not request.headers.get("content-type", "").startswith("application/grpc"):
        harmless |= _OF_CALLS
    return not conditions <= harmless


def _of_fault(fault: HTTPFault) -> Iterator[Fact]:
    if fault.HasField("delay"):
        delay = duration_in_words(fault.delay.fixed_delay)
        yield Fact("fault", f"{percent(fraction(fault.delay.percentage))} wait {delay}")
    if fault.HasField("abort"):
        grpc = fault.abort.WhichOneof("error_type") == "grpc_status"
        status = f"gRPC status {fault.abort.grpc_status}" if grpc else str(fault.abort.http_status)
        yield Fact("fault", f"{percent(fraction(fault.abort.percentage))} are answered with {status}")


def _of_cors(policy: CorsPolicy) -> Iterator[Fact]:
    origins = [
        getattr(found, found.WhichOneof("match_pattern") or "exact") for found in policy.allow_origin_string_match
    ]
    shown = [getattr(found, "regex", found) for found in origins]
    yield Fact("CORS", f"origins {', '.join(map(str, shown)) or 'none'}; methods {policy.allow_methods or 'none'}")


def abort_status(route: Route) -> int | None:
    """The status that every request is answered with, when a fault says so."""
    for name, message in sorted(route.typed_per_filter_config.items(), key=itemgetter(0)):
        if name.endswith(".fault"):
            fault = HTTPFault.FromString(message.value)
            if fault.abort.http_status and fraction(fault.abort.percentage) == 1:
                return int(fault.abort.http_status)
    return None
