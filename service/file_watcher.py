"""Files that are read again when their content changes, or at a signal.

Content is compared, not times: it works on mounted secrets whose links are exchanged, on network file systems, and
with editors that write beside and rename. A file that is caught half-written is refused, and read again once it is
whole.
"""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Final, Self

import structlog

from service.errors import ServiceError, UnsettledError
from service.monitoring.metrics import Metrics
from service.ports import Clock

_log = structlog.get_logger()

POLL_SECONDS: Final = 2.0
_MOST_BYTES: Final = 4 << 20


@dataclass(slots=True)
class _Entry:
    name: str
    files: Callable[[], Iterable[Path]]
    reload: Callable[[], None]
    seen: str


class FileWatcher:
    """Looks every two seconds in a thread of its own, so that a change comes through whatever the loop waits for.

    Args:
        metrics: where outcomes are counted.
        clock: for the time of the last one.
    """

    def __init__(self, metrics: Metrics, clock: Clock) -> None:
        self._metrics, self._clock = metrics, clock
        self._entries: list[_Entry] = []
        self._wake, self._forced, self._ended = threading.Event(), threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._run, name="watch", daemon=True)

    def add(self, name: str, files: Callable[[], Iterable[Path]], reload: Callable[[], None]) -> None:
        """Watches files; before `start` only.

        Args:
            name: of the metrics' label: config, web.
            files: asked again before every look, as a file may name others.
            reload: reads them; raises ServiceError and changes nothing where they cannot be used, UnsettledError where
                they have to stay as they are for a while first.
        """
        self._entries.append(_Entry(name, files, reload, _digest(files())))
        self._metrics.reload_at.labels(name).set(self._clock.wall_ms() / 1000)

    def wake(self) -> None:
        """Reads everything again now, changed or not. Fit for a signal handler."""
        self._forced.set()
        self._wake.set()

    def look(self, *, forced: bool = False) -> None:
        """Reads what has changed."""
        for entry in self._entries:
            now = _digest(entry.files())
            if now == entry.seen and not forced:
                continue
            entry.seen = now
            try:
                entry.reload()
            except UnsettledError:
                entry.seen = ""  # read again at every look until it is believed
                self._metrics.reload_ok.labels(entry.name).set(0)
            except ServiceError as error:
                self._metrics.reloads.labels(entry.name, "refused").inc()
                self._metrics.reload_ok.labels(entry.name).set(0)
                _log.warning("changed file refused, the old settings stay", file=entry.name, error=str(error))
            else:
                entry.seen = _digest(entry.files())  # it may name other files now
                self._metrics.reloads.labels(entry.name, "done").inc()
                self._metrics.reload_ok.labels(entry.name).set(1)
                self._metrics.reload_at.labels(entry.name).set(self._clock.wall_ms() / 1000)

    def _run(self) -> None:
        while not self._ended.is_set():
            self._wake.wait(POLL_SECONDS)
            self._wake.clear()
            forced = self._forced.is_set()
            self._forced.clear()
            if not self._ended.is_set():
                self.look(forced=forced)

    def __enter__(self) -> Self:
        """Starts looking."""
        if self._entries:
            self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stops looking."""
        self._ended.set()
        self._wake.set()
        if self._thread.is_alive():
            self._thread.join(POLL_SECONDS)


def _digest(files: Iterable[Path]) -> str:
    """Of names and contents; a file that cannot be read has a digest too, so that its return is noticed."""
    total = hashlib.sha256()
    for path in files:
        total.update(repr(str(path)).encode())
        try:
            with path.open("rb") as file:
                total.update(hashlib.sha256(file.read(_MOST_BYTES)).digest())
        except OSError as error:
            total.update(repr(error.errno).encode())
    return total.hexdigest()
