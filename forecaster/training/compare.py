"""Champion against challenger on the newest slice of history, which neither was fitted to in this round."""

from __future__ import annotations

import math
from dataclasses import dataclass

from forecaster.config import TrainConfig
from forecaster.errors import ConfigError
from forecaster.history import History
from forecaster.model import Model
from forecaster.training.loop import Evaluation
from forecaster.training.windows import dataset


@dataclass(frozen=True)
class Comparison:
    """The verdict and its figures; losses are mean pinball losses in units of the series' scales.

    Attributes:
        promote: whether the challenger should replace the champion.
        champion_loss, challenger_loss: on the same held-out targets.
        naive_loss: of "the last value stays".
        margin: share by which the challenger had to be better.
        targets: how many targets were scored.
        reason: the verdict in words.
    """

    promote: bool
    champion_loss: float
    challenger_loss: float
    naive_loss: float
    margin: float
    targets: int
    reason: str


def compare(champion: Model, challenger: Model, history: History, train: TrainConfig | None = None) -> Comparison:
    """Scores both on the held-out slice and decides.

    A challenger with a loss that is not finite, or equal to the champion's, is never promoted.

    Raises:
        ConfigError: the two are networks of different configuration.
        TrainingError: there is no history to compare on.
    """
    train = train or TrainConfig()
    if champion.config != challenger.config:
        raise ConfigError("challenger", challenger.config, f"the champion's configuration {champion.config}")
    evaluation = Evaluation(champion.shape, dataset(history, champion.shape, train.validation_fraction), train)
    old, naive, targets = evaluation.score(champion.params)
    new, _, _ = evaluation.score(challenger.params)
    promote, reason = False, ""
    if targets == 0:
        reason = "no target in the held-out slice to compare on"
    elif not math.isfinite(new):
        reason = f"the challenger's loss is {new}"
    elif not math.isfinite(old):
        promote, reason = True, f"the champion's loss is {old}, the challenger's {new:.5f}"
    elif new < old * (1.0 - train.margin) and new != old:
        promote, reason = True, f"loss {new:.5f} instead of {old:.5f}, better by {1 - new / old:.2%}"
    else:
        reason = f"loss {new:.5f} instead of {old:.5f}, better by {1 - new / old:.2%}, needed {train.margin:.2%}"
    return Comparison(promote, old, new, naive, train.margin, targets, reason)
