"""From history to a trained model: streams of chunks, Adam, an evaluation now and then, the best weights kept.

The held-out newest slice of the history is cut in two. The weights that its older half chooses are compared with the
champion on its newer half (compare.py), so that what chose them does not judge them too. Where that comparison promotes
the training, the weights that the whole slice chooses take their place: of the same training, from twice the evidence.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from forecaster.config import ModelConfig, TrainConfig
from forecaster.errors import ConfigError, NothingToLearnError, TrainingError
from forecaster.features.calendar import DAY_MS
from forecaster.layout import WARM_STEPS, Layout, calendar_weights
from forecaster.model import Model
from forecaster.pretrained.start import start_model
from forecaster.state.history import History
from forecaster.training.dataset import Dataset, Streams, Windows, dataset, judging_cutoff, validation_windows
from forecaster.training.optim import learning_rate
from forecaster.training.step import OptimiserStep
from forecaster.training.tbptt import Chunk

EVALUATION_BATCH = 64


@dataclass(frozen=True)
class FitProgress:
    """How far a training is; losses are mean pinball losses in units of the series' scales.

    Attributes:
        step: optimiser steps taken. max_steps: their number, at most.
        loss: mean over the last optimiser steps, fifty at most.
        validation_loss: on the older half of the held-out slice.
        gradient_norm: global norm of the last gradient, before clipping.
    """

    step: int
    max_steps: int
    loss: float
    validation_loss: float
    gradient_norm: float


@dataclass(frozen=True)
class FitReport:
    """What a training did.

    Attributes:
        model: the weights with the lowest validation loss (the initial ones, if none were better). That loss is the
            one on the older half of the held-out slice.
        final: the weights with the lowest loss on the whole of that slice, which become the champion if the comparison
            promotes `model`.
        steps: optimiser steps taken. best_step: the one whose weights were kept.
        loss: mean training loss of the last steps. validation_loss: of the kept weights.
        naive_loss: validation loss of "the last value stays".
        gradient_norm: of the last step, before clipping. clipped_steps: how often it was above the limit.
        training_steps: steps of history learnt from. validation_targets: targets that the validation loss averages.
        series: series learnt from. stopped_early: whether patience ran out.
    """

    model: Model
    final: Model
    steps: int
    best_step: int
    loss: float
    validation_loss: float
    naive_loss: float
    gradient_norm: float
    clipped_steps: int
    training_steps: int
    validation_targets: int
    series: int
    stopped_early: bool


class Evaluation:
    """Windows of the held-out slice, in groups, scored with any weights of one shape.

    Args:
        shape: of the weights.
        data: what the windows point into.
        groups: windows whose losses are summed together; of `length` scored steps at most, with their lead before.
        length: see above.

    Attributes:
        series: first steps of the series that the windows are of.
    """

    def __init__(self, layout: Layout, data: Dataset, groups: Sequence[Windows], length: int) -> None:
        self._data = data
        self._groups = [
            [
                Windows(*(column[i : i + EVALUATION_BATCH] for column in vars(windows).values()))
                for i in range(0, len(windows.first), EVALUATION_BATCH)
            ]
            for windows in groups
        ]
        self.series = np.unique(np.concatenate([data.start[windows.first] for windows in groups] or [data.start[:0]]))
        size = max((len(batch.first) for batches in self._groups for batch in batches), default=1)
        self._chunk = Chunk(layout, size, length + WARM_STEPS)

    def sums(self, params: NDArray[np.float32]) -> NDArray[np.float64]:
        """(groups, 3): sums of the pinball loss and of that of "the last value stays", and the number of targets."""
        found = np.zeros((len(self._groups), 3))
        for group, batches in enumerate(self._groups):
            for windows in batches:
                self._chunk.carried[...] = 0.0
                mean, plain, targets = self._chunk.run(params, self._data, windows, 1 << 60, learn=False)
                found[group] += (mean * targets, plain * targets, targets)
        return found


def mean_losses(sums: NDArray[np.float64]) -> tuple[float, float, int]:
    """Returns mean pinball loss, that of "the last value stays", and the number of targets; nan where there is none.

    Args:
        sums: (groups, 3), as of `Evaluation.sums`.
    """
    loss, naive, count = sums.sum(axis=0).tolist()
    return (loss / count, naive / count, int(count)) if count else (math.nan, math.nan, 0)


def choosing_slices(layout: Layout, data: Dataset, train: TrainConfig) -> Evaluation:
    """The two halves of the held-out slice, the older first; no target of it lies in the newer half."""
    cut, most = judging_cutoff(data), train.validation_windows
    older = validation_windows(data, train.k2, WARM_STEPS, most, until=cut)
    newer = validation_windows(data, train.k2, WARM_STEPS, most, since=cut)
    return Evaluation(layout, data, [older, newer], train.k2)


def _changing(data: Dataset) -> NDArray[np.int64]:
    """First steps of the series with two different values before the cutoff; one without has no scale, nor a target."""
    learnt = np.where(data.ts < data.cutoff_ms, data.y, np.nan)
    starts = np.unique(data.start)
    found: NDArray[np.int64] = starts[np.fmax.reduceat(learnt, starts) > np.fmin.reduceat(learnt, starts)]
    return found


def fit(
    history: History,
    start: Model | ModelConfig,
    train: TrainConfig | None = None,
    progress: Callable[[FitProgress], None] | None = None,
) -> FitReport:
    """Trains on a history; the same history, start and configuration give the same weights, bit for bit.

    Args:
        history: events; the newest share of its time span is held out, and the older half of that chooses.
        start: weights to go on from, or a configuration (then from those of `start_model`).
        train: how.
        progress: called after every look at the held-out slice.

    Returns:
        The report with the best model.

    Raises:
        NothingToLearnError: no series has changed in what would be learnt from.
        TrainingError: too little history, or the loss is not finite from the start.
    """
    train = train or TrainConfig()
    start = start if isinstance(start, Model) else start_model(start)
    layout = start.layout
    if len(history) and not np.isfinite(history.value).any():
        msg = f"nothing to learn: every value is missing, in {len(history)} events"
        raise NothingToLearnError(msg)
    data = dataset(history, layout, train.validation_fraction)
    changing = _changing(data)
    if not len(changing):
        msg = (
            f"nothing to learn: none of {len(np.unique(data.start))} series has changed before the held-out slice; "
            "a later training learns from changes that have been seen by then"
        )
        raise NothingToLearnError(msg)
    rng = np.random.default_rng(train.seed)
    streams = Streams(data, train.k1, train.k2, train.batch, rng, balance=train.balance, half_life=train.half_life)
    needed = train.min_windows * train.k2
    if streams.steps < needed:
        msg = (
            f"not enough history: got {streams.steps} steps before the held-out slice, expected at least {needed} "
            f"(min_windows {train.min_windows} x k2 {train.k2}); let the stream run for longer or lower k2"
        )
        raise TrainingError(msg)
    evaluation = choosing_slices(layout, data, train)
    best, optimiser = start.params.copy(), OptimiserStep(layout, start.params, train)
    sums = evaluation.sums(best)
    best_loss, naive_loss, targets = mean_losses(sums[:1])
    final, final_loss = best, mean_losses(sums)[0]
    if targets == 0 and len(evaluation.series) and not np.isin(evaluation.series, changing).any():
        msg = "nothing to learn: none of the series that the held-out slice holds had changed before it"
        raise NothingToLearnError(msg)
    if targets == 0:
        msg = "not enough history: the held-out slice has no target to score; let the stream run for longer"
        raise TrainingError(msg)
    if not math.isfinite(best_loss):
        msg = f"the start weights have a validation loss of {best_loss}, expected a finite one"
        raise TrainingError(msg)
    best_step, waited, stopped = 0, 0, False
    chunk = Chunk(layout, train.batch, train.k2)
    steps = max(1, min(train.max_steps, math.ceil(train.passes * streams.steps / (train.batch * train.k1))))
    starts = np.unique(data.start)
    spans = np.maximum.reduceat(data.ts, starts) - data.ts[starts]
    # A phase that most series have not seen twice in what is learnt from says which day it was, not what such days are
    # like.
    span = float(np.median(spans)) * (1.0 - train.validation_fraction)
    unlearnable = calendar_weights(layout, hour=span < 2 * DAY_MS, week=span < 14 * DAY_MS)
    recent: list[float] = []
    step = 0
    for step in range(1, steps + 1):
        windows, fresh = streams.next()
        chunk.carried[:, fresh] = 0.0
        if train.loss_on == "last":
            windows = replace(windows, loss_from=np.maximum(windows.loss_from, windows.steps - 1))
        loss, _, count = chunk.run(optimiser.params, data, windows, train.k1, learn=True)
        chunk.gradient[unlearnable] = 0.0
        rate = learning_rate(step - 1, steps, train.learning_rate, train.warmup_steps)
        if count and optimiser.update(chunk.gradient, rate):
            recent = [*recent[-49:], loss]
        if step % train.evaluate_every == 0 or step == steps:
            sums = evaluation.sums(optimiser.evaluated)
            score, whole = mean_losses(sums[:1])[0], mean_losses(sums)[0]
            if whole < final_loss:
                final_loss, final = whole, optimiser.evaluated.copy()
            if score < best_loss:
                best_loss, best, best_step, waited = score, optimiser.evaluated.copy(), step, 0
            else:
                waited += 1
            if progress:
                mean = float(np.mean(recent)) if recent else math.nan
                progress(FitProgress(step, steps, mean, score, optimiser.norm))
            if waited >= train.patience:
                stopped = True
                break
    return FitReport(
        model=Model(start.config, best),
        final=Model(start.config, final),
        steps=step,
        best_step=best_step,
        loss=float(np.mean(recent)) if recent else math.nan,
        validation_loss=best_loss,
        naive_loss=naive_loss,
        gradient_norm=optimiser.norm,
        clipped_steps=optimiser.clipped,
        training_steps=streams.steps,
        validation_targets=targets,
        series=len(starts),
        stopped_early=stopped,
    )


STARTS = ("warm", "cold", "both")


def fit_from(
    history: History,
    champion: Model,
    start: str,
    train: TrainConfig | None = None,
    progress: Callable[[FitProgress], None] | None = None,
) -> FitReport:
    """Trains and keeps the better end.

    Weights that were fitted to little history can be a bad place to start from once there is much more (Ash and Adams
    2020, arXiv:1910.08475); those before any training forget what a short history no longer holds. Which it is,
    the older half of the held-out slice says, at twice the cost.

    Args:
        history: as of `fit`.
        champion: the weights in force.
        start: "warm" from the champion's weights, "cold" from those of `start_model`, "both" the better of the two by
            its validation loss, the warm one where they are equal.
        train, progress: as of `fit`.

    Returns:
        The report of the better training.

    Raises:
        ConfigError: `start` is none of these.
        TrainingError: as of `fit`.
    """
    if start not in STARTS:
        raise ConfigError("start", start, f"one of {', '.join(STARTS)}")
    report = None if start == "cold" else fit(history, champion, train, progress)
    first = start_model(champion.config)
    if report is None or (start == "both" and first.sha256 != champion.sha256):
        cold = fit(history, first, train, progress)
        if report is None or cold.validation_loss < report.validation_loss:
            report = cold
    return report
