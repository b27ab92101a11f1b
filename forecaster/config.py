"""Settings of a network, its anomaly flags and its training, each with its default, bounds and description.

The daemon's sections [model], [anomaly] and [train] are generated from these classes. Bounds are checked only here.
"""

from __future__ import annotations

import itertools
from dataclasses import asdict, dataclass, field, fields
from typing import Any, Self
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from forecaster.errors import ConfigError

CELLS = ("elman", "gru", "lstm", "none")
HEADS = ("direct", "decoder")
SIDES = ("both", "high", "low")
LOSS_ON = ("each", "last")
MAX_SEASONS = 3
MAX_SEASON = 20_000  # steps
PLAIN_SEASON = 767  # steps; the values of longer ones take more than `USUAL_BYTES` of state/budget.py
MAX_HEAD_SIZE = 64  # the head's hidden layer is one panel of at most four sixteen-lane vectors
MAX_QUANTILES = 32  # two sixteen-lane vectors
MONTH_MS = 2_629_746_000  # the mean month of the Gregorian calendar
MAX_SEED = 2**63 - 1
MAX_FUTURE = 4096  # known future values per event, at most: 16 KiB for every event of the history


def _check(ok: bool, field: str, got: object, expected: str) -> None:  # noqa: FBT001 - a predicate is positional by nature
    if not ok:
        raise ConfigError(field, got, expected)


def _whole(name: str, value: object, low: int, high: int) -> None:
    ok = isinstance(value, int) and not isinstance(value, bool) and low <= value <= high
    _check(ok, name, value, f"a whole number from {low} to {high}")


def _number(name: str, value: object, low: float, high: float) -> None:
    ok = isinstance(value, int | float) and not isinstance(value, bool) and low <= value <= high
    _check(ok, name, value, f"a number from {low:g} to {high:g}")


def is_timezone(name: object) -> bool:
    """Returns whether the tz database has a time zone of that name."""
    try:
        return isinstance(name, str) and bool(ZoneInfo(name).key)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        return False


def _setting(
    default: Any, text: str, *, low: float | None = None, high: float | None = None, one_of: tuple[str, ...] = ()
) -> Any:
    """Returns a dataclass field for a setting.

    Args:
        default: the default, whose type is that of the setting.
        text: the description.
        low, high: bounds of a number, both included.
        one_of: the values that a string can have.
    """
    return field(default=default, metadata={"text": text, "low": low, "high": high, "one_of": one_of})


class _Plain:
    """Base class: checks each setting by type and bounds, and converts the settings to and from plain JSON values."""

    def __post_init__(self) -> None:
        for one in fields(self):  # type: ignore[arg-type]  # every subclass is a dataclass
            value, low, high, names = getattr(self, one.name), *(one.metadata[key] for key in ("low", "high", "one_of"))
            if names:
                _check(value in names, one.name, value, f"one of {', '.join(names)}")
            elif isinstance(one.default, bool):
                _check(isinstance(value, bool), one.name, value, "true or false")
            elif isinstance(one.default, int) and low is not None:
                _whole(one.name, value, low, high)
            elif low is not None:
                _number(one.name, value, low, high)

    def to_dict(self) -> dict[str, Any]:
        """Returns the settings as JSON values, tuples as lists."""
        return {k: list(v) if isinstance(v, tuple) else v for k, v in asdict(self).items()}  # type: ignore[call-overload]  # every subclass is a dataclass

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Self:
        """Builds the settings from the values of `to_dict`.

        Raises:
            ConfigError: a key is unknown or a value is out of its bounds.
        """
        known = {f.name for f in fields(cls)}  # type: ignore[arg-type]  # every subclass is a dataclass
        for key, value in values.items():
            _check(key in known, key, value, f"one of the settings {', '.join(sorted(known))}")
        return cls(**{k: tuple(v) if isinstance(v, list) else v for k, v in values.items()})


