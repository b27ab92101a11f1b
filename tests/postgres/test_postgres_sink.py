"""The PostgreSQL sink: its tables and views, and outputs that it refuses."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from postgres_outputs import LEVELS, START, forecasts_of, opened, unit, unit_of_forecasts

from forecaster import Forecasts, Silence, Status
from service.errors import SinkFormatError, TransportBusyError
from service.messages.compact import CompactFormat, array_of, read_record
from service.messages.encode import JSON, encode
from service.ports import Adoption, Outcomes, Reject, TimeMark, Unit
from service.sinks import postgres_connection, postgres_rows, postgres_schema
from service.sinks.sqlite_sink import SqliteSink
from service.sources.manifest import FileEntry

ENTRY = FileEntry("a.csv", 0, None, 3, "00", ((5, ""), (9, "truncated")))


@pytest.fixture
def sink(server, schema):
    """An open sink."""
    sink = opened(server, schema)
    yield sink
    sink.close()


@pytest.fixture
def rows(server, schema):
    """Returns the rows that another program reads."""
    return lambda query, *values: server.rows(query.replace("@", f"{schema}."), *values)


class TestContent:
    """Tables and views."""

    def test_forecasts(self, sink, rows):
        """The view shows every forecast as a row in types of the database, while the sink is open."""
        decoded, forecasts = forecasts_of(3)
        sink.publish(unit_of_forecasts(decoded, forecasts, 0, 3))
        sink.publish(unit(3, 1))
        found = rows(
            "SELECT partition, position, series, origin, interval_ms, model, status, levels, quantiles, anomaly, "
            "flagged, value, revision FROM @forecasts ORDER BY id"
        )
        assert len(found) == 4
        *head, quantiles, anomaly, flagged, value, revision = found[2]
        at = datetime(2026, 1, 1, 0, 1, tzinfo=UTC)
        assert head == ["p", 2, "a", at, 60_000, "ab" * 6, "ok", [*LEVELS]]
        assert quantiles == forecasts.quantiles[2].tolist()
        assert (anomaly, flagged) == (pytest.approx(float(forecasts.anomaly[2]), rel=1e-6), False)
        assert (value, revision) == (decoded.value[2], 0)

    def test_rejects(self, sink, rows):
        """A reject keeps its bytes, key and headers; the character NUL of a text becomes its symbol."""
        reject = Reject(3, b"\x00\xff", "late", "w\0hy", b"\xfe", (("h", b"\xffa\0\\u0000"), ("none", None)))
        sink.publish(Unit("p", 0, 5, [], [], [reject, Reject(4, b"", "late", "")]))
        assert rows(
            "SELECT partition, position, reason, detail, value, key, headers FROM @rejects ORDER BY position"
        ) == [
            ("p", 3, "late", "w\u2400hy", b"\x00\xff", b"\xfe", [["h", "\\xffa\u2400\\u0000"], ["none", ""]]),
            ("p", 4, "late", "", b"", None, []),
        ]

    def test_restart(self, server, schema, sink):
        """Position, adoptions, marks and files are stored over a restart."""
        sink.publish(unit(0, 5, adoption=Adoption(0, "m1")), [ENTRY])
        sink.publish(unit(5, 5, adoption=Adoption(5, "m2"), group_adoptions=[Adoption(5, "m3", "cpu")]), [ENTRY])
        sink.publish(Unit("p", 10, 10, [], [], mark=TimeMark(10, 7)))
        name = sink.identity
        sink.open()
        assert (sink.committed("p"), sink.committed("other")) == (10, None)
        assert sink.adoptions("p") == [Adoption(0, "m1"), Adoption(5, "m2"), Adoption(5, "m3", "cpu")]
        assert sink.models_needed(lambda _: 7) == {"m2", "m3"}
        assert sink.marks("p", 0) == [TimeMark(10, 7)]
        assert sink.files("p") == [ENTRY]
        assert sink.identity == name
        assert schema in name.place
        assert len(name.starts) == 2

    def test_files_change(self, sink):
        """Changed entries are written in the position's transaction, unchanged ones stay, removed ones go."""
        other = FileEntry("b.csv", 10, None, 1, "11")
        grown = replace(other, size=4, start=3, checked=7, checksum=2**32 - 1, device=2**64 - 1, inode=2, stored=9,
                        changed_ns=5)  # fmt: skip
        sink.publish(unit(0, 5), [ENTRY])
        sink.publish(unit(5, 5), [other])
        assert sink.files("p") == [ENTRY, other]
        sink.publish(unit(10, 5), [grown], [ENTRY.key])
        assert sink.files("p") == [grown]

    def test_outcomes(self, sink):
        """Counts add up over units and starts; late rejects count as late."""
        rejects = [Reject(3, b"", "too_large", "got 3"), Reject(4, b"", "late", "got 4")]
        sink.publish(unit(0, 10, rejects=rejects, outcomes=Outcomes(7, 2, 1)))
        sink.open()
        sink.publish(unit(10, 10, outcomes=Outcomes(10)))
        assert sink.outcomes(["p", "q"]) == Outcomes(17, 2, 1, {"too_large": 1}, "got 3")
        assert sink.outcomes(["q"]) == Outcomes()

    def test_a_failure_in_the_middle(self, sink, rows):
        """A unit that fails halfway leaves nothing, and the series that it added get numbers with the next one."""
        broken = unit(0, 5, rejects=[Reject(1, object(), "late", "")])
        with pytest.raises(Exception, match="object"):
            sink.publish(broken)
        assert sink.committed("p") is None
        sink.publish(unit())
        assert rows("SELECT count(*), count(DISTINCT series) FROM @forecasts") == [(10, 2)]

    def test_labels(self, sink, rows):
        """Labels in the name of a series are jsonb; a name with the character NUL is stored with its symbol."""
        names = ['up{instance="a\\\\b",job="x,y"}', "plain", "n\0ul", 'no{"}']
        sink.publish(unit_of_forecasts(*forecasts_of(4, names=names), 0, 4))
        sink.publish(unit_of_forecasts(*forecasts_of(4, 4, names=names), 4, 8))
        found = dict(rows("SELECT DISTINCT series, labels FROM @forecasts"))
        assert found == {
            names[0]: {"__name__": "up", "instance": "a\\b", "job": "x,y"}, "plain": None, "n\u2400ul": None,
            names[3]: None,
        }  # fmt: skip
        assert rows("SELECT count(*) FROM @steps WHERE labels->>'job' = 'x,y'") == [(6,)]


