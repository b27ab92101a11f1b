"""`forecaster backtest`: no look-ahead, equal results for every file format, contents of its outputs."""

from __future__ import annotations

import gzip
import json
import re
import tracemalloc
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result

from service.aggregate.aggregator import Aggregator
from service.backtest.events import read_events, read_file
from service.backtest.origins import LEVELS, read_origins, write_predictions
from service.backtest.run import retrain_positions
from service.cli import main
from service.config.aggregate import AggregateConfig
from service.config.load import load_config
from service.messages.timestamps import format_times

# The sizes of tests/reference/cases.py (GRU), compiled once for all tests; a training of a few steps.
SETTINGS = {
    "model.hidden_size": "16", "model.head_size": "16", "model.quantiles": "0.1,0.5,0.8,0.95", "model.seasons": "5",
    "model.calendar": "false", "model.max_gap": "6", "model.seed": "1",
    "train.max_steps": "6", "train.evaluate_every": "3", "train.warmup_steps": "2",
}  # fmt: skip
OPTIONS = ["--interval", "60", "--horizon", "6", *(part for kv in SETTINGS.items() for part in ("--set", "=".join(kv)))]
T0, STEP, STEPS = 1_600_000_000_000, 60_000, 300
Row = tuple[str, int, float]


def rows(names: Sequence[str] = ("a", "b"), steps: int = STEPS) -> list[Row]:
    """Returns seasonal series with noise, in time order."""
    rng = np.random.RandomState(0)
    wave = np.sin(np.arange(steps) * 2 * np.pi / 5)
    return [
        (name, T0 + step * STEP, round(10.0 * (i + 1) + 3 * wave[step] + rng.normal(), 3))
        for step in range(steps)
        for i, name in enumerate(names)
    ]


def write(path: Path, events: list[Row], names: str = "series,timestamp,value") -> Path:
    """Writes the events as CSV with ISO times, gzip for a name in .gz."""
    times = format_times(np.array([time for _, time, _ in events]))
    lines = [names, *(f"{s},{t},{v}" for (s, _, v), t in zip(events, times, strict=True))]
    data = "\n".join(lines).encode() + b"\n"
    path.write_bytes(gzip.compress(data) if path.suffix == ".gz" else data)
    return path


def origins(path: Path, events: Sequence[Row]) -> Path:
    """Writes an origins file in the scorer's format."""
    times = [text[:19] + "Z" for text in format_times(np.array([time for _, time, _ in events]))]
    path.write_text("series,origin\n" + "".join(f"{e[0]},{t}\n" for e, t in zip(events, times, strict=True)))
    return path


def run(data: Path, *options: str) -> Result:
    """Runs the command in this process."""
    return CliRunner().invoke(main, ["backtest", str(data), *OPTIONS, *options], catch_exceptions=False)


def predictions(data: Path, out: Path, *options: str) -> dict[tuple[str, int], np.ndarray]:
    """Returns quantiles by (series, origin in seconds)."""
    done = run(data, "--out", str(out), *options)
    assert done.exit_code == 0, done.output
    with np.load(out, allow_pickle=False) as file:
        assert file["q"].shape == (len(file["series"]), 6, len(LEVELS))
        keys = zip(file["series"].tolist(), file["origin"].tolist(), strict=True)
        return dict(zip(keys, file["q"], strict=True))


