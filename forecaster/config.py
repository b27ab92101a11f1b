"""What can be chosen about a network and about its training. Every bound is checked here, once."""

from __future__ import annotations

import itertools
from dataclasses import asdict, dataclass, fields
from typing import Any, Self
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from forecaster.errors import ConfigError

CELLS = ("elman", "gru", "lstm", "none")
HEADS = ("direct", "decoder")
SIDES = ("both", "high", "low")
LOSS_ON = ("each", "last")
MAX_SEASONS = 3
MAX_HEAD_SIZE = 64  # the head's hidden layer is one panel of at most four sixteen-lane vectors
MAX_QUANTILES = 32  # two sixteen-lane vectors
MONTH_MS = 2_629_746_000  # the mean month of the Gregorian calendar
MAX_FUTURE = 4096  # numbers that an event can bring about the steps ahead: 16 KiB each, of every event of the history


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
    """Whether the tz database has it."""
    try:
        return isinstance(name, str) and bool(ZoneInfo(name).key)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        return False


class _Plain:
    """To and from plain JSON values, naming what does not fit."""

    def to_dict(self) -> dict[str, Any]:
        """The settings as JSON values, tuples as lists."""
        return {k: list(v) if isinstance(v, tuple) else v for k, v in asdict(self).items()}  # type: ignore[call-overload]  # every subclass is a dataclass

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Self:
        """The inverse of `to_dict`.

        Raises:
            ConfigError: a key is unknown or a value is out of its bounds.
        """
        known = {f.name for f in fields(cls)}  # type: ignore[arg-type]  # every subclass is a dataclass
        for key, value in values.items():
            _check(key in known, key, value, f"one of the settings {', '.join(sorted(known))}")
        return cls(**{k: tuple(v) if isinstance(v, list) else v for k, v in values.items()})


