"""Promotions on short stationary histories, scored on fresh data: what a comparison on held-out data lets through.

    python benchmarks/promotions.py [--streams 50] [--quick]

Every stream (a season with noise, an autoregression, noise, counts) is stationary, so a network is as good later as
it is now. It is trained twice as the daemon trains, after n events and after 1.5 n, n from 300 to 2,000. Each promotion
is scored on events behind both: the mean pinball loss of the promoted weights against that of the champion.
`before`: the held-out slice as a whole chooses the weights and then judges them, without a standard error, as up to
version 0.1. `now`: as in forecaster/training/compare.py. --quick takes four streams and short trainings.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from unittest import mock

import numpy as np
from numpy.typing import NDArray

from forecaster import History, Model, ModelConfig, TrainConfig, compare, fit_from, start_model
from forecaster.layout import WARM_STEPS, Layout
from forecaster.training import loop
from forecaster.training.dataset import Dataset, Windows, dataset, validation_windows
from forecaster.training.loop import Evaluation, mean_losses

KINDS = ("season", "autoregression", "noise", "counts")
RULES = ("before", "now")
FRESH = 3000  # steps behind the last training that promotions are scored on
HOUR_MS, T0 = 3_600_000, 1_700_006_400_000
MODEL = ModelConfig(horizon=24, seasons=(24,), interval_ms=HOUR_MS)
WORSE = 0.01


@dataclass(frozen=True)
class Promotion:
    """One promotion and what it was worth.

    Attributes:
        stream: in words. gain: share by which the loss on fresh data is lower than the champion's; negative: higher.
    """

    stream: str
    gain: float


def drawn(number: int) -> tuple[str, int, NDArray[np.float64]]:
    """A stream by its number: what it is, after how many events to train first, its values."""
    rng = np.random.default_rng([14, number])
    kind, first = KINDS[number % len(KINDS)], round(300 * (2000 / 300) ** rng.random())
    steps = np.arange(first * 3 // 2 + FRESH)
    noise = rng.normal(size=steps.size)
    wave = np.sin(2 * np.pi * (steps / 24 + rng.random()))
    if kind == "season":
        value = rng.uniform(0.5, 3.0) * wave + noise
    elif kind == "autoregression":
        memory, value = rng.uniform(0.3, 0.95), noise
        for i in range(1, steps.size):
            value[i] += memory * value[i - 1]
    elif kind == "counts":
        value = rng.poisson(rng.uniform(0.5, 20.0) * (1.0 + rng.uniform(0.0, 0.9) * wave)).astype(np.float64)
    else:
        value = noise
    return f"{kind} {number}", first, 100.0 + 10.0 * value


def history_of(value: NDArray[np.float64]) -> History:
    """One series, an event an hour."""
    ts = T0 + HOUR_MS * np.arange(value.size)
    return History(np.zeros(value.size, np.int64), ts, value.astype(np.float32), np.zeros((value.size, 0), np.float32))


def whole_slice(layout: Layout, data: Dataset, train: TrainConfig) -> Evaluation:
    """The whole held-out slice as one group, and an empty one behind it."""
    windows = validation_windows(data, train.k2, WARM_STEPS, train.validation_windows)
    empty = Windows(*(column[:0] for column in vars(windows).values()))
    return Evaluation(layout, data, [windows, empty], train.k2)


def trained(rule: str, champion: Model, history: History, train: TrainConfig) -> Model | None:
    """The model that a training by this rule promotes, if any."""
    old = rule == "before"
    with mock.patch.object(loop, "choosing_slices", whole_slice) if old else nullcontext():
        report = fit_from(history, champion, "both", train)
    if not old:
        return report.final if compare(champion, report.model, history, train).promote else None
    data = dataset(history, champion.layout, train.validation_fraction)
    losses = [
        mean_losses(whole_slice(champion.layout, data, train).sums(model.params))[0]
        for model in (champion, report.model)
    ]
    return report.model if losses[1] < losses[0] else None


def promotions(rule: str, number: int, train: TrainConfig) -> list[Promotion]:
    """The promotions of one stream."""
    name, first, value = drawn(number)
    fresh = score_of(history_of(value), MODEL, train)
    champion, found = start_model(MODEL), []
    for events in (first, first * 3 // 2):
        promoted = trained(rule, champion, history_of(value[:events]), train)
        if promoted is not None:
            found.append(Promotion(f"{name}, after {events} events", 1.0 - fresh(promoted) / fresh(champion)))
            champion = promoted
    return found


def score_of(history: History, config: ModelConfig, train: TrainConfig) -> Callable[[Model], float]:
    """Scores a model on the last `FRESH` steps."""
    layout = start_model(config).layout
    data = dataset(history, layout, FRESH / len(history))
    windows = validation_windows(data, train.k2, WARM_STEPS, FRESH)
    evaluation = Evaluation(layout, data, [windows], train.k2)
    return lambda model: mean_losses(evaluation.sums(model.params))[0]


def table(found: dict[str, list[Promotion]], trainings: int) -> str:
    """The promotions of each rule as a Markdown table."""
    lines = [
        "| rule | trainings | promoted | worse on fresh data | by over 1 % | worst | mean gain of a promotion |",
        "|---|--:|--:|--:|--:|--:|--:|",
    ]
    for rule, ones in found.items():
        gains = np.array([one.gain for one in ones])
        worst, mean = (f"{gains.min():+.1%}", f"{gains.mean():+.1%}") if len(gains) else ("-", "-")
        lines.append(
            f"| {rule} | {trainings} | {len(gains)} | {(gains < 0).sum()} | {(gains < -WORSE).sum()} "
            f"| {worst} | {mean} |"
        )
    return "\n".join(lines)


def main() -> int:
    """Prints the table and the worst promotions; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--streams", type=int, default=50)
    parser.add_argument("--quick", action="store_true", help="four streams and short trainings")
    arguments = parser.parse_args()
    streams = 4 if arguments.quick else arguments.streams
    train = TrainConfig(max_steps=20, evaluate_every=10) if arguments.quick else TrainConfig()
    found: dict[str, list[Promotion]] = {rule: [] for rule in RULES}
    for number in range(streams):
        for rule in RULES:
            found[rule] += promotions(rule, number, train)
    print(table(found, 2 * streams))
    for rule, ones in found.items():
        worst = sorted((one for one in ones if one.gain < -WORSE), key=lambda one: one.gain)
        shown = "; ".join(f"{one.stream}, {one.gain:+.1%}" for one in worst) or "none"
        print(f"\n{rule}, worse by over {WORSE:.0%}: {shown}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
