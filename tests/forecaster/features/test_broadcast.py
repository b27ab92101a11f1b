"""Broadcast covariates: forecasts equal those of a stream whose events all carry them, batched and restored."""

from __future__ import annotations

from pathlib import Path

import cases
import numpy as np

from forecaster import Batch, Forecaster, Status

CONFIG = cases.STREAMING["gru-2-covariates-calendar-learnt"]  # covariates a and b
MODEL = cases.rough_model(CONFIG)
NAN = np.nan


def stream() -> tuple[Batch, Batch]:
    """Returns a stream with broadcasts, and the stream with their covariates written into every event."""
    rng = np.random.RandomState(0)
    names, ts, values, said, written = [], [], [], [], []
    force = np.array([NAN, NAN])
    for minute in range(60):
        if minute in {0, 20, 21, 45}:
            row = {0: [0.5, NAN], 20: [NAN, 3.0], 21: [-1.0, 2.0], 45: [NAN, NAN]}[minute]
            force = np.where(np.isfinite(row), row, force)
            names.append("@all")
            ts.append(cases.T0)  # the time of a broadcast is not used
            values.append(NAN)
            said.append(row)
            written.append([NAN, NAN])
        for name in "abc":
            own = [rng.normal() if rng.rand() < 0.3 else NAN, NAN]
            names.append(name)
            ts.append(cases.T0 + minute * cases.STEP_MS)
            values.append(rng.normal())
            said.append(own)
            written.append(np.where(np.isfinite(own), own, force))
    columns = names, np.array(ts, np.int64), np.array(values)
    return Batch(*columns, np.array(said, np.float32)), Batch(*columns, np.array(written, np.float32))


def test_as_if_every_event_had_brought_them(tmp_path: Path) -> None:
    """Forecasts are equal bit for bit, in one batch, in small batches, and saved and loaded between batches."""
    said, written = stream()
    others = [i for i, name in enumerate(said.series) if name != "@all"]
    plain = Forecaster(MODEL).observe(
        Batch([written.series[i] for i in others], written.timestamp_ms[others], written.value[others],
              written.covariates[others])  # type: ignore[index]
    )  # fmt: skip
    whole = Forecaster(MODEL, broadcast="@all").observe(said)
    assert whole.quantiles[others].tobytes() == plain.quantiles.tobytes()
    assert set(np.delete(whole.status, others).tolist()) == {Status.BROADCAST}

    forecaster, found = Forecaster(MODEL, broadcast="@all"), []
    for start in range(0, len(said), 7):
        found.append(forecaster.observe(cases.part(said, start, min(start + 7, len(said)))).quantiles)
        forecaster.save(tmp_path / "f")
        forecaster = Forecaster.load(tmp_path / "f")
    assert np.concatenate(found).tobytes() == whole.quantiles.tobytes()
    assert "@all" not in forecaster.series


def test_history_has_them() -> None:
    """Training learns from the covariates in force at each event, and from no event of the reserved series."""
    said, written = stream()
    forecaster = Forecaster(MODEL, broadcast="@all")
    forecaster.observe(said)
    history = forecaster.history()
    others = [i for i, name in enumerate(said.series) if name != "@all"]
    assert np.array_equal(history.covariates, written.covariates[others], equal_nan=True)  # type: ignore[index]
