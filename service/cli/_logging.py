"""The log: structlog to one stream, for people or as JSON lines."""

from __future__ import annotations

import logging
import os
from typing import TextIO

import structlog
from structlog.typing import Processor

from service.config import LogConfig


def configure_logging(settings: LogConfig, stream: TextIO) -> None:
    """Sends the log of this process to `stream`, from `log.level` on, in `log.format`.

    Normal operation logs start, end, and what a person would want to know; never an event.
    """
    json = settings.format == "json"
    renderer: list[Processor] = (
        [structlog.processors.dict_tracebacks, structlog.processors.JSONRenderer()]
        if json
        else [structlog.dev.ConsoleRenderer(colors=stream.isatty() and not os.environ.get("NO_COLOR"), pad_event_to=0)]
    )
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            *renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelNamesMapping()[settings.level.upper()]),
        logger_factory=structlog.WriteLoggerFactory(stream),
        cache_logger_on_first_use=False,  # `demo` turns the log to a file before anything else happens
    )
