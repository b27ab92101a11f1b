"""The samples of a Prometheus or VictoriaMetrics server as files of JSON lines, one per piece of time.

    plan.json                        the query, and the times between which it is asked, chosen at the first start
    000001-<from>-<to>.jsonl         the samples of (from, to], epoch milliseconds, by time and series

A page is written under a temporary name, synced and renamed; the next one begins where the last one ends, so that a
start after a kill goes on there. The daemon reads the pages like any files: a replay does not ask the server again,
which may have deleted or compacted its samples meanwhile.
"""

from __future__ import annotations

import json
import math
import os
import re
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final, Protocol

import numpy as np
import orjson
import structlog

from service.backoff import Backoff
from service.config.bootstrap import BootstrapConfig
from service.errors import ConfigurationError, UnreachableError
from service.folder_lock import sync_folder
from service.messages.prometheus_names import series_id
from service.messages.timestamps import format_times
from service.registry.models import replace_file
from service.sources.prometheus_client import Series, TooManySamplesError

_log = structlog.get_logger(__name__)

FIELDS: Final = {"series": "series", "timestamp": "timestamp", "value": "value", "time_unit": "ms"}
"""Names of the fields of a line, as `input.fields`."""

PAGE_SAMPLES: Final = 100_000
"""Samples of a page, about: its bounds are chosen by the number of samples of the page before."""

_FIRST_MS: Final = 3_600_000  # time of the first page
_FEWEST_MS: Final = 1000
_MOST_POINTS: Final = 10_000  # evaluations of a range query; Prometheus permits 11,000
_GROWTH: Final = 4
_SHOWN_SECONDS: Final = 10.0  # between two lines of the log
_PAGE: Final = re.compile(r"(\d{6,})-(\d+)-(\d+)\.jsonl")


class Samples(Protocol):
    """`PrometheusClient`."""

    def samples(self, from_ms: int, to_ms: int) -> Series:
        """See `PrometheusClient.samples`."""


def pages_glob(folder: Path) -> str:
    """Returns the glob of the pages in a folder."""
    return str(folder / "[0-9]*.jsonl")


