"""Networks of another shape that a training tries beside the champion's: other seasons, where those are left to it.

A shape is tried where the trainings before this one have found the same seasons, at the 1st, 2nd, 4th, 8th ... training
that does, so that one which does not forecast better costs less and less.
"""

from __future__ import annotations

from dataclasses import replace

from forecaster import FitReport, History, Model, ModelConfig, TrainConfig, TrainingError, fit, transferred
from service.config.sections import Config
from service.registry.models import Registry
from service.trainer.season_check import Seasons


def candidate(config: Config, registry: Registry, model: ModelConfig, seasons: Seasons) -> ModelConfig | None:
    """Returns the shape to try in a training, None without one.

    Args:
        config: of the group.
        registry: of the group; its last decisions have the seasons of earlier histories.
        model: the champion's network.
        seasons: of the present history.
    """
    if config.model.seasons != "auto" or not seasons.differ:
        return None
    found = [Seasons.of(one.seasons) for one in registry.decisions() if one.seasons]
    repeats = 0
    for before in reversed(found):
        if (before.network, before.wanted) != (seasons.network, seasons.wanted):
            break
        repeats += 1
    if not repeats or repeats & (repeats - 1):
        return None
    return replace(model, seasons=seasons.wanted)


def better_of(
    report: FitReport, shape: ModelConfig, champion: Model, history: History, train: TrainConfig
) -> FitReport:
    """Trains a network of another shape and returns the better of two trainings.

    The older half of the held-out slice says which it is, by the loss relative to that of "the last value stays": both
    losses are in units of scales that depend on the shape.

    Args:
        report: of the training of the champion's shape.
        shape: the other network.
        champion: whose weights the other one begins with, as far as they fit.
        history, train: as of that training.
    """
    try:
        other = fit(history, transferred(champion, shape), train)
    except TrainingError:  # too little history for its seasons
        return report
    return other if _relative(other) < _relative(report) else report


def _relative(report: FitReport) -> float:
    return report.validation_loss / report.naive_loss if report.naive_loss > 0.0 else report.validation_loss
