"""A daemon that is killed, or whose database goes away, at any moment leaves the output of an undisturbed run.

    CHAOS_POSTGRES_KILLS=200 CHAOS_POSTGRES_DOWN=60 pytest tests/postgres/test_postgres_kill.py

is the long form: so many kills, and a database that is down for so many seconds. Counts are the database's own.
"""

from __future__ import annotations

import os
import random
import shutil
import signal
import threading
import time
from pathlib import Path

import pytest
from launchers import Launcher
from postgres_server import Server
from test_kill import KILLED, RETRAIN, launcher, write_config, write_events

KILLS = int(os.environ.get("CHAOS_POSTGRES_KILLS", "6"))
DOWN = float(os.environ.get("CHAOS_POSTGRES_DOWN", "2"))

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600 + 10 * KILLS + 4 * DOWN)]

_FORECASTS = (
    "partition, position, series, origin, interval_ms, model, status, levels, quantiles, anomaly, flagged, value, "
    "revision, source"
)
Content = dict[str, list[tuple[object, ...]]]


@pytest.fixture(scope="module")
def own():
    """A server that tests stop and start."""
    found = Server()
    found.start()
    yield found
    found.close()


def configured(folder: Path, server: Server, schema: str, count: int) -> Path:
    """Writes events of two partitions and a configuration that stores their forecasts in a schema."""
    inputs = [folder / "first.jsonl", folder / "second.jsonl"]
    for path in inputs:
        write_events(path, count, bad=True)
    output = f'[output]\nsink = "postgres"\n[postgres]\nurl = "{server.url()}"\nschema_name = "{schema}"\n'
    return write_config(folder, inputs, output)


def content(server: Server, schema: str) -> Content:
    """Returns everything that a reader of the output sees, in an order that does not depend on batches."""
    return {
        name: server.rows(f"SELECT {columns} FROM {schema}.{table} ORDER BY {order}")
        for name, table, columns, order in (
            ("forecasts", "forecasts", _FORECASTS, "partition, position, series, origin"),
            ("rejects", "rejects", "partition, position, reason, detail, value, key, headers", "1, 2"),
            ("positions", "positions", "partition, next_position", "1"),
            ("outcomes", "outcomes", "*", "1"),
            ("adoptions", "adoptions", "partition, model", "1, position"),
        )
    }


def assert_once(server: Server, schema: str, expected: Content) -> None:
    """Asserts that the output is complete, without duplicates, and equal to `expected`."""
    query = f"SELECT count(*), count(DISTINCT (partition, position, series, origin)) FROM {schema}.forecasts"
    assert server.rows(query) == [(len(expected["forecasts"]),) * 2]
    got = content(server, schema)
    for table, rows in expected.items():
        assert got[table] == rows, table


def begin_anew(folder: Path, server: Server, schema: str) -> None:
    """Deletes output and state."""
    server.rows(f"DROP SCHEMA IF EXISTS {schema} CASCADE")
    shutil.rmtree(folder / "data", ignore_errors=True)


def disturbed(start: Launcher, server: Server, seconds: float, how: str) -> int:
    """Runs a daemon that is disturbed after some seconds; returns its exit status."""
    if how == "killed":
        return start.run(seconds)

    def end_sessions() -> None:
        server.rows("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'forecaster'")

    timer = threading.Timer(seconds, end_sessions)
    timer.start()
    status = start.run()
    timer.join()
    return status


def test_killed_at_random_moments(tmp_path: Path, server: Server, schema: str) -> None:
    """Kills of the daemon, and of its sessions, at seeded random moments do not change a number."""
    config = configured(tmp_path, server, schema, 1_500)
    rng = random.Random(20261201)
    with launcher(config) as start:
        assert start.run() == 0, (tmp_path / "daemon.log").read_text()
        expected = content(server, schema)
        assert len(expected["forecasts"]) > 2_800
        assert expected["rejects"]
        begin_anew(tmp_path, server, schema)
        begun = time.monotonic()
        assert start.run() == 0
        whole, kills = time.monotonic() - begun, 0
        while kills < KILLS:
            begin_anew(tmp_path, server, schema)
            reach = 0.3 * whole
            while (
                status := disturbed(start, server, rng.uniform(0.0, reach), rng.choice(["killed", "cut"]))
            ) == KILLED:
                kills += 1
                reach *= 1.1
            assert status == 0, (tmp_path / "daemon.log").read_text()
            assert_once(server, schema, expected)


