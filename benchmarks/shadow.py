"""How often a trial on live events decides rightly: equal challengers, better ones, and losses that mislead.

    python benchmarks/shadow.py [--quick]      prints the tables of docs/retraining.md; a minute with --quick

equal      the champion's weights and noise of 1e-5 of their size: a verdict, either way, is a mistake
better     the champion is the shipped model with so much noise in its weights that its mean loss is 3 % higher; the
           challenger is the shipped model
skewed     no forecaster, losses alone: the second is mostly a little better and rarely far worse, 28 % in the mean

Streams are five series with a day of their own shape and noise that remembers; the two models have the same rows.
"""

from __future__ import annotations

import argparse
import math
import sys
import time

import numpy as np
from numpy.typing import NDArray

from forecaster import Batch, Forecaster, Model, ModelConfig, Shadow, start_model, use_kernels
from forecaster.evaluation.e_process import BETS, EProcess

CONFIG = ModelConfig(seasons=(24,), horizon=12, calendar=False)
SERIES, BEFORE, LIMIT, CHECK, BAR = 5, 240, 5000, 250, 20.0
GAP, NEAR = 0.03, 0.003  # higher mean loss of the champion, and how near it is sought


def stream(steps: int, seed: int, other: int = 0) -> NDArray[np.float64]:
    """Values (steps, series); `other` is another noise around the same days."""
    day = 4.0 * np.random.default_rng(seed).normal(size=(24, SERIES))
    noise = np.random.default_rng((seed, other)).normal(size=(steps, SERIES))
    for t in range(1, steps):
        noise[t] += 0.7 * noise[t - 1]
    return 50.0 + day[np.arange(steps) % 24] + noise


def batch(value: NDArray[np.float64], start: int, end: int) -> Batch:
    """The events of steps start..end-1."""
    names = [f"s{i}" for i in range(SERIES)] * (end - start)
    return Batch(names, np.repeat(np.arange(start, end), SERIES) * 3_600_000, value[start:end].reshape(-1))


def trial(champion: Model, challenger: Model, value: NDArray[np.float64], bar: float = BAR) -> tuple[str, int, float]:
    """The verdict, after how many events, and the ratio of the mean losses."""
    live = Forecaster(champion, max_series=SERIES, history_events=0)
    live.observe(batch(value, 0, BEFORE))
    shadow, step = Shadow.start(live, challenger, SERIES), CHECK // SERIES
    for start in range(BEFORE, len(value) - step + 1, step):
        part = batch(value, start, start + step)
        shadow.observe(part, live.observe(part))
        found = shadow.e_process
        if 2 * shadow.seasoned >= found.count > 0 and max(found.better, found.worse) >= bar:
            return "better" if found.better >= bar else "worse", shadow.events, found.second / found.first
    return "", shadow.events, shadow.e_process.second / shadow.e_process.first


def noisy(model: Model, size: float, seed: int) -> Model:
    """The weights with noise: of `size` times each weight, or absolute where size is negative."""
    noise = np.random.default_rng(seed).normal(size=model.params.shape)
    scale = np.abs(model.params) * size if size > 0.0 else -size
    return Model(model.config, (model.params + scale * noise).astype(np.float32))


def equals(runs: int) -> str:
    """Verdicts over challengers that are equal but for 1e-5."""
    champion, verdicts = start_model(CONFIG), []
    for seed in range(runs):
        value = stream(BEFORE + LIMIT // SERIES, seed)
        verdicts.append(trial(champion, noisy(champion, 1e-5, seed), value)[0])
    return f"| equal up to 1e-5 | {runs} | {verdicts.count('better')} | {verdicts.count('worse')} | |"


def worsened(seed: int) -> Model | None:
    """The shipped model with noise that makes its mean loss 3 % higher, on a stream of the same days.

    None where no size of this noise was found that does: it can be to the advantage of a stream.
    """
    model, value = start_model(CONFIG), stream(BEFORE + 1000, seed, 1)
    low, high = 0.0, 0.2
    for _ in range(8):
        size = (low + high) / 2.0
        ratio = trial(noisy(model, -size, seed), model, value, math.inf)[2]
        if abs(1.0 / ratio - 1.0 - GAP) < NEAR:
            return noisy(model, -size, seed)
        low, high = (size, high) if 1.0 / ratio - 1.0 < GAP else (low, size)
    return None


def betters(runs: int) -> str:
    """Verdicts over challengers that are 3 % better."""
    found, seed = list[tuple[str, int, float]](), 0
    while len(found) < runs:
        champion, value = worsened(seed), stream(BEFORE + LIMIT // SERIES, seed)
        if champion is not None:
            found.append(trial(champion, start_model(CONFIG), value))
        seed += 1
    promoted = [events for verdict, events, _ in found if verdict == "better"]
    wrong = sum(verdict == "worse" for verdict, _, _ in found)
    median = f"{np.median(promoted):,.0f}" if promoted else ""
    return f"| 3 % better | {runs} | {len(promoted)} | {wrong} | {median} |"


def skewed(runs: int) -> list[str]:
    """Promotions of a second that is 28 % worse in the mean: by the e-process of most events alone, and by both."""
    lines = []
    for rare in (0.1, 0.05, 0.02, 0.01, 0.005):
        alone = both = 0
        for seed in range(runs):
            rng = np.random.default_rng(seed)
            a = rng.gamma(4.0, 0.25, 5000)
            b = np.where(rng.random(5000) < rare, a * (0.93 + 0.35 / rare), 0.93 * a)
            e_process, by_one = EProcess(), False
            for start in range(0, 5000, CHECK):
                e_process.add(np.stack((a, b), axis=1)[start : start + CHECK])
                by_one |= most(e_process) >= BAR
                if e_process.better >= BAR:
                    both += 1
                    break
            alone += by_one
        lines.append(f"| {rare:.1%} | {0.93 + 0.35 / rare:.1f} | {alone} of {runs} | {both} of {runs} |")
    return lines


def most(e_process: EProcess) -> float:
    """The e-process of most events, without the test of the mean loss."""
    spread = [(-math.log(1.0 - 2.0 * bet) - 2.0 * bet) / 4.0 * e_process.spread for bet in BETS]
    sizes = [math.exp(min(690.0, bet * e_process.total - part)) for bet, part in zip(BETS, spread, strict=True)]
    return sum(sizes) / len(sizes)


def main() -> int:
    """Prints the tables; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="a tenth of the runs")
    share = 10 if parser.parse_args().quick else 1
    began = time.monotonic()
    print(f"| challenger | runs of {LIMIT:,} events | promoted | rejected | events to promotion, median |")
    print("|---|--:|--:|--:|--:|")
    print(equals(200 // share), flush=True)
    print(betters(50 // share), flush=True)
    print("\n| far worse | by a factor of | e-process of most events alone | with the mean loss |\n|--:|--:|--:|--:|")
    print("\n".join(skewed(300 // share)))
    print(f"{time.monotonic() - began:.0f} s", file=sys.stderr)
    return 0


if __name__ == "__main__":
    use_kernels("literal")  # what a daemon that runs for long uses
    sys.exit(main())