@dataclass(frozen=True)
class ModelConfig(_Plain):
    """The network and what it sees.

    Attributes:
        cell: "gru", "lstm", "elman" (the plain recurrent network) or "none" (the head alone, no memory but lags).
        hidden_size: units per layer, a multiple of 16.
        layers: how many recurrent layers stand on each other.
        head: "direct" (all horizons at once) or "decoder" (a GRU unrolled over the horizon, several times as slow).
        head_size: hidden units of the head, a multiple of 16.
        horizon: how many steps ahead are forecast.
        quantiles: levels of the predictive distribution, increasing, 0.5 among them.
        seasons: lengths of the seasons in steps, increasing, at most three; e.g. (48, 336) for half-hourly data.
        interval_ms: milliseconds between two steps; 0 = learnt per series, and anew when its cadence changes.
        interval_months: months between two steps, 1 to 12, for steps that follow the calendar (calendar_steps.py);
            `interval_ms` is then their mean, and need not be given. 0 = steps of a fixed length, or learnt.
        calendar: whether hour of day and day of week are inputs.
        timezone: whose hours, days and holidays, e.g. "Europe/Berlin" (IANA); changes of the clocks are followed.
        holidays: whether a day is a holiday there is an input too: a country, or a part of it as in "AU-VIC"; "" = no.
        covariates: names of further numbers that come with every event.
        future_covariates: names of numbers of which every event brings the values for the steps ahead, as far as known
            (known_future.py). A name may be among `covariates` too: what it was up to now, and what it will be.
        max_gap: longest gap in steps that is stepped through as missing values; after a longer one the hidden state
            starts anew from zero, while level, scale and the lags before the gap stay.
        clip: least and greatest value that can occur; quantiles beyond are moved onto it. Empty: none.
        non_negative: whether values below zero cannot occur.
        mixture: whether simple experts stand beside the network and all are calibrated online.
        pretrained: whether to start from the weights that come with the program, where they fit the network (a gru of
            the default sizes); false: from untrained ones.
        seed: of untrained weights.
    """

    cell: str = "gru"
    hidden_size: int = 48
    layers: int = 1
    head: str = "direct"
    head_size: int = 64
    horizon: int = 24
    quantiles: tuple[float, ...] = (0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95)
    seasons: tuple[int, ...] = ()
    interval_ms: int = 0
    interval_months: int = 0
    calendar: bool = True
    timezone: str = "UTC"
    holidays: str = ""
    covariates: tuple[str, ...] = ()
    future_covariates: tuple[str, ...] = ()
    max_gap: int = 48
    clip: tuple[float, ...] = ()
    non_negative: bool = False
    mixture: bool = True
    pretrained: bool = True
    seed: int = 0

    def __post_init__(self) -> None:
        _check(self.cell in CELLS, "cell", self.cell, f"one of {', '.join(CELLS)}")
        _whole("hidden_size", self.hidden_size, 16, 1024)
        _check(self.hidden_size % 16 == 0, "hidden_size", self.hidden_size, "a multiple of 16, e.g. 32, 48 or 64")
        _whole("layers", self.layers, 1, 8)
        _check(self.head in HEADS, "head", self.head, f"one of {', '.join(HEADS)}")
        _whole("head_size", self.head_size, 16, MAX_HEAD_SIZE)
        _check(self.head_size % 16 == 0, "head_size", self.head_size, "16, 32, 48 or 64")
        _whole("horizon", self.horizon, 1, 1024)
        q = self.quantiles
        _check(1 <= len(q) <= MAX_QUANTILES, "quantiles", q, f"1 to {MAX_QUANTILES} levels")
        ok = all(0 < a < 1 for a in q) and all(a < b for a, b in itertools.pairwise(q)) and 0.5 in q
        _check(ok, "quantiles", q, "levels between 0 and 1, increasing, 0.5 among them")
        s = self.seasons
        _check(len(s) <= MAX_SEASONS, "seasons", s, f"at most {MAX_SEASONS} lengths")
        for length in s:
            _whole("seasons", length, 2, 20_000)
        _check(list(s) == sorted(set(s)), "seasons", s, "increasing lengths")
        _whole("interval_ms", self.interval_ms, 0, 366 * 86_400_000)
        _whole("interval_months", self.interval_months, 0, 12)
        mean = self.interval_months * MONTH_MS
        ok = not mean or self.interval_ms in {0, mean}
        _check(ok, "interval_ms", self.interval_ms, f"{mean}, or 0, beside interval_months = {self.interval_months}")
        object.__setattr__(self, "interval_ms", mean or self.interval_ms)
        _check(isinstance(self.calendar, bool), "calendar", self.calendar, "true or false")
        _check(is_timezone(self.timezone), "timezone", self.timezone, 'a name of the tz database, e.g. "Europe/Berlin"')
        ok = self.calendar or not self.holidays
        _check(ok, "holidays", self.holidays, "calendar = true beside them, as holidays are a part of it")
        limits = self.clip
        ok = len(limits) in {0, 2} and all(abs(limit) < 3e38 for limit in limits)
        _check(ok and list(limits) == sorted(set(limits)), "clip", limits, "nothing, or two finite numbers, rising")
        _check(isinstance(self.non_negative, bool), "non_negative", self.non_negative, "true or false")
        ok = not self.non_negative or not limits or limits[1] > 0
        _check(ok, "clip", limits, "an upper limit above 0, as non_negative is true")
        _check(isinstance(self.mixture, bool), "mixture", self.mixture, "true or false")
        _check(isinstance(self.pretrained, bool), "pretrained", self.pretrained, "true or false")
        names = self.covariates
        ok = len(names) <= 64 and len(set(names)) == len(names) and all(n for n in names)
        _check(ok, "covariates", names, "at most 64 different names")
        names = self.future_covariates
        ok = len(set(names)) == len(names) and all(n for n in names) and len(names) * self.horizon <= MAX_FUTURE
        most = MAX_FUTURE // self.horizon
        _check(ok, "future_covariates", names, f"different names, at most {most} ({MAX_FUTURE} / horizon)")
        _whole("max_gap", self.max_gap, 0, 10_000)
        _whole("seed", self.seed, 0, 2**63 - 1)

    def to_dict(self) -> dict[str, Any]:
        """The settings as JSON values; those that came later only where they are chosen: a sha256 is over these."""
        found = super().to_dict()
        later = {"head": "direct", "pretrained": True, "future_covariates": [], "interval_months": 0}
        return {name: value for name, value in found.items() if name not in later or value != later[name]}


@dataclass(frozen=True)
class AnomalyConfig(_Plain):
    """What counts as odd, and when to say so. Chosen for a running state; no weights depend on it.

    Attributes:
        side: "both", "high" (only values above what was forecast) or "low".
        smooth_events: the score speaks of the last so many events; 1 of each by itself.
        threshold: score from which on an event is flagged; 0.999 is one in a thousand where nothing is wrong.
        clear: a score below it is a quiet one.
        quiet_events: quiet scores needed before the same series is flagged again.
        per_day: flags at most per series and day (UTC) of event time.
        silent_after: a series is silent after so many of its intervals without an event; 0 = silence is not noticed.
    """

    side: str = "both"
    smooth_events: int = 1
    threshold: float = 0.999
    clear: float = 0.95
    quiet_events: int = 8
    per_day: int = 10
    silent_after: int = 0

    def __post_init__(self) -> None:
        _check(self.side in SIDES, "side", self.side, f"one of {', '.join(SIDES)}")
        _whole("smooth_events", self.smooth_events, 1, 100_000)
        _number("threshold", self.threshold, 0.0, 1.0)
        _number("clear", self.clear, 0.0, 1.0)
        _check(self.clear <= self.threshold, "clear", self.clear, f"at most threshold = {self.threshold}")
        _whole("quiet_events", self.quiet_events, 1, 1_000_000)
        _whole("per_day", self.per_day, 0, 1_000_000)
        _whole("silent_after", self.silent_after, 0, 1_000_000)


