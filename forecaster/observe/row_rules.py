"""The anomaly rules of every row: those of all series, those of some series, and what feedback has made of them.

    threshold(s) = 1 - (1 - threshold) 2^-s,   LEAST_STRICTNESS <= s <= MOST_STRICTNESS

The strictness s of a series is 0 until it gets feedback. With calibrated forecasts the share of events that reach the
threshold halves with every unit of s. `clear` is never above the threshold.

Strictness belongs to the series and not to its row: a series that is evicted, forgotten or built anew keeps it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from forecaster.anomaly import N_RULES, rules
from forecaster.config import AnomalyConfig
from forecaster.errors import CheckpointError
from forecaster.kernels.buffers import reserve

LEAST_STRICTNESS: Final = -1
MOST_STRICTNESS: Final = 6
MOST_ADJUSTED: Final = 10_000
"""Series with feedback that are remembered; the one whose feedback is the oldest is dropped."""

_STRICTNESSES: Final = MOST_STRICTNESS - LEAST_STRICTNESS + 1
_THRESHOLD, _CLEAR = 2, 3  # of the rules, see anomaly.py

NumbersOf = Callable[[Sequence[str]], NDArray[np.int64]]
"""Returns for every series 0, or the number of its rules among the further ones, counted from 1."""


def stricter(one: NDArray[np.float64], strictness: int) -> NDArray[np.float64]:
    """Returns rules, as returned by `anomaly.rules`, with the threshold of a strictness."""
    found = one.copy()
    if strictness:
        found[_THRESHOLD] = max(0.0, 1.0 - (1.0 - one[_THRESHOLD]) * 2.0**-strictness)
        found[_CLEAR] = min(one[_CLEAR], found[_THRESHOLD])
    return found


class RowRules:
    """The rules as the kernel reads them, and where those of each row begin.

    Args:
        max_series: number of rows.
        anomaly: rules of all series without others.
        limits: the least and the greatest value of a quantile, see `observed_rows.limits`.

    Attributes:
        array: the rules of `anomaly`, both limits, then for each of the rules in use one block per strictness.
        offsets: (max_series,) where the rules of every row begin; 0: those of `anomaly`.
        strictness: of the series where it is not 0, by name, the oldest feedback first.
    """

    def __init__(self, max_series: int, anomaly: AnomalyConfig, limits: tuple[float, float]) -> None:
        self.offsets: NDArray[np.int64] = reserve(max_series, 1, np.int64)[:, 0]
        self.strictness: dict[str, int] = {}
        self._limits = limits
        self._all: tuple[AnomalyConfig, ...] = (anomaly,)
        self._number_of: NumbersOf | None = None
        self._build()

    def _build(self) -> None:
        parts = [rules(self._all[0]), np.array(self._limits)]
        if len(self._all) > 1 or self.strictness:
            steps = range(LEAST_STRICTNESS, MOST_STRICTNESS + 1)
            parts += [stricter(rules(one), strictness) for one in self._all for strictness in steps]
        self.array: NDArray[np.float64] = np.concatenate(parts)

    def change(
        self,
        anomaly: AnomalyConfig,
        others: Sequence[AnomalyConfig],
        number_of: NumbersOf | None,
        index: Mapping[str, int],
    ) -> None:
        """Replaces the rules.

        Args:
            anomaly: of all series without others.
            others: the rules of some series.
            number_of: which of them a series has; None: none.
            index: row of every series.
        """
        self._all, self._number_of = (anomaly, *others), number_of
        self._build()
        self._enter_all(index)

    def adjust(self, series: str, change: int, index: Mapping[str, int]) -> int:
        """Adds to the strictness of a series, within its bounds.

        Args:
            series: its name. change: what to add. index: row of every series.

        Returns:
            The strictness now.
        """
        found = min(max(self.strictness.pop(series, 0) + change, LEAST_STRICTNESS), MOST_STRICTNESS)
        if found:
            self.strictness[series] = found
        changed = [series]
        if len(self.strictness) > MOST_ADJUSTED:
            oldest = next(iter(self.strictness))
            del self.strictness[oldest]
            changed.append(oldest)
        self._build()
        for name in changed:
            if (row := index.get(name)) is not None:
                self.enter(name, row)
        return found

    def enter(self, series: str, row: int) -> None:
        """Notes the rules of a series that has got a row."""
        number = 0 if self._number_of is None else int(self._number_of([series])[0])
        self.offsets[row] = self._offset(number, self.strictness.get(series, 0))

    def _enter_all(self, index: Mapping[str, int]) -> None:
        """Notes the rules of all series that have a row."""
        names = list(index)
        numbers = [0] * len(names) if self._number_of is None else self._number_of(names).tolist()
        for name, number in zip(names, numbers, strict=True):
            self.offsets[index[name]] = self._offset(number, self.strictness.get(name, 0))

    def take_over(self, other: RowRules, index: Mapping[str, int]) -> None:
        """Takes over the rules of some series and the feedback of another state; `index`: row of every series here."""
        self.strictness = dict(other.strictness)
        self.change(self._all[0], other._all[1:], other._number_of, index)

    def header(self) -> dict[str, Any]:
        """Returns the feedback as JSON values; the rules are settings."""
        return {"strictness": dict(self.strictness)} if self.strictness else {}

    def restore(self, header: Mapping[str, Any], index: Mapping[str, int]) -> None:
        """Restores the feedback of `header`.

        Raises:
            CheckpointError: it is invalid.
        """
        found = {str(name): int(value) for name, value in header.get("strictness", {}).items()}
        if any(not LEAST_STRICTNESS <= value <= MOST_STRICTNESS for value in found.values()):
            msg = f"strictness: got {found}, expected numbers from {LEAST_STRICTNESS} to {MOST_STRICTNESS}"
            raise CheckpointError(msg)
        self.strictness = found
        self._build()
        self._enter_all(index)

    def _offset(self, number: int, strictness: int) -> int:
        if not number and not strictness:
            return 0
        return N_RULES + 2 + N_RULES * (number * _STRICTNESSES + strictness - LEAST_STRICTNESS)
