"""Fits the weights that come with the program to generated series, and writes them to forecaster/pretrained/.

    make pretrain                                              all four networks, some forty minutes on one core
    PYTHONPATH=benchmarks python -m pretraining.train [SEASONS ...] [--steps N] [--out DIR]

One network per number of seasons. What a season's length and the horizon are must not matter to the weights, so
several of them take turns, one optimiser step each, with series that are drawn anew all the time; every fourth step of
each is on the first steps of series alone, as a row begins. Nothing but generated series goes in. The same program on
the same machine gives the same weights, bit for bit.
"""

from __future__ import annotations

import argparse
import time
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from forecaster import History, Model, ModelConfig, save_model
from forecaster.layout import WARM_STEPS
from forecaster.pretrained.start import FOLDER
from forecaster.training.dataset import Dataset, Streams, Windows, dataset, validation_windows
from forecaster.training.optim import Adam, Average, clip_scale, global_norm, learning_rate
from forecaster.training.tbptt import Chunk
from pretraining.series import history

LEVELS = (0.01, 0.025, *(round(0.05 * i, 2) for i in range(1, 20)), 0.975, 0.99)
# Seasons and horizon of what takes turns, by number of seasons.
PLANS: dict[int, list[tuple[tuple[int, ...], int]]] = {
    0: [((), 24), ((), 12), ((), 48)],
    1: [((24,), 24), ((7,), 12), ((48,), 48), ((288,), 12)],
    2: [((24, 168), 24), ((12, 288), 12), ((48, 336), 48)],
    3: [((6, 48, 336), 24), ((12, 288, 2016), 12)],
}
STEPS = 75_000
RENEWED = 300  # steps after which the series of a lane are drawn anew
K1, K2, BATCH, COLD_STEPS = 32, 48, 48, 64
SCORED = 8  # steps of a window that carry a loss: neighbours say nearly the same, and the head is most of the work
RATE, WARMUP, DECAY, CLIP, AVERAGE = 3e-3, 200, 1e-4, 1.0, 0.998
LONG, SHORT = 200_000, 30_000  # steps of long series and of short ones in a lane, about


@dataclass
class Lane:
    """One of the configurations that take turns, with its series of the moment."""

    config: ModelConfig
    rng: np.random.Generator
    chunk: Chunk
    cold: Chunk
    data: Dataset
    streams: Streams


def config_of(seasons: tuple[int, ...], horizon: int) -> ModelConfig:
    """The shipped network for these."""
    return ModelConfig(seasons=seasons, horizon=horizon, quantiles=LEVELS, calendar=False, pretrained=False)


