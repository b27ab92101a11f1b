"""A table of one row that is a copy of another one, on which the observe kernel computes its forecast once more.

The kernel is called with one more event of the newest step, without a value: docs/model.md, "Time". Such an event
changes nothing that a forecast depends on, and the head reads the state of the newest step unchanged. So the forecast
is that of the newest event bit for bit, and every number that it was computed from remains in the scratch. With other
known future values, or with other weights, it is the forecast that these would have given.

A network without a cell reads the inputs of the newest step, which include the time gap before it. That gap is not part
of a row; it is taken to be one interval.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from forecaster.batch import allocate_forecasts
from forecaster.config import AnomalyConfig
from forecaster.explanation.situation import Situation
from forecaster.features.calendar import calendar_table
from forecaster.features.counters import CADENCE, LAST_TS, LEARNT_UNIT, MODEL, N_GAPS, STEP_TS
from forecaster.kernels.forms import Forms
from forecaster.layout import kernel_weights, row_layout
from forecaster.model import Model
from forecaster.observe import observe_kernel
from forecaster.observe.buffers import ObserveLayout, make_scratch, observe_layout
from forecaster.observe.observed_rows import limits
from forecaster.observe.row_rules import RowRules
from forecaster.state.table import Table

_SETTLED: Final = N_GAPS * LEARNT_UNIT  # of the interval: neither being learnt nor in doubt
_NO_NUMBERS = np.zeros(1, np.float32)  # placeholder where there are no covariates


class RowTwin:
    """One row for the forecasts of situations of one network. Used by one thread at a time.

    Args:
        model: the network.

    Attributes:
        sizes: of the kernel.
        weights: as the kernel reads them, see `layout.kernel_weights`.
    """

    def __init__(self, model: Model) -> None:
        layout, config = model.layout, model.config
        self.model, self.sizes = model, observe_layout(layout)
        self._kernel: Forms[ObserveLayout] = observe_kernel(layout)
        self._scratch = make_scratch(layout)
        self.weights: NDArray[np.float32] = kernel_weights(layout, model.params)
        self._rules = RowRules(1, AnomalyConfig(), limits(config))
        self._calendar_table = calendar_table(config.timezone, config.holidays)
        self._table = Table(layout, 1)
        self._row = self._table.add("")

    @property
    def scratch(self) -> NDArray[np.float32]:
        """The numbers that the last forecast was computed from, see `observe.buffers.ScratchLayout`."""
        return self._scratch[0]

    def forecast(
        self, situation: Situation, known: NDArray[np.float32] | None = None, hidden: NDArray[np.float32] | None = None,
        weights: NDArray[np.float32] | None = None,
    ) -> NDArray[np.float64]:  # fmt: skip
        """Computes the forecast of a situation.

        Args:
            situation: of the network of this object; not changed.
            known: known future values, (F, horizon) float32, nan where missing; None: those of the situation, all of
                them missing where it does not hold them.
            hidden: float32 numbers of the row; None: those of the situation.
            weights: as `weights`; None: these.

        Returns:
            (horizon, levels) float64.
        """
        self._load(situation, situation.hidden if hidden is None else hidden)
        return self._run(situation, known, self.weights if weights is None else weights)

    def encoded_again(self, situation: Situation, weights: NDArray[np.float32] | None = None) -> NDArray[np.float32]:
        """Returns the row, (n,) float32, with a hidden state that is encoded from its newest steps anew.

        That is what a row does under new weights: the state is cleared, and the steps of the ring are observed again,
        `layout.WARM_STEPS` at most. The ensemble stays as it is.

        Args:
            situation: as in `forecast`.
            weights: as in `forecast`.
        """
        self._load(situation, situation.hidden)
        self._table.counters[self._row, MODEL] = 0  # of no network
        self._run(situation, None, self.weights if weights is None else weights)
        found = situation.hidden.copy()
        states = row_layout(self.model.layout).states
        found[:states] = self._table.hidden[self._row, :states]
        return found

    def _load(self, situation: Situation, hidden: NDArray[np.float32]) -> None:
        """Overwrites the row by a copy that takes an event of the newest step."""
        row, table, origin = self._row, self._table, situation.origin_ms
        table.hidden[row], table.stats[row], table.counters[row] = hidden, situation.stats, situation.counters
        counters = table.counters[row]
        counters[LAST_TS], counters[STEP_TS], counters[CADENCE] = origin - 1, origin, _SETTLED

    def _run(
        self, situation: Situation, known: NDArray[np.float32] | None, weights: NDArray[np.float32]
    ) -> NDArray[np.float64]:
        config, table = self.model.config, self._table
        known = situation.known if known is None else known
        ahead = len(config.future_covariates), config.horizon
        if known is None:
            known = np.full(ahead, np.nan, np.float32)
        future = np.ascontiguousarray(known, np.float32).reshape(-1) if known.size else _NO_NUMBERS
        covariates = np.full(len(config.covariates), np.nan, np.float32) if config.covariates else _NO_NUMBERS
        ts = np.array([situation.origin_ms])
        out = allocate_forecasts(ts, config)
        rows = (
            table.hidden.reshape(-1), table.stats.reshape(-1), table.counters.reshape(-1), self._rules.offsets,
            table.hidden.shape[1], table.stats.shape[1], table.counters.shape[1],
        )  # fmt: skip
        outputs = (
            out.status, out.interval_ms, out.steps, out.quantiles.reshape(-1), out.anomaly, out.flagged, np.empty(1),
            out.notes, out.noted_ms,
        )  # fmt: skip
        arguments: tuple[Any, ...] = (
            self._kernel.numbers, weights, self._scratch, rows,
            (np.array([self._row]), ts, np.array([np.nan]), covariates, future), outputs, self._rules.array,
            situation.prior.copy(), self._calendar_table, 1, self.model.tag,
        )  # fmt: skip
        self._kernel.select(arguments)(*arguments)
        quantiles: NDArray[np.float64] = out.quantiles[0]
        return quantiles
