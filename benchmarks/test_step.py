"""The recurrent step alone: share of the core's multiply-add peak, and the same work by its peers, side by side."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from kernels import INPUTS, bare_step, numpy_gru, onnx_gru, peak_flops, random_parameters, step_flops, torch_gru
from pytest_benchmark.fixture import BenchmarkFixture

from forecaster.network.layer import CELLS

BATCH = 256
SIZES = (32, 64, 128)


def seconds(benchmark: BenchmarkFixture) -> float | None:
    """Median of a call, or None when benchmarks are disabled and the code ran once."""
    return None if benchmark.stats is None else float(benchmark.stats.stats.median)


@pytest.mark.parametrize("cell", ["gru", "lstm", "elman"])
@pytest.mark.parametrize("hidden", SIZES)
def test_step(benchmark: BenchmarkFixture, cell: str, hidden: int) -> None:
    """256 rows, state gathered and scattered, in tiles."""
    (run, scratch), parameters = bare_step(cell, hidden), random_parameters(cell, hidden)
    module: Any = CELLS[cell]
    states = np.zeros(BATCH * module.STATES * hidden, np.float32)
    x = np.random.default_rng(1).normal(size=BATCH * INPUTS).astype(np.float32)
    run(parameters, states, x, scratch)

    benchmark.group = f"step {cell} H={hidden}"
    benchmark.pedantic(run, args=(parameters, states, x, scratch), rounds=50, iterations=20, warmup_rounds=3)

    if (median := seconds(benchmark)) is not None:
        benchmark.extra_info["ns_per_event"] = round(median / BATCH * 1e9, 1)
        share = BATCH * step_flops(cell, hidden) / median / peak_flops()
        benchmark.extra_info["share_of_peak"] = round(share, 3)
        print(f"\nstep {cell} H={hidden}: {median / BATCH * 1e9:.0f} ns per event, {share:.0%} of the peak")


PEERS: dict[str, Callable[[int], Any]] = {"numpy": numpy_gru, "onnxruntime": onnx_gru, "torch": torch_gru}


@pytest.mark.parametrize("batch", [1, BATCH])
@pytest.mark.parametrize("peer", PEERS)
@pytest.mark.parametrize("hidden", SIZES)
def test_peer(benchmark: BenchmarkFixture, hidden: int, peer: str, batch: int) -> None:
    """The GRU step of others, from Python, one thread. Left out where the peer is not installed (extra `bench`)."""
    try:
        step = PEERS[peer](hidden)
    except ImportError as error:
        pytest.skip(f"{error.name} is not installed")
    h, x = np.zeros((batch, hidden), np.float32), np.ones((batch, INPUTS), np.float32)
    step(h, x)

    benchmark.group = f"step gru H={hidden}"
    benchmark.pedantic(step, args=(h, x), rounds=50, iterations=20, warmup_rounds=3)

    if (median := seconds(benchmark)) is not None:
        benchmark.extra_info["ns_per_event"] = round(median / batch * 1e9, 1)
        print(f"\n{peer} gru H={hidden} B={batch}: {median / batch * 1e9:.0f} ns per event")
