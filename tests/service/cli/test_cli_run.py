"""`forecaster run`: inputs, outputs and exit statuses."""

from __future__ import annotations

import json
import socket
import sqlite3
import threading
from pathlib import Path

import pytest
import structlog
import structlog.testing
from click.testing import CliRunner, Result

from service.cli import main
from service.cli.run import _log_compiling

EVENTS = "".join(
    json.dumps({"series": series, "timestamp": 60_000 * minute, "value": minute % 7 + 0.5}) + "\n"
    for minute in range(1, 31)
    for series in ("a", "b")
)
UNITS = ["--set", "model.hidden_size=16", "--set", "model.head_size=16"]
SMALL = ["--horizon", "2", "--interval", "1m", "--set", "model.seasons=[]", *UNITS]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch) -> Path:
    """A working directory with events."""
    (tmp_path / "events.jsonl").write_text(EVENTS)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(*arguments: str) -> Result:
    """Runs the command in this process."""
    return CliRunner().invoke(main, ["run", "--port", "0", "--data-dir", "data", *arguments])


def rows(query: str) -> list[tuple]:
    """Queries the output file."""
    connection = sqlite3.connect("data/forecasts.sqlite")
    try:
        return connection.execute(query).fetchall()
    finally:
        connection.close()


def test_to_the_end_of_a_file(folder: Path) -> None:
    """A run over a file forecasts every event once and ends with 0; a repeated run adds nothing."""
    assert run("--input", "events.jsonl", *SMALL).exit_code == 0
    assert rows("select series, count(*) from forecasts group by 1 order by 1") == [("a", 30), ("b", 30)]

    assert run("--input", "events.jsonl", *SMALL).exit_code == 0
    assert rows("select count(*) from forecasts") == [(60,)]


def test_rejects_do_not_stop_it(folder: Path) -> None:
    """An unusable record is rejected with its reason, and the run continues."""
    (folder / "events.jsonl").write_text('{"series": "a"}\nnonsense\n' + EVENTS)

    done = run("--input", "events.jsonl", *SMALL)
    assert done.exit_code == 0
    expected = [line for line in done.stderr.splitlines() if "rejected for this reason" in line]
    assert len(expected) == 2
    assert "missing_field" in expected[0]
    assert "undecodable" in expected[1]
    last = done.stderr.splitlines()[-1]
    assert all(part in last for part in ("ended", "events=60", "rejected=2", "late=0", "forecasts.sqlite"))
    assert [reason for (reason,) in rows("select reason from rejects order by position")] == [
        "missing_field",
        "undecodable",
    ]
    assert rows("select count(*) from forecasts") == [(60,)]


def test_columns_of_other_names(folder: Path) -> None:
    """A configured name that no column has ends with status 1, the reason and what to set; a right one is read."""
    (folder / "load.csv").write_text("host,when,load\nweb1,2026-01-05T00:00:00Z,3.1\nweb1,2026-01-05T00:01:00Z,3.4\n")
    names = [f"--set=input.fields.{field}={column}" for field, column in
             (("series", "host"), ("timestamp", "when"), ("value", "load"))]  # fmt: skip

    failed = run("--input", "load.csv", *SMALL, *names[:2], "--set=input.fields.value=lode")

    assert failed.exit_code == 1
    expected = failed.stderr.splitlines()[-1]
    assert expected.startswith("Error: none of the 2 records could be used (2 missing_field); the first: ")
    assert "got the columns host, when, load, expected lode as well" in expected
    assert "--set input.fields.value=NAME" in expected
    assert "forecaster inspect 'load.csv' --write FILE" in expected
    refused = run("--input", "load.csv", *SMALL, "--set=input.fields.value=lode", "--data-dir", "refused")
    assert refused.exit_code == 2
    assert "no record would be an event: got the columns host, when, load, expected lode as well" in refused.stderr
    assert not (folder / "refused").exists()
    assert run("--input", "load.csv", *SMALL, *names, "--data-dir", "other").exit_code == 0
    assert run("--input", "load.csv", *SMALL, "--data-dir", "chosen").exit_code == 0