def test_the_future_changes_nothing(tmp_path: Path) -> None:
    """Forecasts, trainings included, do not change by a bit when all values after the last origin change."""
    events = rows()
    asked = [event for at, event in enumerate(events) if 200 <= at < 400 and at % 7 == 0]
    listed = origins(tmp_path / "origins.csv", asked)
    other = events[:400] + [(s, t, -999.0 + t % 7) for s, t, _ in events[400:]]
    options = ("--origins", str(listed), "--retrain-every", "120")

    one = predictions(write(tmp_path / "one.csv", events), tmp_path / "1.npz", *options)
    two = predictions(write(tmp_path / "two.csv", other), tmp_path / "2.npz", *options)

    assert sorted(one) == sorted((s, t // 1000) for s, t, _ in asked)
    assert all(one[key].tobytes() == two[key].tobytes() for key in one)
    assert all(np.isfinite(q).all() and (np.diff(q, axis=1) >= 0).all() for q in one.values())


def test_form_of_the_file(tmp_path: Path) -> None:
    """A file grouped by series, gzip, or JSON lines with other field names gives bit-identical forecasts."""
    events = rows()
    listed = origins(tmp_path / "origins.csv", events[300::11])
    options = ("--origins", str(listed), "--set", "train.max_steps=1", "--retrain-every", "400")
    plain = predictions(write(tmp_path / "plain.csv", events), tmp_path / "1.npz", *options)
    grouped = write(tmp_path / "grouped.csv.gz", sorted(events), "unique_id,ds,y")
    lines = tmp_path / "lines.jsonl"
    lines.write_text("".join(json.dumps({"id": s, "time": t, "target": v}) + "\n" for s, t, v in events))

    for data in (grouped, lines):
        again = predictions(data, tmp_path / "2.npz", *options)
        assert {key: q.tobytes() for key, q in again.items()} == {key: q.tobytes() for key, q in plain.items()}


def test_defaults_for_origins(tmp_path: Path) -> None:
    """Without origins, forecasts after the first 30 % of every series are kept; one series needs no series column."""
    data = tmp_path / "alone.csv"
    times = format_times(np.array([time for _, time, _ in rows(["a"])]))
    data.write_text("timestamp,value\n" + "".join(f"{t},{r[2]}\n" for t, r in zip(times, rows(["a"]), strict=True)))

    kept = predictions(data, tmp_path / "1.npz", "--retrain-every", "0", "--freeze-after", "0")

    assert {name for name, _ in kept} == {"alone"}
    assert min(at for _, at in kept) == (T0 + 90 * STEP) // 1000
    assert len(kept) == 210


def test_summary(tmp_path: Path) -> None:
    """`--json` prints counts, retrainings and cost as one JSON object."""
    data = write(tmp_path / "a.csv", rows())

    done = run(data, "--json", "--retrain-every", "200", "--freeze-after", "0.5")

    facts = json.loads(done.stdout)
    assert (facts["events"], facts["series"], facts["forecasts"]) == (600, 2, 420)
    assert facts["retrainings"] == 2  # after 200, and for the last time after 300
    assert facts["interval_ms"] == STEP


def test_no_training(tmp_path: Path) -> None:
    """A retraining interval of 0 never trains, by option, key or file; the default trains at growing intervals."""
    data = write(tmp_path / "a.csv", rows())
    config = tmp_path / "config.toml"
    config.write_text("[retrain]\nevery_events = 0\n")
    for options in (("--retrain-every", "0"), ("--set", "retrain.every_events=0"), ("--config", str(config))):
        for more in ((), ("--freeze-after", "0.5")):
            done = run(data, "--json", *options, *more)
            facts = json.loads(done.stdout)
            assert (facts["retrainings"], facts["training_seconds"]) == (0, 0.0)

    assert retrain_positions(load_config(None, {"retrain.every_events": 0}), 100_000, 0.5) == []
    once = {"retrain.every_events": 0, "retrain.first_after_events": 500}
    assert retrain_positions(load_config(None, once), 100_000) == [500]
    assert retrain_positions(load_config(None, once), 400) == []
    assert retrain_positions(load_config(), 4000) == [2000, 2500, 3125, 3906]


def test_memory_of_long_names(tmp_path: Path) -> None:
    """The memory for one long name among short ones does not grow with events, origins and predictions."""
    long, count = "x" * 10_000, 20_000
    moments = format_times(T0 + 1000 * np.arange(count))
    names = [long if at % 100 == 0 else f"s{at % 7}" for at in range(count)]
    data, listed, out = tmp_path / "a.csv", tmp_path / "origins.csv", tmp_path / "a.npz"
    lines = [f"{name},{moment},1\n" for name, moment in zip(names, moments, strict=True)]
    data.write_text("series,timestamp,value\n" + "".join(lines))
    listed.write_text("series,origin\n" + "".join(f"{n},{m[:19]}Z\n" for n, m in zip(names, moments, strict=True)))

    tracemalloc.start()
    events = read_events(data, load_config().input.model_copy(update={"max_series_bytes": 20_000}))
    wanted, absent = read_origins(listed, events)
    kept = events.series_names[-2000:]
    write_predictions(out, kept, events.timestamp_ms[-2000:], np.zeros((2000, 1, 19), np.float32))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()

    assert peak < 60e6  # 20,000 names of 40 kB each would be 800 MB
    assert (wanted.all(), absent) == (True, 0)
    assert events.names == sorted(set(names))
    assert events.series_names == names
    with np.load(out, allow_pickle=False) as file:
        assert file["series"].tolist() == kept
        assert file["origin"].tolist() == (events.timestamp_ms[-2000:] // 1000).tolist()
        assert file["q"].shape == (2000, 1, 19)


@pytest.mark.parametrize(
    ("text", "status", "said"),
    [
        ("series,when,value\na,soon,1\n", 2, "got no field with times among series, when, value"),
        ("series,timestamp,value\na,yesterday,1\n", 1, "got no events"),
        ("", 1, "has no records; expected at least one"),
    ],
)
def test_files_that_are_none(tmp_path: Path, text: str, status: int, said: str) -> None:
    """A file without a field of times ends with status 2, one without events with status 1; the reason is printed."""
    data = tmp_path / "data.csv"
    data.write_text(text)

    done = run(data)

    assert done.exit_code == status
    assert said in done.output


def test_origins_that_are_none(tmp_path: Path) -> None:
    """Origins in other columns end with status 2, origins without any event with status 1."""
    data, listed = write(tmp_path / "a.csv", rows(steps=40)), tmp_path / "origins.csv"
    listed.write_text("name,when\na,2026-01-01T00:00:00Z\n")
    assert run(data, "--origins", str(listed)).exit_code == 2
    listed.write_text("series,origin\na,2026-01-01T00:00:00Z\n")
    done = run(data, "--origins", str(listed))
    assert done.exit_code == 1
    assert "1 origins have no event" in done.output


def test_report(tmp_path: Path) -> None:
    """The report is one self-contained file with the scores, those of the baselines, and every chart."""
    data, report = write(tmp_path / "a & b.csv", rows()), tmp_path / "report.html"

    done = run(data, "--report", str(report), "--retrain-every", "200", "--json")

    facts, page = json.loads(done.stdout), report.read_text()
    assert f"<td>forecaster</td><td>{facts['mase']:.3f}</td><td>{facts['scrps']:.3f}</td>" in page
    assert "<td>naive</td>" in page
    assert "<td>seasonal naive (5)</td>" in page
    assert page.count("<svg") == 5 + 6
    assert "<h1>Backtest of a &amp; b.csv</h1>" in page
    assert not re.findall(r"(?:src|href)=\"(?!#)", page)


def test_terminal_line(tmp_path: Path) -> None:
    """The terminal names the interval and the seasons that were used."""
    done = run(write(tmp_path / "a.csv", rows(steps=60)), "--retrain-every", "0")
    assert "\nsteps of 1m, a season of 5 steps\nMASE " in done.stdout


def test_report_without_matplotlib(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the extra a report is refused at once, and the message names what to install."""
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    done = run(write(tmp_path / "a.csv", rows(steps=20)), "--report", str(tmp_path / "report.html"))
    assert done.exit_code == 2
    assert "forecaster-daemon[plots]" in done.output


def test_windows_over_raw_events(tmp_path: Path) -> None:
    """With windows, a backtest reads the values of the windows that the file closes, and reports late events."""
    data = tmp_path / "raw.csv"
    times = [*range(0, 3600, 10), 5]
    data.write_text("series,timestamp,value\n" + "".join(f"a,{(T0 // 60_000 * 60 + at) * 1000},{at}\n" for at in times))
    settings = AggregateConfig.model_validate({"interval": "1m", "functions": ["count"]})
    events = read_events(data, load_config().input, aggregator=Aggregator.of(settings, 100))

    assert events.names == ["a"]
    assert events.value.tolist() == [6.0] * 59
    assert set(np.diff(events.timestamp_ms).tolist()) == {60_000}
    assert events.rejects == 1
    assert events.example is not None
    assert events.example.reason == "late"


def raw_requests(steps: int) -> list[Row]:
    """Returns raw events of two series, some in each minute, in time order."""
    rng, found = np.random.RandomState(3), list[Row]()
    for step in range(steps):
        for name in "ab":
            offsets = sorted(rng.choice(59, rng.randint(2, 6), replace=False).tolist())
            found += [(name, T0 + step * STEP + 1000 * at, float(rng.randint(1, 9) + step % 5)) for at in offsets]
    return sorted(found, key=lambda row: row[1])


def disorderly(events: Sequence[Row], most_ms: int) -> list[Row]:
    """Returns events in an order in which a fifth of them arrives late, by at most `most_ms`."""
    rng = np.random.RandomState(4)
    delays = np.where(rng.random_sample(len(events)) < 0.2, rng.randint(1, most_ms, len(events)), 0)
    arrival = [(row[1] + delay, at) for at, (row, delay) in enumerate(zip(events, delays.tolist(), strict=True))]
    return [events[at] for _, at in sorted(arrival)]


REPAIRS = {"input.late": "repair", "input.late_within": "6"}
WINDOWS = {"aggregate.interval": "1m", "aggregate.functions": "count,max", "aggregate.grace": "5s"}


@pytest.mark.parametrize("empty", ["zero", "last", "missing"])
def test_windows_of_late_events(tmp_path: Path, empty: str) -> None:
    """Windows that late events revise have their last value, as if the file had been sorted and aggregated before."""
    events = [row for row in raw_requests(80) if row[0] == "a" or (row[1] - T0) // STEP % 7]
    late = disorderly(events, 5 * STEP)
    config = load_config(None, WINDOWS | REPAIRS | {"aggregate.empty": empty})
    found, expected = (
        read_file(write(tmp_path / f"{name}.csv", rows), config) for name, rows in (("late", late), ("sorted", events))
    )
    dropped = read_file(tmp_path / "late.csv", load_config(None, WINDOWS | {"aggregate.empty": empty}))

    assert found.names == expected.names == ["a.count", "a.max", "b.count", "b.max"]
    assert (found.rejects, dropped.rejects > 20) == (0, True)
    ends = min(found.timestamp_ms.max(), expected.timestamp_ms.max())  # the late file's last windows may close sooner
    for column in ("series", "timestamp_ms", "value"):
        got, want = (getattr(one, column)[one.timestamp_ms <= ends] for one in (found, expected))
        np.testing.assert_array_equal(got, want, column)


def test_backtest_of_late_events(tmp_path: Path) -> None:
    """The backtest of a disorderly raw file is that of the values of its windows, sorted before."""
    events = raw_requests(240)
    settings = load_config(None, WINDOWS)
    sums = read_file(write(tmp_path / "sorted.csv", events), settings)
    values = list(zip(sums.series_names, sums.timestamp_ms.tolist(), sums.value.tolist(), strict=True))
    write(tmp_path / "values.csv", values)
    write(tmp_path / "late.csv", disorderly(events, 5 * STEP))
    options = [part for pair in (WINDOWS | REPAIRS).items() for part in ("--set", "=".join(pair))]
    out = tmp_path / "predictions.npz"
    expected = predictions(tmp_path / "values.csv", out)
    found = predictions(tmp_path / "late.csv", out, *options)

    assert found.keys() == expected.keys()
    for key, row in expected.items():
        np.testing.assert_array_equal(found[key], row, str(key))
