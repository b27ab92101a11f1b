"""`forecaster forecasts` shows what a daemon has stored: targets, quantiles, and the actuals that came."""

from __future__ import annotations

import csv
import json
import math
import subprocess
import sys
from pathlib import Path

import pyarrow.parquet
import pytest
from click.testing import CliRunner

from service.cli import main

SMALL = ("--horizon", "4", "--interval", "1m", "--set", "model.hidden_size=16", "--set", "model.head_size=16")
COUNT = 60


def call(*arguments: str):
    """Runs a command, which must succeed."""
    done = CliRunner().invoke(main, arguments)
    assert done.exit_code == 0, done.output
    return done


def setting(form: str) -> tuple[str, str]:
    """Returns the option that chooses the form of the output."""
    return ("--sink", form) if form == "parquet" else ("--set", f"output.format={form}")


@pytest.fixture(scope="module", params=["compact", "json", "parquet"])
def folder(request, tmp_path_factory) -> Path:
    """A folder with the output of a daemon over two series, in each format."""
    folder: Path = tmp_path_factory.mktemp("stored")
    lines = [
        f"{series},2026-01-05T00:{minute:02d}:00Z,{10.0 + math.sin(minute / 5.0) + at}"
        for minute in range(COUNT)
        for at, series in enumerate(("a", "b"))
    ]
    (folder / "load.csv").write_text("\n".join(["series,timestamp,value", *lines]) + "\n")
    call(
        "run", "--input", str(folder / "load.csv"), "--data-dir", str(folder / "data"), "--port", "0", *SMALL,
        *setting(request.param),
    )  # fmt: skip
    (folder / "form").write_text(request.param)
    return folder


def where(folder: Path) -> tuple[str, ...]:
    """Returns the options that say where the output is."""
    sink = "parquet" if (folder / "form").read_text() == "parquet" else "sqlite"
    return "--data-dir", str(folder / "data"), "--sink", sink


def objects(folder: Path, *arguments: str) -> list[dict]:
    """Returns the JSON objects that the command prints."""
    done = call("forecasts", *where(folder), "--as", "json", *arguments)
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_newest(folder):
    """By default the newest forecast of every series, whose targets have no actuals yet."""
    found = objects(folder)
    assert [one["series"] for one in found] == ["a", "b"]
    for one in found:
        assert one["origin"] == "2026-01-05T00:59:00.000Z"
        assert one["targets"] == [f"2026-01-05T01:{minute:02d}:00.000Z" for minute in range(4)]
        assert one["actuals"] == [None] * 4
        assert len(one["quantiles"]) == 4
        assert all(row == sorted(row) and len(row) == len(one["levels"]) for row in one["quantiles"])


def test_at_a_time(folder):
    """The forecasts at a time, oldest first, with the actuals that have come since."""
    found = objects(folder, "--series", "b", "--at", "2026-01-05T00:30:30Z", "--last", "3")
    assert [one["origin"][11:16] for one in found] == ["00:28", "00:29", "00:30"]
    if (folder / "form").read_text() == "json":  # the text of a forecast has no value
        return
    for at, one in enumerate(found):
        wanted = [10.0 + math.sin((28 + at + step) / 5.0) + 1 for step in range(1, 5)]
        assert one["actuals"] == pytest.approx(wanted)


def test_tables(folder, tmp_path):
    """CSV and Parquet have the same rows, the table has the same order."""
    options = (*where(folder), "--last", "2")
    call("forecasts", *options, "--as", "csv", "--to", str(tmp_path / "f.csv"))
    call("forecasts", *options, "--as", "parquet", "--to", str(tmp_path / "f.parquet"))
    with (tmp_path / "f.csv").open() as file:
        rows = list(csv.DictReader(file))
    table = pyarrow.parquet.read_table(tmp_path / "f.parquet").to_pylist()
    assert len(rows) == len(table) == 2 * 2 * 4
    for one, other in zip(rows, table, strict=True):
        assert one == {name: "" if value is None else str(value) for name, value in other.items()}
    lines = call("forecasts", *options).stdout.splitlines()
    assert lines[0].split() == ["series", "origin", "target", "median", "low", "high", "actual"]
    assert [line.split()[:3] for line in lines[1:]] == [[row["series"], row["origin"], row["target"]] for row in rows]


def test_nothing_found(folder):
    """Without a forecast it says for which series, up to when."""
    done = CliRunner().invoke(main, ["forecasts", *where(folder), "--series", "c*", "--at", "2026-01-05T00:00:00Z"])
    assert done.exit_code == 1
    assert "has no forecast of a series that matches 'c*' up to 2026-01-05T00:00:00Z" in done.output


def test_tail(folder):
    """`tail` shows what is stored, in the order in which it was written, and the newest forecast of `forecasts`."""
    lines = call("tail", *where(folder), "--from-start", "--count", str(2 * COUNT), "--json").stdout.splitlines()
    shown = [json.loads(line) for line in lines]
    assert [(one["series"], one["origin"][14:16]) for one in shown] == [
        (series, f"{minute:02d}") for minute in range(COUNT) for series in ("a", "b")
    ]
    newest = objects(folder, "--series", "b")[0]
    assert (shown[-1]["levels"], shown[-1]["quantiles"]) == (newest["levels"], newest["quantiles"])
    lines = call("tail", *where(folder), "--from-start", "--series", "b", "--count", "3").stdout.splitlines()
    assert all("  b  " in line for line in lines)
    assert "next" in lines[-1]
    assert call("tail", *where(folder), "--for", "0.1").stdout == ""


def test_tail_waits_for_a_daemon(folder, tmp_path):
    """Before any daemon has started, `tail` says what it waits for, and shows its forecasts from the first on."""
    form, place = (folder / "form").read_text(), ("--data-dir", str(tmp_path / "data"))
    sink = ("--sink", "parquet") if form == "parquet" else ()
    command = [sys.executable, "-m", "service.cli", "tail", *place, *sink, "--count", "1"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as waiting:
        assert waiting.stderr is not None
        assert "no daemon has written it yet; waiting" in waiting.stderr.readline()
        call("run", "--input", str(folder / "load.csv"), *place, "--port", "0", *SMALL, *setting(form))
        out, _ = waiting.communicate()
    assert waiting.returncode == 0
    assert "2026-01-05T00:00:00.000Z  a" in out