@dataclass(frozen=True)
class ModelConfig(_Plain):
    """The network and its inputs; every setting carries its description, see `_setting`.

    `interval_months` is for steps that follow the calendar (calendar_steps.py); `interval_ms` is then their mean and
    need not be given. A name may be in both `covariates` and `future_covariates` (known_future.py): the former holds
    its value at the event, the latter its known future values.
    """

    cell: str = _setting("gru", "The recurrent cell; none is the head alone, a feed-forward baseline.", one_of=CELLS)
    hidden_size: int = _setting(48, "Units of a recurrent layer; a multiple of 16.", low=16, high=1024)
    layers: int = _setting(1, "Recurrent layers on top of each other.", low=1, high=8)
    head: str = _setting(
        "direct",
        "What makes the forecast of all steps: direct, at once; decoder, a GRU that goes through them one after "
        "another, several times as slow.",
        one_of=HEADS,
    )
    head_size: int = _setting(64, "Hidden units of the head; a multiple of 16.", low=16, high=MAX_HEAD_SIZE)
    horizon: int = _setting(24, "Steps ahead that are forecast.", low=1, high=1024)
    quantiles: tuple[float, ...] = _setting(
        (0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95), "Levels of the forecast's quantiles, increasing, 0.5 among them."
    )
    seasons: tuple[int, ...] = _setting((), "Season lengths in steps, increasing, at most three.")
    interval_ms: int = _setting(
        0, "Milliseconds between two steps; 0: learnt per series.", low=0, high=366 * 86_400_000
    )
    interval_months: int = _setting(0, "Months between two steps of the calendar; 0: none.", low=0, high=12)
    calendar: bool = _setting(default=True, text="Give the network hour of the day and day of the week.")
    timezone: str = _setting(
        "UTC", 'Whose hours, days and holidays, e.g. "Europe/Berlin"; changes of the clocks are followed.'
    )
    holidays: str = _setting(
        "",
        'Give the network the holidays of a country or a part of it, e.g. "DE" or "AU-VIC"; needs the extra holidays. '
        "Empty: none.",
    )
    covariates: tuple[str, ...] = _setting((), "Names of further numbers that come with every event.")
    future_covariates: tuple[str, ...] = _setting(
        (), "Names of numbers of which every event brings the values for the steps ahead, as far as they are known."
    )
    max_gap: int = _setting(
        48, "Missing steps filled in at most; after a longer gap a series starts again warm.", low=0, high=10_000
    )
    clip: tuple[float, ...] = _setting(
        (), "The least and the greatest value that can occur; quantiles beyond are moved onto it."
    )
    non_negative: bool = _setting(default=False, text="Values below zero cannot occur.")
    mixture: bool = _setting(
        default=True,
        text="Mix the network with simple experts and calibrate all of them online; false: the network alone.",
    )
    pretrained: bool = _setting(
        default=True,
        text="Start from the weights that come with the program, where they fit the network (gru, 48 units, one layer, "
        "head of 64); false: from untrained ones.",
    )
    seed: int = _setting(0, "Seed of untrained weights.", low=0, high=MAX_SEED)
    profile_steps: int = _setting(
        1,
        "Steps of which a row keeps the mean only, where they lie further back than a part of the longest season "
        "(features/profile.py); 1: each value.",
        low=1,
        high=MAX_SEASON,
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        _check(self.hidden_size % 16 == 0, "hidden_size", self.hidden_size, "a multiple of 16, e.g. 32, 48 or 64")
        _check(self.head_size % 16 == 0, "head_size", self.head_size, "16, 32, 48 or 64")
        q = self.quantiles
        _check(1 <= len(q) <= MAX_QUANTILES, "quantiles", q, f"1 to {MAX_QUANTILES} levels")
        ok = all(0 < a < 1 for a in q) and all(a < b for a, b in itertools.pairwise(q)) and 0.5 in q
        _check(ok, "quantiles", q, "levels between 0 and 1, increasing, 0.5 among them")
        s = self.seasons
        _check(len(s) <= MAX_SEASONS, "seasons", s, f"at most {MAX_SEASONS} lengths")
        for length in s:
            _whole("seasons", length, 2, MAX_SEASON)
        _check(list(s) == sorted(set(s)), "seasons", s, "increasing lengths")
        mean = self.interval_months * MONTH_MS
        ok = not mean or self.interval_ms in {0, mean}
        _check(ok, "interval_ms", self.interval_ms, f"{mean}, or 0, beside interval_months = {self.interval_months}")
        object.__setattr__(self, "interval_ms", mean or self.interval_ms)
        _check(is_timezone(self.timezone), "timezone", self.timezone, 'a name of the tz database, e.g. "Europe/Berlin"')
        ok = self.calendar or not self.holidays
        _check(ok, "holidays", self.holidays, "calendar = true beside them, as holidays are a part of it")
        limits = self.clip
        ok = len(limits) in {0, 2} and all(abs(limit) < 3e38 for limit in limits)
        _check(ok and list(limits) == sorted(set(limits)), "clip", limits, "nothing, or two finite numbers, rising")
        ok = not self.non_negative or not limits or limits[1] > 0
        _check(ok, "clip", limits, "an upper limit above 0, as non_negative is true")
        names = self.covariates
        ok = len(names) <= 64 and len(set(names)) == len(names) and all(n for n in names)
        _check(ok, "covariates", names, "at most 64 different names")
        names = self.future_covariates
        ok = len(set(names)) == len(names) and all(n for n in names) and len(names) * self.horizon <= MAX_FUTURE
        most = MAX_FUTURE // self.horizon
        _check(ok, "future_covariates", names, f"different names, at most {most} ({MAX_FUTURE} / horizon)")

    @property
    def has_long_season(self) -> bool:
        """Whether a season has more than `PLAIN_SEASON` steps, so that the default keeps means of older values."""
        return max(self.seasons, default=0) > PLAIN_SEASON

    def to_dict(self) -> dict[str, Any]:
        """Returns the settings as JSON values; leaves out later settings at their defaults: the sha256 is stable."""
        found = super().to_dict()
        later = {
            "head": "direct",
            "pretrained": True,
            "future_covariates": [],
            "interval_months": 0,
            "profile_steps": 1,
        }
        return {name: value for name, value in found.items() if name not in later or value != later[name]}


@dataclass(frozen=True)
class AnomalyConfig(_Plain):
    """Which events are flagged as anomalies. They may change under a running state: no weights depend on them."""

    side: str = _setting(
        "both",
        "Which values are anomalous: those above what was forecast (high), those below it (low), or both.",
        one_of=SIDES,
    )
    smooth_events: int = _setting(
        1, "The score is that of the last so many events of a series; 1: of each event by itself.", low=1, high=100_000
    )
    threshold: float = _setting(
        0.999,
        "Score from which on an event is flagged; of 1,000 events with nothing wrong, one has 0.999.",
        low=0.0,
        high=1.0,
    )
    clear: float = _setting(0.95, "A score below this is a quiet one.", low=0.0, high=1.0)
    quiet_events: int = _setting(
        8, "Quiet events needed before the same series is flagged again.", low=1, high=1_000_000
    )
    per_day: int = _setting(10, "Flags per series and day (UTC) of event time, at most.", low=0, high=1_000_000)
    min_deviation: float = _setting(
        0.0,
        "Values nearer than this to the median that was forecast, in the unit of the series, are quiet, whatever their "
        "score. 0: none.",
        low=0.0,
        high=1e300,
    )
    min_relative: float = _setting(
        0.0,
        "Values nearer than this share of that median (0.1: a tenth) are quiet, whatever their score. 0: none.",
        low=0.0,
        high=1e6,
    )
    silent_after: int = _setting(
        0,
        "Announce a series as silent after so many of its intervals without an event, by the event time of its "
        "partition. 0: never.",
        low=0,
        high=1_000_000,
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        _check(self.clear <= self.threshold, "clear", self.clear, f"at most threshold = {self.threshold}")


@dataclass(frozen=True)
class TrainConfig(_Plain):
    """How a network is trained: truncated back-propagation through time, Adam, early stopping, comparison."""

    # BPTT(k2; k1), Williams and Peng 1990; each step's loss counts once.
    k1: int = _setting(32, "Steps that a training stream moves on per optimiser step.", low=1, high=4096)
    k2: int = _setting(48, "Steps that gradients flow back through; at least k1.", low=1, high=4096)
    batch: int = _setting(32, "Training streams side by side.", low=1, high=4096)
    max_steps: int = _setting(3000, "Optimiser steps, at most.", low=1, high=10_000_000)
    passes: float = _setting(
        200.0, "Passes over the history, at most; the smaller of the two budgets holds.", low=0.01, high=1e6
    )
    learning_rate: float = _setting(
        3e-3, "Learning rate of Adam at its peak; it falls to a tenth by a half cosine.", low=1e-8, high=1.0
    )
    warmup_steps: int = _setting(
        50, "Optimiser steps over which the learning rate rises to its peak.", low=0, high=1_000_000
    )
    # Pascanu et al. 2013; clipped steps are counted.
    clip_norm: float = _setting(1.0, "Gradients of a larger global norm are scaled down to it.", low=1e-6, high=1e6)
    clip_value: float = _setting(
        0.0,
        "Each number of a gradient is cut to plus and minus this, before the norm is taken. 0: never.",
        low=0.0,
        high=1e6,
    )
    # AdamW, Loshchilov and Hutter 2019.
    weight_decay: float = _setting(1e-4, "Decoupled weight decay, on weight matrices only.", low=0.0, high=1.0)
    average: float = _setting(
        0.99,
        "Decay per optimiser step of an exponential average of the weights, which is evaluated and kept. 0: none.",
        low=0.0,
        high=0.999999,
    )
    loss_on: str = _setting(
        "each", "Loss of each scored step of a chunk, or of its last step only: each, last.", one_of=LOSS_ON
    )
    balance: float = _setting(
        0.0,
        "How windows are shared among series: 0 by what they hold, 1 all alike, 0.5 by the square root.",
        low=0.0,
        high=1.0,
    )
    half_life: float = _setting(
        0.0,
        "Share of the history's span after which a step is drawn half as often as the newest. 0: all alike.",
        low=0.0,
        high=1e6,
    )
    validation_fraction: float = _setting(
        0.15,
        "Share of the time span, at its newest end, held out: the older half chooses weights, the newer half compares "
        "them with the champion.",
        low=0.01,
        high=0.9,
    )
    evaluate_every: int = _setting(
        50, "Optimiser steps between two evaluations on the held-out slice.", low=1, high=1_000_000
    )
    patience: int = _setting(8, "Evaluations without an improvement after which training stops.", low=1, high=1_000_000)
    validation_windows: int = _setting(
        512, "Windows scored of each half of the held-out slice, at most.", low=1, high=1_000_000
    )
    min_windows: int = _setting(4, "Fewer training windows than this are too few to learn from.", low=1, high=1_000_000)
    # See training/compare.py.
    margin: float = _setting(
        0.0,
        "Share by which a new model's held-out loss must be lower, at least, to replace the present one, and lower by "
        "a part of its standard error (docs/retraining.md). Below 0: promoted where it is not worse by that share.",
        low=-1.0,
        high=1.0,
    )
    seed: int = _setting(0, "Seed of the order of training windows.", low=0, high=MAX_SEED)

    def __post_init__(self) -> None:
        super().__post_init__()
        _check(self.k2 >= self.k1, "k2", self.k2, f"at least k1 = {self.k1}: a step's loss must reach its own chunk")
