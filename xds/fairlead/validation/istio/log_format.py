"""Formats of access logs: Envoy refuses a listener whose format has a command operator that it does not know."""

import json
from collections.abc import Iterator
from typing import Any

from fairlead.problems import FieldPath, Problem, error
from fairlead.validation.istio.command_operators import COMMAND, COMMANDS, NEED_ARGUMENT, end_of_literal

DEFAULT_TEXT = (
    '[%START_TIME%] "%REQ(:METHOD)% %REQ(X-ENVOY-ORIGINAL-PATH?:PATH)% %PROTOCOL%" %RESPONSE_CODE% %RESPONSE_FLAGS% '
    '%RESPONSE_CODE_DETAILS% %CONNECTION_TERMINATION_DETAILS% "%UPSTREAM_TRANSPORT_FAILURE_REASON%" %BYTES_RECEIVED% '
    '%BYTES_SENT% %DURATION% %RESP(X-ENVOY-UPSTREAM-SERVICE-TIME)% "%REQ(X-FORWARDED-FOR)%" "%REQ(USER-AGENT)%" '
    '"%REQ(X-REQUEST-ID)%" "%REQ(:AUTHORITY)%" "%UPSTREAM_HOST%" %UPSTREAM_CLUSTER_RAW% %UPSTREAM_LOCAL_ADDRESS% '
    "%DOWNSTREAM_LOCAL_ADDRESS% %DOWNSTREAM_REMOTE_ADDRESS% %REQUESTED_SERVER_NAME% %ROUTE_NAME%\n"
)
"""Istio's format, byte for byte: people's parsers know it."""

DEFAULT_JSON = {
    "start_time": "%START_TIME%",
    "route_name": "%ROUTE_NAME%",
    "method": "%REQ(:METHOD)%",
    "path": "%REQ(X-ENVOY-ORIGINAL-PATH?:PATH)%",
    "protocol": "%PROTOCOL%",
    "response_code": "%RESPONSE_CODE%",
    "response_flags": "%RESPONSE_FLAGS%",
    "response_code_details": "%RESPONSE_CODE_DETAILS%",
    "connection_termination_details": "%CONNECTION_TERMINATION_DETAILS%",
    "bytes_received": "%BYTES_RECEIVED%",
    "bytes_sent": "%BYTES_SENT%",
    "duration": "%DURATION%",
    "upstream_service_time": "%RESP(X-ENVOY-UPSTREAM-SERVICE-TIME)%",
    "x_forwarded_for": "%REQ(X-FORWARDED-FOR)%",
    "user_agent": "%REQ(USER-AGENT)%",
    "request_id": "%REQ(X-REQUEST-ID)%",
    "authority": "%REQ(:AUTHORITY)%",
    "upstream_host": "%UPSTREAM_HOST%",
    "upstream_cluster": "%UPSTREAM_CLUSTER_RAW%",
    "upstream_local_address": "%UPSTREAM_LOCAL_ADDRESS%",
    "downstream_local_address": "%DOWNSTREAM_LOCAL_ADDRESS%",
    "downstream_remote_address": "%DOWNSTREAM_REMOTE_ADDRESS%",
    "requested_server_name": "%REQUESTED_SERVER_NAME%",
    "upstream_transport_failure_reason": "%UPSTREAM_TRANSPORT_FAILURE_REASON%",
}


def text_format(text: str, path: FieldPath) -> Iterator[Problem]:
    """What is wrong with a format; `path` is its field."""
    position = 0
    while (position := end_of_literal(text, position)) < len(text):
        command = COMMAND.match(text, position)
        if command is None:
            message = f"the % before {text[position + 1 : position + 21]!r} begins no command operator"
            hint = "write %% for a percent sign, %NAME% or %NAME(parameter)% for a command operator"
            yield error("invalid-value", message, path=path, hint=hint)
            return
        if command[1] not in COMMANDS:
            yield error("unknown-command", f"Envoy 1.40 knows no command operator %{command[1]}%", path=path)
        elif command[1] in NEED_ARGUMENT and not command[2]:
            message = f"%{command[1]}% needs a parameter"
            yield error("invalid-value", message, path=path, hint=f"write %{command[1]}(parameter)%")
        position = command.end()


def json_format(text: str, path: FieldPath) -> Iterator[Problem]:
    """What is wrong with a format that is a JSON object, or empty."""
    if not text:
        return
    try:
        structure = json.loads(text)
    except ValueError as failure:
        message = f"with accessLogEncoding JSON, the format is a JSON object, which this is not: {failure}"
        yield error("invalid-value", message, path=path)
        return
    if not isinstance(structure, dict):
        yield error("invalid-value", "with accessLogEncoding JSON, the format is a JSON object", path=path)
        return
    for value in _texts(structure):
        yield from text_format(value, path)


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for item in value.values():
            yield from _texts(item)
    elif isinstance(value, list):
        for item in value:
            yield from _texts(item)
