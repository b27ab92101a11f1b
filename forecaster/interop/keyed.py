"""Forecasts of the keys of a stream processor, which keeps the state of each key as bytes.

    forecaster = KeyedForecaster(ModelConfig(horizon=24, seasons=(24,)))
    state, forecasts = forecaster.observe(None, [t], [3.5])       # the first event of a key
    state, forecasts = forecaster.observe(state, [t + hour], [3.7])

Everything that a key has learnt is in its bytes; the weights are shared and not part of them. Forecasts and bytes are a
function of the events of the key alone, however they are divided between calls, processes and restarts:

    observe(None, all) == observe(observe(None, some), the others) == Forecaster.observe of that series alone

A `Forecaster` of many series, and the daemon, give the same quantiles from the second different value of a series on.
Before, the width of a forecast is taken from the other series of the stream (ensemble/prior.py), which a key cannot
see, and so are anomaly scores until the first forecast with the series' own scale is verified. For the same reason
there is no silence detection and no series whose covariates are those of all others; trainings need the events of many
keys, so a new network comes from outside: bytes of one with the same shape continue, as after `Forecaster.adopt`.
"""

from __future__ import annotations

import hashlib
import json
import struct
import zlib
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from forecaster.batch import Batch, Forecasts
from forecaster.config import AnomalyConfig, ModelConfig
from forecaster.ensemble.prior import first_prior
from forecaster.errors import CheckpointError, ConfigError
from forecaster.features.counters import EVENT, SEEN, SERIAL
from forecaster.model import Model
from forecaster.observe.observed_rows import ObservedRows
from forecaster.pretrained.start import start_model
from forecaster.state.calendar_rows import NAME as CALENDAR
from forecaster.state.checkpoint import version_of
from forecaster.state.late_rows import MOST_STEPS

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    from forecaster.forecaster import Forecaster

_KEY: Final = "key"  # the one series of the table
_MAGIC: Final = b"fckey1\0\0"
_HEAD: Final = struct.Struct("<8s16sI")  # magic, shape of the state, CRC-32 of what follows


