"""The log: structlog to one stream, for people or as JSON lines."""

from __future__ import annotations

import logging
import os
from typing import TextIO

import structlog
from structlog.tracebacks import ExceptionDictTransformer
from structlog.typing import Processor

from service.config.sections import LogConfig
from service.monitoring.log_limits import LogLimits

_LONGEST = 500  # characters of what a library says


def configure_logging(settings: LogConfig, stream: TextIO, limits: LogLimits | None = None) -> None:
    """Sends the log of this process to `stream`, from `log.level` on, in `log.format`. May be called again.

    Normal operation logs start, end, and what a person would want to know; never an event. Tracebacks show no local
    variables: a password may be among them.

    Args:
        settings: level, format and how many lines of a kind.
        stream: where to.
        limits: counts lines and keeps back what is too much; None: everything goes through.
    """
    if limits is not None:
        limits.per_minute = settings.per_minute
    json = settings.format == "json"
    renderer: list[Processor] = (
        [
            structlog.processors.ExceptionRenderer(ExceptionDictTransformer(show_locals=False)),
            structlog.processors.JSONRenderer(default=str),
        ]
        if json
        else [
            structlog.dev.ConsoleRenderer(
                colors=stream.isatty() and not os.environ.get("NO_COLOR"),
                pad_event_to=0,
                exception_formatter=structlog.dev.plain_traceback,
            )
        ]
    )
    level = logging.getLevelNamesMapping()[settings.level.upper()]
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            *([] if limits is None else [limits]),
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            *renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.WriteLoggerFactory(stream),
        cache_logger_on_first_use=False,  # `demo` turns the log to a file before anything else happens
    )
    for handler in [handler for handler in logging.root.handlers if isinstance(handler, _Libraries)]:
        logging.root.removeHandler(handler)
    logging.root.addHandler(_Libraries(level=max(level, logging.WARNING)))


class _Libraries(logging.Handler):
    """What libraries say by Python's own logging (uvicorn, the Kafka clients), warnings and worse, in the same log."""

    def emit(self, record: logging.LogRecord) -> None:
        """Hands a line over; one kind per library, so that none can flood the log."""
        library = record.name.partition(".")[0]
        log = structlog.get_logger()
        say = log.error if record.levelno >= logging.ERROR else log.warning
        say(f"library {library}", says=record.getMessage()[:_LONGEST])
