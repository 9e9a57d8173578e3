"""Header names and values, as VirtualServices change and match them."""

import re
from collections.abc import Iterator

from fairlead.models.istio.virtual_service import HeaderOperations, Headers
from fairlead.problems import FieldPath, Problem, error, warning
from fairlead.validation import common

# The names that Istio lets a match have; other characters of RFC 9110's tokens it refuses.
_MATCHED = re.compile(r"[-_A-Za-z0-9]+")
_CLAIM = re.compile(r"@request\.auth\.claims(?:\.[^\[\]]+|(?:\[[^\[\]]+\])+)")

# What stands between the command operators of a value: their syntax is that of access logs, and `%%` is a percent sign
# (envoyproxy.io/docs, "Custom request/response headers").
_COMMAND = re.compile(r"%([A-Z0-9_]+)(?:\([^)]*\))?(?::[0-9]+)?%")
_LITERAL = re.compile(r"(?:[^%]|%%)*")

_COMMANDS = frozenset(
    """
    ACCESS_LOG_TYPE BYTES_RECEIVED BYTES_RETRANSMITTED BYTES_SENT CEL CLUSTER_METADATA COALESCE COMMON_DURATION
    CONNECTION_ID CONNECTION_TERMINATION_DETAILS CUSTOM_FLAGS DOWNSTREAM_CX_RTT
    DOWNSTREAM_DECOMPRESSED_HEADER_BYTES_RECEIVED DOWNSTREAM_DECOMPRESSED_HEADER_BYTES_SENT
    DOWNSTREAM_DETECTED_CLOSE_TYPE DOWNSTREAM_DIRECT_LOCAL_ADDRESS DOWNSTREAM_DIRECT_LOCAL_ADDRESS_ENDPOINT_ID
    DOWNSTREAM_DIRECT_LOCAL_ADDRESS_WITHOUT_PORT DOWNSTREAM_DIRECT_LOCAL_PORT DOWNSTREAM_DIRECT_REMOTE_ADDRESS
    DOWNSTREAM_DIRECT_REMOTE_ADDRESS_WITHOUT_PORT DOWNSTREAM_DIRECT_REMOTE_PORT DOWNSTREAM_HANDSHAKE_DURATION
    DOWNSTREAM_HEADER_BYTES_RECEIVED DOWNSTREAM_HEADER_BYTES_SENT DOWNSTREAM_LOCAL_ADDRESS
    DOWNSTREAM_LOCAL_ADDRESS_ENDPOINT_ID DOWNSTREAM_LOCAL_ADDRESS_WITHOUT_PORT DOWNSTREAM_LOCAL_CLOSE_REASON
    DOWNSTREAM_LOCAL_DNS_SAN DOWNSTREAM_LOCAL_EMAIL_SAN DOWNSTREAM_LOCAL_IP_SAN DOWNSTREAM_LOCAL_OTHERNAME_SAN
    DOWNSTREAM_LOCAL_PORT DOWNSTREAM_LOCAL_SUBJECT DOWNSTREAM_LOCAL_URI_SAN DOWNSTREAM_PEER_CERT
    DOWNSTREAM_PEER_CERT_V_END DOWNSTREAM_PEER_CERT_V_START DOWNSTREAM_PEER_CHAIN_FINGERPRINTS_1
    DOWNSTREAM_PEER_CHAIN_FINGERPRINTS_256 DOWNSTREAM_PEER_CHAIN_SERIALS DOWNSTREAM_PEER_DNS_SAN
    DOWNSTREAM_PEER_EMAIL_SAN DOWNSTREAM_PEER_FINGERPRINT_1 DOWNSTREAM_PEER_FINGERPRINT_256
    DOWNSTREAM_PEER_IP_SAN DOWNSTREAM_PEER_ISSUER DOWNSTREAM_PEER_ISSUER_FINGERPRINT_256
    DOWNSTREAM_PEER_ISSUER_SERIAL DOWNSTREAM_PEER_OTHERNAME_SAN DOWNSTREAM_PEER_SERIAL DOWNSTREAM_PEER_SUBJECT
    DOWNSTREAM_PEER_URI_SAN DOWNSTREAM_REMOTE_ADDRESS DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT
    DOWNSTREAM_REMOTE_PORT DOWNSTREAM_TLS_CIPHER DOWNSTREAM_TLS_GROUP DOWNSTREAM_TLS_SESSION_ID
    DOWNSTREAM_TLS_VERSION DOWNSTREAM_TRANSPORT_FAILURE_REASON DOWNSTREAM_WIRE_BYTES_RECEIVED
    DOWNSTREAM_WIRE_BYTES_SENT DURATION DYNAMIC_METADATA EMIT_TIME EMIT_TIME_LOCAL ENVIRONMENT FILTER_CHAIN_NAME
    FILTER_STATE GRPC_STATUS GRPC_STATUS_NUMBER HOSTNAME LISTENER_NAME LOCAL_REPLY_BODY METADATA PATH
    PER_REQUEST_STATE PROTOCOL QUERY_PARAM QUERY_PARAMS REQ REQUESTED_SERVER_NAME REQUEST_DURATION
    REQUEST_HEADER REQUEST_HEADERS_BYTES REQUEST_TX_DURATION RESP RESPONSE_CODE RESPONSE_CODE_DETAILS
    RESPONSE_DURATION RESPONSE_FLAGS RESPONSE_FLAGS_LONG RESPONSE_HEADER RESPONSE_HEADERS_BYTES RESPONSE_TRAILER
    RESPONSE_TRAILERS_BYTES RESPONSE_TX_DURATION ROUNDTRIP_DURATION ROUTE_NAME ROUTE_RESOLUTION_COUNT
    ROUTE_RESOLUTION_TIME_US SPAN_ID START_TIME START_TIME_LOCAL STREAM_ID TLS_JA3_FINGERPRINT
    TLS_JA4_FINGERPRINT TRACE_ID TRAILER UNIQUE_ID UPSTREAM_CLUSTER UPSTREAM_CLUSTER_RAW UPSTREAM_CONNECTION_ID
    UPSTREAM_CONNECTION_IDS_ATTEMPTED UPSTREAM_CONNECTION_POOL_READY_DURATION
    UPSTREAM_DECOMPRESSED_HEADER_BYTES_RECEIVED UPSTREAM_DECOMPRESSED_HEADER_BYTES_SENT
    UPSTREAM_DETECTED_CLOSE_TYPE UPSTREAM_FILTER_STATE UPSTREAM_HEADER_BYTES_RECEIVED UPSTREAM_HEADER_BYTES_SENT
    UPSTREAM_HOST UPSTREAM_HOSTS_ATTEMPTED UPSTREAM_HOSTS_ATTEMPTED_WITHOUT_PORT UPSTREAM_HOST_NAME
    UPSTREAM_HOST_NAMES_ATTEMPTED UPSTREAM_HOST_NAMES_ATTEMPTED_WITHOUT_PORT UPSTREAM_HOST_NAME_WITHOUT_PORT
    UPSTREAM_LOCAL_ADDRESS UPSTREAM_LOCAL_ADDRESS_WITHOUT_PORT UPSTREAM_LOCAL_CLOSE_REASON
    UPSTREAM_LOCAL_DNS_SAN UPSTREAM_LOCAL_IP_SAN UPSTREAM_LOCAL_PORT UPSTREAM_LOCAL_URI_SAN UPSTREAM_METADATA
    UPSTREAM_PEER_CERT UPSTREAM_PEER_CERT_V_END UPSTREAM_PEER_CERT_V_START UPSTREAM_PEER_DNS_SAN
    UPSTREAM_PEER_IP_SAN UPSTREAM_PEER_ISSUER UPSTREAM_PEER_SUBJECT UPSTREAM_PEER_URI_SAN UPSTREAM_PROTOCOL
    UPSTREAM_REMOTE_ADDRESS UPSTREAM_REMOTE_ADDRESS_ENDPOINT_ID UPSTREAM_REMOTE_ADDRESS_WITHOUT_PORT
    UPSTREAM_REMOTE_PORT UPSTREAM_REQUEST_ATTEMPT_COUNT UPSTREAM_SERVER_NAME UPSTREAM_TLS_CIPHER
    UPSTREAM_TLS_GROUP UPSTREAM_TLS_SESSION_ID UPSTREAM_TLS_VERSION UPSTREAM_TRANSPORT_FAILURE_REASON
    UPSTREAM_WIRE_BYTES_RECEIVED UPSTREAM_WIRE_BYTES_SENT VIRTUAL_CLUSTER_NAME
    """.split()  # noqa: SIM905  # legible as words
)
"""Command operators that Envoy 1.40 knows, by asking it."""


