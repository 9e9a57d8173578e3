"""Envoy's external authorization service (envoy/service/auth/v3/external_auth.proto), which lets requests wait.

A request waits while its call is open. Whatever goes wrong in here, it passes.
"""

import asyncio
import math
import secrets
from collections.abc import Callable, Iterable, Mapping
from functools import partial

import structlog
from google.protobuf.message import DecodeError

from fairlead._pb.envoy.config.core.v3.base_pb2 import HeaderValue, HeaderValueOption
from fairlead._pb.envoy.service.auth.v3.external_auth_pb2 import CheckRequest, CheckResponse
from fairlead.http2.call import Call
from fairlead.http2.frames import StatusCode
from fairlead.intent import PATIENCE, SchedulingPolicy
from fairlead.runtime.decoding import decoded
from fairlead.runtime.outcomes import Outcomes
from fairlead.runtime.scheduling.buckets import Tokens
from fairlead.runtime.scheduling.labels import labels_of
from fairlead.runtime.scheduling.scheduler import Passed, Refused, Scheduler, Selected, Verdict, Way

SERVICE = "envoy.service.auth.v3.Authorization"
_SLOTS = "slots"
_SECOND = 1_000_000_000  # nanoseconds
_LOGGED_EVERY = 10.0
"""Seconds between two messages about what went wrong: there may be as many as requests."""

_OK = CheckResponse()
_OK.ok_response.SetInParent()
_PASS = _OK.SerializeToString()

log = structlog.get_logger()


class SchedulingService:
    """Answers when a request may go, or that it may not."""

    def __init__(self, tokens: Callable[[SchedulingPolicy], Tokens], outcomes: Outcomes) -> None:
        """`tokens` makes the buckets of a policy."""
        self._loop = asyncio.get_running_loop()
        # An end that is told to the next process, or to another, must not free a place there.
        self._scheduler = Scheduler(self._loop, tokens, outcomes.add, secrets.token_hex(8))
        self._logged = -math.inf

    def configure(self, policies: Iterable[SchedulingPolicy]) -> None:
        """From now on decide by these; what has been counted stays."""
        self._scheduler.configure(policies)

    def ended(self, slots: str) -> None:
        """A request has ended that held slots, as the answer to it named them."""
        for slot in slots.split(","):
            self._scheduler.finished(slot)

    async def check(self, call: Call) -> None:
        """Serve one call."""
        data = await call.read() or b""
        try:
            request = decoded(CheckRequest, data)
        except DecodeError:
            await call.abort(StatusCode.INVALID_ARGUMENT, "this is no CheckRequest")
        decision = _Decision(self._loop)
        try:
            way = self._decide(request, decision.tell)
        except Exception as error:  # noqa: BLE001  # of whatever kind: requests do not fail by our mistakes
            self._failed(error)
            await call.answer(_PASS)
            return
        try:
            verdict = decision.verdict or await decision.told()
            await call.answer(_response(verdict))
        except asyncio.CancelledError:
            way.leave()
            way.give_back()  # a verdict may have been there
            raise
        if isinstance(verdict, Passed) and verdict.slots:
            call.connection.answered(call.stream, partial(self.ended, _names(verdict.slots)))

    def _decide(self, request: CheckRequest, then: Callable[[Verdict], None]) -> Way:
        attributes = request.attributes
        selected = _selected(attributes.context_extensions)
        deadline = self._loop.time() + PATIENCE / _SECOND
        return self._scheduler.decide(selected, labels_of(attributes.request.http), deadline, then)

    def _failed(self, error: Exception) -> None:
        now = self._loop.time()
        if now - self._logged >= _LOGGED_EVERY:
            self._logged = now
            log.error("a request passes, since no decision about it could be made", exc_info=error)


class _Decision:
    """A verdict that is there at once, or is waited for."""

    __slots__ = ("_future", "_loop", "verdict")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.verdict: Verdict | None = None
        self._loop = loop
        self._future: asyncio.Future[Verdict] | None = None

    def tell(self, verdict: Verdict) -> None:
        self.verdict = verdict
        if self._future is not None and not self._future.done():
            self._future.set_result(verdict)

    def told(self) -> asyncio.Future[Verdict]:
        self._future = self._loop.create_future()
        return self._future


def _selected(extensions: Mapping[str, str]) -> list[Selected]:
    return [
        (name, tuple(int(index) for index in indexes.split(",") if index.isdecimal()))
        for name, indexes in extensions.items()
    ]


def _names(slots: Iterable[str]) -> str:
    return ",".join(slots)


def _response(verdict: Verdict) -> bytes:
    match verdict:
        case Passed(slots) if slots:
            response = CheckResponse()
            response.ok_response.SetInParent()
            response.dynamic_metadata.fields[_SLOTS].string_value = _names(slots)
            return response.SerializeToString()
        case Passed():
            return _PASS
        case Refused(status, retry_after):
            response = CheckResponse()
            response.status.code = StatusCode.RESOURCE_EXHAUSTED
            response.denied_response.status.code = status  # type: ignore[assignment]  # the numbers are those of HTTP
            if retry_after < math.inf:
                header = HeaderValue(key="retry-after", value=str(math.ceil(retry_after)))
                response.denied_response.headers.append(HeaderValueOption(header=header))
            return response.SerializeToString()
