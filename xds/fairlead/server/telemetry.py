"""Logs of a running server: one event a line, with names and values, for people or for machines.

The names of events and of their values are in docs/status.md; scripts rely on them.
"""

import enum
import logging
import sys

import structlog

from fairlead.status import one_line


class LogFormat(enum.StrEnum):
    """How events are written."""

    TEXT = "text"
    """In colour where there is a terminal."""
    JSON = "json"
    """An object a line: `timestamp`, `level`, `event`, and what else belongs to the event."""


class LogLevel(enum.StrEnum):
    """The least that is written."""

    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


def configure_logs(log_format: LogFormat = LogFormat.TEXT, level: LogLevel = LogLevel.INFO) -> None:
    """Write events to standard error; call it once, before the first event."""
    processors: list[structlog.typing.Processor] = [
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        # Tracebacks without the values of variables, among which may be private keys.
        structlog.processors.format_exc_info,
    ]
    if log_format is LogFormat.JSON:
        processors.append(structlog.processors.JSONRenderer())  # which escapes all that is not ASCII
    else:
        console = structlog.dev.ConsoleRenderer(
            colors=sys.stderr.isatty(), exception_formatter=structlog.dev.plain_traceback
        )
        processors += [_escape, console]
    structlog.configure(
        processors=processors,
        wrapper_class=structlog.make_filtering_bound_logger(level.value),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=True,
    )
    logging.basicConfig(handlers=[_OfLibraries()], level=logging.WARNING, force=True)


class _OfLibraries(logging.Handler):
    """Passes on what libraries log, so that it has the same form."""

    def emit(self, record: logging.LogRecord) -> None:
        structlog.get_logger().log(record.levelno, record.getMessage(), logger=record.name, exc_info=record.exc_info)


def _escape(_logger: object, _method: str, event: structlog.typing.EventDict) -> structlog.typing.EventDict:
    """Escape control characters in all texts; lists and the like are shown by their `repr`, which does so too."""
    if "exception" in event:
        event["exception"] = "\n  ".join(map(one_line, event["exception"].split("\n")))
    escaped = {name: one_line(text) for name, text in event.items() if isinstance(text, str) and name != "exception"}
    return {**event, **escaped}
