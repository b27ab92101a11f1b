"""Commands over a PostgreSQL output: `run`, `forecasts`, `config`."""

from __future__ import annotations

import csv
import json
import math
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from postgres_outputs import opened
from postgres_server import Server

from service.cli import main

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
