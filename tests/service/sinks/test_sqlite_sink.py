"""The SQLite sink: its tables and views, and its errors when it cannot be written."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from service.errors import SinkFormatError, SinkUnavailableError, TransportBusyError
from service.ports import Adoption, Outcomes, Reject, Unit
from service.sinks.sqlite_sink import SqliteSink
from service.sources.manifest import FileEntry

FORECAST = (
    b'{"series":"cpu","origin":"2026-01-01T00:00:00.000Z","interval_ms":60000,"levels":[0.1,0.5],'
    b'"quantiles":[[1.0,2.5]],"anomaly":null,"model":"abc","source":{"partition":"p","position":%d},"status":"ok"}'
)
ENTRY = FileEntry("a.csv", 0, None, 3, "00", ((5, ""), (9, "truncated")))


def unit(position: int = 0, size: int = 10, **more) -> Unit:
    """Returns a unit over `size` positions with a forecast for each."""
    forecasts = [FORECAST % at for at in range(position, position + size)]
    return Unit("p", position, position + size, ["cpu"] * size, forecasts, **more)


@pytest.fixture
def sink(tmp_path: Path):
    """An open sink."""
    sink = SqliteSink(tmp_path / "deep" / "f.sqlite")
    sink.open()
    yield sink
    sink.close()


def reader(sink: SqliteSink) -> sqlite3.Connection:
    """Returns the connection of another program."""
    return sqlite3.connect(sink.path, isolation_level=None)


def rows(sink: SqliteSink, query: str) -> list[tuple]:
    """Returns the rows that another program reads."""
    database = reader(sink)
    try:
        return database.execute(query).fetchall()
    finally:
        database.close()


class TestContent:
    """Tables and views."""

    def test_view(self, sink):
        """The view shows every forecast of the batches as a row, while the sink is open."""
        sink.publish(unit(0, 2))
        sink.publish(unit(2, 1))
        assert rows(sink, "SELECT * FROM forecasts ORDER BY position")[2] == (
            "p", 2, "cpu", "2026-01-01T00:00:00.000Z", 60000, "abc", "ok", "[0.1,0.5]", "[[1.0,2.5]]", None, None,
            None, 1767225600000, 0, None, 2 * 65536 - (1 << 50),
        )  # fmt: skip
        assert rows(sink, "SELECT count(*), sum(position) FROM forecasts") == [(3, 3)]
        assert rows(sink, "SELECT n, next_position FROM batches") == [(2, 2), (1, 3)]

    def test_steps(self, sink):
        """The view of steps shows every step's time: listed targets, else multiples of the interval, to the ms."""
        one = (
            b'{"series":"%s","origin":"2026-01-31T00:00:00.000Z","interval_ms":%d%s,"levels":[0.5],'
            b'"quantiles":[[1.0],[2.0],[3.0]],"model":"abc","source":{"partition":"p","position":%d},"status":"ok"}'
        )
        months = b',"interval":"1mo","targets":["2026-02-28T00:00:00.000Z","2026-03-31T00:00:00.000Z","x"]'
        texts = [one % (b"a", 2678400000, months, 0), one % (b"b", 1_250, b"", 1), one % (b"c", 0, b"", 2)]
        silence = b'{"series":"a","kind":"silence","source":{"partition":"p","position":2}}'
        sink.publish(Unit("p", 0, 3, [], [*texts, silence]))
        found = rows(sink, "SELECT series, position, step, target, quantiles FROM steps ORDER BY position, step")
        assert found == [
            ("a", 0, 1, "2026-02-28T00:00:00.000Z", "[1.0]"),
            ("a", 0, 2, "2026-03-31T00:00:00.000Z", "[2.0]"),
            ("a", 0, 3, "x", "[3.0]"),
            ("b", 1, 1, "2026-01-31T00:00:01.250Z", "[1.0]"),
            ("b", 1, 2, "2026-01-31T00:00:02.500Z", "[2.0]"),
            ("b", 1, 3, "2026-01-31T00:00:03.750Z", "[3.0]"),
            *(("c", 2, step, None, f"[{step}.0]") for step in (1, 2, 3)),
        ]

    def test_steps_in_a_file_of_before(self, sink):
        """A file without the view of steps gets the view when it is opened."""
        sink.close()
        with closing(reader(sink)) as database:
            database.execute("DROP VIEW steps")
        sink.open()
        sink.publish(unit(0, 2))
        assert rows(sink, "SELECT step, target FROM steps LIMIT 1") == [(1, "2026-01-01T00:01:00.000Z")]

    def test_bytes_are_kept(self, sink):
        """A forecast is stored byte for byte as it was encoded."""
        sink.publish(unit(0, 1))
        assert rows(sink, "SELECT CAST(forecasts AS BLOB) FROM batches") == [(b"[" + FORECAST % 0 + b"]",)]

    def test_rejects(self, sink):
        """A reject keeps its bytes, key and headers, whatever bytes they hold."""
        sink.publish(unit(0, 0, rejects=[Reject(3, b"\x00\xff", "late", "why", b"\xfe", (("h", b"\xffa"),))]))
        assert rows(sink, "SELECT * FROM rejects") == [
            ("p", 3, "late", "why", b"\x00\xff", b"\xfe", '[["h","\\\\xffa"]]')
        ]

    def test_restart(self, sink):
        """Position, adoptions and files are stored over a restart."""
        sink.publish(unit(0, 5, adoption=Adoption(0, "m1")), [ENTRY])
        sink.publish(unit(5, 5, adoption=Adoption(5, "m2")), [ENTRY])
        sink.open()
        assert sink.committed("p") == 10
        assert sink.committed("other") is None
        assert sink.adoptions("p") == [Adoption(0, "m1"), Adoption(5, "m2")]
        assert sink.files("p") == [ENTRY]

    def test_files_change(self, sink):
        """Changed entries are written in the position's transaction, unchanged ones stay, removed ones go."""
        other = FileEntry("b.csv", 10, None, 1, "11")
        grown = replace(
            other, size=4, start=3, checked=7, checksum=2**32 - 1, device=1, inode=2, stored=9, changed_ns=5
        )
        sink.publish(unit(0, 5), [ENTRY])
        sink.publish(unit(5, 5), [other])
        assert sink.files("p") == [ENTRY, other]
        sink.publish(unit(10, 5), [grown])
        assert sink.files("p") == [ENTRY, grown]
        sink.publish(unit(15, 5), [], [ENTRY.key])
        assert sink.files("p") == [grown]

    def test_a_file_of_an_earlier_program(self, tmp_path):
        """A table of files without the later columns is read and written."""
        path = tmp_path / "old.sqlite"
        sink = SqliteSink(path)
        sink.open()
        for name in ("start", "checked", "checksum", "device", "inode", "stored", "changed_ns"):
            sink._connection().execute(f"ALTER TABLE files DROP COLUMN {name}")
        sink._connection().execute("INSERT INTO files VALUES ('p', 0, 'a.csv', NULL, 3, '00', '[]')")
        sink.close()
        sink.open()
        try:
            assert sink.files("p") == [FileEntry("a.csv", 0, None, 3, "00")]
            sink.publish(unit(0, 5), [ENTRY])
            assert sink.files("p") == [ENTRY]
        finally:
            sink.close()

    def test_durable(self, sink):
        """Commits are synced to the disk: FULL, with a write-ahead log."""
        assert sink._connection().execute("PRAGMA synchronous").fetchone() == (2,)
        assert rows(sink, "PRAGMA journal_mode") == [("wal",)]


