"""Watches files, and reads them again when their content changes, or at a signal.

Content is compared, not times, which works with mounted secrets whose links are replaced, on network file systems, and
with editors that write a new file and rename it. A partially written file is rejected, and read again once it is
complete.
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
    """Checks the files every two seconds in its own thread, independent of what the engine waits for.

    Args:
        metrics: count the outcomes.
        clock: gives the time of the last reload.
    """

    def __init__(self, metrics: Metrics, clock: Clock) -> None:
        self._metrics, self._clock = metrics, clock
        self._entries: list[_Entry] = []
        self._wake, self._forced, self._ended = threading.Event(), threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._run, name="watch", daemon=True)

    def add(self, name: str, files: Callable[[], Iterable[Path]], reload: Callable[[], None]) -> None:
        """Adds files to watch; only before `start`.

        Args:
            name: label of the metrics: config, web.
            files: returns the files; called before every check, as a file may name others.
            reload: reads them; raises ServiceError and changes nothing where they cannot be used, UnsettledError where
                they have to stay unchanged for a while first.
        """
        self._entries.append(_Entry(name, files, reload, _digest(files())))
        self._metrics.reload_at.labels(name).set(self._clock.wall_ms() / 1000)

    def wake(self) -> None:
        """Reads all files again now, changed or not. May be called in a signal handler."""
        self._forced.set()
        self._wake.set()

    def check(self, *, forced: bool = False) -> None:
        """Reads changed files again."""
        for entry in self._entries:
            now = _digest(entry.files())
            if now == entry.seen and not forced:
                continue
            entry.seen = now
            try:
                entry.reload()
            except UnsettledError:
                entry.seen = ""  # read again at every check until it is accepted
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
                self.check(forced=forced)

    def __enter__(self) -> Self:
        """Starts the thread."""
        if self._entries:
            self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stops the thread."""
        self._ended.set()
        self._wake.set()
        if self._thread.is_alive():
            self._thread.join(POLL_SECONDS)


def _digest(files: Iterable[Path]) -> str:
    """Returns a digest of names and contents. An unreadable file has a digest too, so that its return is noticed."""
    total = hashlib.sha256()
    for path in files:
        total.update(repr(str(path)).encode())
        try:
            with path.open("rb") as file:
                total.update(hashlib.sha256(file.read(_MOST_BYTES)).digest())
        except OSError as error:
            total.update(repr(error.errno).encode())
    return total.hexdigest()
