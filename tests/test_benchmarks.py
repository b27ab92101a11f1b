"""Short runs of the scripts of benchmarks/ whose figures are in the documentation."""

from __future__ import annotations

import gzip
import math
import os
import re
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from forecaster import Model, ModelConfig
from service.backtest.events import EventTable
from service.backtest.grids import Grid
from service.config.sections import Config

sys.path.append(str(Path(__file__).parents[1] / "benchmarks"))
import alert_deliveries
import demo_skill
import figures
import first_forecast
import forecast_formats
import gift_eval
import history
import incidents
import keyed_state
import late_events
import long_seasons
import mixed_cadences
import page_load
import parquet_output
import postgres_output
import prometheus_page
import raw_events
import records
import remote_write
import scaling
import shape_search
import sqlite_output
import stream_sources
import table as compared
import tails
import trend
import unseen_streams
import what_if
import window_snapshots
import without_hints


def on_page(name: str, text: str) -> str:
    """Returns a table, whose columns must be those of the figure's table on its page."""
    (figure,) = [one for one in figures.FIGURES if one.name == name]
    shown = [table for table in figures.tables((figures.DOCS / figure.page).read_text()) if table.mark == name]
    (printed,) = figures.tables(text)
    assert [table.lines[:2] for table in shown] == [printed.lines[:2]], "renew it: make figures ARGS=" + name
    return text


def test_trend() -> None:
    """With six steps, a small network finds a line's crossing within one step and reports no false crossings."""
    config = ModelConfig(
        cell="elman", hidden_size=16, head_size=16, horizon=6, quantiles=(0.1, 0.5, 0.8, 0.95), seasons=(),
        calendar=False, interval_ms=trend.MINUTE, max_gap=6,
    )  # fmt: skip
    found = [
        [cell.strip() for cell in line.strip("|").split("|")]
        for line in on_page("trend", trend.table(config, 2, 1900)).splitlines()
    ]
    rows = {row[0]: row[1:] for row in found[2:]}
    assert set(rows) == set(trend.SHAPES)
    assert int(rows["linear"][0]) > 0
    assert float(rows["linear"][1]) <= 1.0
    assert all(rows[shape][5] == "0.0%" for shape in ("linear", "sawtooth", "still", "walk"))


def test_incidents(monkeypatch: pytest.MonkeyPatch) -> None:
    """A perfect score finds every incident at once and nothing else; the z-score finds some; alarms begin once."""
    streams = incidents.generated(1, 4)
    assert len(streams) == len(incidents.SHAPES) * len(incidents.KINDS)
    streams = streams[:8]

    def perfect(stream: incidents.Stream) -> incidents.Scores:
        inside = np.zeros(len(stream.ts))
        for begin, end in stream.windows:
            inside[(stream.ts >= begin) & (stream.ts <= end)] = 1.0
        return inside

    chosen = {"forecaster": perfect, "robust z-score": incidents.robust_scores}
    monkeypatch.setattr(incidents, "methods", lambda: chosen)
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in incidents.table(streams).splitlines()[2:]]
    assert [row[0] for row in rows][-1] == "robust z-score"
    assert rows[0][3:] == ["1.00", "1.00", "1.00", "0.0", "0.0"]
    assert 0.0 < float(rows[-1][5]) < 1.0
    assert incidents.flags(np.array([0, 1, 1, *[0] * 8, 1, 0, 1]), 1.0, 0.5).tolist() == [1, 11]


