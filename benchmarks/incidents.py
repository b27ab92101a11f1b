"""Flags of anomalies on labelled streams, beside a robust z-score and half-space trees: precision, recall and delay.

    python benchmarks/incidents.py [NAB] [--count 4]

NAB is a copy of the Numenta anomaly benchmark (github.com/numenta/NAB): data/ and labels/combined_windows.json. Without
it only generated streams are scored, whose incidents are injected at known times:

    spike       one value, 8 to 20 standard deviations of the noise away
    burst       5 to 20 values, 5 to 10 of them away
    shift       a new level for good, 6 to 12 of them away
    dead        the value stops changing for half a day

in series of a daily pattern with noise, with nightly batch jobs (routine spikes), of skewed traffic counts, of counts
with a tenth of the steps missing, and in a random walk. The first half of the streams is every other one by name.

An incident is found by a flag in its window: that of the label, or the incident and the 12 steps after it. Recall is
the share of incidents found, precision the share of flags that lie in a window, of which further flags in the same
window count as one. The delay is the mean number of steps from the begin of a window to its first flag (the windows of
NAB begin well before what they label). The first 15 % of each stream are not scored, as in NAB.

Every method has the threshold with the best F1 on the first half; the second half is reported with it. The forecaster
is that of the daemon with the interval given, shipped weights and `anomaly.threshold` as the only choice. The z-score
is |y - median| / (1.4826 MAD) of the last 288 values; its alarms, like those of the trees, end after 8 quiet values.
Half-space trees are River's, with its scaler, where it is installed.
"""

from __future__ import annotations

import argparse
import csv
import json
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from forecaster import AnomalyConfig, Batch, Forecaster, start_model
from service.backtest.events import EventTable
from service.backtest.run import model_config
from service.config.sections import Config

MINUTE = 60_000
STEP = 5 * MINUTE
DAY = 288
PROBATION = 0.15
AFTER = 12
QUIET = 8
WINDOW = 288
T0 = 1_767_225_600_000
KINDS = ("spike", "burst", "shift", "dead")
SHAPES = ("daily", "batch", "traffic", "missing", "walk")
THRESHOLDS = {
    "forecaster": (0.99, 0.995, 0.998, 0.999, 0.9995, 0.9998, 0.9999, 0.99995, 0.99999),
    "robust z-score": (3.0, 4.0, 5.0, 6.0, 8.0, 10.0, 15.0, 20.0, 30.0),
    "half-space trees": (0.9, 0.93, 0.95, 0.96, 0.97, 0.98, 0.99, 0.995, 0.999),
}

Scores = NDArray[np.float64]


class Stream(NamedTuple):
    """One labelled series: its name, times, values, and the windows of its incidents as [begin, end] times."""

    name: str
    ts: NDArray[np.int64]
    value: NDArray[np.float64]
    windows: list[tuple[int, int]]


def generated(count: int, days: int) -> list[Stream]:
    """Returns so many streams of every shape and kind of incident, with one or two incidents in each."""
    found = []
    for shape in SHAPES:
        for kind in KINDS:
            for number in range(count):
                rng = np.random.default_rng([SHAPES.index(shape), KINDS.index(kind), number])
                found.append(_stream(f"{shape}-{kind}-{number}", shape, kind, rng, days * DAY))
    return found


