"""Training of sequence networks: shuffled batches, chunks with carried state, Adam; the best weights are returned."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from forecaster.errors import TrainingError
from forecaster.sequences import outputs
from forecaster.sequences.batch import Sequences
from forecaster.sequences.config import SequenceConfig, SequenceTrain
from forecaster.sequences.layout import SequenceLayout
from forecaster.sequences.model import SequenceModel
from forecaster.sequences.network import Network, UnrollSpan, initial_state
from forecaster.training.optim import scheduled_rate
from forecaster.training.step import OptimiserStep


@dataclass(frozen=True)
class SequenceProgress:
    """Progress of a training.

    Attributes:
        epoch: epochs done. epochs: their number, at most.
        loss: mean training loss of the epoch.
        validation_loss: mean loss on the held-out sequences; nan if nothing is held out.
    """

    epoch: int
    epochs: int
    loss: float
    validation_loss: float


@dataclass(frozen=True)
class SequenceReport:
    """Result of a training.

    Attributes:
        model: the best weights on the held-out sequences; the last ones if nothing was held out.
        steps: optimiser steps taken. best_epoch: the epoch whose weights were kept.
        losses: (epochs,) mean training loss of each. validation_losses: of each on the held-out sequences, or nan.
        gradient_norms: (steps,) before clipping. clipped_steps: number of norms above the limit.
        skipped_steps: number of steps skipped because the gradient was not finite.
    """

    model: SequenceModel
    steps: int
    best_epoch: int
    losses: NDArray[np.float64]
    validation_losses: NDArray[np.float64]
    gradient_norms: NDArray[np.float64]
    clipped_steps: int
    skipped_steps: int


def pieces(steps: int, k1: int, k2: int) -> Iterator[UnrollSpan]:
    """Yields the chunks of `steps` steps for BPTT(k2; k1): each step's loss is in exactly one. k1 = 0: one chunk."""
    if k1 == 0:
        yield UnrollSpan(0, steps, 0, steps, fresh=True, decode=True)
        return
    start = 0
    while True:
        stop = min(start + k2, steps)
        # The first chunk scores all its steps, a later one those after the end of the previous chunk.
        loss_from = 0 if start == 0 else start - k1 + k2
        carry = min(start + k1, stop)
        yield UnrollSpan(start, stop, loss_from, carry, fresh=start == 0, decode=stop == steps)
        if stop == steps:
            return
        start += k1


def sequence_loss(model: SequenceModel, data: Sequences) -> float:
    """Returns the mean loss over all targets; nan without any. A decoder runs free.

    Args:
        model: the network.
        data: sequences with targets.

    Raises:
        BatchError: the columns do not fit.
    """
    data.check(model.config, learn=True)
    network = Network(model.layout, min(256, len(data)), data.steps)
    return _loss(network, model.params, data)


def _loss(network: Network, params: NDArray[Any], data: Sequences) -> float:
    total, count, layout = 0.0, 0, network.layout
    size = network.encoder.room[0]
    for i in range(0, len(data), size):
        part = data.take(slice(i, i + size))
        state = initial_state(layout, params, len(part))
        mean, n = network.score(params, part, state)
        total, count = total + mean * n, count + n
    return total / count if count else math.nan


def _dropout(
    layout: SequenceLayout, rate: float, steps: int, batch: int, rng: np.random.Generator
) -> tuple[NDArray[Any] | None, NDArray[Any] | None]:
    if rate == 0.0 or layout.layers < 2:
        return None, None

    def factors(length: int) -> NDArray[Any]:
        kept = rng.random((layout.layers - 1, length, batch, layout.config.hidden_size), np.float32) >= rate
        return kept.astype(np.float32) / np.float32(1.0 - rate)

    return factors(steps), factors(layout.config.horizon) if layout.config.task == "decode" else None


def fit_sequences(
    data: Sequences,
    start: SequenceModel | SequenceConfig,
    train: SequenceTrain | None = None,
    progress: Callable[[SequenceProgress], None] | None = None,
) -> SequenceReport:
    """Trains on sequences; the same data, start and settings give the same weights, bit for bit.

    Args:
        data: sequences with targets; those at the end are held out, see `SequenceTrain.validation_fraction`.
        start: initial weights, or a configuration (then seeded initial weights).
        train: configuration of the training.
        progress: called after every epoch.

    Raises:
        BatchError: the columns do not fit each other or the network.
        TrainingError: there is no target, or no finite weights were found.
    """
    train = train or SequenceTrain()
    start = start if isinstance(start, SequenceModel) else SequenceModel.initial(start)
    layout, config = start.layout, start.config
    data.check(config, learn=True)
    assert data.targets is not None
    held = int(len(data) * train.validation_fraction)
    learnt, validation = data.take(slice(0, len(data) - held)), data.take(slice(len(data) - held, None))
    assert learnt.targets is not None
    if not len(learnt) or not outputs.known(config, learnt.targets).any():
        msg = f"nothing to learn from: {len(learnt)} sequences are not held out, and none has a target"
        raise TrainingError(msg)
    rng = np.random.default_rng(train.seed)
    batch, plan = min(train.batch, len(learnt)), list(pieces(data.steps, train.k1, train.k2))
    network = Network(layout, batch, max(p.stop - p.start for p in plan))
    scorer = Network(layout, min(256, max(1, held)), data.steps) if held else None
    optimiser = OptimiserStep(layout, start.params, train)
    steps = train.epochs * len(plan) * math.ceil(len(learnt) / batch)
    norms: list[float] = []
    losses, scores = [], []
    best, best_score, best_epoch, waited = start.params.copy(), math.inf, 0, 0
    for epoch in range(1, train.epochs + 1):
        order, total, count = rng.permutation(len(learnt)), 0.0, 0
        for at in range(0, len(order), batch):
            part = learnt.take(order[at : at + batch])
            state = initial_state(layout, optimiser.params, len(part))
            for piece in plan:
                dropped = _dropout(layout, train.dropout, piece.stop - piece.start, len(part), rng)
                forced = rng.random(len(part)) < train.teacher_forcing
                loss, n, state = network.run(
                    optimiser.params, part, state, replace(piece, dropped=dropped, forced=forced)
                )
                if not n:
                    continue
                total, count = total + loss * n, count + n
                rate = scheduled_rate(train.schedule, optimiser.updates, steps, train.learning_rate, train.warmup_steps)
                optimiser.update(network.gradient, rate)
                norms.append(optimiser.norm)
        shown = optimiser.evaluated
        losses.append(total / max(1, count))
        scores.append(_loss(scorer, shown, validation) if scorer else math.nan)
        if progress:
            progress(SequenceProgress(epoch, train.epochs, losses[-1], scores[-1]))
        waited += 1
        if not scorer or scores[-1] < best_score:
            best, best_score, best_epoch, waited = shown.copy(), scores[-1], epoch, 0
        if waited >= train.patience:
            break
    if best_epoch == 0 or not np.isfinite(best).all():
        msg = f"nothing finite was learnt: losses {losses[-3:]}; lower learning_rate or set clip_norm"
        raise TrainingError(msg)
    return SequenceReport(
        model=SequenceModel(config, best),
        steps=optimiser.updates,
        best_epoch=best_epoch,
        losses=np.array(losses),
        validation_losses=np.array(scores),
        gradient_norms=np.array(norms),
        clipped_steps=optimiser.clipped,
        skipped_steps=optimiser.skipped,
    )