def with_silences(count: int) -> tuple:
    """Returns forecasts of which some are unknown or missing, one is revised, and a silence."""
    decoded, found = forecasts_of(count, names=("a", "b", 'c"{x="é"}'))
    found.status[:3], found.quantiles[:3] = Status.UNKNOWN, np.nan
    found.status[5], decoded.value[5] = Status.MISSING, np.nan
    found.status[9] = Status.REPAIRED
    found.anomaly[4] = np.nan
    names = ("status", "origin_ms", "interval_ms", "steps", "quantiles", "anomaly", "flagged")
    silences = [Silence("b", 4, START - 5, START + 5, START + 7)]
    return decoded, Forecasts(*(getattr(found, name) for name in names), silences)


@pytest.mark.parametrize("view", ["forecasts", "steps", "silences", "verified"])
def test_views_show_what_sqlite_shows(sink, rows, tmp_path, view):
    """Every column is that of the same forecasts in SQLite, where JSON holds the same numbers."""
    decoded, forecasts = with_silences(40)
    sink.publish(unit_of_forecasts(decoded, forecasts, 0, 40))
    output = CompactFormat() if view == "verified" else JSON  # JSON has no actuals
    made = encode(decoded, forecasts, partition="p", levels=LEVELS, model_sha256="ab" * 32, output=output)
    other = SqliteSink(tmp_path / "f.sqlite")
    other.open()
    other.publish(Unit("p", 0, 40, made.series, made.forecasts, positions=made.positions))
    other.close()
    with closing(sqlite3.connect(other.path)) as database:
        database.row_factory = sqlite3.Row
        expected = [dict(row) for row in database.execute(f"SELECT * FROM {view}")]
    shared = sorted(expected[0].keys() - {"id", "origin_ms"} - ({"value"} if view == "forecasts" else set()))
    names = [*shared, *(["source"] if view == "forecasts" else [])]
    mine = [dict(zip(names, row, strict=True)) for row in rows(f"SELECT {', '.join(names)} FROM @{view}")]
    assert len(mine) == len(expected) > 0
    key = lambda row: tuple(str(row.get(name)) for name in ("position", "series", "step"))  # noqa: E731 - short
    for one, two in zip(sorted(mine, key=key), sorted(expected, key=key), strict=True):
        for name in shared:
            assert _plain(one[name]) == _approximately(two[name]), name