class TestUnavailable:
    """A sink that cannot be written for a while."""

    def test_disk_full(self, sink):
        """On a full disk nothing of the unit is written, and the unit is accepted later."""
        sink.publish(unit(0, 5), [ENTRY])
        database = sink._connection()
        pages = database.execute("PRAGMA page_count").fetchone()[0]
        database.execute(f"PRAGMA max_page_count = {pages}")
        big = unit(5, 2000, adoption=Adoption(5, "m"))
        for _ in range(2):
            with pytest.raises(SinkUnavailableError, match="full"):
                sink.publish(big, [])
        assert (sink.committed("p"), sink.adoptions("p"), sink.files("p")) == (5, [], [ENTRY])
        database.execute("PRAGMA max_page_count = 1000000")
        sink.publish(big, [])
        assert sink.committed("p") == 2005
        assert rows(sink, "SELECT count(*) FROM forecasts") == [(2005,)]

    def test_locked(self, sink):
        """While another program writes, the unit is refused and accepted later."""
        sink._connection().execute("PRAGMA busy_timeout = 1")
        other = reader(sink)
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(SinkUnavailableError, match="locked"):
            sink.publish(unit())
        other.execute("ROLLBACK")
        other.close()
        sink.publish(unit())
        assert sink.committed("p") == 10

    def test_folder_that_cannot_be_made(self, tmp_path):
        """A folder that cannot be created is reported as unavailable."""
        (tmp_path / "file").write_text("")
        with pytest.raises(SinkUnavailableError, match="folder"):
            SqliteSink(tmp_path / "file" / "f.sqlite").open()

    @pytest.mark.parametrize("hidden", [False, True])
    def test_a_folder_that_is_away(self, sink, hidden):
        """While its folder is renamed, or another one hides it, units are refused as a whole; later they follow."""
        folder, elsewhere = sink.path.parent, sink.path.parent.with_name("elsewhere")
        sink.publish(unit(0, 2))
        folder.rename(elsewhere)
        if hidden:
            folder.mkdir()
        for _ in range(2):
            with pytest.raises(SinkUnavailableError, match="its folder cannot be reached now"):
                sink.publish(unit(2, 2))
        if hidden:
            folder.rmdir()
        elsewhere.rename(folder)
        sink.publish(unit(2, 2))
        assert rows(sink, "SELECT position FROM forecasts ORDER BY position") == [(0,), (1,), (2,), (3,)]

    def test_a_file_that_is_gone(self, sink):
        """A file that was deleted or replaced in its folder is an error: forecasts would be written to no file."""
        held = sink.path.with_name("held")
        sink.path.rename(held)
        with pytest.raises(SinkFormatError, match="was deleted while the daemon had it open"):
            sink.publish(unit(0, 2))
        sink.path.write_bytes(b"")
        with pytest.raises(SinkFormatError, match="was replaced by another file"):
            sink.publish(unit(0, 2))
        held.rename(sink.path)
        sink.publish(unit(0, 2))

    def test_a_failure_in_the_middle(self, sink):
        """A unit that fails halfway leaves no rows."""
        broken = unit(0, 5, rejects=[Reject(1, b"", "late", ""), Reject(2, object(), "late", "")])
        with pytest.raises(Exception, match="type"):
            sink.publish(broken)
        assert sink.committed("p") is None
        assert rows(sink, "SELECT count(*) FROM forecasts") == [(0,)]
        sink.publish(unit())
        assert rows(sink, "SELECT count(*) FROM forecasts") == [(10,)]