@dataclass(frozen=True)
class TrainConfig(_Plain):
    """How a network is trained.

    Attributes:
        k1: steps that a stream of a batch moves on per optimiser step (Williams and Peng 1990: BPTT(k2; k1)).
        k2: steps that gradients flow back through, at least k1. Each step's loss counts once.
        batch: streams trained side by side.
        max_steps: optimiser steps at most.
        passes: passes over the history at most; the smaller of the two budgets holds.
        learning_rate: of Adam at its peak.
        warmup_steps: the learning rate rises linearly over these, then falls to a tenth by a half cosine.
        clip_norm: gradients of a larger global norm are scaled down to it (Pascanu et al. 2013); steps are counted.
        clip_value: every number of a gradient is cut to plus and minus this, before the norm is taken; 0 = never.
        weight_decay: decoupled (AdamW, Loshchilov and Hutter 2019), on weight matrices only.
        average: decay per optimiser step of an exponential average of the weights, which is what is looked at and kept
            (see `Average` in training/optim.py); 0 = none.
        loss_on: "each": the loss of the last k1 steps of a chunk; "last": of its last step only.
        balance: how windows are shared among series: 0 = by what they hold, 1 = all alike, 0.5 = by the square root.
        half_life: share of the training span after which a step is drawn half as often as the newest; 0 = all alike.
        validation_fraction: share of the time span, at its newest end, that is held out: its older half for early
            stopping, its newer half for the comparison with the champion.
        evaluate_every: optimiser steps between two evaluations on the older half of the held-out slice.
        patience: looks without an improvement after which training stops; the best weights are kept.
        validation_windows: windows of either half that an evaluation scores, at most.
        min_windows: fewer training windows than that (of k2 steps with a target) are too few to learn from.
        margin: a challenger must have a held-out loss lower by this share to replace the champion, and lower by more
            than chance explains (see training/compare.py); below zero: whatever is not worse by that share replaces it.
        seed: of the order of windows.
    """

    k1: int = 32
    k2: int = 48
    batch: int = 32
    max_steps: int = 3000
    passes: float = 200.0
    learning_rate: float = 3e-3
    warmup_steps: int = 50
    clip_norm: float = 1.0
    clip_value: float = 0.0
    weight_decay: float = 1e-4
    average: float = 0.99
    loss_on: str = "each"
    balance: float = 0.0
    half_life: float = 0.0
    validation_fraction: float = 0.15
    evaluate_every: int = 50
    patience: int = 8
    validation_windows: int = 512
    min_windows: int = 4
    margin: float = 0.0
    seed: int = 0

    def __post_init__(self) -> None:
        _whole("k1", self.k1, 1, 4096)
        _whole("k2", self.k2, 1, 4096)
        _check(self.k2 >= self.k1, "k2", self.k2, f"at least k1 = {self.k1}: a step's loss must reach its own chunk")
        _whole("batch", self.batch, 1, 4096)
        _whole("max_steps", self.max_steps, 1, 10_000_000)
        _number("passes", self.passes, 0.01, 1e6)
        _number("learning_rate", self.learning_rate, 1e-8, 1.0)
        _whole("warmup_steps", self.warmup_steps, 0, 1_000_000)
        _number("clip_norm", self.clip_norm, 1e-6, 1e6)
        _number("clip_value", self.clip_value, 0.0, 1e6)
        _number("weight_decay", self.weight_decay, 0.0, 1.0)
        _number("average", self.average, 0.0, 0.999999)
        _check(self.loss_on in LOSS_ON, "loss_on", self.loss_on, f"one of {', '.join(LOSS_ON)}")
        _number("balance", self.balance, 0.0, 1.0)
        _number("half_life", self.half_life, 0.0, 1e6)
        _number("validation_fraction", self.validation_fraction, 0.01, 0.9)
        _whole("evaluate_every", self.evaluate_every, 1, 1_000_000)
        _whole("patience", self.patience, 1, 1_000_000)
        _whole("validation_windows", self.validation_windows, 1, 1_000_000)
        _whole("min_windows", self.min_windows, 1, 1_000_000)
        _number("margin", self.margin, -1.0, 1.0)
        _whole("seed", self.seed, 0, 2**63 - 1)
