"""Networks of another shape that a training tries beside the champion's.

Other seasons, where those are left to it: where the trainings before this one have found the same seasons, at the 1st,
2nd, 4th, 8th ... training that does.

Neighbours of the champion, where `retrain.search` names their settings: one at each training, in turn. A shape that was
tried k times is due again n 2^(k - 1) trainings later, with n the number of neighbours: what does not forecast better
costs less and less.

Both depend on the recorded decisions only, so that repeated runs and those after a kill try the same shapes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any, Final

from forecaster import FitProgress, FitReport, History, Model, ModelConfig, TrainConfig, TrainingError, fit, transferred
from service.config.sections import Config
from service.registry.decisions import Decision, searchable
from service.registry.models import Registry
from service.trainer.season_check import Seasons

_SIZES: Final = (32, 48, 64, 96, 128)
_BEGIN_SHARE: Final = 0.4  # of the deadline, after which no other shape is begun: the rest is for compiling and it
_END_SHARE: Final = 0.8  # of the deadline, after which a begun one is given up, so that the training has a result


class _OutOfTimeError(Exception):
    """The deadline of the training is near."""


def other_seasons(config: Config, registry: Registry, model: ModelConfig, seasons: Seasons) -> ModelConfig | None:
    """Returns the network with other seasons to try in a training, None without one.

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
    steps = config.library_model(seasons.wanted).profile_steps  # not those of sizes that a search has found
    return replace(model, seasons=seasons.wanted, profile_steps=steps)


def neighbours(search: Sequence[str], model: ModelConfig) -> list[ModelConfig]:
    """Returns the networks that differ from one by a step in one of the searched settings.

    Args:
        search: as of `retrain.search`, in the order in which they are tried.
        model: the network.
    """
    return [replace(model, **{name: value}) for name in dict.fromkeys(search) for value in _steps(name, model)]


def _steps(name: str, model: ModelConfig) -> Iterator[Any]:
    """Returns the values beside that of a network; none where the setting has no meaning."""
    if name == "head":
        yield "decoder" if model.head == "direct" else "direct"
    elif name == "calendar":
        if not model.holidays:  # they need it
            yield not model.calendar
    elif model.cell == "none":
        return
    elif name == "layers":
        yield 2 if model.layers == 1 else model.layers - 1
    else:
        yield from [size for size in _SIZES if size > model.hidden_size][:1]
        yield from [size for size in _SIZES if size < model.hidden_size][-1:]


def next_neighbour(search: Sequence[str], model: ModelConfig, decisions: Sequence[Decision]) -> ModelConfig | None:
    """Returns the neighbour of the champion's network to try in a training, None where none is due.

    Args:
        search: as of `retrain.search`.
        model: the champion's network.
        decisions: of the group, oldest first; those with seasons are of trainings.
    """
    found, trainings = neighbours(search, model), [one.tried for one in decisions if one.seasons]
    due = list[tuple[int, int]]()  # tries, place
    for place, one in enumerate(found):
        tries = [at for at, tried in enumerate(trainings) if tried == searchable(one)]
        if not tries or len(trainings) - tries[-1] >= len(found) << (len(tries) - 1):
            due.append((len(tries), place))
    return found[min(due)[1]] if due else None


def time_guard(passed: Callable[[], float], deadline: float) -> tuple[bool, Callable[[FitProgress], None]]:
    """Returns whether there is time for another shape, and what ends its training where the time runs out.

    Args:
        passed: seconds since the beginning of the training.
        deadline: seconds after which it is killed.
    """

    def check(_progress: FitProgress) -> None:
        if passed() > _END_SHARE * deadline:
            raise _OutOfTimeError

    return passed() <= _BEGIN_SHARE * deadline, check


def better_of(
    report: FitReport,
    shape: ModelConfig,
    champion: Model,
    history: History,
    train: TrainConfig,
    progress: Callable[[FitProgress], None] | None = None,
) -> FitReport:
    """Trains a network of another shape and returns the better of two trainings.

    The older half of the held-out slice says which it is, by the loss relative to that of "the last value stays": both
    losses are in units of scales that depend on the shape.

    Args:
        report: of the other training.
        shape: the network to train.
        champion: whose weights it begins with, as far as they fit.
        history, train: as of that training.
        progress: see `forecaster.fit`; may end the training as `time_guard` does.
    """
    try:
        other = fit(history, transferred(champion, shape), train, progress)
    except (TrainingError, _OutOfTimeError):  # too little history for its seasons, or no time
        return report
    return other if _relative(other) < _relative(report) else report


def _relative(report: FitReport) -> float:
    return report.validation_loss / report.naive_loss if report.naive_loss > 0.0 else report.validation_loss
