"""Feedback on anomalies: what people have asked for, and from which position on it is in force.

    <data_dir>/feedback/requests/*.json    one file per request of `forecaster anomalies`, until the daemon takes it
    <data_dir>/feedback/<partition>.json   requests in force, with the position from which on they are

A request is in force in a partition from a position between two batches. That is written before the next event is
observed, so a replay repeats it at the same position, whichever snapshot it begins with.
"""

from __future__ import annotations

import contextlib
import json
import secrets
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Final, Literal, get_args

from service.errors import ServiceError
from service.registry.models import replace_file

Verdict = Literal["ack", "mute", "confirm"]
VERDICTS: Final[tuple[Verdict, ...]] = get_args(Verdict)

STRICTER: Final[dict[str, int]] = {"ack": 0, "mute": 1, "confirm": -1}
"""What a verdict adds to the strictness of the series (`Forecaster.adjust_threshold`)."""

MOST_ENTRIES: Final = 10_000
"""Newest entries kept for a partition: older ones are in all its snapshots."""

MOST_REQUESTS: Final = 1000
"""Requests that wait for the daemon."""


class FeedbackError(ServiceError):
    """Feedback cannot be read or stored."""


@dataclass(frozen=True, slots=True)
class Request:
    """What somebody has said of a series.

    Attributes:
        identity: distinguishes it from all others.
        series: its name. verdict: what was said.
        reason: text for people. said_ms: wall clock.
    """

    identity: str
    series: str
    verdict: Verdict
    reason: str = ""
    said_ms: int = 0


@dataclass(frozen=True, slots=True)
class Feedback:
    """A request in force in a partition.

    Attributes:
        number: its number in the partition, counted from 1.
        run: of the partition, see `Transport.run`.
        position: it is in force for the events from this position on.
        mark_ms: it is in force behind the time marks at this position up to this one; None: before all of them.
        request: what was said.
    """

    number: int
    run: int
    position: int
    mark_ms: int | None
    request: Request


class FeedbackStore:
    """The files of a data folder.

    Args:
        root: `<data_dir>/feedback`; created with the first request.
    """

    def __init__(self, root: Path) -> None:
        self._root, self._requests = root, root / "requests"
        self._read: dict[Path, tuple[tuple[int, int], list[Feedback]]] = {}

    def ask(self, series: str, verdict: Verdict, reason: str, said_ms: int) -> Request:
        """Stores a request for the daemon; durable on return.

        Raises:
            FeedbackError: too many requests wait.
            OSError: it cannot be written.
        """
        self._requests.mkdir(parents=True, exist_ok=True)
        if (count := sum(1 for _ in self._requests.glob("*.json"))) >= MOST_REQUESTS:
            msg = f"{self._requests}: got {count} requests that wait, expected a daemon that takes them; start it"
            raise FeedbackError(msg)
        request = Request(f"{said_ms:015d}-{secrets.token_hex(8)}", series, verdict, reason[:200], said_ms)
        replace_file(self._requests / f"{request.identity}.json", json.dumps(asdict(request)) + "\n")
        return request

    def requests(self) -> Iterator[tuple[Path, Request | None]]:
        """Yields the requests that wait, oldest first, with their files; None for a file that is none."""
        for path in sorted(self._requests.glob("*.json")):
            try:
                found = Request(**json.loads(path.read_text("utf-8")))
                yield path, found if found.verdict in VERDICTS else None
            except (ValueError, TypeError):
                yield path, None

    def partitions(self) -> list[Path]:
        """Returns the names of the files of partitions with feedback."""
        return sorted(Path(path.name) for path in self._root.glob("*.json"))

    def entries(self, partition: Path) -> list[Feedback]:
        """Returns the feedback of a partition in the order of its numbers.

        Args:
            partition: name of its file in the folder.

        Raises:
            FeedbackError: the file is not what `add` writes.
        """
        path = self._root / partition
        try:
            found = json.loads(path.read_text("utf-8"))
            return [Feedback(**{**one, "request": Request(**one["request"])}) for one in found]
        except FileNotFoundError:
            return []
        except (ValueError, TypeError, LookupError) as error:
            msg = f"{path}: expected a list of feedback, got {error}; repair or delete it"
            raise FeedbackError(msg) from error

    def known(self, partition: Path) -> Sequence[Feedback]:
        """Returns what `entries` does; the file is read again only where it has changed.

        Raises:
            FeedbackError: as `entries`.
        """
        try:
            found = (self._root / partition).stat()
        except FileNotFoundError:
            return ()
        version = found.st_mtime_ns, found.st_size
        before = self._read.get(partition)
        if before is None or before[0] != version:
            before = self._read[partition] = version, self.entries(partition)
        return before[1]

    def add(self, partition: Path, request: Request, run: int, position: int, mark_ms: int | None) -> Feedback | None:
        """Adds feedback to a partition; durable on return.

        Returns:
            The entry; None if the partition has the request already.

        Raises:
            FeedbackError: as `entries`.
            OSError: it cannot be written.
        """
        found = self.entries(partition)
        if any(one.request.identity == request.identity for one in found):
            return None
        entry = Feedback(found[-1].number + 1 if found else 1, run, position, mark_ms, request)
        self._write(partition, [*found, entry][-MOST_ENTRIES:])
        return entry

    def rewind(self, partition: Path, run: int, committed: int) -> list[Feedback]:
        """Returns the feedback of a run, none of it behind the committed position.

        Entries behind it were given while a later state of the output was in force, which was replaced by an older
        one: they are in force from the committed position on.

        Raises:
            FeedbackError: as `entries`.
            OSError: it cannot be written.
        """
        found = self.entries(partition)
        moved = [
            replace(one, position=committed, mark_ms=None) if one.run == run and one.position > committed else one
            for one in found
        ]
        if moved != found:
            self._write(partition, moved)
        return [one for one in moved if one.run == run]

    def forget(self, partition: Path) -> None:
        """Deletes the feedback of a partition that starts with empty state."""
        (self._root / partition).unlink(missing_ok=True)

    def _write(self, partition: Path, entries: Sequence[Feedback]) -> None:
        self._root.mkdir(parents=True, exist_ok=True)
        replace_file(self._root / partition, json.dumps([asdict(one) for one in entries]) + "\n")

    def drop(self, path: Path) -> None:
        """Deletes the file of a request that is taken."""
        with contextlib.suppress(FileNotFoundError):
            path.unlink()