def _plain(value: object) -> object:
    return f"{value:%Y-%m-%dT%H:%M:%S}.{value.microsecond // 1000:03d}Z" if isinstance(value, datetime) else value


def _approximately(value: object) -> object:
    import json

    if isinstance(value, str) and value.startswith("["):
        value = json.loads(value)
    if isinstance(value, list):
        return (
            [pytest.approx(row, abs=0.1) for row in value]
            if value and isinstance(value[0], list)
            else pytest.approx(value, abs=0.1)
        )
    return pytest.approx(value, abs=0.1) if isinstance(value, float) else value


@settings(deadline=None, max_examples=25)
@given(
    level=st.sampled_from([0.0, 1e-30, 1e9, 1e15, 1e300, float("inf")]),
    steps=st.integers(1, 6),
    seed=st.integers(0, 99),
)
def test_numbers_are_exact(server, level, steps, seed):
    """Quantiles are read as the numbers that they were, whatever their size: in real where it has them, else wider."""
    rng = np.random.default_rng(seed)
    decoded, found = forecasts_of(4, steps=steps)
    numbers = np.sort(rng.normal(0.0, 1.0, (4, steps, 3)), axis=2)
    numbers[:2] = numbers[:2].astype(np.float32)
    numbers[1::2] += level
    found.quantiles[:] = numbers
    sink = opened(server, "test_numbers")
    begin = sink.committed("p") or 0
    sink.publish(unit_of_forecasts(decoded, found, begin, begin + 4))
    sink.close()
    stored = server.rows("SELECT quantiles, id FROM test_numbers.forecasts ORDER BY id DESC LIMIT 4")
    np.testing.assert_array_equal([row[0] for row in reversed(stored)], numbers)
    narrow = server.rows(
        "SELECT quantiles IS NOT NULL, wide IS NOT NULL FROM test_numbers.stored_forecasts ORDER BY id DESC LIMIT 4"
    )
    assert narrow[3] == (True, False)
    assert narrow[1] == (False, True)