def drawn(rng: np.random.Generator, seasons: tuple[int, ...]) -> History:
    """Long series of a few of the longest season, and short ones that have hardly begun."""
    longest = max(seasons, default=24)
    long = rng.integers(max(300, 2 * longest), max(1500, 4 * longest), size=max(24, LONG // max(900, 3 * longest)))
    short = np.exp(rng.uniform(np.log(40), np.log(400), size=SHORT // 150)).astype(int)
    return history(rng, [*long.tolist(), *short.tolist()], seasons)


def renew(lane: Lane) -> None:
    """Draws other series."""
    lane.data = dataset(drawn(lane.rng, lane.config.seasons), lane.chunk.layout, 0.0)
    lane.streams = Streams(lane.data, K1, K2, BATCH, lane.rng)
    lane.chunk.carried[...] = 0.0


def lane_of(seasons: tuple[int, ...], horizon: int, seed: int) -> Lane:
    """A lane with its first series."""
    config, rng = config_of(seasons, horizon), np.random.default_rng([len(seasons), seed])
    layout = Model.initial(config).layout
    data = dataset(drawn(rng, seasons), layout, 0.0)
    streams = Streams(data, K1, K2, BATCH, rng)
    return Lane(config, rng, Chunk(layout, BATCH, K2), Chunk(layout, BATCH, COLD_STEPS), data, streams)


def beginnings(data: Dataset, rng: np.random.Generator) -> Windows:
    """The first steps of some series, up to a random one, with a loss from the second event on."""
    starts = rng.choice(np.unique(data.start), BATCH)
    ends = data.end[starts]
    steps = np.minimum(rng.integers(2, COLD_STEPS + 1, BATCH), ends - starts)
    return Windows(first=starts, steps=steps, loss_from=np.maximum(1, steps - SCORED), limit=ends)


def learn(lane: Lane, params: NDArray[np.float32], *, cold: bool) -> tuple[NDArray[np.float32], float, int]:
    """Gradient, loss and number of targets of one chunk."""
    if cold:
        lane.cold.carried[...] = 0.0
        loss, _, count = lane.cold.run(params, lane.data, beginnings(lane.data, lane.rng), COLD_STEPS, learn=True)
        return lane.cold.gradient, loss, count
    windows, fresh = lane.streams.next()
    lane.chunk.carried[:, fresh] = 0.0
    windows = replace(windows, loss_from=np.maximum(windows.loss_from, windows.steps - SCORED))
    loss, _, count = lane.chunk.run(params, lane.data, windows, K1, learn=True)
    return lane.chunk.gradient, loss, count


def fit(seasons: int, steps: int) -> tuple[NDArray[np.float32], list[Lane]]:
    """The weights for a number of seasons, averaged, and the lanes that they were fitted on."""
    lanes = [lane_of(of, horizon, seed) for seed, (of, horizon) in enumerate(PLANS[seasons])]
    params = Model.initial(lanes[0].config).params.copy()
    adam, average, recent = Adam(lanes[0].chunk.layout, DECAY), Average(params, AVERAGE), [0.0]
    started = time.perf_counter()
    for step in range(steps):
        lane = lanes[step % len(lanes)]
        if step >= RENEWED and step % RENEWED < len(lanes):
            renew(lane)
        gradient, loss, count = learn(lane, params, cold=step // len(lanes) % 4 == 3)
        norm = global_norm(gradient)
        if count and np.isfinite(norm):
            adam.step(params, gradient, learning_rate(step, steps, RATE, WARMUP), clip_scale(norm, CLIP))
            average.update(params)
            recent = [*recent[-499:], loss]
        if (step + 1) % 1000 == 0:
            seconds = time.perf_counter() - started
            print(f"  {step + 1} steps, loss {np.mean(recent):.4f}, {seconds:.0f} s", flush=True)
    return average.params, lanes


def held_out(lane: Lane) -> tuple[Dataset, Windows]:
    """Series that no training sees, and windows over their second half."""
    rng = np.random.default_rng([len(lane.config.seasons), lane.config.horizon, 999])
    data = dataset(drawn(rng, lane.config.seasons), lane.chunk.layout, 0.5)
    return data, validation_windows(data, K2, WARM_STEPS, 512)


def scores(lane: Lane, params: NDArray[np.float32]) -> tuple[float, float]:
    """Mean pinball loss on series that no training sees, and that of "the last value stays"."""
    data, windows = held_out(lane)
    chunk = Chunk(lane.chunk.layout, len(windows.first), K2 + WARM_STEPS)
    loss, naive, _ = chunk.run(params, data, windows, 1 << 60, learn=False)
    return loss, naive


def usual_increments(lanes: list[Lane], params: NDArray[np.float32]) -> list[list[float]]:
    """The first and the last tenth of every increment between levels over steps and horizons, by slot."""
    found = []
    for lane in lanes:
        data, windows = held_out(lane)
        one = Chunk(lane.chunk.layout, 1, K2 + WARM_STEPS)
        for i in range(0, len(windows.first), 4):
            last = windows.loss_from[i]
            one.carried[...] = 0.0
            window = Windows(windows.first[i : i + 1], np.array([last + 1]), np.array([last]), windows.limit[i : i + 1])
            _, _, count = one.run(params, data, window, 1 << 60, learn=False)
            if count:
                slots = one.slots.reshape(lane.config.horizon, -1)  # of the step just forecast from
                found.append(slots[:, : len(LEVELS)].astype(np.float64))
    narrow, wide = np.quantile(np.concatenate(found), [0.1, 0.9], axis=0)
    narrow[0], wide[0] = 1.0, 2.0  # the median is no increment
    return [[round(v, 6) for v in narrow.tolist()], [round(v, 6) for v in wide.tolist()]]


def main() -> None:
    """Fits what was asked for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("seasons", type=int, nargs="*", default=sorted(PLANS), help="numbers of seasons")
    parser.add_argument("--steps", type=int, default=STEPS, help="optimiser steps per network")
    parser.add_argument("--out", type=Path, default=FOLDER)
    arguments = parser.parse_args()
    for seasons in arguments.seasons:
        print(f"{seasons} seasons", flush=True)
        params, lanes = fit(seasons, arguments.steps)
        path = arguments.out / f"seasons{seasons}.safetensors"
        for lane in lanes:
            loss, naive = scores(lane, params)
            before, _ = scores(lane, Model.initial(lane.config).params)
            print(f"  {lane.config.seasons} horizon {lane.config.horizon}: held-out loss {loss:.4f}, untrained "
                  f"{before:.4f}, naive {naive:.4f}", flush=True)  # fmt: skip
        facts = {"usual_increments": usual_increments(lanes, params), "steps": arguments.steps}
        save_model(path, Model(lanes[0].config, params), facts)
        path.chmod(0o644)
        print(f"  {path}, {path.stat().st_size:,} bytes", flush=True)


if __name__ == "__main__":
    main()