def is_claim(name: str) -> bool:
    """Whether a name of a header to match stands for a claim of a JSON Web Token."""
    return _CLAIM.fullmatch(name) is not None


def matched_name(name: str, path: FieldPath) -> Iterator[Problem]:
    """Name of a header to match, or a claim."""
    if name.startswith("@") and not is_claim(name):
        hint = "write @request.auth.claims.name or @request.auth.claims[name][name]"
        yield error("invalid-header", f"{name!r} is no claim", path=path, hint=hint)
    elif not name.startswith("@") and not _MATCHED.fullmatch(name):
        hints = {":method": "use method", ":authority": "use authority", ":scheme": "use scheme", ":path": "use uri"}
        message = f"{name!r} is no name of a header that can be matched"
        yield error("invalid-header", message, path=path, hint=hints.get(name, "use letters, digits, - and _"))


def changes(headers: Headers | None, path: FieldPath) -> Iterator[Problem]:
    """Changes of a request's and a response's headers."""
    if headers is None:
        return
    if headers.request is not None:
        yield from _operations(headers.request, (*path, "request"), authority=True)
    if headers.response is not None:
        yield from _operations(headers.response, (*path, "response"), authority=False)


def is_authority(name: str) -> bool:
    """Whether a header's name is that of the authority, which Envoy changes in its own way."""
    return name.lower() in {"host", ":authority"}