class PrometheusPages:
    """The pages of a query. Used by one thread.

    Args:
        settings: of the query.
        folder: of the pages; created if missing.
        client: asks the server.
    """

    def __init__(self, settings: BootstrapConfig, folder: Path, client: Samples) -> None:
        self._settings, self._folder, self._client = settings, folder, client
        self._step_ms = round(settings.step * 1000)

    def is_complete(self) -> bool:
        """Returns whether all pages were written, though they may have been deleted since."""
        plan = self._plan()
        return plan is not None and bool(plan.get("complete"))

    def end_ms(self) -> int | None:
        """Returns the time at which the history ends; None before the first start."""
        plan = self._plan()
        return None if plan is None else int(plan["to_ms"])

    def fetch(self, now_ms: int, stop: threading.Event, beat: Callable[[], None] = lambda: None) -> bool:
        """Writes all pages that are missing; while the server does not answer it is asked again.

        Args:
            now_ms: the present time, at which the history ends if this is the first start.
            stop: ends the work, which a later call continues.
            beat: called before every request.

        Returns:
            Whether all pages are written.

        Raises:
            ConfigurationError: the server refuses the query, or it is another query than that of the pages.
        """
        self._folder.mkdir(parents=True, exist_ok=True)
        plan = self._plan() or self._begin(now_ms)
        if plan.get("complete"):
            return True
        self._check(plan)
        number, from_ms, to_ms = *self._last(int(plan["from_ms"])), int(plan["to_ms"])
        first, last = format_times(np.array([from_ms, to_ms]))
        _log.info("fetching the history", url=self._settings.url, begin=first, end=last)
        span, shown, samples = max(_FIRST_MS, _GROWTH * self._step_ms), time.monotonic(), 0
        while from_ms < to_ms:
            found = self._ask(from_ms, to_ms, span, stop, beat)
            if found is None:
                return False
            series, end = found
            lines = list(_lines(series, from_ms, end))
            number, samples = number + 1, samples + len(lines)
            self._write(self._folder / f"{number:06d}-{from_ms}-{end}.jsonl", lines)
            span = self._next_span(end - from_ms, len(lines))
            from_ms = end
            if time.monotonic() - shown > _SHOWN_SECONDS:
                shown = time.monotonic()
                _log.info(
                    "fetching the history, continued", samples=samples, reached=format_times(np.array([from_ms]))[0]
                )
        self._store(plan | {"complete": True})
        _log.info("history fetched", samples=samples, pages=number)
        return True

    # The plan ------------------------------------------------------------------------------------------------

    def _plan(self) -> dict[str, Any] | None:
        path = self._folder / "plan.json"
        try:
            found = json.loads(path.read_text("utf-8"))
            int(found["from_ms"]), int(found["to_ms"])
        except FileNotFoundError:
            return None
        except (ValueError, TypeError, LookupError) as error:
            msg = f"{path}: got other content ({error}), expected the plan of a query; remove the folder to begin again"
            raise ConfigurationError(msg) from error
        return dict(found)

    def _begin(self, now_ms: int) -> dict[str, Any]:
        """Stores the times that the query is asked for, from now back, on the grid of its steps."""
        grid = self._step_ms or 1
        to_ms = now_ms // grid * grid
        from_ms = to_ms - max(1, round(self._settings.range * 1000) // grid) * grid
        plan = {"from_ms": from_ms, "to_ms": to_ms, "query": self._settings.query, "step_ms": self._step_ms}
        self._store(plan)
        return plan

    def _store(self, plan: dict[str, Any]) -> None:
        replace_file(self._folder / "plan.json", json.dumps(plan) + "\n")

    def _check(self, plan: dict[str, Any]) -> None:
        got, begun = (self._settings.query, self._step_ms), (plan.get("query"), plan.get("step_ms"))
        if got != begun:
            msg = (
                f"bootstrap.query: got {got[0]!r} with a step of {got[1]} ms, but the samples in {self._folder} are of "
                f"{begun[0]!r} with {begun[1]} ms; remove that folder to begin again"
            )
            raise ConfigurationError(msg)

    def _last(self, from_ms: int) -> tuple[int, int]:
        """Returns the number of pages, and the time at which the next one begins."""
        pages = [_PAGE.fullmatch(path.name) for path in self._folder.iterdir()]
        found = [(int(page[1]), int(page[3])) for page in pages if page is not None]
        return max(found, default=(0, from_ms))

    # Pages ---------------------------------------------------------------------------------------------------

    def _ask(
        self, from_ms: int, to_ms: int, span: int, stop: threading.Event, beat: Callable[[], None]
    ) -> tuple[Series, int] | None:
        """Returns the samples from a time on, and the time up to which they are; None where a stop was requested."""
        backoff, silent = Backoff(), False
        while not stop.is_set():
            beat()
            end = min(to_ms, from_ms + self._on_grid(span))
            try:
                return self._client.samples(from_ms, end), end
            except TooManySamplesError as error:
                if end - from_ms <= max(_FEWEST_MS, self._step_ms):
                    msg = (
                        f"bootstrap.query: got too many samples within {end - from_ms} ms ({error}), expected a query "
                        "with fewer series; ask for those that matter"
                    )
                    raise ConfigurationError(msg) from error
                span = (end - from_ms) // 2
            except UnreachableError as error:
                if not silent:
                    _log.warning("server of the history does not answer, retrying", error=str(error))
                silent = True
                stop.wait(backoff.next())
        return None

    def _on_grid(self, span: int) -> int:
        if not self._step_ms:
            return max(_FEWEST_MS, span)
        return min(_MOST_POINTS, max(1, span // self._step_ms)) * self._step_ms

    def _next_span(self, span: int, samples: int) -> int:
        """Returns the time of the next page, so that it has about `PAGE_SAMPLES`."""
        return min(_GROWTH * span, max(span // _GROWTH, span * PAGE_SAMPLES // max(1, samples)))

    def _write(self, path: Path, lines: list[bytes]) -> None:
        temporary = path.with_suffix(".part")
        with temporary.open("wb") as file:
            file.writelines(lines)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
        sync_folder(self._folder)


def _lines(found: Series, from_ms: int, to_ms: int) -> Iterator[bytes]:
    """Yields the samples of (from, to] as lines, by time, and by name at the same time."""
    rows = list[tuple[int, str, bytes]]()
    for one in found:
        name = series_id([(str(key), str(value)) for key, value in one["metric"].items()])
        begin = b'{"series":' + orjson.dumps(name) + b',"timestamp":'
        for seconds, text in one.get("values", ()):
            time_ms = round(float(seconds) * 1000)
            if from_ms < time_ms <= to_ms:  # a range selector of older releases includes its begin
                value = float(text)
                number = orjson.dumps(value) if math.isfinite(value) else b"null"
                rows.append((time_ms, name, begin + b"%d" % time_ms + b',"value":' + number + b"}\n"))
    rows.sort(key=lambda row: row[:2])
    for _, _, line in rows:
        yield line


def delete_pages(folder: Path) -> None:
    """Deletes the pages in a folder; its plan stays, so that they are not fetched again."""
    for path in folder.glob("[0-9]*.jsonl"):
        path.unlink(missing_ok=True)
