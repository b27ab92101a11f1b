"""Commands over a PostgreSQL output: `run`, `forecasts`, `config`."""

from __future__ import annotations

import csv
import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result
from postgres_outputs import opened
from postgres_server import Server

from service.cli import main
from service.config.load import load_config
from service.sinks.postgres_forecasts import PostgresForecasts

SMALL = ("--horizon", "4", "--interval", "1m", "--set", "model.hidden_size=16", "--set", "model.head_size=16")
SCHEMA = "commands"


def call(*arguments: str, status: int = 0) -> Result:
    """Runs a command, which must end with this status."""
    done = CliRunner().invoke(main, arguments)
    assert done.exit_code == status, done.output
    return done


def written(folder: Path) -> Path:
    """Writes an hour of two series."""
    lines = [
        f"{series},2026-01-05T00:{minute:02d}:00Z,{10.0 + math.sin(minute / 5.0) + at}"
        for minute in range(60)
        for at, series in enumerate(("a", "b"))
    ]
    path = folder / "load.csv"
    path.write_text("\n".join(["series,timestamp,value", *lines]) + "\n")
    return path


@pytest.fixture(scope="module")
def flags(server: Server, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, ...]:
    """Options with which commands find the output of a daemon that has forecast two series."""
    folder = tmp_path_factory.mktemp("commands")
    flags = ("--data-dir", str(folder / "data"), "--set", f"postgres.url={server.url()}",
             "--set", f"postgres.schema_name={SCHEMA}")  # fmt: skip
    call("run", "--input", str(written(folder)), "--port", "0", *SMALL, *flags)
    return flags


def objects(flags: tuple[str, ...], *arguments: str) -> list[dict]:
    """Returns the JSON objects that the command prints."""
    return [json.loads(line) for line in call("forecasts", "--as", "json", *flags, *arguments).stdout.splitlines()]


def test_newest(flags, server):
    """By default the newest forecast of every series; the end of a run names the database."""
    found = objects(flags)
    assert [one["series"] for one in found] == ["a", "b"]
    for one in found:
        assert one["origin"] == "2026-01-05T00:59:00.000Z"
        assert one["targets"] == [f"2026-01-05T01:{minute:02d}:00.000Z" for minute in range(4)]
        assert one["actuals"] == [None] * 4
        assert all(row == sorted(row) and len(row) == len(one["levels"]) for row in one["quantiles"])
    assert server.rows(f"SELECT count(*) FROM {SCHEMA}.forecasts") == [(120,)]


def test_at_a_time(flags, tmp_path):
    """The forecasts at a time with the actuals that have come since, in all forms."""
    where = ("--series", "b", "--at", "2026-01-05T00:30:30Z", "--last", "3")
    found = objects(flags, *where)
    assert [one["origin"][11:16] for one in found] == ["00:28", "00:29", "00:30"]
    for at, one in enumerate(found):
        assert one["actuals"] == pytest.approx([10.0 + math.sin((28 + at + step) / 5.0) + 1 for step in range(1, 5)])
    call("forecasts", *flags, *where, "--as", "csv", "--to", str(tmp_path / "f.csv"))
    with (tmp_path / "f.csv").open() as file:
        assert [float(row["actual"]) for row in csv.DictReader(file)] == [x for one in found for x in one["actuals"]]
    assert "median" in call("forecasts", *flags, *where).stdout


def test_tail(flags):
    """`tail` shows what is stored in the order in which it was written, and waits where there is no output yet."""
    lines = call("tail", *flags, "--from-start", "--count", "120", "--json").stdout.splitlines()
    shown = [json.loads(line) for line in lines]
    assert [(one["series"], one["origin"][14:16]) for one in shown] == [
        (series, f"{minute:02d}") for minute in range(60) for series in ("a", "b")
    ]
    newest = objects(flags, "--series", "b")[0]
    assert (shown[-1]["levels"], shown[-1]["quantiles"]) == (newest["levels"], newest["quantiles"])
    assert shown[0].keys() == {"series", "origin", "interval_ms", "levels", "quantiles", "anomaly", "flagged", "model",
                               "source", "status"}  # fmt: skip
    lines = call("tail", *flags, "--from-start", "--series", "b", "--count", "3").stdout.splitlines()
    assert all("  b  " in line for line in lines)
    assert call("tail", *flags, "--for", "0.1").stdout == ""
    done = call("tail", *flags, "--set", "postgres.schema_name=later", "--for", "0.1")
    assert "schema later: no daemon has written it yet; waiting" in done.stderr


