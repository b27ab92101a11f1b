"""Covariates for all series at once: an event of a reserved series sets them until it sets others.

They apply to the events after it in the stream, whatever its timestamp; so a replay gives the same result. A number
that an event has itself takes precedence over the broadcast one.

Broadcast known future values are for the timestamp of their event plus 1, 2, ... intervals. For an event k intervals
later the list is shifted by k; past its end (and before its beginning) nothing is known.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import fields, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from forecaster.batch import Batch, Forecasts, Status, columns, empty_forecasts
from forecaster.config import ModelConfig
from forecaster.errors import ConfigError


class Broadcast:
    """The broadcast covariates in force.

    Args:
        series: identifier of the reserved series, "" for none.
        width: number of covariates.
        future: number of known-future covariates, and steps ahead.
        interval_ms: between two of these steps; ignored where there are none.

    Attributes:
        values: (width,) float32 in force, nan where nothing was broadcast yet.
        future: (F, horizon) float32 lists in force. given_ms: (F,) int64, timestamp of each.
    """

    def __init__(self, series: str, width: int, future: tuple[int, int] = (0, 0), interval_ms: int = 0) -> None:
        self.series = series
        self.values = np.full(width, np.nan, np.float32)
        self.future = np.full(future, np.nan, np.float32)
        self.given_ms = np.zeros(future[0], np.int64)
        self._interval_ms = interval_ms

    def observe(
        self,
        batch: Batch,
        forget: Sequence[tuple[int, str]],
        config: ModelConfig,
        observe_others: Callable[[Batch, Sequence[tuple[int, str]]], Forecasts],
    ) -> Forecasts:
        """Applies broadcast events and has the others observed.

        Args:
            batch: events.
            forget: series to forget, each with the index of the event before which that happens.
            config: of the network.
            observe_others: returns the forecasts of a batch without broadcasts, with such a list of its own indices.

        Returns:
            One row per event, in the order of the batch.

        Raises:
            BatchError: the columns do not fit each other or the network; no event was applied or observed.
        """
        ts, _, cov, future = columns(batch, config)  # the whole batch is checked before any event is observed
        n, width, ahead = len(batch), len(config.covariates), (len(config.future_covariates), config.horizon)
        cov, future = cov[: n * width].reshape(n, width), future[: n * math.prod(ahead)].reshape(n, *ahead)
        others, filled, known = self._fill(batch.series, ts, cov, future)
        part = replace(
            batch if len(others) == n else batch.taken(others),
            covariates=filled if width else None,
            future=known if ahead[0] else None,
        )
        found = observe_others(part, [(int(np.searchsorted(others, at)), name) for at, name in forget])
        if len(others) == n:
            return found
        out = empty_forecasts(ts.copy(), config)
        out.status[...] = Status.BROADCAST
        for column in fields(Forecasts):
            if isinstance(mine := getattr(out, column.name), np.ndarray):
                mine[others] = getattr(found, column.name)
        out.silences.extend(replace(silence, event=int(others[silence.event])) for silence in found.silences)
        return out

    def _fill(
        self,
        series: Sequence[str],
        timestamp_ms: NDArray[np.int64],
        covariates: NDArray[np.float32],
        future: NDArray[np.float32],
    ) -> tuple[NDArray[np.int64], NDArray[np.float32], NDArray[np.float32]]:
        """Removes the broadcasts from a batch and fills their values in.

        Args:
            series: (n,) identifiers.
            timestamp_ms: (n,) event times.
            covariates: (n, width), nan where missing.
            future: (n, F, horizon), nan where missing.

        Returns:
            Indices (m,) of the other events, and their covariates (m, width) and known future values (m, F, horizon),
            with missing ones filled in from earlier broadcasts.
        """
        is_broadcast = np.fromiter((name == self.series for name in series), np.bool_, len(series))
        versions = [self.values]
        for row in covariates[is_broadcast]:
            versions.append(np.where(np.isfinite(row), row, versions[-1]))
        self.values = versions[-1]
        others = np.flatnonzero(~is_broadcast)
        version = np.cumsum(is_broadcast, dtype=np.int64)[others]
        own = covariates[others]
        filled = np.where(np.isfinite(own), own, np.stack(versions)[version]).astype(np.float32)
        ahead = self._ahead(timestamp_ms, future, is_broadcast, others, version) if self.future.size else future[others]
        return others, filled, ahead

    def _ahead(
        self,
        timestamp_ms: NDArray[np.int64],
        future: NDArray[np.float32],
        is_broadcast: NDArray[np.bool_],
        others: NDArray[np.int64],
        version: NDArray[np.int64],
    ) -> NDArray[np.float32]:
        lists, times = [self.future], [self.given_ms]
        for at in np.flatnonzero(is_broadcast).tolist():
            given = np.isfinite(future[at]).any(axis=1)  # a name without values keeps its list
            lists.append(np.where(given[:, None], future[at], lists[-1]))
            times.append(np.where(given, timestamp_ms[at], times[-1]))
        self.future, self.given_ms = lists[-1], times[-1]
        horizon = self.future.shape[1]
        elapsed_ms = timestamp_ms[others][:, None] - np.stack(times)[version]
        step = (elapsed_ms + self._interval_ms // 2) // self._interval_ms
        place = step[:, :, None] + np.arange(horizon)
        shifted = np.take_along_axis(np.stack(lists)[version], np.clip(place, 0, horizon - 1), axis=2)
        shifted[(place < 0) | (place >= horizon)] = np.nan
        own = future[others]
        return np.where(np.isfinite(own), own, shifted).astype(np.float32)

    def carry(self, values: NDArray[np.float32], future: NDArray[np.float32], given_ms: NDArray[np.int64]) -> None:
        """Puts values, lists and their timestamps in force; they are copied."""
        self.values, self.future, self.given_ms = values.copy(), future.copy(), given_ms.copy()

    def header(self) -> dict[str, Any]:
        """Returns the values in force, JSON-able."""
        found: dict[str, Any] = {"broadcast": _listed(self.values)}
        if self.future.size:
            found["broadcast_future"] = [
                [given, _listed(row)] for given, row in zip(self.given_ms.tolist(), self.future, strict=True)
            ]
        return found

    def restore(self, header: dict[str, Any]) -> None:
        """Restores the values in force from the result of `header`."""
        self.values[...] = _numbers(header["broadcast"])
        for at, (given, row) in enumerate(header["broadcast_future"] if self.future.size else ()):
            self.given_ms[at] = given
            self.future[at] = _numbers(row)


def broadcast_of(series: str, config: ModelConfig) -> Broadcast:
    """Returns what a broadcast series sets for a network.

    Raises:
        ConfigError: known future values are to be broadcast and no interval is configured.
    """
    if series and config.future_covariates and not config.interval_ms:
        raise ConfigError("interval_ms", 0, "the time between two steps, by which broadcast lists are shifted")
    ahead = len(config.future_covariates), config.horizon
    return Broadcast(series, len(config.covariates), ahead, config.interval_ms)


def _listed(values: NDArray[np.float32]) -> list[float | None]:
    return [None if np.isnan(value) else float(value) for value in values]


def _numbers(values: Sequence[float | None]) -> list[float]:
    return [np.nan if value is None else value for value in values]