@pytest.mark.parametrize("step", [1, 2, 3, 4, 5])
def test_killed_at_every_step(tmp_path: Path, server: Server, schema: str, step: int) -> None:
    """Kills after a numbered step, early, later and during a replay, do not change a number."""
    config = configured(tmp_path, server, schema, 400)
    with launcher(config) as start:
        assert start.run() == 0
        expected = content(server, schema)
        begin_anew(tmp_path, server, schema)
        for passage in (1, 5, 2, 1):
            assert start.run(kill_at=f"step:{step}:{passage}") == KILLED
        assert start.run() == 0
        assert_once(server, schema, expected)


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGQUIT])
def test_the_database_is_down_for_a_while(tmp_path: Path, own: Server, schema: str, how: signal.Signals) -> None:
    """While the database is down nothing is read, lost or restarted: the daemon waits, says so once, and goes on."""
    config = configured(tmp_path, own, schema, 4_000)
    with launcher(config) as start:
        assert start.run() == 0
        expected = content(own, schema)
        begin_anew(tmp_path, own, schema)
        log = tmp_path / "daemon.log"
        log.write_text("")
        start.start()
        forecasts = 0
        while forecasts < 500:
            time.sleep(0.01)
            if own.rows("SELECT to_regclass(%s) IS NOT NULL", f"{schema}.forecasts") == [(True,)]:
                ((forecasts,),) = own.rows(f"SELECT count(*) FROM {schema}.forecasts")
        own.stop(how)
        time.sleep(DOWN)
        own.start()
        assert start.wait() == 0, log.read_text()
        assert_once(own, schema, expected)
    text = log.read_text()
    assert text.count("sink unavailable, retrying") == text.count("sink available again") == 1, text
    assert "restarting" not in text


def test_killed_while_retraining(tmp_path: Path, server: Server, schema: str) -> None:
    """Trainings run, their models are adopted, and kills in and around them leave the same adoptions and numbers."""
    write_events(tmp_path / "in.jsonl", 2_500, bad=False)
    output = f'[output]\nsink = "postgres"\n[postgres]\nurl = "{server.url()}"\nschema_name = "{schema}"\n'
    config = write_config(tmp_path, [tmp_path / "in.jsonl"], output + RETRAIN)
    with launcher(config) as start:
        assert start.run() == 0, (tmp_path / "daemon.log").read_text()
        expected = content(server, schema)
        assert len(expected["adoptions"]) >= 2
        begin_anew(tmp_path, server, schema)
        for step in (6, "4:6", 7):
            assert start.run(kill_at=f"step:{step}") == KILLED
        assert start.run() == 0
        assert_once(server, schema, expected)


def test_two_daemons(tmp_path: Path, server: Server, schema: str) -> None:
    """A second daemon with the same schema ends with a message, and the first is not disturbed."""
    config = configured(tmp_path, server, schema, 400)
    config.write_text(config.read_text().replace("[input]", "[input]\nfollow = true"))
    other = tmp_path / "other"
    other.mkdir()
    second = other / "config.toml"
    second.write_text(config.read_text().replace(str(tmp_path / "data"), str(other / "data")))
    with launcher(config) as start, launcher(second) as again:
        start.start()
        while server.rows("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'") == [(0,)]:
            time.sleep(0.01)
        again.start()
        assert again.wait() not in {0, KILLED}
        assert "another daemon uses this schema" in (other / "daemon.log").read_text()
        found = (0, 0)
        while found[0] < 780:
            time.sleep(0.01)
            query = f"SELECT count(*), count(DISTINCT (partition, position, series, origin)) FROM {schema}.forecasts"
            (found,) = server.rows(query)
            assert found[0] == found[1]
        assert start.wait(0.0) == KILLED