class TestForeignFiles:
    """Files of other programs."""

    def test_no_database(self, tmp_path):
        """A file that is not a database is refused and unchanged."""
        path = tmp_path / "f.sqlite"
        path.write_bytes(b"precious notes" * 100)
        with pytest.raises(SinkFormatError, match="not a SQLite file"):
            SqliteSink(path).open()
        assert path.read_bytes() == b"precious notes" * 100

    def test_database_of_another_program(self, tmp_path):
        """A database of another program is refused."""
        database = sqlite3.connect(tmp_path / "f.sqlite")
        database.execute("CREATE TABLE theirs (x)")
        database.close()
        with pytest.raises(SinkFormatError, match="another program"):
            SqliteSink(tmp_path / "f.sqlite").open()

    def test_other_version(self, sink):
        """Another format version is refused, with both versions in the message."""
        sink._connection().execute("PRAGMA user_version = 99")
        with pytest.raises(SinkFormatError, match="version 99, expected 1"):
            sink.open()

    def test_a_link_to_the_file(self, sink):
        """Two daemons of which one names a symbolic link have the same lock: they would write by turns."""
        link = sink.path.parent / "elsewhere" / "link.sqlite"
        link.parent.mkdir()
        link.symlink_to(sink.path)
        with pytest.raises(TransportBusyError, match="in use by another process"):
            SqliteSink(link).open()

    def test_the_lock_is_given_back(self, tmp_path):
        """A failed start holds no lock."""
        path = tmp_path / "f.sqlite"
        path.write_bytes(b"precious notes" * 100)
        with pytest.raises(SinkFormatError):
            SqliteSink(path).open()
        path.unlink()
        sink = SqliteSink(path)
        sink.open()
        sink.close()


