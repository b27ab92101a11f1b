"""Numbers that a database gives to series and contexts, which its rows have in place of names."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final, Generic, NamedTuple, TypeVar

import numpy as np

from forecaster import SeriesLookup, chosen
from service.messages.compact import context_of

MOST_NAMES: Final = 100_000
"""Numbers of series that are remembered."""

Database = TypeVar("Database")


class Context(NamedTuple):
    """What many forecasts have in common.

    Attributes:
        partition: of the source.
        model: the first digits of its sha256, "" of a silence.
        levels: of the quantiles.
    """

    partition: str
    model: str
    levels: list[float]


class GivenNumbers(Generic[Database]):
    """Remembers numbers that a database has given, so that it is asked for each name once.

    Args:
        of_series: returns the numbers of series, whose names are sorted and unique; stores those that are new.
        of_context: the same of a context.
    """

    def __init__(
        self,
        of_series: Callable[[Database, Sequence[str]], dict[str, int]],
        of_context: Callable[[Database, Context], int],
    ) -> None:
        self._of_series, self._of_context = of_series, of_context
        self._series: dict[str, int] = {}
        self._lookup = SeriesLookup(self._series)
        self._contexts: dict[tuple[str, bytes], int] = {}

    def forget(self) -> None:
        """Forgets all: those of a transaction that was rolled back, or of names that were deleted."""
        self._series.clear()
        self._lookup.forget()
        self._contexts.clear()

    def series(self, database: Database, names: Sequence[str]) -> list[int]:
        """Returns the numbers of series, in the order of their names."""
        found = self._lookup.slots(names)
        new = np.flatnonzero(found < 0)
        if len(new):
            missing = set(chosen(names, new))
            if len(self._series) + len(missing) > MOST_NAMES:
                self._series.clear()
                self._lookup.forget()
                missing = set(names)
            # Sorted, so that new numbers do not depend on the order of a set.
            self._series.update(self._of_series(database, sorted(missing)))
            found = self._lookup.slots(names)
        numbers: list[int] = found.tolist()
        return numbers

    def context(self, database: Database, partition: str, context: bytes) -> int:
        """Returns the number of a partition, a model and its levels.

        Args:
            database: the connection or session.
            partition: of the source.
            context: of a forecast, see `service.messages.compact`; b"" of a silence.
        """
        key = partition, context
        if key not in self._contexts:
            model, levels = context_of(context) if context else ("", [])
            self._contexts[key] = self._of_context(database, Context(partition, model.strip(), list(levels)))
        return self._contexts[key]
