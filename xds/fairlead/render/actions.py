"""What is done with requests: forwarding, redirects, direct responses."""

import re
from functools import lru_cache

from fairlead._pb.envoy.config.route.v3 import route_components_pb2 as route
from fairlead._pb.envoy.extensions.retry.host.previous_hosts.v3 import previous_hosts_pb2
from fairlead._pb.envoy.extensions.retry.priority.previous_priorities.v3 import previous_priorities_config_pb2
from fairlead._pb.envoy.type.matcher.v3 import regex_pb2
from fairlead.intent import (
    Destination,
    DirectResponse,
    Forward,
    HashKey,
    HashKeyKind,
    Mirror,
    PathMatch,
    PathMatchKind,
    PathRewrite,
    PathRewriteKind,
    Redirect,
    Retry,
)
from fairlead.render import matches
from fairlead.render.encoding import packed, share, write_duration
from fairlead.render.headers import write_headers
from fairlead.render.names import UNRESOLVED_CLUSTER, cluster_name

_UNRESOLVED_STATUS = {
    404: route.RouteAction.NOT_FOUND,
    500: route.RouteAction.INTERNAL_SERVER_ERROR,
    503: route.RouteAction.SERVICE_UNAVAILABLE,
}

_REDIRECT_STATUS = {
    301: route.RedirectAction.MOVED_PERMANENTLY,
    302: route.RedirectAction.FOUND,
    303: route.RedirectAction.SEE_OTHER,
    307: route.RedirectAction.TEMPORARY_REDIRECT,
    308: route.RedirectAction.PERMANENT_REDIRECT,
}

_RETRIABLE_STATUS_CODES = "retriable-status-codes"

_PREVIOUS_HOSTS = route.RetryPolicy.RetryHostPredicate(
    name="envoy.retry_host_predicates.previous_hosts",
    typed_config=packed(previous_hosts_pb2.PreviousHostsPredicate()),
)

# After two attempts in localities of one priority the next priority is tried.
_PREVIOUS_PRIORITIES = route.RetryPolicy.RetryPriority(
    name="envoy.retry_priorities.previous_priorities",
    typed_config=packed(previous_priorities_config_pb2.PreviousPrioritiesConfig(update_frequency=2)),
)


# --- Forward ----------------------------------------------------------------------------------------------------------


def write_forward(message: route.RouteAction, action: Forward, path: PathMatch | None) -> None:
    """Requests are sent to clusters; `path` is what the route matches, for rewrites of that part.

    The headers of an only destination are left out: they belong to the route, see `only_destination`.
    """
    # Not max_stream_duration, whose presence would switch this off, nor max_grpc_timeout, which is deprecated: a
    # `grpc-timeout` is left to the client that sent it.
    write_duration(message.timeout, action.timeout or 0)
    message.cluster_not_found_response_code = _UNRESOLVED_STATUS[action.unresolved_status]
    if (destination := only_destination(action)) is not None:
        message.cluster = _cluster(destination)
    else:
        _write_shares(message.weighted_clusters, action)
    if host := _host(action):
        message.host_rewrite_literal = host
    if action.path_rewrite is not None:
        _write_path(message, action.path_rewrite, path)
    if action.retry is not None:
        message.retry_policy.CopyFrom(_retry_policy(action.retry))
    for mirror in action.mirrors:
        if mirror.share:
            _write_mirror(message.request_mirror_policies.add(), mirror)
    for key in action.hash_keys:
        _write_hash_key(message.hash_policy.add(), key)


def only_destination(action: Forward) -> Destination | None:
    """The destination of an action that has just one, whatever its weight."""
    return action.destinations[0] if len(action.destinations) == 1 else None


def _cluster(destination: Destination) -> str:
    return UNRESOLVED_CLUSTER if destination.backend is None else cluster_name(destination.backend)


def _host(action: Forward) -> str:
    """The host for all requests of the route."""
    if (destination := only_destination(action)) is not None:
        return action.host or destination.host
    return "" if _hosts_differ(action) else action.host


def _hosts_differ(action: Forward) -> bool:
    # One host for the route would go before those of the shares: then each share says its host itself.
    return any(destination.host for destination in action.destinations)


def _write_shares(message: route.WeightedCluster, action: Forward) -> None:
    hosts_differ = _hosts_differ(action)
    for destination in action.destinations:
        share_of_requests = message.clusters.add()
        share_of_requests.name = _cluster(destination)
        share_of_requests.weight.value = destination.weight
        write_headers(share_of_requests, destination.request_headers, destination.response_headers)
        if hosts_differ and (host := destination.host or action.host):
            share_of_requests.host_rewrite_literal = host


