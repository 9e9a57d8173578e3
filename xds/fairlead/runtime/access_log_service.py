"""Envoy's access log service (envoy/service/accesslog/v3/als.proto), to which proxies tell what they did to requests.

They tell it of the requests that an object has stopped, with two tags: the object, and what it did; and of the end of
requests that hold slots.
"""

from collections.abc import Callable

from google.protobuf.message import DecodeError

from fairlead._pb.envoy.service.accesslog.v3.als_pb2 import StreamAccessLogsMessage
from fairlead.http2.call import Call
from fairlead.http2.frames import StatusCode
from fairlead.intent import OBJECT_TAG, OUTCOME_TAG, SLOTS_TAG
from fairlead.runtime.decoding import decoded
from fairlead.runtime.outcomes import Outcome, Outcomes

SERVICE = "envoy.service.accesslog.v3.AccessLogService"

_OUTCOMES = {outcome.value: outcome for outcome in Outcome}


class AccessLogService:
    """Counts requests by their tags, and gives back what they held; those without tags say nothing."""

    def __init__(self, outcomes: Outcomes, ended: Callable[[str], None]) -> None:
        """`ended` is told what a request held that has ended."""
        self._outcomes = outcomes
        self._ended = ended

    async def stream_access_logs(self, call: Call) -> None:
        """Take in what a proxy tells until it says no more, or goes."""
        while (data := await call.read()) is not None:
            try:
                message = decoded(StreamAccessLogsMessage, data)
            except DecodeError:
                await call.abort(StatusCode.INVALID_ARGUMENT, "this is no StreamAccessLogsMessage")
            for entry in message.http_logs.log_entry:
                tags = entry.common_properties.custom_tags
                if SLOTS_TAG in tags:
                    self._ended(tags[SLOTS_TAG])
                outcome = _OUTCOMES.get(tags[OUTCOME_TAG]) if OUTCOME_TAG in tags else None
                if outcome is not None:
                    self._outcomes.add(tags[OBJECT_TAG], outcome)
        await call.answer(b"")  # an empty StreamAccessLogsResponse
