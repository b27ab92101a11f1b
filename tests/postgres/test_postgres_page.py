"""The queries of docs/postgres.md run on the output of a daemon."""

from __future__ import annotations

import json
import math
import re
import time
from pathlib import Path

import psycopg
from click.testing import CliRunner
from postgres_server import Server

from service.cli import main
from service.messages.prometheus_names import series_id

PAGE = (Path(__file__).parents[2] / "docs" / "postgres.md").read_text()
BLOCKS = re.findall(r"^```sql\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
SERIES = series_id([("__name__", "load"), ("instance", "a")])


def _time(hours: int) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + 3600 * hours))


def shown(database: psycopg.Connection, query: str) -> list[tuple]:
    """Returns the rows of a query of a panel, with Grafana's macros and the variable replaced as Grafana does."""
    query = query.replace("$series", SERIES)
    for macro, text in (
        (r"\$__timeFilter\((\w+)\)", r"\1 BETWEEN now() - interval '6 hours' AND now() + interval '4 hours'"),
        (r"\$__timeFrom\(\)", f"'{_time(-6)}'"),
        (r"\$__timeTo\(\)", f"'{_time(4)}'"),
    ):
        query = re.sub(macro, text, query)
    done = database.execute(query.encode())
    return done.fetchall() if done.description else []


def test_queries(server: Server, tmp_path: Path) -> None:
    """Every query of the page has rows, for the role that it makes where it reads."""
    server.rows("CREATE DATABASE page")
    newest = int(time.time()) // 600 * 600 - 600
    events = [
        json.dumps(
            {"series": SERIES, "timestamp": 1000 * (newest - 600 * at), "value": math.sin(at / 9) + 50 * (at == 2)}
        )
        for at in reversed(range(120))
    ]
    (tmp_path / "in.jsonl").write_text("\n".join(events) + "\n")
    role, newest_one, scores, anomalous, after, reader, ahead_of, observed, ahead, variable = BLOCKS
    with psycopg.connect(server.url("page"), autocommit=True) as database:
        shown(database, role)
        url = server.url("page", "forecaster")
        options = (
            "--horizon",
            "6",
            "--interval",
            "10m",
            "--set",
            "model.hidden_size=16",
            "--set",
            "model.head_size=16",
        )
        done = CliRunner().invoke(main, [
            "run", "--input", str(tmp_path / "in.jsonl"), "--data-dir", str(tmp_path / "data"), "--port", "0",
            "--set", f"postgres.url={url}", *options,
        ])  # fmt: skip
        assert done.exit_code == 0, done.output
        shown(database, reader)
    with psycopg.connect(server.url("page", "grafana"), autocommit=True) as database:
        found = shown(database, newest_one.replace('load{instance="a"}', SERIES))
        assert [row[0] for row in found] == [*range(1, 7)]
        assert [(row[0], row[1]) for row in shown(database, scores)] == [(SERIES, 1), (SERIES, 6)]
        assert {row[0] for row in shown(database, anomalous)} <= {"a"}
        assert [row[0] for row in shown(database, after)] == [*range(101, 121)]
        assert 40 <= len(shown(database, ahead_of)) <= 43
        assert 34 <= len(shown(database, observed)) <= 37
        assert len(shown(database, ahead)) == 6
        assert shown(database, variable) == [(SERIES,)]
