"""Hyperparameter search by backtests on one history, for `forecaster tune`.

    events        |------------ training -------------|--- scored ---|---- held out ----|
    a trial       trains once at the first bar and is scored on the events up to the second bar
    the verdict   the best trial and the present settings train once more at the second bar and are scored on the
                  held-out rest, which no trial has used: the best of many trials is partly a lucky one

Forecasts are those of the complete daemon, with ensemble and calibration. Proposals come from a tree-structured Parzen
estimator (Bergstra et al. 2011) with a seed; the first one is the present settings.
"""

from __future__ import annotations

import importlib.util
import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from forecaster import at_levels, install_command
from service.backtest.events import EventTable
from service.backtest.origins import LEVELS
from service.backtest.run import assess, run
from service.config.sections import Config
from service.errors import ConfigurationError, ServiceError

if TYPE_CHECKING:
    from optuna.trial import Trial

LEARNT, SEEN = 0.65, 0.825  # shares of the events: end of a trial's training, and of its scores
ORIGINS = 2000  # largest number of scored forecasts on each side of the second bar
SERIES = 200


@dataclass(frozen=True)
class Range:
    """The values of a setting: one of `choices`, or a number between `low` and `high` on a logarithmic scale."""

    choices: tuple[Any, ...] = ()
    low: float = 0.0
    high: float = 0.0

    def propose(self, trial: Trial, key: str) -> Any:
        """Proposes a value, rounded to two digits."""
        if self.choices:
            return trial.suggest_categorical(key, self.choices)
        return float(f"{trial.suggest_float(key, self.low, self.high, log=True):.2g}")

    def holds(self, value: Any) -> bool:
        """Returns whether the value could be proposed."""
        return value in self.choices if self.choices else self.low <= value <= self.high


SPACE: Mapping[str, Range] = {
    "model.cell": Range(("gru", "lstm")),
    "model.hidden_size": Range((16, 32, 48, 64, 96)),
    "model.layers": Range((1, 2)),
    "train.learning_rate": Range(low=5e-4, high=2e-2),
    "train.k2": Range((24, 48, 96)),
    "train.batch": Range((16, 32, 64)),
    "train.weight_decay": Range(low=1e-6, high=1e-2),
    "train.half_life": Range((0.0, 0.25, 1.0)),
}


@dataclass(frozen=True)
class Tried:
    """Settings and their scores; sCRPS, smaller is better.

    Attributes:
        settings: the searched settings, by key.
        score: on the slice that compares trials.
        checked: on the held-out slice, nan where it was not computed.
        seconds: duration of the trial.
    """

    settings: dict[str, Any]
    score: float
    checked: float = math.nan
    seconds: float = 0.0


@dataclass(frozen=True)
class SearchResult:
    """The result of a search.

    Attributes:
        present: the present settings. best: those of the best trial, the present ones where none was better.
        trials: all trials, in order.
        changes: settings to change, by key; empty unless the best trial is better on held-out data too.
    """

    present: Tried
    best: Tried
    trials: list[Tried]
    changes: dict[str, Any]


def search(
    config: Config,
    events: EventTable,
    keys: Sequence[str] = (),
    *,
    trials: int,
    timeout: float = 0.0,
    seed: int = 0,
    progress: Callable[[int, float], None] | None = None,
) -> SearchResult:
    """Runs the search.

    Args:
        config: the present settings; settings that are not searched stay unchanged.
        events: the history, in time order.
        keys: settings to search, keys of `SPACE`; default: all.
        trials: largest number of trials, including the present settings.
        timeout: seconds after which no further trial starts; 0: no limit.
        seed: of the proposals and the samples.
        progress: called after every trial with the number of trials and the best score.

    Raises:
        ConfigurationError: a key cannot be searched, or optuna is not installed.
        ServiceError: the history is too short.
    """
    if unknown := [key for key in keys if key not in SPACE]:
        msg = f"got {', '.join(unknown)} to search, expected some of {', '.join(SPACE)}"
        raise ConfigurationError(msg)
    require_optuna()
    import optuna  # noqa: PLC0415 - of an extra, and slow to load

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    space = {key: SPACE[key] for key in keys or SPACE}
    study = optuna.create_study(sampler=optuna.samplers.TPESampler(seed=seed))
    present = {key: _present(config, key) for key in space}
    study.enqueue_trial({key: value for key, value in present.items() if space[key].holds(value)})
    learnt, seen = int(LEARNT * len(events)), int(SEEN * len(events))
    if not 0 < learnt < seen < len(events):
        msg = f"got {len(events)} events of {len(events.names)} series, too few for training and comparison"
        raise ServiceError(msg)
    shown, kept = scored_origins(events, learnt, seen, seed), scored_origins(events, seen, len(events), seed)
    head = first_events(events, seen)
    done: list[Tried] = []

    def attempt(settings: dict[str, Any]) -> Tried:
        started = time.perf_counter()
        found = score(with_settings(config, settings), head, shown[:seen], learnt)
        return Tried(settings, found, seconds=time.perf_counter() - started)

    def objective(trial: Trial) -> float:
        settings = {key: one.propose(trial, key) for key, one in space.items()}
        if not done:
            settings = present  # unchanged, even outside of the search space
        tried = next((one for one in done if one.settings == settings), None) or attempt(settings)
        done.append(tried)
        if progress:
            progress(len(done), min(one.score for one in done))
        return tried.score

    study.optimize(objective, n_trials=trials, timeout=timeout or None)
    best = min(done, key=lambda one: one.score)
    first = _checked(config, done[0], events, kept, seen)
    best = first if best.settings == first.settings else _checked(config, best, events, kept, seen)
    better = best.checked < first.checked
    changes = {key: value for key, value in best.settings.items() if value != present[key]} if better else {}
    return SearchResult(first, best, done, _with_k1(changes))


