"""Logs of a running server: one event a line, with names and values, in colour where there is a terminal."""

import sys

import structlog

from fairlead.status import one_line


def configure_logs() -> None:
    """Write events to standard error; call it once, before the first event."""
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            _escape,
            # Tracebacks without the values of variables, among which may be private keys.
            structlog.dev.ConsoleRenderer(
                colors=sys.stderr.isatty(), exception_formatter=structlog.dev.plain_traceback
            ),
        ],
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=True,
    )


def _escape(_logger: object, _method: str, event: structlog.typing.EventDict) -> structlog.typing.EventDict:
    """Escape control characters in all texts; lists and the like are shown by their `repr`, which does so too."""
    if "exception" in event:
        event["exception"] = "\n  ".join(map(one_line, event["exception"].split("\n")))
    escaped = {name: one_line(text) for name, text in event.items() if isinstance(text, str) and name != "exception"}
    return {**event, **escaped}
