"""Kernels compiled for older instruction sets give the bits of kernels compiled for this machine."""

from __future__ import annotations

import os
import platform
import subprocess
import sys

import pytest

# Prints a digest of forecasts (gates, head, ensemble) and the name of weights trained on them, and a digest of
# weights of a network for sequences.
PROGRAM = """
import hashlib
import numpy as np
from forecaster import Batch, Forecaster, ModelConfig, TrainConfig, fit
from forecaster import SequenceConfig, Sequences, SequenceTrain, fit_sequences
rng = np.random.default_rng(0)
n = 400
config = ModelConfig(hidden_size=16, head_size=16, horizon=5, seasons=(6,), quantiles=(0.1, 0.5, 0.9))
events = Batch(["a", "b"] * (n // 2), np.arange(n) // 2 * 3_600_000, np.sin(np.arange(n) / 5) + rng.normal(size=n))
forecaster = Forecaster(config)
print(hashlib.sha256(forecaster.observe(events).quantiles.tobytes()).hexdigest())
print(fit(forecaster.history(), config, TrainConfig(max_steps=5, batch=4, k1=16, k2=24)).model.sha256)
x = rng.normal(size=(12, 20, 3)).astype(np.float32)
learnt = fit_sequences(Sequences(x, None, x[..., :1]), SequenceConfig(features=3, layers=2), SequenceTrain(epochs=2))
print(hashlib.sha256(learnt.model.params.tobytes()).hexdigest())
"""
OLDER = {
    "AVX2": {"NUMBA_CPU_NAME": "haswell", "NUMBA_CPU_FEATURES": "+avx2,+fma"},
    "SSE2, without fused multiply-add": {"NUMBA_CPU_NAME": "x86-64", "NUMBA_CPU_FEATURES": ""},
}


def digests(settings: dict[str, str]) -> str:
    """Returns the program's output under these compiler settings."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith("NUMBA_CPU")} | settings
    done = subprocess.run([sys.executable, "-c", PROGRAM], env=environment, capture_output=True, text=True, check=True)
    return done.stdout


@pytest.mark.slow
@pytest.mark.timeout(1200)  # two compilations from nothing, which a busy machine stretches
@pytest.mark.skipif(platform.machine() != "x86_64", reason="names instruction sets of x86-64")
@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[] if "SSE2" in name else pytest.mark.long) for name in OLDER]
)
def test_same_bits_with_an_older_instruction_set(name: str) -> None:
    """Forecasts and trained weights are equal to the last bit, whatever the registers and instructions."""
    here = digests({})

    assert len(here.split()) == 3
    assert digests(OLDER[name]) == here