class TestOutcomes:
    """Outcomes of the records, over all runs."""

    def test_sums(self, sink):
        """Counts add up over units and starts, for the requested partitions; late rejects count as late."""
        rejects = [Reject(3, b"", "too_large", "got 3"), Reject(4, b"", "late", "got 4"), Reject(5, b"", "late", "")]
        sink.publish(unit(0, 10, rejects=rejects, outcomes=Outcomes(7, 2, 1)))
        sink.close()
        sink.open()
        sink.publish(unit(10, 10, outcomes=Outcomes(10)))
        assert sink.outcomes(["p", "q"]) == Outcomes(17, 2, 1, {"too_large": 1}, "got 3")
        assert sink.outcomes(["q"]) == Outcomes()

    def test_nothing_of_a_unit_that_failed(self, sink):
        """Outcomes are stored in the unit's transaction."""
        sink.publish(unit(0, 10, outcomes=Outcomes(10)))
        with pytest.raises(ValueError, match="expected one that starts at"):
            sink.publish(unit(0, 10, outcomes=Outcomes(10)))
        assert sink.outcomes(["p"]) == Outcomes(10)

    def test_only_rejects(self, sink):
        """The outcomes of a run without valid events are its rejects."""
        sink.publish(unit(0, 0, rejects=[Reject(0, b"", "undecodable", "got 0")]))
        assert sink.outcomes(["p"]) == Outcomes(rejects={"undecodable": 1}, first="got 0")

    def test_a_file_of_an_older_program(self, sink):
        """A file without outcomes gets the table; forecasts count as events, without forecasts nothing is counted."""
        sink.publish(unit(0, 3, rejects=[Reject(0, b"", "undecodable", "got 0")]))
        sink.publish(Unit("q", 0, 1, [], [], [Reject(0, b"", "undecodable", "got 0")]))
        sink.close()
        database = reader(sink)
        database.execute("DROP TABLE outcomes")
        database.close()
        sink.open()
        assert sink.outcomes(["p"]) == Outcomes(3, rejects={"undecodable": 1}, first="got 0")
        assert sink.outcomes(["q"]) == Outcomes()


def test_adoptions_of_groups(sink):
    """Adoptions of groups are kept in a table of their own, which files without groups do not have."""
    sink.publish(unit(0, 5, adoption=Adoption(0, "m1")), [ENTRY])
    assert rows(sink, "SELECT 1 FROM sqlite_master WHERE name = 'group_adoptions'") == []
    sink.publish(unit(5, 4, group_adoptions=[Adoption(5, "m2", "shop"), Adoption(5, "m3", "cpu")]))
    assert sink.adoptions("p") == [Adoption(0, "m1"), Adoption(5, "m3", "cpu"), Adoption(5, "m2", "shop")]
    assert sink.models_needed(lambda _: 0) == {"m1", "m2", "m3"}
