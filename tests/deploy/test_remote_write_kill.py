"""A daemon that is killed, or whose server is down: the server has every forecast, once, by its own count."""

from __future__ import annotations

import os
import random
import shutil
import sqlite3
import sys
import time
from contextlib import closing
from pathlib import Path

import pytest
from metric_servers import MetricServer, running

sys.path.insert(0, str(Path(__file__).parents[1] / "e2e"))  # the launchers of daemons

from launchers import Launcher, write_sections
from test_remote_write_out import EVERY_S, HOSTS, settings_of, write_input

KILLS = int(os.environ.get("CHAOS_REMOTE_WRITE_KILLS", "8"))  # `make chaos` has the long form
DOWN_SECONDS = float(os.environ.get("CHAOS_REMOTE_WRITE_DOWN", "3"))
STEPS = 1000
KILLED = -9

pytestmark = [pytest.mark.slow, pytest.mark.timeout(400 + 20 * KILLS)]


def written_config(folder: Path, server: MetricServer, end_s: int) -> Path:
    """Writes input and configuration; returns the path of the latter."""
    path = write_input(folder, end_s, STEPS, 2)  # within an hour: Prometheus refuses what is older than its newest
    settings = settings_of(folder, path, url=server.write_url, metric="forecast_0", steps=[1], quantiles=[0.5])
    settings["model"]["interval"] = "2s"
    return write_sections(folder / "config.toml", settings)


def counts(folder: Path) -> dict[str, int]:
    """Returns the number of stored forecasts of each host."""
    query = "SELECT series, count(*) FROM forecasts WHERE status = 'ok' AND quantiles IS NOT NULL GROUP BY series"
    with closing(sqlite3.connect(folder / "data" / "forecasts.sqlite")) as database:
        if not database.execute("SELECT 1 FROM sqlite_master WHERE name = 'forecasts'").fetchone():
            return {}
        return {series.split('"')[1]: number for series, number in database.execute(query)}


def found_in(server: MetricServer, end_s: int, metric: str) -> dict[str, int]:
    """Returns the number of samples of each host in a server."""
    found = server.query(f"count_over_time({metric}[12h])", end_s + 1)
    return {one["metric"]["host"]: int(one["value"][1]) for one in found}


@pytest.mark.parametrize("program", ["prometheus", "victoria-metrics"])
def test_killed_at_random_moments(tmp_path: Path, program: str) -> None:
    """SIGKILLs at seeded random moments, and behind numbered steps of the loop: nothing is lost, nothing counts twice.

    A batch that was answered and not recorded is repeated as the same batch, which Prometheus refuses as a whole.
    """
    rng, kills, rounds = random.Random(20), 0, 0
    with running(program, tmp_path / program) as server:
        end_s = int(time.time()) // EVERY_S * EVERY_S
        config = written_config(tmp_path, server, end_s)
        start = Launcher(config)
        try:
            assert start.run() == 0  # may have compiled
            begun = time.monotonic()
            shutil.rmtree(tmp_path / "data")
            assert start.run() == 0
            whole = time.monotonic() - begun
            expected = counts(tmp_path)
            while kills < KILLS:
                rounds += 1
                metric = f"forecast_{rounds}"
                config.write_text(config.read_text().replace(f"forecast_{rounds - 1}", metric))
                shutil.rmtree(tmp_path / "data")
                for step in ("3:7", "4:4", "5:3"):
                    assert start.run(kill_at=f"step:{step}") == KILLED
                    kills += 1
                reach = 0.3 * whole
                while (status := start.run(rng.uniform(0.0, reach))) == KILLED:
                    kills += 1
                    reach *= 1.1
                assert status == 0
                assert counts(tmp_path) == expected
                assert found_in(server, end_s, metric) == expected
        finally:
            start.close()
    assert expected.keys() == {*HOSTS}
    assert min(expected.values()) > STEPS - 20


@pytest.mark.parametrize("program", ["prometheus", "victoria-metrics"])
def test_the_server_is_down_for_a_while(tmp_path: Path, program: str) -> None:
    """Forecasts go on, and all of them are there once it is back; what a daemon has not sent, its next start sends."""
    with running(program, tmp_path / program) as server:
        end_s = int(time.time()) // EVERY_S * EVERY_S
        config = written_config(tmp_path, server, end_s)
        server.stop()
        start = Launcher(config)
        try:
            start.start()
            ends = time.monotonic() + 200
            while not (tmp_path / "data" / "forecasts.sqlite").exists() or sum(counts(tmp_path).values()) < STEPS:
                assert time.monotonic() < ends
                time.sleep(0.05)
            time.sleep(DOWN_SECONDS)
            server.start()
            start.wait()
            assert start.run() == 0
        finally:
            start.close()
        assert found_in(server, end_s, "forecast_0") == counts(tmp_path)