def _stream(name: str, shape: str, kind: str, rng: np.random.Generator, n: int) -> Stream:
    t = np.arange(n)
    noise = rng.normal(size=n)
    wave = np.sin(2 * np.pi * (t / DAY - rng.random()))
    if shape == "walk":
        value = np.cumsum(noise) + 100.0
    elif shape in ("traffic", "missing"):
        value = rng.gamma(2.0, 15.0 * (1.3 + wave)) + 20.0
        noise = value - 30.0 * (1.3 + wave)
    else:
        value = 50.0 + 8.0 * wave + noise
    if shape == "batch":
        value += 25.0 * (t % DAY < 6) * rng.uniform(0.7, 1.3, n)
    unit, windows, ts = float(noise.std()), [], T0 + t * STEP
    for begin in rng.choice(np.arange(n // 4, n - DAY, DAY), 2 if kind != "shift" else 1, replace=False):
        at = int(begin + rng.integers(20, DAY - 20))
        side = rng.choice([-1.0, 1.0]) if shape not in ("traffic", "missing") else 1.0
        if kind == "spike":
            length, value[at] = 1, value[at] + side * unit * rng.uniform(8, 20)
        elif kind == "burst":
            length = int(rng.integers(5, 21))
            value[at : at + length] += side * unit * rng.uniform(5, 10)
        elif kind == "shift":
            length = 1
            value[at:] += side * unit * rng.uniform(6, 12)
        else:
            length = DAY // 2
            value[at : at + length] = value[at]
        windows.append((int(ts[at]), int(ts[min(at + length + AFTER, n - 1)])))
    keep = np.ones(n, np.bool_)
    if shape == "missing":
        keep = rng.random(n) > 0.1
        for begin, _ in windows:
            keep[ts == begin] = True
    return Stream(name, ts[keep], value[keep], sorted(windows))


def nab(folder: Path) -> list[Stream]:
    """Returns the labelled streams of the Numenta anomaly benchmark."""
    labels: dict[str, list[list[str]]] = json.loads((folder / "labels" / "combined_windows.json").read_text())
    found = []
    for name, windows in sorted(labels.items()):
        with (folder / "data" / name).open(newline="") as file:
            rows = [(_ms(row["timestamp"]), float(row["value"])) for row in csv.DictReader(file)]
        unique = dict(sorted(rows))
        times = np.array(list(unique), np.int64)
        found.append(Stream(name, times, np.array(list(unique.values())), [(_ms(a), _ms(b)) for a, b in windows]))
    return found


def _ms(text: str) -> int:
    return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp() * 1000)


def forecaster_scores(stream: Stream) -> Scores:
    """Returns the anomaly score of every value, nan where there is none."""
    n = len(stream.ts)
    step = int(np.median(np.diff(stream.ts)))
    config = Config.model_validate({"model": {"interval": f"{step // 1000}s", "horizon": 12}})
    events = EventTable([stream.name], np.zeros(n, np.int64), stream.ts, stream.value, None, 0, None)
    model = model_config(config, events, int(PROBATION * n), (0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95))
    forecaster = Forecaster(start_model(model), max_series=1, history_events=0, anomaly=AnomalyConfig())
    return forecaster.observe(Batch([stream.name] * n, stream.ts, stream.value)).anomaly.astype(np.float64)


def robust_scores(stream: Stream) -> Scores:
    """Returns |y - median| / (1.4826 MAD) of the values before, nan for the first ten."""
    score = np.full(len(stream.value), np.nan)
    for i in range(10, len(score)):
        past = stream.value[max(0, i - WINDOW) : i]
        median = np.median(past)
        deviation = 1.4826 * np.median(np.abs(past - median))
        score[i] = abs(stream.value[i] - median) / max(deviation, 1e-9)
    return score


def tree_scores(stream: Stream) -> Scores:
    """Returns the scores of River's half-space trees over the value and its change."""
    anomaly, compose, preprocessing = (
        import_module(f"river.{name}") for name in ("anomaly", "compose", "preprocessing")
    )
    model = compose.Pipeline(preprocessing.MinMaxScaler(), anomaly.HalfSpaceTrees(seed=1))
    score, before = np.full(len(stream.value), np.nan), float(stream.value[0])
    for i, one in enumerate(stream.value.tolist()):
        x = {"value": one, "change": one - before}
        score[i] = model.score_one(x)
        model.learn_one(x)
        before = one
    return score


def methods() -> dict[str, Callable[[Stream], Scores]]:
    """Returns those that can run here."""
    found: dict[str, Callable[[Stream], Scores]] = {"forecaster": forecaster_scores, "robust z-score": robust_scores}
    return found | ({"half-space trees": tree_scores} if find_spec("river") else {})


def flags(score: Scores, threshold: float, clear: float) -> NDArray[np.int64]:
    """Returns where alarms begin: at the threshold, once `QUIET` values below `clear` have passed since the last one.

    These are the rules of anomaly.py without the budget of a day.
    """
    found, wait = [], 0
    for i, one in enumerate(score.tolist()):
        if one >= threshold:
            if wait == 0:
                found.append(i)
            wait = QUIET
        elif wait and one < clear:
            wait -= 1
    return np.array(found, np.int64)


class Outcome(NamedTuple):
    """Incidents, those found, alarms in a window (one per window) and outside of all, delays, and scored values."""

    incidents: int
    found: int
    false: int
    delay: float
    values: int

    @property
    def f1(self) -> float:
        """The harmonic mean of precision and recall."""
        return 2 * self.found / max(1, self.incidents + self.found + self.false)


def outcome(streams: Sequence[Stream], scores: Sequence[Scores], threshold: float, clear: float) -> Outcome:
    """Counts what a threshold finds in these streams."""
    incidents = found = false = values = 0
    delay = 0.0
    for stream, score in zip(streams, scores, strict=True):
        first = int(PROBATION * len(score))
        at = flags(score, threshold, clear)
        times = stream.ts[at[at >= first]]
        inside = np.zeros(len(times), np.bool_)
        values += len(score) - first
        for begin, end in stream.windows:
            if begin < stream.ts[first]:
                continue
            hits = (times >= begin) & (times <= end)
            inside |= hits
            incidents += 1
            if hits.any():
                found += 1
                delay += float(times[hits].min() - begin) / float(np.median(np.diff(stream.ts)))
        false += int((~inside).sum())
    return Outcome(incidents, found, false, delay / max(1, found), values)


def table(streams: Sequence[Stream]) -> str:
    """Returns the table: thresholds chosen on every other stream, figures of the others."""
    lines = ["| method | threshold | incidents | precision | recall | F1 | delay, steps | false per 10,000 |"]
    lines.append("|---|" + "--:|" * 7)
    for name, score_of in methods().items():
        scores = [score_of(stream) for stream in streams]

        def clear(threshold: float, name: str = name) -> float:
            return 0.95 if name == "forecaster" else threshold

        best = max(THRESHOLDS[name], key=lambda one: outcome(streams[::2], scores[::2], one, clear(one)).f1)
        chosen = [best, 0.999] if name == "forecaster" else [best]
        for threshold in chosen:
            one = outcome(streams[1::2], scores[1::2], threshold, clear(threshold))
            label = name if threshold == best else f"{name}, default"
            lines.append(
                f"| {label} | {threshold:g} | {one.incidents} | {one.found / max(1, one.found + one.false):.2f} | "
                f"{one.found / max(1, one.incidents):.2f} | {one.f1:.2f} | {one.delay:.1f} | "
                f"{one.false / one.values * 1e4:.1f} |"
            )
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> None:
    """Scores and prints."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("nab", type=Path, nargs="?")
    parser.add_argument("--count", type=int, default=4, help="generated streams of each shape and incident")
    given = parser.parse_args(arguments)
    print("generated\n\n" + table(generated(given.count, 14)))
    if given.nab is not None:
        print("\nNAB\n\n" + table(nab(given.nab)))


if __name__ == "__main__":
    main()
