"""A shadow model: a challenger that forecasts the same live events with rows of its own and is scored on actuals.

Challenger and control start from the same state. The rows of a bounded sample of series, the first `limit` that have a
row, are copied twice: for the challenger, and for the control, which has the champion's weights. All of them are
re-encoded at their next event and enter the ensemble anew, as at an adoption, whichever weights they had before. The
challenger is compared with the control, so that the verdict is about weights only: the live forecasts have adapted to
their weights over a longer time. The first `WARM` scores of every series are left out, because the ensemble's offsets
and weights need that time to adapt to a newly adopted network.
"""

from __future__ import annotations

from typing import Any, Final, Self

import numpy as np
from numpy.typing import NDArray

from forecaster.batch import Batch, Forecasts
from forecaster.config import ModelConfig
from forecaster.ensemble.weights import tracked_horizons
from forecaster.errors import ConfigError
from forecaster.evaluation.e_process import EProcess
from forecaster.evaluation.pending import Prequential, part_of
from forecaster.features.counters import MODEL
from forecaster.forecaster import Forecaster
from forecaster.kernels.jit import kernel
from forecaster.model import Model
from forecaster.state.arrays import count_of, index_arrays
from forecaster.state.checkpoint import checked

WARM: Final = 32
# Limit of one loss, in usual losses, in updates of the usual loss of its series.
_LARGEST: Final = 10.0
# Tag of no model: `Model.tag` is positive, and rows without a step have 0.
_NO_MODEL: Final = -1


@kernel
def _compare(slot: Any, steps: Any, losses: Any, usual: Any, counts: Any, out: Any) -> None:
    """Converts losses to units of the usual loss of their series, in the order of the events.

    Args:
        slot, steps: (n,). losses: (n, 2); nan where nothing was scored.
        usual: (slots,) mean of both losses of a series so far, overwritten.
        counts: (slots, 3) number of scores, first and newest step, overwritten; steps are -1 before the first event.
        out: (n, 2), overwritten; nan where nothing was scored, and for the first `WARM` scores of a series.
    """
    for i in range(len(slot)):
        s = slot[i]
        out[i, 0] = out[i, 1] = np.nan
        if s < 0:
            continue
        if counts[s, 1] < 0:
            counts[s, 1] = steps[i]
        counts[s, 2] = max(counts[s, 2], steps[i])
        a, b = losses[i, 0], losses[i, 1]
        if np.isnan(a) or np.isnan(b):
            continue
        counts[s, 0] += 1
        size = min(a, b) if np.isinf(a) or np.isinf(b) else (a + b) / 2.0
        if np.isinf(size):
            size = usual[s]
        if counts[s, 0] > WARM:
            unit = usual[s] if usual[s] > 0.0 else size
            out[i, 0] = a / unit if unit > 0.0 else a
            out[i, 1] = b / unit if unit > 0.0 else b
        if usual[s] > 0.0 and counts[s, 0] > WARM // 4:
            size = min(size, _LARGEST * usual[s])
        usual[s] += (size - usual[s]) / counts[s, 0]