def require_optuna() -> None:
    """Checks that optuna is installed.

    Raises:
        ConfigurationError: it is missing; the message has the command to install it.
    """
    if importlib.util.find_spec("optuna") is None:
        msg = f"tune needs optuna, which is not installed; expected the extra: {install_command('tune')}"
        raise ConfigurationError(msg)


def with_settings(config: Config, settings: Mapping[str, Any]) -> Config:
    """Returns the configuration with changed settings; where k2 changes, k1 becomes two thirds of it."""
    values = config.model_dump(mode="json")
    for key, value in _with_k1({k: v for k, v in settings.items() if v != _present(config, k)}).items():
        section, _, name = key.partition(".")
        values[section][name] = value
    return Config.model_validate(values)


def _with_k1(settings: Mapping[str, Any]) -> dict[str, Any]:
    window = {"train.k1": settings["train.k2"] * 2 // 3} if "train.k2" in settings else {}
    return dict(settings) | window


def toml_lines(changes: Mapping[str, Any]) -> str:
    """Formats the changes for the configuration file."""
    lines: list[str] = []
    for section in dict.fromkeys(key.partition(".")[0] for key in changes):
        lines.append(f"[{section}]")
        for key, value in changes.items():
            at, _, name = key.partition(".")
            if at == section:
                lines.append(f'{name} = "{value}"' if isinstance(value, str) else f"{name} = {value!r}")
    return "\n".join(lines)


def _present(config: Config, key: str) -> Any:
    section, _, name = key.partition(".")
    return getattr(getattr(config, section), name)


def _checked(config: Config, tried: Tried, events: EventTable, kept: NDArray[np.bool_], seen: int) -> Tried:
    return replace(tried, checked=score(with_settings(config, tried.settings), events, kept, seen))


def score(config: Config, events: EventTable, wanted: NDArray[np.bool_], train_at: int) -> float:
    """Returns the sCRPS of the wanted forecasts, after one training at `train_at` events.

    Raises:
        ServiceError: the training failed, or no forecast could be scored.
    """
    once = config.retrain.model_copy(update={"every_events": len(events), "first_after_events": 0})
    config = config.model_copy(update={"retrain": once})
    outcome = run(config, events, wanted, freeze_after=(train_at + 0.5) / len(events))
    trained = outcome.result.retrainings[-1] if outcome.result.retrainings else None
    if trained is None or trained.steps == 0:
        msg = f"the training on the first {train_at} events failed: {trained.reason if trained else 'too few'}"
        raise ServiceError(msg)
    quantiles = at_levels(outcome.result.quantiles, outcome.result.forecaster.config.quantiles, LEVELS)
    _, methods = assess(outcome, events, quantiles, compare=False)
    found = methods["forecaster"].scrps
    if not math.isfinite(found):
        msg = f"none of the {len(quantiles)} forecasts after event {train_at} has an actual to be scored with"
        raise ServiceError(msg)
    return found


def scored_origins(events: EventTable, start: int, end: int, seed: int) -> NDArray[np.bool_]:
    """Selects the forecasts to score: a seeded sample of start..end-1."""
    wanted = np.zeros(len(events), np.bool_)
    count = min(ORIGINS, end - start)
    wanted[start + np.random.default_rng(seed).choice(end - start, count, replace=False)] = True
    return wanted


def first_events(events: EventTable, count: int) -> EventTable:
    """Returns the first `count` events."""
    part = slice(0, count)
    covariates = None if events.covariates is None else events.covariates[part]
    return replace(
        events,
        series=events.series[part],
        timestamp_ms=events.timestamp_ms[part],
        value=events.value[part],
        covariates=covariates,
        future=None if events.future is None else events.future[part],
    )


def sampled(events: EventTable, most: int, seed: int) -> EventTable:
    """Returns the events of at most `most` series, sampled with a seed."""
    if len(events.names) <= most:
        return events
    chosen = np.sort(np.random.default_rng(seed).choice(len(events.names), most, replace=False))
    number = np.full(len(events.names), -1, np.int64)
    number[chosen] = np.arange(most)
    kept = np.flatnonzero(number[events.series] >= 0)
    return replace(
        events,
        names=[events.names[i] for i in chosen.tolist()],
        series=number[events.series[kept]],
        timestamp_ms=events.timestamp_ms[kept],
        value=events.value[kept],
        covariates=None if events.covariates is None else events.covariates[kept],
        future=None if events.future is None else events.future[kept],
    )
