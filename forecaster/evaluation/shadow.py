"""A model on trial beside the one in force: the same live events, its own rows, scored on what arrives.

Both models start alike. The rows of a bounded sample of series, the first `limit` that have a row, are copied twice:
for the challenger, and for the control, which has the weights in force. All of them are re-encoded at their next event
and enter the ensemble anew, as at an adoption, whichever weights they had before. The challenger is compared with the
control, so that a verdict is about weights alone: the live forecasts have a history with their weights that no
newcomer can have. The first `WARM` scores of every series are left out, because offsets and weights of a network that
has just been adopted need a while.
"""

from __future__ import annotations

from typing import Any, Final, Self

import numpy as np
from numpy.typing import NDArray

from forecaster.batch import Batch, Forecasts
from forecaster.config import ModelConfig
from forecaster.ensemble.weights import tracked_horizons
from forecaster.evaluation.e_process import Evidence
from forecaster.evaluation.pending import Prequential, part_of
from forecaster.features.counters import MODEL
from forecaster.forecaster import Forecaster
from forecaster.kernels.jit import kernel
from forecaster.model import Model
from forecaster.state.arrays import count_of, index_arrays
from forecaster.state.checkpoint import checked

WARM: Final = 32
# A loss counts as at most so many usual ones in what is the usual loss of its series.
_LARGEST: Final = 10.0
# Tag of no weights: `Model.tag` is positive, and rows without a step have 0.
_NO_MODEL: Final = -1


@kernel
def _compare(slot: Any, steps: Any, losses: Any, usual: Any, counts: Any, out: Any) -> None:
    """Puts losses in units of what is usual in their series, in the order of the events.

    Args:
        slot, steps: (n,). losses: (n, 2); nan where nothing was scored.
        usual: (slots,) mean of both losses of a series so far, overwritten.
        counts: (slots, 3) scores so far, first and newest step, overwritten; the steps are -1 before the first event.
        out: (n, 2), overwritten; nan where nothing was scored, or too early to count.
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
    """A model on trial. Use `start` or `from_state`.

    Attributes:
        forecaster: rows of the model on trial.
        control: rows of the weights in force, which started alike.
        evidence: the control is the first, the model on trial the second.
        events: events of the whole stream since the start, of other series too.
    """

    def __init__(self, forecaster: Forecaster, control: Forecaster) -> None:
        config = forecaster.config
        self.forecaster, self.control, self.evidence, self.events = forecaster, control, Evidence(), 0
        tracked = tracked_horizons(config.horizon)
        self._scorer = Prequential(forecaster.max_series, tracked, config.quantiles, 2)
        self._scorer.slots(forecaster.series)
        self._usual = np.zeros(forecaster.max_series)
        self._counts = np.tile(np.array([0, -1, -1], np.int64), (forecaster.max_series, 1))

    @classmethod
    def start(cls, live: Forecaster, model: Model, limit: int) -> Self:
        """Puts a model beside a forecaster, from its state as it is now.

        Args:
            live: the forecaster in force; copied from, not changed.
            model: fits its state.
            limit: series in the sample.

        Raises:
            ConfigError: the model does not fit the state.
        """
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
        """The weights on trial."""
        return self.forecaster.model

    @property
    def seasoned(self) -> int:
        """How many of the compared forecasts are of series that have seen a whole longest season since the start."""
        scored, first, newest = self._counts.T
        whole = newest - first >= max(self.forecaster.config.seasons, default=0)
        return int(np.maximum(scored - WARM, 0)[whole].sum())

    def observe(self, batch: Batch, live: Forecasts) -> None:
        """Forecasts the same events with both models and scores them on what arrives.

        Args:
            batch: as the live forecaster was given it.
            live: what it answered; what it left out is not scored.
        """
        self.events += len(batch)
        slot = self._scorer.slots(batch.series)
        mine = np.flatnonzero(slot >= 0)
        if (said := self.forecaster.broadcast) and said in batch.series:  # not scored, but what it says must be heard
            slot = np.where(np.array([name == said for name in batch.series]), -1, slot)
            mine = np.array([i for i, name in enumerate(batch.series) if slot[i] >= 0 or name == said], np.int64)
        if not len(mine):
            return
        part = batch.taken(mine)
        control, own = self.control.observe(part), self.forecaster.observe(part)
        status = np.maximum(np.maximum(own.status, control.status), live.status[mine])
        both = np.stack((control.quantiles, own.quantiles))
        notes = control.notes if len(control.notes) else None
        losses = self._scorer.score(slot[mine], status, control.steps, part.value, both, notes)
        compared = np.empty_like(losses)
        _compare(slot[mine], control.steps, losses, self._usual, self._counts, compared)
        self.evidence.add(compared)

    def header(self) -> dict[str, Any]:
        """JSON-able facts that belong to `state()`."""
        return {
            "forecaster": self.forecaster.header(),
            "control": self.control.header(),
            "broadcast": self.forecaster.broadcast,
            "max_series": self.forecaster.max_series,
            "events": self.events,
            "evidence": self.evidence.to_list(),
        }

    def state(self) -> dict[str, NDArray[Any]]:
        """All state as arrays (copies); the weights of the control are among them, those on trial are not."""
        arrays = {f"forecaster.{name}": np.array(array) for name, array in self.forecaster.state().items()}
        arrays |= {f"control.{name}": np.array(array) for name, array in self.control.state().items()}
        arrays |= {f"scorer.{name}": array for name, array in self._scorer.state().items()}
        params = self.control.model.params.copy()
        return arrays | {"usual": self._usual.copy(), "counts": self._counts.copy(), "params": params}

    @classmethod
    def from_state(cls, arrays: dict[str, NDArray[Any]], header: dict[str, Any], model: Model) -> Self:
        """The inverse of `state` and `header`.

        Raises:
            CheckpointError: they do not belong together, or are not such a state.
        """
        with checked("the state of a trial"):
            parts: dict[str, dict[str, NDArray[Any]]] = {"forecaster": {}, "control": {}, "scorer": {}}
            for name, array in arrays.items():
                kind, _, rest = name.partition(".")
                if rest:
                    parts[kind][rest] = array
            limit, said = count_of(header, "max_series"), str(header["broadcast"])
            config = ModelConfig.from_dict(header["control"]["config"])
            in_force = Model(config, np.array(arrays["params"]))
            forecaster, control = (
                Forecaster.from_state(
                    parts[name], header[name], weights, max_series=limit, history_events=0, broadcast=said
                )
                for name, weights in (("forecaster", model), ("control", in_force))
            )
            self = cls(forecaster, control)
            self._restore(arrays, parts["scorer"])
            self.evidence = Evidence.from_list(header["evidence"])
            self.events = count_of(header, "events")
        return self

    def _restore(self, arrays: dict[str, NDArray[Any]], scorer: dict[str, NDArray[Any]]) -> None:
        """What stands beside the rows, if it fits them."""
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