def test_tails(tmp_path: Path) -> None:
    """Both tables have a row per set; scores and intervals of noise hold as they say."""
    rng = np.random.default_rng(3)
    lines = ["series,timestamp,value"]
    for hour in range(600):
        time = f"2026-01-{1 + hour // 24:02d}T{hour % 24:02d}:00:00Z"
        lines += [f"{name},{time},{10 + rng.normal():.5f}" for name in "abcd"]
    (tmp_path / "noise.csv.gz").write_bytes(gzip.compress("\n".join(lines).encode()))
    (tmp_path / "datasets.json").write_text('{"noise": {"file": "noise.csv.gz", "freq_s": 3600, "horizon": 24}}')
    scores, coverage = tails.tables(tmp_path, [], 1200, train=False)
    found = [
        [cell.strip() for cell in one.splitlines()[2].strip("|").split("|")]
        for one in (on_page("tails", scores), on_page("conditional-coverage", coverage))
    ]
    assert [(row[0], row[1]) for row in found] == [("noise", "1,180"), ("noise", "3,526")]  # two of the four series
    assert float(found[0][2]) < 3.0
    assert found[0][3] == "-"
    assert 70 < float(found[1][2]) < 90 < float(found[1][6]) + 7


@pytest.mark.timeout(900)  # compiles the kernel where no other test has
def test_what_if(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Each part has a figure, and both forecasts of an answer take well under a millisecond."""
    monkeypatch.setattr(sys, "argv", ["what_if.py", "--events", "600", "--series", "20", "--times", "20"])
    what_if.main()
    found = {line[:32].strip(): float(line[32:].split()[0]) for line in capsys.readouterr().out.splitlines()}
    assert found.keys() == {"copy of the row, in the loop", "what if: both forecasts", "explanation"}
    assert found["what if: both forecasts"] < 1000


def test_long_seasons() -> None:
    """Rows of long seasons are a fraction, ordinary ones are as before; means of few steps hardly change the errors."""
    rows = [
        [cell.strip() for cell in line.strip("|").split("|")]
        for line in on_page("long-seasons", long_seasons.memory_table()).splitlines()
    ]
    found = {(row[0], row[1]): [int(cell.replace(",", "")) for cell in row[2:]] for row in rows[2:]}
    assert {name for name, _ in found} == set(long_seasons.CADENCES)
    assert found["hour", "24, 168"] == [4752, 1, 4752]
    assert found["minute", "60, 1,440"] == [14928, 3, 8784]
    assert found["minute", "1,440, 10,080 (configured)"][2] < found["minute", "1,440, 10,080 (configured)"][0] / 8
    config = ModelConfig(
        hidden_size=16, head_size=16, horizon=6, quantiles=(0.1, 0.5, 0.8, 0.95), seasons=(120,),
        calendar=False, interval_ms=long_seasons.MINUTE, max_gap=6,
    )  # fmt: skip
    values = long_seasons.minutes(2, 6, day=120)
    losses = [line.split("|")[3] for line in long_seasons.accuracy_table(values, config, [1, 3]).splitlines()[2:]]
    assert all(0.0 < float(one) < 1.0 for one in losses)
    assert losses[0] != losses[1]


def test_keyed_state() -> None:
    """Every network has the size of a key's state, and the time of an event with its bytes."""
    rows = [line.strip("| ").split(" | ") for line in on_page("keyed-state", keyed_state.table(5, 1)).splitlines()[2:]]
    assert [row[0] for row in rows] == list(keyed_state.NETWORKS)
    assert [int(row[1].replace(",", "")) for row in rows] == [2492, 4860, 15948]
    assert all(float(row[at].split()[0]) > 0 for row in rows for at in (2, 3, 4))


def test_records() -> None:
    """Every shape of records is decoded, without a reject, and has a figure."""
    rows = [line.strip("| ").split(" | ") for line in on_page("records", records.decoding_table(400)).splitlines()[2:]]
    assert len(rows) == 9
    assert rows[0][0::3] == ["JSON, flat", "1.00"]
    assert all(float(row[1]) > 0 < float(row[2]) for row in rows)


def test_records_through_the_daemon() -> None:
    """Every shape of records that a file may have is forecast, and has a figure."""
    model = {
        "hidden_size": 16,
        "head_size": 16,
        "horizon": 3,
        "quantiles": [0.1, 0.5, 0.9],
    }  # as tests/service/parts.py
    config = Config.model_validate({"model": model})
    rows = [
        line.strip("| ").split(" | ")
        for line in on_page("records-daemon", records.daemon_table(400, config, 1)).splitlines()[2:]
    ]
    assert len(rows) == 7
    assert all(float(row[1]) > 0 for row in rows)


def test_raw_events() -> None:
    """Decoding, windows and the daemon have a figure, and the daemon forecasts every closed window."""
    rows = [
        line.strip("| ").split(" | ") for line in on_page("raw-events", raw_events.table(25_000, 20)).splitlines()[2:]
    ]
    assert len(rows) == 6
    assert all(float(row[1].replace(",", "")) > 0 for row in rows)
    assert rows[-1][0] == "the daemon, with 20 forecasts"


def test_history() -> None:
    """Both ways of the same events have a figure."""
    rows = [line.strip("| ").split(" | ") for line in history.table(3_000, 20).splitlines()[2:]]
    assert [row[0] for row in rows] == ["history", "live"]
    assert all(float(row[1].replace(",", "")) > 0 for row in rows)


def test_demo_skill() -> None:
    """A run counts at a time with its last line by then, and not before its first score."""
    lines = [
        {10: (float("nan"), 0, 0, 0), 30: (0.8, 0, 1, 0), 35: (0.5, 9, 9, 9)},
        {31: (0.6, 1, 2, 1)},
        {45: (0.1, 0, 0, 0)},
    ]
    assert demo_skill.row(lines, 30).split() == ["30", "s", "2", "0.70", "0.80", "0.5", "1.5", "0.5"]
    assert demo_skill.row(lines, 12).split() == ["12", "s", "0"]


def test_without_hints(tmp_path: Path) -> None:
    """A file of hours with a day scores the same with and without the interval and the season given, to a tenth."""
    lines = ["series,timestamp,value"]
    for hour in range(600):
        time = f"2026-01-{1 + hour // 24:02d}T{hour % 24:02d}:00:00Z"
        lines += [f"{name},{time},{10 + at + 5 * math.sin(hour * math.pi / 12)}" for at, name in enumerate("ab")]
    file = tmp_path / "hours.csv"
    file.write_text("\n".join(lines) + "\n")
    small = ["--set", "model.hidden_size=16", "--set", "model.head_size=16", "--set", "retrain.every_events=0"]
    found = without_hints.compare(file, {"freq_s": 3600, "season": 24, "horizon": 4}, 0.3, small)
    counts = found[0].count
    assert np.array_equal(counts, found[1].count)
    assert counts.sum() > 1000
    assert len(counts) == 2 * without_hints.BLOCKS
    cells = without_hints.line("hours", found).strip("| ").split(" | ")
    assert cells[0] == "hours"
    assert 0.9 < float(cells[3]) < 1.1
    assert float(cells[4]) < 0.1


def test_standard_error_of_a_ratio() -> None:
    """It is the jackknife of its definition; a score relative to itself has none."""
    rng = np.random.default_rng(1)
    one, other = (without_hints.Losses(*rng.uniform(1, 2, (2, 12)), np.ones(12, np.int64)) for _ in range(2))
    left = [
        without_hints.ratio_of(
            *(without_hints.Losses(*(np.delete(part, at) for part in each)) for each in (one, other))
        )[0]
        for at in range(12)
    ]
    ratio, error = without_hints.ratio_of(one, other)
    assert ratio == pytest.approx(one.score / other.score)
    assert error == pytest.approx(np.sqrt(11 / 12 * ((np.array(left) - np.mean(left)) ** 2).sum()))
    assert without_hints.ratio_of(one, one) == (1.0, 0.0)


def test_shape_search(tmp_path: Path) -> None:
    """Trainings of a search try another shape, and the row has its figures."""
    lines = ["series,timestamp,value"]
    for hour in range(600):
        time = f"2026-01-{1 + hour // 24:02d}T{hour % 24:02d}:00:00Z"
        lines += [f"{name},{time},{10 + at + hour * 7 % 24 + hour * 37 % 11}" for at, name in enumerate("ab")]
    file = tmp_path / "hours.csv"
    file.write_text("\n".join(lines) + "\n")
    settings = [
        "model.hidden_size=16", "model.head_size=16", "model.calendar=false", "retrain.every_events=400",
        "train.max_steps=20", "train.evaluate_every=10", "train.k1=8", "train.k2=16", "train.batch=8",
        'retrain.search=["calendar"]',
    ]  # fmt: skip
    meta = {"freq_s": 3600, "season": 1, "horizon": 4}
    found = shape_search.measure(file, meta, [part for one in settings for part in ("--set", one)])
    assert 2 <= found.tried <= found.trainings
    assert found.targets > 1000
    assert "calendar = " in found.shape
    cells = shape_search.line("hours", "calendar", found, found).strip("| ").split(" | ")
    assert cells[3] == "1.000"


@pytest.mark.timeout(300)
def test_page_load() -> None:
    """The page of a daemon of some series is painted, and every order of the list has a figure."""
    if shutil.which("chromium") is None:
        assert not os.environ.get("CI"), "got no chromium under CI, expected the Debian package: run `make system`"
        pytest.skip("no chromium here: `make system` installs it")
    rows = [line.strip("| ").split(" | ") for line in page_load.table(120, 1).splitlines()[2:]]
    assert [row[0] for row in rows[-4:]] == [f"first 50 of 120 by {sort}" for sort in page_load.SORTS]
    assert all(float(row[1]) > 0 for row in rows if "beyond" not in row[0])


def test_prometheus_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Three days of 24 steps through a real Prometheus, by the page: each day after the first has a score."""
    if shutil.which("prometheus") is None:
        assert not os.environ.get("CI"), "got no prometheus under CI, expected the Debian package: run `make system`"
        pytest.skip("no prometheus here: `make system` installs it")
    monkeypatch.setattr(prometheus_page, "DAY", 24)
    output = prometheus_page.run(tmp_path, 3.5 * 24 * 0.2, 0.2, seasons=True)
    table, _ = prometheus_page.scores(output)
    assert len(table) >= 2
    assert all(count > 0 and 0.0 < ratio < 10.0 for _, count, ratio in table)


def test_pipeline() -> None:
    """The daemon has a figure with the model and without it, which is not far above."""
    whole, without = compared.pipeline(3_000)
    assert (whole.work, without.work) == ("JSON lines in, SQLite out",) * 2
    assert 0.0 < without.least < 1.5 * whole.least


def test_sqlite_output() -> None:
    """Compact forecasts take a fourth of JSON, every way has a figure, and pruning keeps the file at its bound."""
    rows = [
        line.strip("| ").split(" | ") for line in on_page("sqlite-output", sqlite_output.table(8192)).splitlines()[2:]
    ]
    assert [row[0] for row in rows] == ["`json`", "`compact`", "bare"]
    sizes = [float(row[1]) for row in rows]
    assert sizes[1] < sizes[0] / 3.5  # with the fixed tables of a small file
    assert all(float(row[2]) > 0 for row in rows)
    free, bound = [line.strip("| ").split(" | ") for line in sqlite_output.pruning(30_000, 1e9).splitlines()[2:]]
    assert free[3] == "30,000"
    assert int(bound[3].replace(",", "")) < 6_000


def test_remote_write() -> None:
    """Every way has a figure, and the servers that are installed accept every forecast."""
    rows = [line.strip("| ").split(" | ") for line in remote_write.table(2048).splitlines()[2:]]
    assert len(rows) >= 3
    assert all(float(row[1]) > 0 for row in rows)
    assert {row[3].strip() for row in rows[3:]} <= {"2,048"}


def test_alert_deliveries() -> None:
    """Every way has a figure, and the receivers accept every alert."""
    rows = [line.strip("| ").split(" | ") for line in alert_deliveries.table(300, 1).splitlines()[2:]]
    assert len(rows) >= 3
    assert all(float(row[2].replace(",", "")) > 0 for row in rows)
    assert [row[4] for row in rows] == ["300", "300", "100"] * (len(rows) // 3)


def test_parquet_output() -> None:
    """Files take less than half of the 1,937 bytes of JSON, every way has a figure, and files follow one another."""
    rows = [
        line.strip("| ").split(" | ")
        for line in on_page("parquet-output", parquet_output.table(8192, 4 << 20)).splitlines()[2:]
    ]
    assert [row[0] for row in rows] == ["parquet", "sqlite, `compact`", "bare pyarrow"]
    assert all(float(row[2]) > 0 for row in rows)
    assert float(rows[0][1]) < 1937 / 2
    none, several = [
        line.strip("| ").split(" | ") for line in parquet_output.waiting(20_000, 1e9, 2 << 20).splitlines()[2:]
    ]
    assert (none[3], int(several[3]) > 3) == ("1", True)


def test_postgres_output() -> None:
    """Every way has a figure, arrays take less than half of a row for each step, and encoding is part of the time."""
    lines = on_page("postgres-output", postgres_output.table(4096)).splitlines()
    rows = [line.strip("| ").split(" | ") for line in lines[2:5]]
    assert [row[0] for row in rows] == ["`postgres`", "psycopg, rows", "psycopg, bytes"]
    assert all(float(row[1].replace(",", "")) > 0 and float(row[2]) > 0 for row in rows)
    arrays, by_step = re.findall(r"[0-9]+", lines[-1])
    assert int(arrays) < int(by_step) / 2


def test_forecast_formats() -> None:
    """Avro and Protobuf are less than half as large as JSON, and every format has a figure."""
    lines = on_page("forecast-formats", forecast_formats.table(20)).splitlines()[2:]
    rows = {name: list(map(float, cells)) for name, *cells in (line.strip("| ").split(" | ") for line in lines)}
    assert list(rows) == ["`json`", "`avro`", "`protobuf`"]
    json_bytes, *others = (row[0] for row in rows.values())
    assert max(others) < json_bytes / 2
    assert all(row[2] > 0 for row in rows.values())


def test_raw_events_beside_peers() -> None:
    """Every peer that is installed has a figure; windows that are open at the end are not counted."""
    rows = [line.strip("| ").split(" | ") for line in raw_events.peers_table(25_000, 20).splitlines()[2:]]
    assert rows[0][0] == "forecaster, decoding and counting"
    assert all(float(row[1].replace(",", "")) > 0 for row in rows)
    assert int(rows[0][2]) == 20


def test_late_events() -> None:
    """Late events are put in their place, each of them, and every share and bound has a figure."""
    config = ModelConfig(
        cell="elman", hidden_size=16, head_size=16, horizon=6, quantiles=(0.1, 0.5, 0.8, 0.95), seasons=(),
        calendar=False, interval_ms=late_events.MINUTE, max_gap=6,
    )  # fmt: skip
    rows = [
        [cell.strip() for cell in line.strip("|").split("|")]
        for line in on_page("late-events", late_events.table(Model.initial(config), 20, 100, (3,), 1)).splitlines()[2:]
    ]
    assert [row[2] for row in rows] == ["0%", "1%", "10%"]
    assert all(float(cell) > 0 for row in rows for cell in row[3:5])
    repaired = [int(row[5]) for row in rows]
    assert repaired[0] == 0
    assert 0 < repaired[1] < repaired[2] < 200


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_first_forecast(tmp_path: Path) -> None:
    """A file with two columns of unknown names is forecast by one command, and the first and later starts are timed."""
    small = ["--horizon", "2", "--set", "model.hidden_size=16", "--set", "model.head_size=16"]
    lines = first_forecast.table(["daily"], 1, small, tmp_path / "compiled").splitlines()[2:]
    (row,) = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    first, compiling, later, least, most, loading = map(float, row[1:])
    assert row[0] == "daily"
    assert min(first, least) > 0
    assert least <= later <= most
    assert 0 < loading < compiling  # seconds of the processor: only the first start compiles


@pytest.mark.slow
def test_mixed_cadences(tmp_path: Path) -> None:
    """Each cadence of a file has the score that it has alone, and a better one than with one network for all."""
    small = ["model.hidden_size=16", "model.head_size=16", "model.horizon=3", "retrain.every_events=0"]
    found = mixed_cadences.measure(tmp_path, ["minute", "hour"], 0.1, small)
    assert list(found) == ["minute", "hour"]
    for one in found.values():
        assert one.mixed == pytest.approx(one.alone, rel=0.01)
        assert 0 < one.mixed < one.one_network
        assert max(one.piped, one.alone_piped) < one.one_network
    assert len(mixed_cadences.table(found).splitlines()) == 4


def test_window_snapshots() -> None:
    """Every series keeps as many windows as the bound, and every function and bound has a figure."""
    rows = [line.strip("| ").split(" | ") for line in window_snapshots.table(20, (0, 3)).splitlines()[2:]]
    assert [(row[0], int(row[1]), int(row[2])) for row in rows] == [
        (name, within, 20 * within) for name in window_snapshots.FUNCTIONS for within in (0, 3)
    ]
    assert all(float(row[4]) > 0 for row in rows)


def test_scaling(tmp_path: Path) -> None:
    """The row of a file of hours has its loads, the shares of all policies and the costs relative to the forecast."""
    lines = ["series,timestamp,value"]
    for hour in range(500):
        time = f"2026-01-{1 + hour // 24:02d}T{hour % 24:02d}:00:00Z"
        lines += [f"{name},{time},{10 + at + 5 * math.sin(hour * math.pi / 12)}" for at, name in enumerate("ab")]
    file = tmp_path / "hours.csv"
    file.write_text("\n".join(lines) + "\n")
    small = {"model.hidden_size": 16, "model.head_size": 16, "retrain.every_events": 0}
    cells = scaling.row("hours", file, {"freq_s": 3600, "season": 24, "horizon": 4}, small).strip("| ").split(" | ")
    assert cells[:3] == ["hours", "2", "700"]
    assert all(0 <= float(cell.rstrip(" %")) < 60 for cell in cells[3:6])
    assert all(float(cell.partition(";")[0]) > 0.8 for cell in cells[6:8])


def _hours(series: int, steps: int) -> EventTable:
    """Series of hours with a day, a level each and noise, their events in time order."""
    rng = np.random.default_rng(0)
    step, number = np.repeat(np.arange(steps), series), np.tile(np.arange(series), steps)
    value = 10.0 + number + 5.0 * np.sin(step * np.pi / 12) + rng.normal(0.0, 0.5, len(step))
    names = [f"hours{i}" for i in range(series)]
    return EventTable(names, number, step * gift_eval.HOUR_MS, value, None, 0, None)


def test_gift_eval() -> None:
    """Every window of a small data set is forecast, learning and not, and beats seasonal naive."""
    task = gift_eval.Task("", "hours", 2, {"seasonal naive": (1.0, 0.1)})
    settings = {"model.hidden_size": 16, "model.head_size": 16, "train.max_steps": 20, "train.evaluate_every": 10}
    lines = list(gift_eval.rows("small", task, _hours(3, 500), settings, 6))
    on_page("gift-eval", "\n".join([gift_eval.HEADER, *lines]))
    cells = [line.strip("| ").split(" | ") for line in lines]
    assert [row[1] for row in cells] == [
        "seasonal naive", "seasonal naive, here", "forecaster, never trained", "forecaster"
    ]  # fmt: skip
    assert all(0.0 < float(cell) < 1.5 for row in cells for cell in row[2:])
    assert all(float(row[4]) < 1.0 for row in cells[2:])


def test_windows_of_gift_eval() -> None:
    """Windows lie back to back at the end of each series, and a gap is refused."""
    events = _hours(2, 100)
    found = gift_eval.instances(events, 3, 10)
    assert [len(past) for past in found.past] == [70, 80, 90] * 2
    for event, past, actual in zip(found.event.tolist(), found.past, found.actual, strict=True):
        mine = events.value[events.series == events.series[event]]
        assert events.value[event] == past[-1]
        assert np.array_equal(mine[len(past) : len(past) + 10], actual)
    with pytest.raises(ValueError, match="each an hour after the other"):
        gift_eval.instances(gift_eval.taken(events, np.arange(len(events)) != 20), 3, 10)


def test_nothing_reads_the_last_window_of_gift_eval(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither the forecasts nor the trainings get the values of the last window of any series."""
    events, seen = _hours(2, 100), list[EventTable]()

    class EnoughError(Exception):
        """Ends the run before it compiles anything."""

    def run(config: Config, given: EventTable, wanted: NDArray[np.bool_], **options: float) -> None:
        seen.append(given)
        assert np.flatnonzero(wanted).tolist() == [2 * 69, 2 * 69 + 1, 2 * 79, 2 * 79 + 1, 2 * 89, 2 * 89 + 1]
        raise EnoughError

    monkeypatch.setattr(gift_eval, "run", run)
    with pytest.raises(EnoughError):
        gift_eval.forecasts(events, gift_eval.instances(events, 3, 10), {}, learn=True)
    assert len(seen[0]) == 2 * 90
    assert seen[0].timestamp_ms.max() == 89 * gift_eval.HOUR_MS


def test_scores_of_gift_eval() -> None:
    """The scores are those of their definitions, by loops; a window whose past has no seasonal change has no MASE."""
    rng = np.random.default_rng(3)
    past, actual = [rng.normal(size=40), np.ones(40), rng.normal(size=30)], rng.normal(size=(3, 4))
    quantiles = np.sort(rng.normal(size=(3, 4, 9)), axis=2)
    found = gift_eval.Instances(np.zeros(3, np.int64), past, actual)
    errors, losses = list[float](), dict.fromkeys(gift_eval.LEVELS, 0.0)
    for window in range(3):
        scale = float(np.mean([abs(past[window][t] - past[window][t - 24]) for t in range(24, len(past[window]))]))
        for step in range(4):
            y = float(actual[window, step])
            if scale > 0:
                errors.append(abs(y - float(quantiles[window, step, 4])) / scale)
            for at, level in enumerate(gift_eval.LEVELS):
                q = float(quantiles[window, step, at])
                losses[level] += 2.0 * abs((y - q) * ((q >= y) - level))
    mase, loss = gift_eval.scores(found, quantiles)
    assert mase == pytest.approx(np.mean(errors))
    assert loss == pytest.approx(np.mean(list(losses.values())) / np.abs(actual).sum())


def test_unseen_streams() -> None:
    """A generated stream has a score by every method, LightGBM's place is taken by a fit that is given."""

    def fit(rows: NDArray[np.float64], targets: NDArray[np.float64], level: float) -> unseen_streams.Predict:
        assert len(rows) == len(targets) <= unseen_streams.ROWS
        found = float(np.quantile(targets, level))
        return lambda asked: np.full(len(asked), found)

    stream = stream_sources.Stream(stream_sources.made(stream_sources.orders, 3, 400, 3600), 3600, 24, 6, 300)
    events = stream_sources.events_of(stream, Path())
    assert len(events) == 900
    small = {"model.hidden_size": 16, "model.head_size": 16}
    found = unseen_streams.score(events, stream, small, fit, learn=False)
    assert set(found.methods) == {"forecaster", "LightGBM", "naive", "seasonal naive (24)", "level-adjusted (24)"}
    targets = {score.targets for score in found.methods.values()}
    assert len(targets) == 1
    assert targets.pop() > 3000
    assert found.simple == min(score.scrps for name, score in found.methods.items() if name[0] in "nsl")
    cells = [cell.strip() for cell in unseen_streams.line("orders", found).strip("|").split("|")]
    assert cells[:2] == ["orders", "900"]
    assert all(0.0 < float(cell) < 10.0 for cell in cells[2:])
    assert unseen_streams.means([found, found]).split()[-5:-1] == [cells[6], "|", cells[7], "|"]


def test_features_of_unseen_streams() -> None:
    """The features of an origin are the same without any later value, but for the time of the target."""
    y = np.random.default_rng(2).normal(size=300)
    y[[40, 120]] = np.nan
    origin, ahead = np.repeat([0, 5, 41, 200], 3), np.tile([1, 7, 12], 4)
    places = np.arange(len(origin))
    whole = Grid("a", y, 0, 3_600_000, origin, places, 2.0)
    found = unseen_streams.features(whole, origin, ahead, 12)
    for at in places.tolist():
        past = Grid("a", y[: origin[at] + 1], 0, 3_600_000, origin, places, 2.0)
        alone = unseen_streams.features(past, origin[at : at + 1], ahead[at : at + 1], 12)
        assert np.array_equal(alone[0], found[at], equal_nan=True)


def test_forecasts_of_boosted_trees_learn_from_the_past_only() -> None:
    """Values after a refit do not change the forecasts of the models before it."""
    rng = np.random.default_rng(4)
    values = rng.normal(size=400)
    later = np.where(np.arange(400) < 212, values, 100.0)

    def fit(rows: NDArray[np.float64], targets: NDArray[np.float64], level: float) -> unseen_streams.Predict:
        found = float(np.quantile(targets, level))
        return lambda asked: np.full(len(asked), found) + asked[:, 0]

    origin = np.arange(119, 380, 3)
    found = [
        unseen_streams.boosted_forecasts([Grid("a", y, 0, 3_600_000, origin, np.arange(87), 1.0)], 5, 24, fit)["a"]
        for y in (values, later)
    ]
    before = origin < 211
    assert np.array_equal(found[0][before], found[1][before])
    assert not np.array_equal(found[0][~before], found[1][~before])
    assert np.all(np.diff(found[0], axis=2) >= 0)


def test_unseen_streams_are_twenty_in_two_halves(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Each stream is of one half, ten are of each, and a stream whose package is not there is named."""
    halves = stream_sources.HALVES
    assert sorted(halves["choose"] + halves["report"]) == sorted(stream_sources.STREAMS)
    assert [len(names) for names in halves.values()] == [10, 10]
    unseen_streams.main(["report", "--packages", str(tmp_path), "--only", "glucose"])
    assert "glucose: " + str(tmp_path) in capsys.readouterr().out


def test_tables_of_unseen_streams(tmp_path: Path) -> None:
    """Values within a step are averaged, missing ones left out, and only the first steps of each series are read."""
    text = "name,time,x\na,2026-01-01 00:00:00,1\na,2026-01-01 00:20:00,3\na,2026-01-01 01:00:00,NA\n"
    text += "a,2026-01-01 02:00:00,5\na,2026-01-01 03:00:00,7\nb,2026-01-01 05:00:00,9\n"
    (tmp_path / "t.csv").write_text(text)
    read = stream_sources.table("t.csv", stream_sources.at("time"), {"x": ""}, "name")
    events = stream_sources.events_of(stream_sources.Stream(read, 3600, 1, 2, 3), tmp_path)
    assert events.names == ["a", "b"]
    assert events.series.tolist() == [0, 0, 1]
    assert events.value.tolist() == [2.0, 5.0, 9.0]
    assert (np.diff(events.timestamp_ms) // 3_600_000).tolist() == [2, 3]


@pytest.mark.parametrize("make", [stream_sources.duty, stream_sources.orders, stream_sources.disk])
def test_generated_streams(make: Callable[[np.random.Generator, int], NDArray[np.float64]]) -> None:
    """Generated values are finite, not negative but for noise, and the same again for the same seed."""
    one, other = (make(np.random.default_rng(5), 1000) for _ in range(2))
    assert np.array_equal(one, other)
    assert np.isfinite(one).all()
    assert one.min() > -10
    assert one.std() > 0
