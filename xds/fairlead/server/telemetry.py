"""Logs of a running server: one event a line, with names and values, in colour where there is a terminal."""

import sys

import structlog


def configure_logs() -> None:
    """Write events to standard error; call it once, before the first event."""
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty()),
        ],
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=True,
    )