# Most routes of a mesh retry alike. Who gets a message from here copies it.
@lru_cache(maxsize=256)
def _retry_policy(retry: Retry) -> route.RetryPolicy:
    conditions = list(retry.conditions)
    if retry.status_codes and _RETRIABLE_STATUS_CODES not in conditions:
        conditions.append(_RETRIABLE_STATUS_CODES)
    message = route.RetryPolicy(retry_on=",".join(conditions), retriable_status_codes=retry.status_codes)
    message.num_retries.value = retry.attempts
    if retry.per_try_timeout is not None:
        write_duration(message.per_try_timeout, retry.per_try_timeout)
    if retry.any_locality:
        message.retry_priority.CopyFrom(_PREVIOUS_PRIORITIES)
    if retry.avoid_previous_hosts:
        message.retry_host_predicate.append(_PREVIOUS_HOSTS)
        message.host_selection_retry_max_attempts = 5
    if retry.backoff is not None:
        write_duration(message.retry_back_off.base_interval, retry.backoff)
    return message


def _write_mirror(message: route.RouteAction.RequestMirrorPolicy, mirror: Mirror) -> None:
    message.cluster = cluster_name(mirror.backend)
    message.runtime_fraction.default_value.CopyFrom(share(mirror.share))
    # The copy is no part of the trace, and has the host of the original.
    message.trace_sampled.value = False
    message.disable_shadow_host_suffix_append = True


def _write_hash_key(message: route.RouteAction.HashPolicy, key: HashKey) -> None:
    match key.kind:
        case HashKeyKind.HEADER:
            message.header.header_name = key.name
        case HashKeyKind.COOKIE:
            message.cookie.name, message.cookie.path = key.name, key.cookie_path
            if key.cookie_ttl is not None:
                write_duration(message.cookie.ttl, key.cookie_ttl)
            for name, value in key.cookie_attributes:
                message.cookie.attributes.add(name=name, value=value)
        case HashKeyKind.QUERY_PARAMETER:
            message.query_parameter.name = key.name
        case HashKeyKind.SOURCE_IP:
            message.connection_properties.source_ip = True


# --- Redirects and direct responses -----------------------------------------------------------------------------------


def write_redirect(message: route.RedirectAction, action: Redirect, path: PathMatch | None) -> None:
    """Requests are redirected; `path` is what the route matches, for rewrites of that part."""
    message.response_code = _REDIRECT_STATUS[action.status]
    message.host_redirect = action.host
    if action.scheme:
        message.scheme_redirect = action.scheme
    if action.port is not None:
        message.port_redirect = action.port
    if action.path is not None:
        _write_path(message, action.path, path)


def write_direct_response(message: route.DirectResponseAction, action: DirectResponse) -> None:
    """Requests are answered at once."""
    message.status = action.status
    if action.body:
        try:
            message.body.inline_string = action.body.decode()  # fit to be read in a config dump
        except UnicodeDecodeError:
            message.body.inline_bytes = action.body


# --- Paths ------------------------------------------------------------------------------------------------------------


def _write_path(
    message: route.RouteAction | route.RedirectAction, rewrite: PathRewrite, path: PathMatch | None
) -> None:
    match rewrite.kind:
        case PathRewriteKind.PREFIX if path is not None and path.kind is PathMatchKind.SEGMENT_PREFIX:
            _write_segments(message, rewrite.value, path)
        case PathRewriteKind.PREFIX:
            message.prefix_rewrite = rewrite.value
        case PathRewriteKind.FULL if isinstance(message, route.RedirectAction):
            message.path_redirect = rewrite.value
        case PathRewriteKind.FULL:
            # Envoy applies it to the path without the query.
            message.regex_rewrite.CopyFrom(_substitution("^.*$", _verbatim(rewrite.value)))
        case PathRewriteKind.REGEX:
            message.regex_rewrite.CopyFrom(_substitution(rewrite.pattern, rewrite.value))


def _write_segments(message: route.RouteAction | route.RedirectAction, value: str, path: PathMatch) -> None:
    """Replaces whole segments: whether the new ones end with a slash does not matter."""
    value = value.rstrip("/")
    if path.value in {"", "/"}:
        message.prefix_rewrite = f"{value}/"  # what is replaced is the slash itself
    elif value:
        message.prefix_rewrite = value
    else:
        # The slash that follows stays behind in "//b" when a prefix is replaced by "/"; with it gone, "/" is right
        # for "/a" as for "/a/b".
        pattern = matches.regex(f"^{re.escape(path.value)}/*", ignore_case=path.ignore_case)
        message.regex_rewrite.CopyFrom(regex_pb2.RegexMatchAndSubstitute(pattern=pattern, substitution="/"))


def _substitution(pattern: str, substitution: str) -> regex_pb2.RegexMatchAndSubstitute:
    return regex_pb2.RegexMatchAndSubstitute(pattern=matches.regex(pattern), substitution=substitution)


def _verbatim(text: str) -> str:
    return text.replace("\\", "\\\\")
