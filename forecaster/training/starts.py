"""Where a training starts from: the champion's weights, those before any training, or both in turn."""

from __future__ import annotations

from collections.abc import Callable

from forecaster.config import TrainConfig
from forecaster.errors import ConfigError
from forecaster.history import History
from forecaster.model import Model
from forecaster.pretrained.start import start_model
from forecaster.training.loop import FitReport, Progress, fit

STARTS = ("warm", "cold", "both")


def fit_from(
    history: History,
    champion: Model,
    start: str,
    train: TrainConfig | None = None,
    progress: Callable[[Progress], None] | None = None,
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
