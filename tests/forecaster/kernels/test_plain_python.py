"""Kernels without vectors run as plain Python under NUMBA_DISABLE_JIT, for debuggers and coverage."""

from __future__ import annotations

import os
import subprocess
import sys

PROGRAM = """
import numpy as np
from forecaster.batch import Batch
from forecaster.config import ModelConfig
from forecaster.evaluation.drift import DriftTest, _observe_errors
from forecaster.evaluation.quality import QualityWatch, _observe_forecasts

n, rng, config = 60, np.random.default_rng(1), ModelConfig(horizon=2, quantiles=(0.1, 0.5, 0.9))
value = rng.normal(size=n)
batch = Batch(["a", "b"] * (n // 2), 60_000 * (np.arange(n) // 2), value)
quantiles = np.sort(rng.normal(size=(n, 2, 3)), axis=2)
slot = np.arange(n) % 2
watch = QualityWatch(config, 2)
events = slot, np.zeros(n, np.uint8), np.zeros(n, np.uint8), np.arange(n) // 2, value, quantiles
watch._slots(batch.series, 2)
held = watch._made, watch._kept, watch._ring, watch._seen, watch._usual, watch._errors
sums = tuple(getattr(watch.sums, name) for name in ("scored", "covered", "scaled", "width", "pinball", "paired",
                                                    "error", "naive_error"))
_observe_forecasts(events, watch._levels, watch._tracked, watch._median, held, sums)
drift = DriftTest(2)
series = drift._usual, drift._last, drift._count, drift._visit, drift._seasonal, drift._phases
_observe_errors(slot, abs(value), np.arange(n) * 60_000, np.full(n, 60_000), 0, drift._clock, series, drift._sums)
print(type(_observe_errors).__name__, [x.tolist() for x in (*sums, *series)])
"""


def _run(**environment: str) -> list[str]:
    run = subprocess.run(
        [sys.executable, "-c", PROGRAM], env=os.environ | environment, capture_output=True, text=True, check=True
    )
    return run.stdout.strip().split(" ", 1)


def test_the_numbers_are_the_same() -> None:
    """The kernels of quality and drift give equal numbers as Python and compiled."""
    (plain, numbers), (compiled, same) = _run(NUMBA_DISABLE_JIT="1"), _run()
    assert (plain, compiled) == ("function", "KernelDispatcher")
    assert numbers == same