class Shadow:
    """A challenger and its control. Use `start` or `from_state`.

    Attributes:
        forecaster: rows of the challenger.
        control: rows of the champion, started from the same state.
        e_process: the e-processes; the control is the first forecaster, the challenger the second.
        events: number of events of the whole stream since the start, including other series.
    """

    def __init__(self, forecaster: Forecaster, control: Forecaster) -> None:
        config = forecaster.config
        self.forecaster, self.control, self.e_process, self.events = forecaster, control, EProcess(), 0
        tracked = tracked_horizons(config.horizon)
        self._scorer = Prequential(forecaster.max_series, tracked, config.quantiles, 2)
        self._scorer.slots(forecaster.series)
        self._usual = np.zeros(forecaster.max_series)
        self._counts = np.tile(np.array([0, -1, -1], np.int64), (forecaster.max_series, 1))

    @classmethod
    def start(cls, live: Forecaster, model: Model, limit: int) -> Self:
        """Starts a shadow model from the present state of a forecaster.

        Args:
            live: the forecaster with the champion; copied, not changed.
            model: the challenger, with the horizon and the levels of the champion. Where its network has another shape,
                the rows of both are built anew from what the live ones and the history hold (rebuilt_rows.py).
            limit: series in the sample.

        Raises:
            ConfigError: the challenger has another horizon or other levels.
        """
        for name in ("horizon", "quantiles", "covariates", "future_covariates"):
            mine, other = getattr(live.config, name), getattr(model.config, name)
            if mine != other:
                raise ConfigError(name, other, f"{mine!r} as in the running state")
        if not live.fits(model):
            return cls(live.sample(model, max(1, limit)), live.sample(live.model, max(1, limit)))
        names, state = live.series[: max(1, limit)], live.state()
        rows = state["rows"][: len(names)]
        arrays = {name: column[:0] for name, column in state.items()}
        arrays |= {name: state[name][rows] for name in ("hidden", "stats", "whole")}
        arrays["whole"][:, MODEL] = _NO_MODEL
        arrays |= index_arrays({name: row for row, name in enumerate(names)})
        header = live.header() | {"used": len(names), "history_written": 0, "history_capacity": 0}
        size = max(1, len(names))
        control, copy = (
            Forecaster.from_state(
                arrays, header, live.model, max_series=size, history_events=0, broadcast=live.broadcast
            )
            for _ in range(2)
        )
        copy.adopt(model)
        return cls(copy, control)

    @property
    def model(self) -> Model:
        """The challenger."""
        return self.forecaster.model

    @property
    def seasoned(self) -> int:
        """Number of compared forecasts of series that have observed a full longest season since the start."""
        scored, first, newest = self._counts.T
        longest = max((*self.forecaster.config.seasons, *self.control.config.seasons), default=0)
        full_season = newest - first >= longest
        return int(np.maximum(scored - WARM, 0)[full_season].sum())

    def observe(self, batch: Batch, live: Forecasts) -> None:
        """Forecasts the events with both models and scores earlier forecasts whose targets arrive.

        Args:
            batch: events that the live forecaster observed.
            live: its forecasts; events without one are not scored.
        """
        self.events += len(batch)
        slot = self._scorer.slots(batch.series)
        sampled = np.flatnonzero(slot >= 0)
        if (broadcast := self.forecaster.broadcast) and broadcast in batch.series:  # not scored, but it sets covariates
            slot = np.where(np.array([name == broadcast for name in batch.series]), -1, slot)
            sampled = np.array(
                [i for i, name in enumerate(batch.series) if slot[i] >= 0 or name == broadcast], np.int64
            )
        if not len(sampled):
            return
        part = batch.taken(sampled)
        control, own = self.control.observe(part), self.forecaster.observe(part)
        status = np.maximum(np.maximum(own.status, control.status), live.status[sampled])
        both = np.stack((control.quantiles, own.quantiles))
        notes = control.notes if len(control.notes) else None
        losses = self._scorer.score(slot[sampled], status, control.steps, part.value, both, notes)
        compared = np.empty_like(losses)
        _compare(slot[sampled], control.steps, losses, self._usual, self._counts, compared)
        self.e_process.add(compared)

    def header(self) -> dict[str, Any]:
        """Returns the JSON-able metadata that belong to `state()`."""
        return {
            "forecaster": self.forecaster.header(),
            "control": self.control.header(),
            "broadcast": self.forecaster.broadcast,
            "max_series": self.forecaster.max_series,
            "events": self.events,
            "evidence": self.e_process.to_list(),
        }

    def state(self) -> dict[str, NDArray[Any]]:
        """Returns all state as arrays (copies), with the weights of the control but not those of the challenger."""
        arrays = {f"forecaster.{name}": np.array(array) for name, array in self.forecaster.state().items()}
        arrays |= {f"control.{name}": np.array(array) for name, array in self.control.state().items()}
        arrays |= {f"scorer.{name}": array for name, array in self._scorer.state().items()}
        params = self.control.model.params.copy()
        return arrays | {"usual": self._usual.copy(), "counts": self._counts.copy(), "params": params}

    @classmethod
    def from_state(cls, arrays: dict[str, NDArray[Any]], header: dict[str, Any], model: Model) -> Self:
        """Restores a shadow model from `state` and `header`.

        Args:
            arrays: from `state`; copied.
            header: from `header`.
            model: the challenger.

        Raises:
            CheckpointError: state, header and model do not belong together, or are not such a state.
        """
        with checked("the state of a trial"):
            parts: dict[str, dict[str, NDArray[Any]]] = {"forecaster": {}, "control": {}, "scorer": {}}
            for name, array in arrays.items():
                kind, _, rest = name.partition(".")
                if rest:
                    parts[kind][rest] = array
            limit, broadcast = count_of(header, "max_series"), str(header["broadcast"])
            config = ModelConfig.from_dict(header["control"]["config"])
            champion = Model(config, np.array(arrays["params"]))
            forecaster, control = (
                Forecaster.from_state(
                    parts[name], header[name], weights, max_series=limit, history_events=0, broadcast=broadcast
                )
                for name, weights in (("forecaster", model), ("control", champion))
            )
            self = cls(forecaster, control)
            self._restore(arrays, parts["scorer"])
            self.e_process = EProcess.from_list(header["evidence"])
            self.events = count_of(header, "events")
        return self

    def _restore(self, arrays: dict[str, NDArray[Any]], scorer: dict[str, NDArray[Any]]) -> None:
        """Restores scorer, usual losses and counts; raises ValueError if they do not fit the rows."""
        size = self.forecaster.max_series
        self._scorer.restore(scorer)
        self._usual = part_of(arrays, "usual", (size,), np.float64)
        self._counts = part_of(arrays, "counts", (size, 3), np.int64)
        series, scored = set(self.forecaster.series), set(self._scorer.index)
        if series != set(self.control.series) or not series <= scored or len(scored) > size:
            msg = f"got rows of {len(series)} series and scores of {len(scored)}, expected the same ones"
            raise ValueError(msg)
        if not (np.isfinite(self._usual).all() and (self._usual >= 0.0).all()) or self._counts.min(initial=0) < -1:
            msg = "got usual losses or counts below 0, expected means of losses and numbers of scores"
            raise ValueError(msg)