def _operations(operations: HeaderOperations, path: FieldPath, *, authority: bool) -> Iterator[Problem]:
    """Changes of headers; with `authority` the authority can be set."""
    for verb, values in (("set", operations.set), ("add", operations.add)):
        for name, value in values.items():
            where = (*path, verb, name)
            if not (authority and is_authority(name)):
                yield from _changed_name(name, where)
            yield from _value(value, where)
    for index, name in enumerate(operations.remove):
        yield from _changed_name(name, (*path, "remove", index))


def _changed_name(name: str, path: FieldPath) -> Iterator[Problem]:
    if name.startswith(":") or is_authority(name):
        hint = "set :authority in request.set, or use rewrite" if path[-3] == "request" else ""
        yield error("invalid-header", f"{name!r} cannot be changed here", path=path, hint=hint)
    else:
        yield from common.header_name(name, path)


def _value(value: str, path: FieldPath) -> Iterator[Problem]:
    yield from common.header_value(value, path)
    position = 0
    while (position := _end_of_literal(value, position)) < len(value):
        command = _COMMAND.match(value, position)
        if command is None:
            message = f"{value!r} has a % at character {position + 1} that begins no command operator"
            hint = "write %% for a percent sign, %NAME% or %NAME(parameter)% for a command operator"
            yield error("invalid-header", message, path=path, hint=hint)
            return
        if command[1] not in _COMMANDS:
            message = f"Envoy 1.40 knows no command operator %{command[1]}%, and refuses the route"
            yield warning("unknown-command", message, path=path, hint="write %% for a percent sign")
        position = command.end()


def _end_of_literal(value: str, position: int) -> int:
    literal = _LITERAL.match(value, position)
    return literal.end() if literal else position
