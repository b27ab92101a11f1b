"""What became of the records of this process: events taken in, those that came too late, those set aside and why.

A stream whose fields have other names than expected is rejected to its last record, and each of them is where it
belongs, in the table of rejects. The tally is for the person who does not look there yet: the first of every reason is
told at once, and the whole at the end.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

import structlog

if TYPE_CHECKING:
    from service.ports import Reject

_log = structlog.get_logger()

# As forecaster.Status counts them.
_OK, _MISSING, _DUPLICATE, _LATE, _BROADCAST = range(5)
# The years 2000 to 2100 in epoch seconds. As milliseconds they are five weeks of 1970, of which nobody has data.
_SECONDS: Final = (946_684_800, 4_102_444_800)
_SHOWN: Final = 300  # characters of a detail: a line of the log, not the record


class Tally:
    """Counts what was published, unit by unit. Belongs to the engine's thread; read when that has ended.

    Attributes:
        rejects: records set aside, by reason.
        first: the detail of the very first of them, "" while there is none.
    """

    def __init__(self) -> None:
        self._statuses = [0] * 5
        self.rejects: Counter[str] = Counter()
        self.first = ""
        self._seconds = False

    @property
    def events(self) -> int:
        """Those that were taken in: with a value, without one, or for all series."""
        return sum(self._statuses[status] for status in (_OK, _MISSING, _BROADCAST))

    @property
    def late(self) -> int:
        """Those that were older than the newest event of their series, and dropped or set aside for it."""
        return self._statuses[_LATE]

    @property
    def duplicates(self) -> int:
        """Those of the same time as the newest event of their series."""
        return self._statuses[_DUPLICATE]

    def took(
        self, partition: str, statuses: Sequence[int], rejects: Sequence[Reject], first_ms: int | None = None
    ) -> None:
        """Counts one published unit; the first record of every reason is logged, and times that are no milliseconds.

        Args:
            partition: that it came from.
            statuses: how many events became ok, missing, duplicate, late, broadcast.
            rejects: the records set aside.
            first_ms: event time of its first event, None where it has none.
        """
        if first_ms is not None and not self._seconds and _SECONDS[0] <= first_ms < _SECONDS[1]:
            self._seconds = True
            _log.warning("event times look like seconds", partition=partition, got=first_ms,
                         expected="epoch milliseconds or ISO-8601")  # fmt: skip
        self._statuses = [before + more for before, more in zip(self._statuses, statuses, strict=True)]
        for reject in rejects:
            if reject.reason not in self.rejects:
                _log.warning("first record set aside for this reason", reason=reject.reason, partition=partition,
                             position=reject.position, detail=reject.detail[:_SHOWN])  # fmt: skip
            self.first = self.first or reject.detail[:_SHOWN]
            self.rejects[reject.reason] += 1
