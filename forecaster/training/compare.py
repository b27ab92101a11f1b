"""Champion against challenger on the newest part of history, which neither was fitted to nor chosen by in this round.

The loss of both is summed over blocks of that part: stretches of time of at least a horizon, of all series together;
where there is not time enough for many of them, each is divided among groups of series. With n_b targets and a mean
difference d_b (champion's loss minus challenger's) in block b of q, N targets in all:

    mean  d = sum n_b d_b / N
    error s = sqrt((q - 1) / q sum ((d_b - d) n_b / (N - n_b))^2), the jackknife that leaves out a block at a time
    promote where d > max(margin * champion's loss, t s),  t the quantile PROMOTION_LEVEL of Student's t, q - 1 degrees

Errors of neighbouring steps resemble each other, and so do those of horizons that end in the same step: within a block
they may, as only the means of the blocks are taken for independent (Ibragimov and Mueller 2010). Few blocks make the
error large, and a small difference is then not promoted. Series may move together, and then groups of them are no
blocks that are independent: where stretches of time were divided, d must also be greater than t s of the undivided
stretches, which are fewer. Two stretches have no scatter to speak of: there both must favour the challenger.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from forecaster.config import TrainConfig
from forecaster.errors import ConfigError
from forecaster.layout import WARM_STEPS, Layout
from forecaster.model import Model
from forecaster.pretrained.start import start_model
from forecaster.state.history import History
from forecaster.training.dataset import Dataset, Windows, dataset, judging_cutoff, validation_windows
from forecaster.training.loop import Evaluation, FitReport

PROMOTION_LEVEL = 0.6  # two of five challengers that are as good as the champion are promoted, which costs nothing
BLOCKS = 16  # of a comparison: time is cut into so many at most, and series into groups until there are so many


@dataclass(frozen=True)
class Comparison:
    """The verdict and its figures; losses are mean pinball losses in units of the series' scales.

    Attributes:
        promote: whether the challenger should replace the champion.
        champion_loss, challenger_loss: on the same held-out targets.
        naive_loss: of "the last value stays".
        margin: share by which the challenger had to be better, at least.
        targets: how many targets were scored.
        reason: the verdict in words.
        standard_error: of the difference of the two losses, from the differences of the blocks, or of the stretches of
            time where these ask for more; nan where there are fewer than two blocks.
        blocks: how many there are.
    """

    promote: bool
    champion_loss: float
    challenger_loss: float
    naive_loss: float
    margin: float
    targets: int
    reason: str
    standard_error: float = math.nan
    blocks: int = 0


def compare(champion: Model, challenger: Model, history: History, train: TrainConfig | None = None) -> Comparison:
    """Scores both on the newer half of the held-out slice and decides; `fit` chooses by the older half.

    A challenger with a loss that is not finite, or equal to the champion's, is never promoted. A margin below zero asks
    for no evidence: whatever is not worse by more than that share is promoted.

    A challenger of another shape is scored on the same targets. Its losses are in units of its own scales, which
    average over its seasons; in each block they are converted to those of the champion by the losses of "the last
    value stays", which does not depend on weights.

    Args:
        champion, challenger: the weights.
        history: its newest share is held out.
        train: settings, of which those of the held-out slice and the margin are used; None: the defaults.

    Raises:
        ConfigError: the challenger has another horizon or other levels.
        TrainingError: there is no history to compare on.
    """
    return _judge_of(champion, challenger, history, train)(challenger)


def challenge(
    champion: Model, report: FitReport, history: History, train: TrainConfig | None = None
) -> tuple[Model, Comparison]:
    """Compares the model of a training; if it is not promoted, the weights before any training are compared instead.

    Where the training is promoted, `report.final` is what becomes the champion: the verdict says that the training has
    improved on it, and the whole held-out slice chooses better among its steps than the older half alone.

    A stream that changes its nature can leave a champion behind that is worse than no training, and trainings on what
    it has become do not always lead back.

    Args:
        champion: the weights in force.
        report: of the training.
        history, train: as of `compare`.

    Returns:
        The model that is to be the champion if the verdict promotes, and the verdict.

    Raises:
        ConfigError, TrainingError: as of `compare`.
    """
    challenger = report.model
    judge = _judge_of(champion, challenger, history, train)
    found = judge(challenger)
    if found.promote:
        return report.final, found
    first = start_model(champion.config)
    if challenger.config != champion.config or first.sha256 in (champion.sha256, challenger.sha256):
        return challenger, found
    back = judge(first)
    if not back.promote:
        return challenger, found
    return first, replace(back, reason=f"the weights before any training: {back.reason}")


def _judge_of(
    champion: Model, challenger: Model, history: History, train: TrainConfig | None
) -> Callable[[Model], Comparison]:
    """Returns what compares models of the challenger's configuration with the champion, which is scored once.

    Raises:
        ConfigError, TrainingError: as of `compare`.
    """
    train = train or TrainConfig()
    for name in ("horizon", "quantiles"):
        mine, other = getattr(champion.config, name), getattr(challenger.config, name)
        if mine != other:
            raise ConfigError(name, other, f"the champion's {mine}")
    data = dataset(history, champion.layout, train.validation_fraction)
    evaluation, times = judging_slice(champion.layout, data, train)
    old = evaluation.sums(champion.params)
    if challenger.config != champion.config:
        data = dataset(history, challenger.layout, train.validation_fraction)
        evaluation = judging_slice(challenger.layout, data, train)[0]

    def judge(model: Model) -> Comparison:
        new = evaluation.sums(model.params)
        if model.config != champion.config:
            known = (old[:, 1] > 0.0) & (new[:, 1] > 0.0)
            new[:, 0] *= np.divide(old[:, 1], new[:, 1], out=np.ones(len(old)), where=known)
        return verdict(old[:, 0], new[:, 0], old[:, 2], train.margin, times, naive=float(old[:, 1].sum()))

    return judge


def verdict(
    champion: NDArray[np.float64], challenger: NDArray[np.float64], targets: NDArray[np.float64], margin: float,
    times: NDArray[np.int64] | None = None, naive: float = math.nan,
) -> Comparison:  # fmt: skip
    """Decides by the losses of the blocks.

    Args:
        champion, challenger: (q,) sums of the losses of each block. targets: (q,) how many targets each has.
        margin: share of the champion's loss, see `compare`.
        times: (q,) which stretch of time each is of; None: each of one of its own.
        naive: sum of the losses of "the last value stays".
    """
    there = targets > 0
    times = np.flatnonzero(there) if times is None else times[there]
    champion, challenger, targets = champion[there], challenger[there], targets[there]
    count, blocks = float(targets.sum()), len(targets)
    if not blocks:
        reason = "no target in the held-out slice to compare on"
        return Comparison(False, math.nan, math.nan, math.nan, margin, 0, reason)  # noqa: FBT003 - the verdict
    old, new = float(champion.sum()) / count, float(challenger.sum()) / count
    error, promote = math.nan, False
    if not math.isfinite(new):
        reason = f"the challenger's loss is {new}"
    elif not math.isfinite(old):
        promote, reason = True, f"the champion's loss is {old}, the challenger's {new:.5f}"
    else:
        chance, error, blocks = _chance(champion - challenger, targets, times)
        needed = max(margin * old, chance) if margin >= 0.0 else margin * old
        promote = old - new > needed and new != old
        reason = _words(old, new, error, needed, blocks)
    return Comparison(promote, old, new, naive / count, margin, int(count), reason, error, blocks)


def _chance(
    differences: NDArray[np.float64], targets: NDArray[np.float64], times: NDArray[np.int64]
) -> tuple[float, float, int]:
    """The mean difference that chance explains: by blocks, and by stretches of time, whichever is greater.

    Returns: it; the standard error that it is a multiple of; the number of blocks that the error is of.
    """
    found = math.inf, math.nan, len(targets)
    if len(targets) > 1:
        error = _standard_error(differences, targets)
        found = student_quantile(PROMOTION_LEVEL, len(targets) - 1) * error, error, len(targets)
    stretch = np.unique(times, return_inverse=True)[1]
    stretches = int(stretch.max(initial=-1)) + 1
    if 1 < stretches < len(targets):
        lower, count = (np.bincount(stretch, weights=column).astype(np.float64) for column in (differences, targets))
        error = _standard_error(lower, count)
        if stretches > 2:
            found = max(found, (student_quantile(PROMOTION_LEVEL, stretches - 1) * error, error, stretches))
        elif not (lower > 0.0).all():
            found = math.inf, error, stretches
    return found


def _standard_error(differences: NDArray[np.float64], targets: NDArray[np.float64]) -> float:
    """Of the mean difference, by sums of differences and numbers of targets of two blocks or more."""
    shares = targets / targets.sum()
    deviations = (differences - shares * differences.sum()) / targets.sum() / (1.0 - shares)
    return math.sqrt((len(shares) - 1) / len(shares) * float(deviations @ deviations))


def _words(old: float, new: float, error: float, needed: float, blocks: int) -> str:
    losses = f"loss {new:.5f} instead of {old:.5f}"
    if old == 0.0:
        return losses
    if math.isnan(error):
        return f"{losses}, better by {1 - new / old:.2%}, too little held out to tell that from chance"
    chance = f"standard error {error / old:.2%} of {blocks} blocks"
    enough = f"needed {needed / old:.2%}" if math.isfinite(needed) else "needed in both stretches of time"
    return f"{losses}, better by {1 - new / old:.2%} ({chance}), {enough}"


def student_quantile(level: float, freedom: int) -> float:
    """Quantile of Student's t, to 1 % for levels up to 0.99: exact for 1 and 2 degrees of freedom, else expanded.

    The expansion is that of Abramowitz and Stegun 1964, 26.7.5.
    """
    if freedom == 1:
        return math.tan(math.pi * (level - 0.5))
    if freedom == 2:
        return float((2.0 * level - 1.0) * math.sqrt(0.5 / (level * (1.0 - level))))
    z = statistics.NormalDist().inv_cdf(level)
    terms = (
        (z**3 + z) / 4,
        (5 * z**5 + 16 * z**3 + 3 * z) / 96,
        (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384,
        (79 * z**9 + 776 * z**7 + 1482 * z**5 - 1920 * z**3 - 945 * z) / 92160,
    )
    return z + math.fsum(term / freedom ** (i + 1) for i, term in enumerate(terms))


def judging_slice(layout: Layout, data: Dataset, train: TrainConfig) -> tuple[Evaluation, NDArray[np.int64]]:
    """The newer half of the held-out slice in blocks, and the stretch of time that each is of."""
    since, horizon = judging_cutoff(data), layout.config.horizon
    behind = np.flatnonzero(data.ts >= since)
    step = float(np.median(data.interval[behind])) if len(behind) else 1.0
    span = float(data.ts[behind].max() + 1 - since) if len(behind) else 1.0
    stretches = max(1, min(BLOCKS, int(span / step / horizon)))
    stretch_ms = span / stretches
    length = max(1, min(train.k2, round(stretch_ms / step)))
    most = train.validation_windows * train.k2 // length
    windows = validation_windows(data, length, WARM_STEPS, most, since=since)
    scored = windows.first + windows.loss_from
    time = np.minimum(stretches - 1, ((data.ts[scored] - since) / stretch_ms).astype(np.int64))
    series = np.unique(data.start[scored], return_inverse=True)[1]
    groups = min(int(series.max(initial=0)) + 1, -(-BLOCKS // stretches))
    block = time * groups + series % groups
    numbers = np.unique(block)
    parts = [np.flatnonzero(block == number) for number in numbers]
    batches = [Windows(*(c[part] for c in vars(windows).values())) for part in parts]
    return Evaluation(layout, data, batches, length), numbers // groups
