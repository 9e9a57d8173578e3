"""What a VirtualService says of requests beside where they go: retries, faults, CORS, headers."""

import http
from dataclasses import replace

from fairlead.intent import Cors, Fault, HeaderOperations, Retry, StringMatch, StringMatchKind
from fairlead.models.istio import virtual_service as model
from fairlead.resolve.istio.matches import comparison

_RETRY_CONDITIONS = ("connect-failure", "refused-stream", "unavailable", "cancelled", "retriable-status-codes")
_STATUS_CODES = frozenset(status.value for status in http.HTTPStatus)
_GRPC_STATUS = {
    name: number
    for number, name in enumerate(
        (
            "OK",
            "CANCELLED",
            "UNKNOWN",
            "INVALID_ARGUMENT",
            "DEADLINE_EXCEEDED",
            "NOT_FOUND",
            "ALREADY_EXISTS",
            "PERMISSION_DENIED",
            "RESOURCE_EXHAUSTED",
            "FAILED_PRECONDITION",
            "ABORTED",
            "OUT_OF_RANGE",
            "UNIMPLEMENTED",
            "INTERNAL",
            "UNAVAILABLE",
            "DATA_LOSS",
            "UNAUTHENTICATED",
        )
    )
}


def share(percent: float) -> int:
    """Parts per million of a percentage."""
    return round(percent * 10_000)


def retry(retries: model.HTTPRetry | None, *, sticky: bool) -> Retry | None:
    """When a request is tried again: by Istio's default policy where a route says nothing.

    `sticky` requests belong to one endpoint, so that by default they do not avoid it.
    """
    if retries is None:
        return Retry(2, _RETRY_CONDITIONS, avoid_previous_hosts=not sticky)
    if retries.attempts <= 0:
        return None
    conditions: tuple[str, ...] = _RETRY_CONDITIONS
    codes: tuple[int, ...] = ()
    if retries.retry_on:
        parts = [part.strip() for part in retries.retry_on.split(",") if part.strip()]
        codes = tuple(int(part) for part in parts if part.isdecimal() and int(part) in _STATUS_CODES)
        conditions = tuple(part for part in parts if not part.isdecimal() or int(part) not in _STATUS_CODES)
        if codes and "retriable-status-codes" not in conditions:
            conditions += ("retriable-status-codes",)
    avoid = retries.retry_ignore_previous_hosts
    return Retry(
        attempts=retries.attempts,
        conditions=conditions,
        status_codes=codes,
        per_try_timeout=retries.per_try_timeout or None,
        backoff=retries.backoff or None,
        avoid_previous_hosts=not sticky if avoid is None else avoid,
        any_locality=bool(retries.retry_remote_localities),
    )


def fault(injection: model.HTTPFaultInjection) -> Fault | None:
    """The faults that are injected; None when there is none to inject. Without a percentage there is none."""
    delay, abort = injection.delay, injection.abort
    found = Fault()
    if delay is not None and delay.fixed_delay:
        percent = delay.percentage.value if delay.percentage is not None else delay.percent
        if percent:
            found = replace(found, delay=delay.fixed_delay, delay_share=share(percent))
    if abort is not None and abort.percentage is not None and abort.percentage.value:
        if abort.http_status is not None:
            found = replace(found, abort_status=abort.http_status, abort_share=share(abort.percentage.value))
        elif abort.grpc_status is not None:
            status = _GRPC_STATUS[abort.grpc_status]
            found = replace(found, abort_grpc_status=status, abort_share=share(abort.percentage.value))
    return None if found == Fault() else found


def cors(policy: model.CorsPolicy) -> Cors:
    """Cross-origin resource sharing."""
    origins = [comparison(origin) for origin in policy.allow_origins] or [
        StringMatch(StringMatchKind.EXACT, origin) for origin in policy.allow_origin
    ]
    return Cors(
        allow_origins=tuple(origin for origin in origins if origin is not None),
        allow_methods=policy.allow_methods,
        allow_headers=policy.allow_headers,
        expose_headers=policy.expose_headers,
        max_age=policy.max_age,
        allow_credentials=bool(policy.allow_credentials),
        forward_unmatched_preflights=policy.unmatched_preflights is not model.UnmatchedPreflights.IGNORE,
    )


def request_headers(headers: model.Headers | None) -> tuple[HeaderOperations, str]:
    """Changes of the request's headers, and the host that they put in place of its own, or an empty text."""
    if headers is None or headers.request is None:
        return HeaderOperations(), ""
    given = headers.request
    # Envoy has a way of its own to change the host, and refuses routes that treat it as a header.
    hosts = [value for values in (given.add, given.set) for name, value in values.items() if _is_host(name)]
    return _operations(given), hosts[-1] if hosts else ""


def response_headers(headers: model.Headers | None) -> HeaderOperations:
    """Changes of the response's headers."""
    return HeaderOperations() if headers is None or headers.response is None else _operations(headers.response)


def _operations(given: model.HeaderOperations) -> HeaderOperations:
    return HeaderOperations(
        set=tuple(item for item in sorted(given.set.items()) if not _is_host(item[0])),
        add=tuple(item for item in sorted(given.add.items()) if not _is_host(item[0])),
        remove=given.remove,
    )


def _is_host(name: str) -> bool:
    return name.lower() in ("host", ":authority")