class KeyedForecaster:
    """Forecasts from the events of one key at a time; the caller keeps the state of the keys.

    It is not safe for use from two threads at once. It can be sent to other processes, as stream processors do with
    their functions: what is sent is the network and the settings.

    Args:
        model: weights, or a configuration (then those of `start_model`).
        anomaly: which events to flag; `silent_after` has no effect.
        late_within: steps of its series within which a late event is put in its place, see `Forecaster`; the state of
            a key then holds two checkpoints and its newest events.

    Attributes:
        model: the weights in use.
        state_bytes: length of the state of every key.

    Raises:
        ConfigError: `late_within` is not met.
    """

    def __init__(
        self, model: Model | ModelConfig, *, anomaly: AnomalyConfig | None = None, late_within: int = 0
    ) -> None:
        if not 0 <= late_within <= MOST_STEPS:
            raise ConfigError("late_within", late_within, f"0 (late events are ignored) to {MOST_STEPS} steps")
        self.model = model if isinstance(model, Model) else start_model(model)
        self._given = anomaly or AnomalyConfig(), late_within
        self._rows = ObservedRows(self.model, 1, 0, replace(self._given[0], silent_after=0), late_within)
        table = self._rows.table
        self._rows.row_rules.enter(_KEY, table.add(_KEY))
        self._rows.calendars.restore({CALENDAR: np.zeros((1, 4), np.int64)})  # the row may be tracked from now on
        late = [] if table.late is None else [table.late.array]
        parts = [*table.arrays, self._rows.calendars.array, *late]
        self._parts = tuple(part[0].view(np.uint8) for part in parts)
        self._ends = np.cumsum([0, *(len(part) for part in self._parts)]).tolist()
        self._counters, self._calendar = table.counters[0], self._rows.calendars.array[0]
        self._calendar[0] = 0
        self._shape = _shape_of(self.config, late_within)
        self._new, self._prior = self._taken(), first_prior()
        self.state_bytes = len(self._new)

    def __reduce__(self) -> tuple[Any, ...]:
        """Returns how the object is made again in another process."""
        return _remade, (self.model, *self._given)

    @property
    def config(self) -> ModelConfig:
        """Configuration of the network."""
        return self.model.config

    def observe(
        self,
        state: bytes | None,
        timestamp_ms: ArrayLike,
        value: ArrayLike,
        covariates: NDArray[np.float32] | None = None,
        future: NDArray[np.float32] | None = None,
        revises: NDArray[np.bool_] | None = None,
    ) -> tuple[bytes, Forecasts]:
        """Observes events of a key, in order, and forecasts from each.

        Args:
            state: of the key, as returned by the call before; None: the key is new.
            timestamp_ms: (n,) event times, epoch milliseconds.
            value: (n,) values, nan where the observation is missing.
            covariates, future, revises: see `Batch`.

        Returns:
            The state after the events, and one row per event as by `Forecaster.observe`.

        Raises:
            CheckpointError: the state is damaged, or of a network of another shape.
            BatchError: the columns do not fit each other or the model.
        """
        times = np.asarray(timestamp_ms, np.int64)
        batch = Batch([_KEY] * len(times), times, np.asarray(value, np.float64), covariates, future, revises)
        self._restore(self._new if state is None else state)
        self._rows.prior[...], self._rows.events_total = self._prior, 0
        forecasts = self._rows.observe(batch, ())
        return self._taken(), forecasts

    def state_of(self, forecaster: Forecaster, series: str) -> bytes | None:
        """Returns the state of a series of a forecaster, with which a key continues; None where it has no row.

        Late events are put in their place among the events from then on.

        Args:
            forecaster: with a network of the same shape.
            series: its identifier.

        Raises:
            CheckpointError: the network has another shape.
        """
        if not forecaster.fits(self.model):
            msg = "got a forecaster whose network has another shape, expected one of the same configuration"
            raise CheckpointError(msg)
        row = forecaster.row_of(series)
        if row is None:
            return None
        self._restore(self._new)
        state = forecaster.state()
        for mine, name in zip(self._rows.table.arrays, ("hidden", "stats", "whole"), strict=True):
            mine[0] = state[name][row]
        self._counters[[SERIAL, SEEN]] = 0
        tracked = state[CALENDAR][state[CALENDAR][:, 0] == row]
        if len(tracked):
            self._calendar[...] = 1, *tracked[0, 1:].tolist()
        return self._taken()

    def _taken(self) -> bytes:
        """Returns the row as bytes, without its place in a stream of several series."""
        self._counters[EVENT] = 0
        content = b"".join(part.tobytes() for part in self._parts)
        return _HEAD.pack(_MAGIC, self._shape, zlib.crc32(content)) + content

    def _restore(self, state: bytes) -> None:
        """Writes bytes into the row.

        Raises:
            CheckpointError: they are damaged, or of a network of another shape.
        """
        magic, shape, checksum = _HEAD.unpack_from(state) if len(state) >= _HEAD.size else (b"", b"", 0)
        if magic != _MAGIC:
            msg = f"got {len(state)} bytes that begin with {state[:8]!r}, expected the state of a key, or None"
            raise CheckpointError(msg)
        if shape != self._shape:
            msg = (
                "the state of the key was made by another release, with another `late_within`, or by a network of "
                f"another shape than {self.model.sha256[:12]}; expected the same: keep that network, or begin anew "
                "with None"
            )
            raise CheckpointError(msg)
        content = memoryview(state)[_HEAD.size :]
        if zlib.crc32(content) != checksum or len(content) != self._ends[-1]:
            msg = f"the state of the key is damaged: got {len(state)} bytes whose checksum differs from the stored one"
            raise CheckpointError(msg)
        read = np.frombuffer(content, np.uint8)
        for part, start, end in zip(self._parts, self._ends, self._ends[1:], strict=False):
            part[:] = read[start:end]


def _remade(model: Model, anomaly: AnomalyConfig, late_within: int) -> KeyedForecaster:
    return KeyedForecaster(model, anomaly=anomaly, late_within=late_within)


def _shape_of(config: ModelConfig, late_within: int) -> bytes:
    """Returns a digest of everything but the weights on which the meaning of a state depends."""
    shape = replace(config, pretrained=False, seed=0).to_dict()
    text = json.dumps([version_of("forecaster"), late_within, shape], sort_keys=True)
    return hashlib.blake2b(text.encode(), digest_size=16).digest()