def test_following(server, schema):
    """Outputs of any pages come once and in order; silences come behind the forecasts of their batch."""
    from test_sqlite_views import LEVELS, START, batch
    from test_stored_forecasts import key, read_all

    from forecaster import Note
    from service.messages.array_format import ArrayFormat
    from service.messages.encode import JSON, encode
    from service.ports import Unit

    sink, written = opened(server, schema), []
    stored = PostgresForecasts(
        load_config(None, {"postgres.url": server.url(), "postgres.schema_name": schema}).postgres
    )
    position, found = None, []
    for number in range(4):
        decoded, forecasts = batch(30, number, start=START + number * 3_600_000)
        decoded.positions[:] = range(number * 30, number * 30 + 30)
        forecasts = replace(forecasts, notes=np.where(np.arange(30) == 7, Note.OVER_BUDGET, 0).astype(np.uint8))
        made = [encode(decoded, forecasts, partition="p", levels=LEVELS, model_sha256="ab" * 32, output=output)
                for output in (ArrayFormat(), JSON)]  # fmt: skip
        sink.publish(Unit("p", number * 30, number * 30 + 30, made[0].series, made[0].forecasts,
                          positions=made[0].positions))  # fmt: skip
        written += [json.loads(text) for text in made[1].forecasts]
        more, position = read_all(stored, position, 7 + number)
        found += more
    sink.close()
    stored.close()
    assert [one for one in found if "kind" in one] == [one for one in written if "kind" in one]
    found, written = ([one for one in part if "kind" not in one] for part in (found, written))
    assert [key(one) for one in found] == [key(one) for one in written]
    assert [[*one] for one in found] == [[*one] for one in written]
    for name in ("source", "suppressed"):
        assert [one.get(name) for one in found] == [one.get(name) for one in written]


def test_a_role_that_reads(flags, server):
    """A role that may only read is enough for `forecasts`."""
    server.rows("CREATE ROLE reader LOGIN")
    server.rows(f"GRANT USAGE ON SCHEMA {SCHEMA} TO reader")
    server.rows(f"GRANT SELECT ON ALL TABLES IN SCHEMA {SCHEMA} TO reader")
    other = [flag.replace("postgres@", "reader@") for flag in flags]
    assert objects(tuple(other)) == objects(flags)


def test_nothing_found(flags):
    """No such series, and no such output, are errors with status 1 that name the schema."""
    assert f"schema {SCHEMA}: has no forecast" in call("forecasts", "--series", "none", *flags, status=1).output
    done = call("forecasts", *flags, "--set", "postgres.schema_name=nobody", status=1)
    assert "schema nobody: has no output" in done.output


def test_config(server, schema, tmp_path):
    """`config check --online` says what a start would do; `config show` has no password."""
    path = tmp_path / "c.toml"
    url = server.url().replace("postgres@", "postgres:hunter2@")
    path.write_text(f'[input]\nfiles = ["{written(tmp_path)}"]\n[state]\ndata_dir = "{tmp_path / "d"}"\n'
                    f'[postgres]\nurl = "{url}"\nschema_name = "{schema}"\n[http]\nport = 0\n')  # fmt: skip
    online = ("config", "check", "--online", "--config", str(path))
    assert "the schema will be created" in call(*online).output
    opened(server, schema).close()
    assert "exists and will be continued" in call(*online).output
    server.rows(f"UPDATE {schema}.output SET version = 0")
    assert "of version 0 will be migrated" in call(*online).output
    server.rows(f"UPDATE {schema}.output SET version = 99")
    assert "got schema version 99" in call(*online, status=1).output
    server.rows(f"DROP SCHEMA {schema} CASCADE")
    server.rows(f"CREATE ROLE {schema} LOGIN")
    path.write_text(path.read_text().replace("postgres:hunter2@", f"{schema}@"))
    assert "the role may not create the schema" in call(*online, status=1).output
    path.write_text(path.read_text().replace(f"{schema}@", "x:hunter2@"))
    for shown in (
        call("config", "show", "--config", str(path)),
        call("config", "show", "--config", str(path), "--set", "postgres.url=http://x:hunter2@", status=2),
    ):
        assert "hunter2" not in shown.output
    for bad in ("postgresql://x:hunter2@h:hunter2port/d?a", "postgresql://x:hunter2@[::1/d"):
        done = call("run", "--config", str(path), "--set", f"postgres.url={bad}", status=2)
        assert "hunter2" not in done.output
        assert "postgres.url: cannot be read by libpq" in done.output
