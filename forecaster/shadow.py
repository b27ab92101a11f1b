"""A second model beside the one in force: the same live events, its own rows, scored on what arrives.

It starts from a copy of the rows of a bounded sample of series: the first `limit` that have a row. A row that meets
other weights runs its last steps through them first, as at an adoption. The first `WARM` scores of every series are
left out, because offsets and weights of a fresh network in the pool need a while.
"""

from __future__ import annotations

from typing import Any, Final, Self

import numpy as np
from numpy.typing import NDArray

from forecaster.batch import Batch, Forecasts
from forecaster.evidence import Evidence
from forecaster.forecaster import Forecaster
from forecaster.mixture import tracked_horizons
from forecaster.model import Model
from forecaster.prequential import Prequential
from forecaster.state import index_arrays

WARM: Final = 32


class Shadow:
    """A model on trial. Use `start` or `from_state`.

    Attributes:
        forecaster: its rows.
        evidence: the live forecaster is the first, this one the second.
        events: events of the whole stream since the start, of other series too.
    """

    def __init__(self, forecaster: Forecaster) -> None:
        config = forecaster.config
        self.forecaster, self.evidence, self.events = forecaster, Evidence(), 0
        tracked = tracked_horizons(config.horizon)
        self._scorer = Prequential(forecaster.max_series, tracked, config.quantiles, 2)
        self._scorer.slots(forecaster.series)
        self._scored = np.zeros(forecaster.max_series, np.int64)

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
        arrays |= index_arrays({name: row for row, name in enumerate(names)})
        header = live.header() | {"used": len(names), "history_written": 0, "history_capacity": 0}
        size = max(1, len(names))
        copy = Forecaster.from_state(
            arrays, header, live.model, max_series=size, history_events=0, broadcast=live.broadcast
        )
        copy.adopt(model)
        return cls(copy)

    @property
    def model(self) -> Model:
        """The weights on trial."""
        return self.forecaster.model

    def observe(self, batch: Batch, live: Forecasts) -> None:
        """Forecasts the same events and scores both on what matures.

        Args:
            batch: as the live forecaster was given it.
            live: what it answered.
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
        own = self.forecaster.observe(part)
        status = np.maximum(own.status, live.status[mine])
        both = np.stack((live.quantiles[mine], own.quantiles))
        notes = live.notes[mine] if len(live.notes) else None
        losses = self._scorer.score(slot[mine], status, live.steps[mine], part.value, both, notes)
        self.evidence.add(losses[self._warm(slot[mine], losses)])

    def _warm(self, slot: NDArray[np.int64], losses: NDArray[np.float64]) -> NDArray[np.bool_]:
        """Which of the scores count; a series may stand several times in a batch."""
        counts = ~np.isnan(losses[:, 0])  # never where slot is -1
        order = np.argsort(slot, kind="stable")
        sorted_slot, sorted_counts = slot[order], counts[order].astype(np.int64)
        running = np.cumsum(sorted_counts)
        first = np.concatenate(([True], sorted_slot[1:] != sorted_slot[:-1]))
        start = np.maximum.accumulate(np.where(first, running - sorted_counts, 0))
        rank = np.empty(len(slot), np.int64)
        rank[order] = running - start + self._scored[sorted_slot]
        np.add.at(self._scored, slot, counts)
        return counts & (rank > WARM)

    def header(self) -> dict[str, Any]:
        """JSON-able facts that belong to `state()`."""
        found = self.evidence
        return {
            "forecaster": self.forecaster.header(),
            "broadcast": self.forecaster.broadcast,
            "max_series": self.forecaster.max_series,
            "events": self.events,
            "evidence": [found.count, found.total.hex(), found.spread.hex()],
        }

    def state(self) -> dict[str, NDArray[Any]]:
        """All state as arrays (copies)."""
        arrays = {f"forecaster.{name}": np.array(array) for name, array in self.forecaster.state().items()}
        arrays |= {f"scorer.{name}": array for name, array in self._scorer.state().items()}
        return arrays | {"scored": self._scored.copy()}

    @classmethod
    def from_state(cls, arrays: dict[str, NDArray[Any]], header: dict[str, Any], model: Model) -> Self:
        """The inverse of `state` and `header`.

        Raises:
            CheckpointError: they do not belong together.
        """
        parts: dict[str, dict[str, NDArray[Any]]] = {"forecaster": {}, "scorer": {}}
        for name, array in arrays.items():
            kind, _, rest = name.partition(".")
            if rest:
                parts[kind][rest] = array
        limit = int(header["max_series"])
        own = parts["forecaster"], header["forecaster"]
        said = str(header["broadcast"])
        self = cls(Forecaster.from_state(*own, model, max_series=limit, history_events=0, broadcast=said))
        self._scorer.restore(parts["scorer"])
        self._scored = arrays["scored"].copy()
        count, total, spread = header["evidence"]
        self.evidence = Evidence(int(count), float.fromhex(total), float.fromhex(spread))
        self.events = int(header["events"])
        return self