def test_newest_first(folder: Path) -> None:
    """In reverse time order all but the newest events are late; the last lines report their count and what to do."""
    (folder / "events.jsonl").write_text("".join(reversed(EVENTS.splitlines(keepends=True))))

    done = run("--input", "events.jsonl", *SMALL)

    assert done.exit_code == 1
    ended, hint = done.stderr.splitlines()[-2:]
    assert all(part in ended for part in ("ended", "events=2", "late=58"))
    assert "only 2 of the 60 records could be used (58 late)" in hint
    assert "in time order: sort the input by time" in hint


BAD = '{"series": "a", "timestamp": 1767571200000}\n'


@pytest.mark.parametrize(
    ("lines", "expected", "to_set"),
    [
        (BAD * 999 + EVENTS[: EVENTS.index("\n") + 1], "only 1 of the 1000 records could be used (999 missing_field)",
         "--set input.fields.value=NAME"),
        (BAD * 3, "none of the 3 records could be used (3 missing_field)", "--set input.fields.value=NAME"),
        (EVENTS[: EVENTS.index("\n") + 1] * 4, "only 1 of the 4 records could be used (3 duplicates)",
         "--set input.fields.series=NAME"),
        ("".join(reversed(EVENTS.splitlines(keepends=True))), "only 2 of the 60 records", "sort the input by time"),
        ('{"series": "a", "timestamp": 300000000000000, "value": 1}\n' * 2, "none of the 2 records could be used",
         "input.fields.time_unit"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("sink", ["sqlite", "stdout"])
def test_the_failure_is_repeated(folder: Path, sink: str, lines: str, expected: str, to_set: str) -> None:
    """A run that cannot use most records ends with 1 and what to set, and so does every repeated run."""
    (folder / "events.jsonl").write_text(lines)

    first = run("--input", "events.jsonl", "--sink", sink, *SMALL)
    again = run("--input", "events.jsonl", "--sink", sink, *SMALL)

    assert (first.exit_code, again.exit_code) == (1, 1)
    assert all(part in first.stderr.splitlines()[-1] for part in (expected, to_set))
    last = again.stderr.splitlines()[-1]
    assert all(part in last for part in ("no further records; of those of earlier runs, ", expected, to_set))


def test_more_good_records_mend_it(folder: Path) -> None:
    """The status of a run depends on its own records: good records after bad ones end with 0."""
    (folder / "events.jsonl").write_text(BAD * 5)
    assert run("--input", "events.jsonl", *SMALL).exit_code == 1
    (folder / "events.jsonl").write_text(BAD * 5 + EVENTS)
    assert run("--input", "events.jsonl", *SMALL).exit_code == 0
    assert run("--input", "events.jsonl", *SMALL).exit_code == 0


def test_epoch_seconds(folder: Path) -> None:
    """Epoch seconds, with or without a fraction, in JSON and CSV, give forecasts with the right origins."""
    times = [1_767_571_200 + 60 * minute for minute in range(5)]
    rows_of = {
        "events.jsonl": "".join(json.dumps({"series": "a", "timestamp": t, "value": 1.5}) + "\n" for t in times),
        "floats.jsonl": "".join(json.dumps({"series": "a", "timestamp": t + 0.25, "value": 1.5}) + "\n" for t in times),
        "events.csv": "series,timestamp,value\n" + "".join(f"a,{t},1.5\n" for t in times),
    }
    for name, text in rows_of.items():
        (folder / name).write_text(text)
        assert run("--input", name, *SMALL, "--data-dir", f"of {name}").exit_code == 0

        connection = sqlite3.connect(f"of {name}/forecasts.sqlite")
        origins = [origin for (origin,) in connection.execute("select origin from forecasts order by position")]
        connection.close()
        fraction = "250" if name.startswith("floats") else "000"
        assert origins == [f"2026-01-05T00:{minute:02}:00.{fraction}Z" for minute in range(5)]


def test_another_network_on_the_same_data(folder: Path) -> None:
    """A configuration of another network continues with it on the same data folder, and says so."""
    assert run("--input", "events.jsonl", *SMALL).exit_code == 0
    changed = run("--input", "events.jsonl", *SMALL, "--horizon", "3")

    assert changed.exit_code == 0
    assert "network changed by the configuration" in changed.output
    assert "model.horizon: 2 to 3" in changed.output


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ([], "input.files: got none"),
        (["--push", "--set", "kafka.topics=x"], "got input.push and kafka.topics, expected one of them"),
        (["--input", "events.xyz"], "which is no file"),
        (["--input", "events.jsonl", "--set", "model.hidden_size=17"], "expected a multiple of 16"),
        (["--input", "events.jsonl", "--set", "train.k2=1"], "k2: got 1"),
    ],
)
def test_mistakes(folder: Path, arguments: list[str], expected: str) -> None:
    """An unusable configuration ends with status 2 and the reason before anything is written."""
    refused = run(*arguments)

    assert refused.exit_code == 2
    assert expected in refused.output
    assert not (folder / "data").exists()


def test_no_such_file(folder: Path) -> None:
    """A missing input ends with status 2 and its name, before a port is opened or a folder made."""
    failed = run("--input", "events.jsonl", "--input", "none.csv", *SMALL)

    assert failed.exit_code == 2
    assert '"none.csv", which is no file' in failed.output
    assert "listening" not in failed.output
    assert not (folder / "data").exists()


def test_the_file_of_the_environment_is_named(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A configuration file that the environment names is named in the error that it causes, as nobody typed it."""
    Path("kafka.toml").write_text('[kafka]\ntopics = ["t"]\n')
    monkeypatch.setenv("FORECASTER_CONFIG", "kafka.toml")
    of_environment = run("--input", "events.jsonl", *SMALL)
    monkeypatch.delenv("FORECASTER_CONFIG")
    named = run("--config", "kafka.toml", "--input", "events.jsonl", *SMALL)

    assert of_environment.exit_code == named.exit_code == 2
    assert "got input.files and kafka.topics" in of_environment.output
    assert "FORECASTER_CONFIG names the configuration file: kafka.toml" in of_environment.output
    assert "FORECASTER_CONFIG" not in named.output


def test_busy_port(folder: Path) -> None:
    """A port that another program holds ends with status 1 and what to set."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        failed = run("--input", "events.jsonl", *SMALL, "--port", str(taken.getsockname()[1]))

    assert failed.exit_code == 1
    assert "set http.host and http.port" in failed.output


@pytest.mark.parametrize(
    ("phases", "expected"), [(["starting", *["compiling"] * 9], True), (["compiling", "running"], False)]
)
def test_why_nothing_happens(monkeypatch: pytest.MonkeyPatch, phases: list[str], expected: bool) -> None:
    """A long compilation at the start is logged once; a start with cached kernels logs nothing."""
    monkeypatch.setattr("service.cli.run._CHECK_SECONDS", 0.0)
    looks = iter(phases)

    class Starting:
        """A daemon with another phase at every check."""

        @property
        def phase(self) -> str:
            return next(looks, phases[-1])

    with structlog.testing.capture_logs() as said:
        _log_compiling(Starting(), threading.Event())

    assert [line["event"].startswith("compiling the network") for line in said] == [True] * expected


def test_seasons_stay_with_the_state(folder: Path) -> None:
    """The first start takes the seasons that the file shows, and every later start those of the network."""

    def write(steps: int) -> None:
        lines = [f"{1_767_571_200 + 300 * step},{step % 12}" for step in range(1, steps)]
        (folder / "load.csv").write_text("\n".join(["time,load", *lines]) + "\n")

    write(40)
    first = run("--input", "load.csv", "--horizon", "4", *UNITS)
    assert first.exit_code == 0, first.stderr
    assert "seasons of the network chosen" in first.stderr
    assert "steps=12" in first.stderr
    write(700)  # the day, of 288 steps, fits twice now
    again = run("--input", "load.csv", "--horizon", "4", *UNITS)
    assert again.exit_code == 0, again.stderr
    assert "seasons of the network chosen" not in again.stderr
    assert rows("select count(*) from forecasts") == [(699,)]
    same = run("--input", "load.csv", "--horizon", "4", *UNITS, "--season", "1h")
    assert same.exit_code == 0, same.stderr
    (folder / "load.csv").write_text("time,load\n")
    cold = ["--set", "state.on_source_gone=cold"]
    rotated = run("--input", "load.csv", "--horizon", "4", *UNITS, "--season", "1h", *cold)
    assert rotated.exit_code == 0, rotated.stderr


def test_season_of_unknown_interval(folder: Path) -> None:
    """A season that is a duration is refused before anything is written where no file shows the interval."""
    refused = run("--push", "--horizon", "4", *UNITS, "--season", "1d")
    assert refused.exit_code == 2
    assert "model.seasons: got '1d', expected numbers of steps; a duration needs model.interval" in refused.stderr
    assert not (folder / "data").exists()
