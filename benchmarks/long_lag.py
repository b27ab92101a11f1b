"""The textbook's limitation and its cure: the adding problem (Hochreiter and Schmidhuber 1997) for every cell.

Two of T numbers are marked; what is asked for behind the last step is their sum. Saying 1 whatever came costs 1/6.
Prints the table of docs/recurrent.md and draws its picture:

    python benchmarks/long_lag.py [--plot docs/gradients.svg]
"""

from __future__ import annotations

import argparse

import numpy as np

from forecaster import SequenceConfig, SequenceModel, Sequences, SequenceTrain, fit_sequences, sequence_loss
from forecaster.inspection.gradients import gradient_by_lag, plot_gradients

STEPS, GUESS = 60, 1 / 6


def adding(n: int, steps: int, seed: int) -> Sequences:
    """N sequences of numbers in [0, 1] and marks; one mark in each half."""
    rng, rows = np.random.default_rng(seed), np.arange(n)
    x = np.zeros((n, steps, 2), np.float32)
    x[:, :, 0] = rng.uniform(0, 1, (n, steps))
    marked = rng.integers(0, steps // 2, n), rng.integers(steps // 2, steps, n)
    for place in marked:
        x[rows, place, 1] = 1.0
    total = sum(x[rows, place, 0] for place in marked)
    return Sequences(features=x, targets=np.asarray(total, np.float32)[:, None])


def scaled(factor: float) -> SequenceModel:
    """An untrained Elman network whose recurrent matrix, orthogonal at first, is multiplied by a factor."""
    model = SequenceModel.initial(SequenceConfig(task="last", features=2, cell="elman", hidden_size=32))
    params = model.params.copy()
    model.layout.views(params)["encoder.layer0.wh"][...] *= factor
    return SequenceModel(model.config, params)


def main() -> None:
    """Table and picture."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--plot", help="file to draw gradient norms by lag into")
    parser.add_argument("--sequences", type=int, default=2048)
    parser.add_argument("--epochs", type=int, default=30)
    options = parser.parse_args()
    data, test = adding(options.sequences, STEPS, 0), adding(512, STEPS, 1)
    print(
        f"adding problem, {STEPS} steps, {options.sequences} sequences, {options.epochs} epochs; guessing: {GUESS:.4f}"
    )
    print("| cell | clipping | error on new sequences | largest gradient norm | clipped | learnt |")
    print("|---|---|---|---|---|---|")
    inputs = test.take(slice(64))
    curves = {
        f"elman, recurrent weights x {factor:g}": gradient_by_lag(scaled(factor), inputs) for factor in (0.5, 1, 2)
    }
    for cell, memory in (("gru", 0), ("gru", STEPS), ("lstm", 0), ("lstm", STEPS)):
        config = SequenceConfig(task="last", features=2, cell=cell, hidden_size=32, memory=memory)
        curves[f"{cell}, memory={memory}"] = gradient_by_lag(SequenceModel.initial(config), inputs)
    plotted = dict(curves)
    for cell in ("elman", "gru", "lstm"):
        config = SequenceConfig(task="last", features=2, cell=cell, hidden_size=32)
        for clip in (1.0, 0.0):
            train = SequenceTrain(epochs=options.epochs, clip_norm=clip, schedule="constant")
            report = fit_sequences(data, config, train)
            loss = sequence_loss(report.model, test)
            shown = f"norm {clip:g}" if clip else "none"
            learnt = "yes" if loss < GUESS / 10 else "no"
            largest = report.gradient_norms.max()
            print(f"| {cell} | {shown} | {loss:.4f} | {largest:.1f} | {report.clipped_steps} | {learnt} |", flush=True)
            if clip:
                curves[f"{cell}, trained"] = gradient_by_lag(report.model, inputs)
    print("\n| cell | lag 1 | 10 | 20 | 40 | 60 |\n|---|---|---|---|---|---|")
    for name, norms in curves.items():
        print(f"| {name} | " + " | ".join(f"{norms[lag]:.1e}" for lag in (1, 10, 20, 40, 60)) + " |")
    if options.plot:
        plot_gradients(plotted, options.plot)


if __name__ == "__main__":
    main()
