"""Appends samples as JSON lines to a file that the daemon follows."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Protocol

import orjson
import psutil  # type: ignore[import-untyped] # psutil ships no types

Sample = tuple[int, Mapping[str, float]]
"""Epoch milliseconds, and the value of each series."""
# Seconds that `stop` waits for the thread: a sample is taken and written within milliseconds.
_STOP_SECONDS = 2.0


class SampleSource(Protocol):
    """Where samples come from. Used by one thread."""

    def seconds_to_next(self) -> float:
        """Returns the seconds until the next sample is due."""

    def take(self) -> Sample | None:
        """Returns the sample that is due; None for none."""


class Feed:
    """A thread that appends each sample of a source to a file, until stopped.

    A sample is written with one call and complete lines, so that a reader never sees a part of it.

    Args:
        path: the file; created at once, appended to, never replaced.
        source: of the samples.
        on_sample: called with every sample, before it is written.

    Attributes:
        path: the file.
        error: what ended the thread; the demo reports it at its end.
    """

    def __init__(self, path: Path, source: SampleSource, on_sample: Callable[[Sample], None] | None = None) -> None:
        self.path = path
        self.error: Exception | None = None
        self._source = source
        self._on_sample = on_sample
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="feed", daemon=True)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()

    def start(self) -> None:
        """Starts the thread; the first sample is taken when it is due. Does nothing after the first call."""
        if self._thread.ident is None:
            self._thread.start()

    def stop(self) -> None:
        """Ends the thread and waits for it."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join(_STOP_SECONDS)

    def write(self, samples: list[Sample]) -> None:
        """Appends samples at once, before the thread is started.

        Raises:
            OSError: the file cannot be written.
        """
        with self.path.open("ab") as out:
            for sample in samples:
                if self._on_sample is not None:
                    self._on_sample(sample)
                out.write(encode(sample))

    def _run(self) -> None:
        try:
            with self.path.open("ab", buffering=0) as out:
                while not self._stop.wait(self._source.seconds_to_next()):
                    sample = self._source.take()
                    if sample is None:
                        continue
                    if self._on_sample is not None:
                        self._on_sample(sample)
                    out.write(encode(sample))
        except (OSError, psutil.Error) as error:
            self.error = error


def encode(sample: Sample) -> bytes:
    """Encodes one sample as JSON lines in the daemon's input format, each with a line end."""
    timestamp_ms, values = sample
    return b"".join(
        orjson.dumps({"series": series, "timestamp": timestamp_ms, "value": round(value, 3)}) + b"\n"
        for series, value in values.items()
    )


def written_times(folder: Path) -> tuple[int, int] | None:
    """Returns the first and the last time in the files of a folder, in epoch milliseconds; None without samples."""
    # Up to the last line end: a crash of the machine may leave a part of a line.
    complete = [path.read_bytes().rpartition(b"\n")[0].splitlines() for path in folder.glob("*.jsonl")]
    times = [orjson.loads(line)["timestamp"] for lines in complete if lines for line in (lines[0], lines[-1])]
    return (min(times), max(times)) if times else None