class TestRefused:
    """Outputs that cannot be used."""

    def test_busy(self, server, schema, sink, monkeypatch):
        """A second daemon is refused while the first is connected; the message names the first."""
        monkeypatch.setattr(postgres_connection, "LOCK_SECONDS", 0.2)
        with pytest.raises(TransportBusyError, match=r"another daemon uses this schema \(process \d+ .*schema_name"):
            opened(server, schema)
        opened(server, f"{schema}_other").close()
        sink.close()
        opened(server, schema).close()

    def test_schema_of_another_program(self, server, schema):
        """A schema with other tables is refused and unchanged."""
        server.rows(f"CREATE SCHEMA {schema}")
        server.rows(f"CREATE TABLE {schema}.theirs (x int)")
        with pytest.raises(SinkFormatError, match="tables of another program"):
            opened(server, schema)
        assert server.rows("SELECT count(*) FROM pg_tables WHERE schemaname = %s", schema) == [(1,)]

    def test_a_schema_that_was_made_for_it(self, server, schema):
        """An empty schema is used, by a role that may not create any."""
        server.rows(f"CREATE ROLE {schema} LOGIN")
        server.rows(f"CREATE SCHEMA {schema} AUTHORIZATION {schema}")
        sink = opened(server, schema, url=server.url(user=schema))
        sink.publish(unit())
        assert sink.committed("p") == 10
        sink.close()

    def test_encoding(self, server, schema):
        """A database of another encoding is refused."""
        server.rows(f"CREATE DATABASE {schema} ENCODING 'SQL_ASCII' TEMPLATE template0")
        with pytest.raises(SinkFormatError, match="encoding SQL_ASCII, expected UTF8"):
            opened(server, schema, url=server.url(schema))

    def test_dropped_tables(self, server, schema, sink):
        """Tables that another program has dropped are reported, not made anew without their forecasts."""
        sink.publish(unit(0, 5))
        server.rows(f"DROP SCHEMA {schema} CASCADE")
        with pytest.raises(SinkFormatError, match="changed or dropped"):
            sink.publish(unit(5, 5))


class TestVersions:
    """Migration."""

    def test_older_and_newer(self, server, schema, monkeypatch):
        """An older output gets the steps that it lacks, and keeps its rows; an output of a later program is refused."""
        sink = opened(server, schema)
        sink.publish(unit(0, 5))
        older = postgres_schema.STEPS[:]
        monkeypatch.setattr(
            postgres_schema, "STEPS", [*older, "ALTER TABLE stored_forecasts ADD COLUMN extra int NOT NULL DEFAULT 7"]
        )
        sink.open()
        sink.publish(unit(5, 5))
        sink.close()
        found = f"SELECT count(*), sum(extra) FROM {schema}.stored_forecasts"
        assert server.rows(found) == [(10, 70)]
        assert server.rows(f"SELECT version FROM {schema}.output") == [(len(older) + 1,)]
        monkeypatch.setattr(postgres_schema, "STEPS", older)
        with pytest.raises(SinkFormatError, match=f"schema version {len(older) + 1}, expected {len(older)} or less"):
            sink.open()

    def test_a_step_that_fails(self, server, schema, monkeypatch):
        """A migration that fails changes nothing."""
        opened(server, schema).close()
        steps = [*postgres_schema.STEPS, "DROP VIEW steps; SELECT 1 / 0"]
        monkeypatch.setattr(postgres_schema, "STEPS", steps)
        with pytest.raises(Exception, match="division by zero"):
            opened(server, schema)
        assert server.rows(f"SELECT count(*) FROM {schema}.steps") == [(0,)]
        assert server.rows(f"SELECT version FROM {schema}.output") == [(len(steps) - 1,)]


@settings(deadline=None, max_examples=25)
@given(st.integers(1, 12), st.booleans(), st.integers(0, 2**20), st.sampled_from([(), (0,), (3, 5)]))
def test_rows_at_once(server, count, wide, seed, without):
    """Rows that are made at once are, byte for byte, those that are made one by one."""
    decoded, found = forecasts_of(count, seed=seed)
    if wide:
        found.quantiles[:] += 1e9 + np.pi
    for at in without:
        decoded.value[at:][:1] = np.nan
        found.anomaly[at + 1 :][:1] = np.nan
    made = unit_of_forecasts(decoded, found, 0, count)
    alike, series = array_of(made.forecasts), [*range(count)]
    assert alike is not None
    one_by_one = [
        piece
        for at, record in enumerate(made.forecasts)
        for piece in postgres_rows._forecast(7, made.positions[at], read_record(record), series[at], 9)
    ]
    assert b"".join(postgres_rows._alike(7, made, alike, series, 9)) == b"".join(one_by_one)
