"""A SQLite output keeps within its bounds, by age and by size, and loses nothing else."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from dataclasses import replace

import pytest
from test_sqlite_views import START, batch

from service.messages.compact import CompactFormat
from service.messages.encode import JSON, encode
from service.ports import Adoption, Reject, Unit
from service.sinks.sqlite_retention import SqliteRetention
from service.sinks.sqlite_sink import SqliteSink

HOUR = 3_600_000
LEVELS = (0.1, 0.5, 0.9)


class Output:
    """An output that grows by units of 60 forecasts and a reject."""

    def __init__(self, path, output=None, **bounds):
        self.path, self.now, self._at, self._output = path, 1000 * HOUR, 0, output or CompactFormat()
        self.sink = SqliteSink(path, SqliteRetention(now_ms=lambda: self.now, **bounds))
        self.sink.open()

    def grow(self, units=1, hours=0.0, *, steps=12, rename=False):
        """Writes units; the time goes on by so many hours before each."""
        for _ in range(units):
            self.now += int(hours * HOUR)
            decoded, forecasts = batch(60, self._at, steps=steps, start=START + self._at * HOUR)
            if rename:
                decoded.series[:] = [f"{name} {self._at}" for name in decoded.series]
                forecasts.silences[:] = [replace(one, series=f"{one.series} {self._at}") for one in forecasts.silences]
            made = encode(decoded, forecasts, partition="p", levels=LEVELS, model_sha256="ab" * 32, output=self._output)
            begin = self._at * 60
            reject = Reject(begin, b"x" * 100, "undecodable", "why")
            self.sink.publish(
                Unit("p", begin, begin + 60, made.series, made.forecasts, [reject], positions=made.positions,
                     adoption=Adoption(begin, "m") if begin == 0 else None)
            )  # fmt: skip
            self._at += 1

    def rows(self, query):
        """Returns what another program reads."""
        with closing(sqlite3.connect(self.path)) as database:
            return database.execute(query).fetchall()

    def count(self, table):
        """Returns the number of rows of a table."""
        return self.rows(f"SELECT count(*) FROM {table}")[0][0]


def test_by_age(tmp_path):
    """Outputs are deleted after the time they are kept, counted from when they were written, to the hour."""
    output = Output(tmp_path / "f.sqlite", keep_ms=10 * HOUR)
    output.grow(40, 1.0)
    kept = output.count("forecasts")
    assert 9 * 60 <= kept <= 12 * 60
    assert output.rows("SELECT min(position), max(position) FROM forecasts") == [(0, 59)]  # positions of a unit
    assert 9 <= output.count("rejects") <= 12
    assert 9 <= output.count("silences") <= 12
    assert output.count("written") <= 12
    assert output.sink.committed("p") == 2400
    assert output.sink.adoptions("p") == [Adoption(0, "m")]
    found = output.sink.outcomes(["p"])
    assert found.rejects == {"undecodable": 40}, "deleted rejects are counted"


def test_nothing_is_deleted_without_bounds(tmp_path):
    """Without bounds everything stays."""
    output = Output(tmp_path / "f.sqlite")
    output.grow(30, 100.0)
    assert output.count("forecasts") == 30 * 60


def test_the_newest_rows_stay(tmp_path):
    """After a long pause the next unit does not take numbers that were used before, and old ones go bit by bit."""
    output = Output(tmp_path / "f.sqlite", keep_ms=2 * HOUR)
    output.grow(20)
    output.grow(1, 50.0)
    newest = output.rows("SELECT max(id) FROM stored_forecasts")[0][0]
    output.grow(30, 0.2)
    assert output.rows("SELECT max(id) FROM stored_forecasts")[0][0] == newest + 30 * 60
    assert output.count("forecasts") < 16 * 60


@pytest.mark.parametrize("form", ["compact", "json"])
def test_by_size(tmp_path, form):
    """The file stops growing at its bound, and holds the newest forecasts; names of series that are gone go, too."""
    output = Output(tmp_path / "f.sqlite", JSON if form == "json" else None, max_bytes=1_000_000)
    output.grow(120, rename=True)
    output.sink.close()  # the journal is written back
    first = output.path.stat().st_size
    output.sink.open()
    output.grow(120, rename=True)
    output.sink.close()
    assert output.path.stat().st_size <= first * 1.1
    assert first <= 1_400_000
    newest = output.rows("SELECT max(origin) FROM forecasts")[0][0]
    assert newest == output.rows("SELECT max(origin) FROM forecasts WHERE series = 'a 239'")[0][0]
    assert output.count("forecasts") < 200 * 60
    if form == "compact":
        named = output.rows(
            "SELECT name FROM series_names EXCEPT SELECT series FROM forecasts EXCEPT SELECT series FROM silences"
        )
        assert named == []
        assert output.count("series_names") < 3 * 200


def test_names_go_with_their_last_row(tmp_path):
    """A series whose last rows are a forecast and a silence of it is forgotten with both, whichever goes last."""
    for bounds in ({"keep_ms": 10 * HOUR}, {"max_bytes": 1_048_576}):
        output = Output(tmp_path / min(bounds), **bounds)
        output.grow(150, 1.0, rename=True)
        used = output.rows("SELECT series FROM stored_forecasts UNION SELECT series FROM stored_silences")
        assert len(used) < 150 * 3
        assert output.count("series_names") == len(used)


def test_the_oldest_of_all_tables_go_first(tmp_path):
    """What an earlier configuration has filled a file with does not displace what is written now."""
    output = Output(tmp_path / "f.sqlite", JSON)
    output.grow(100, 1.0)
    output.sink.close()  # the journal is written back
    output.sink.open()
    output._output, output.sink._retention.max_bytes = CompactFormat(), output.path.stat().st_size // 3
    output.grow(20, 1.0)
    assert output.count("stored_forecasts") == 20 * 60
    assert output.count("stored_silences") == 20
    assert output.count("rejects") == 20
    assert output.count("batches") == 100 - 20 * 2
    output.grow(200, 1.0)
    assert output.count("batches") == 1  # the newest one stays
    oldest = [output.rows(f"SELECT min({column}) FROM {table}")[0][0] for table, column in (
        ("stored_forecasts", "origin_ms"), ("stored_silences", "noticed_ms"),
    )]  # fmt: skip
    assert 0 < output.count("stored_silences") < 220
    assert output.count("stored_forecasts") < 220 * 60
    assert abs(output.rows("SELECT min(position) FROM rejects")[0][0] / 60 - (oldest[0] - START) / HOUR) <= 2


def test_space_is_given_back(tmp_path):
    """A file whose bound was lowered becomes smaller, a little with every unit."""
    output = Output(tmp_path / "f.sqlite")
    for _ in range(10):
        output.grow(60, steps=120)
    output.sink.close()
    large = output.path.stat().st_size
    assert large > 30_000_000
    output.sink._retention.max_bytes = 2_000_000
    output.sink.open()
    output.grow(700, steps=1)
    output.sink.close()
    with closing(sqlite3.connect(output.path)) as database:
        assert database.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    assert output.path.stat().st_size < large * 0.9
