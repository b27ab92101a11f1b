"""The Parquet sink: every output once, in files and in what waits for them, whatever fails; bounds of size and age."""

from __future__ import annotations

import errno
import json
import os
import shutil
import sqlite3
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from structlog.testing import capture_logs
from test_sqlite_views import LEVELS, START, batch
from test_stored_forecasts import key, read_all

from service.errors import SinkFormatError, SinkUnavailableError, TransportBusyError
from service.messages.encode import JSON, encode
from service.messages.exact_columns import ExactFormat
from service.ports import Adoption, Reject, Unit
from service.sinks import parquet_files
from service.sinks.parquet_columns import Tables, tables_of
from service.sinks.parquet_files import write_files
from service.sinks.parquet_forecasts import ParquetForecasts
from service.sinks.parquet_pending import ParquetFile, PendingUnit
from service.sinks.parquet_sink import FileBounds, ParquetSink
from service.sinks.sqlite_retention import SqliteRetention
from service.sinks.sqlite_sink import SqliteSink

HOUR = 3_600_000
BEGIN = 480_000 * HOUR  # of the clock


def bytes_of(units: int) -> int:
    """Returns about what a number of units of 30 outputs take as records."""
    return units * 30 * 180


@dataclass
class ParquetOutput:
    """A folder that grows by units; the daemon can be killed, and its disk can be full.

    Attributes:
        folder: of the files.
        full: writing raises before a file is there; `lost`: after it is there, so that nobody learns of it.
        locked: as `full`, with an error of the database that is read.
        disk: writing waits for it; it is set.
        written: what was published, as the JSON format has it.
        hours: of all outputs, by number, when they were published.
    """

    folder: Path
    age_ms: int = HOUR
    file_bytes: int = bytes_of(3)
    keep_ms: int = 0
    max_bytes: int = 0
    now: int = BEGIN
    full: bool = False
    lost: bool = False
    locked: bool = False
    at: int = 0
    disk: threading.Event = field(default_factory=threading.Event)
    written: list[dict] = field(default_factory=list)
    hours: list[int] = field(default_factory=lambda: [0])
    sink: ParquetSink | None = None

    def __enter__(self) -> ParquetOutput:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self.sink is not None:
            self.sink.close()

    @property
    def database(self) -> Path:
        """The file of positions."""
        return self.folder / "positions.sqlite"

    def start(self) -> None:
        """Starts a daemon."""
        self.disk.set()
        bounds = FileBounds(self.age_ms, self.file_bytes, self.keep_ms, self.max_bytes, lambda: self.now)
        self.sink = ParquetSink(self.folder, SqliteSink(self.database, SqliteRetention()), bounds, self.write)
        self.sink.open()

    def kill(self) -> None:
        """Ends the daemon as a kill does: nothing more is written, and nobody waits for the thread."""
        assert self.sink is not None
        if self.sink._writing is not None:
            self.sink._writing.exception()  # a thread cannot be killed: it writes its file, and nobody learns of it
        self.sink._database.close()
        self.sink = None

    def write(self, folder: Path, database: Path, file: ParquetFile) -> dict[str, int]:
        """Writes files on a disk that may be full."""
        if self.full:
            raise OSError(errno.ENOSPC, "No space left on device")
        if self.locked:
            raise sqlite3.OperationalError("database is locked")
        assert self.disk.wait(60)
        sizes = write_files(folder, database, file)
        if self.lost:
            raise OSError(errno.EIO, "Input/output error")
        return sizes

    def grow(self, count: int = 1, *, every_ms: int = 0, partition: str = "p") -> None:
        """Publishes units of 30 outputs and more."""
        for _ in range(count):
            self.now += every_ms
            decoded, forecasts = batch(30, self.at, start=START + self.at * HOUR)
            begin = self.at * 30
            decoded.positions[:] = range(begin, begin + 30)
            made = [
                encode(decoded, forecasts, partition=partition, levels=LEVELS, model_sha256="ab" * 32, output=output)
                for output in (ExactFormat(), JSON)
            ]
            reject = Reject(begin, b"x", "undecodable", "why")
            assert self.sink is not None
            self.sink.publish(
                Unit(partition, begin, begin + 30, made[0].series, made[0].forecasts, [reject],
                     positions=made[0].positions, adoption=Adoption(begin, "m") if begin == 0 else None)
            )  # fmt: skip
            self.written += [json.loads(text) for text in made[1].forecasts]
            self.hours += [self.now // HOUR] * len(made[1].forecasts)
            self.at += 1

    def settle(self) -> None:
        """Waits for the thread, and lets the sink learn of it."""
        assert self.sink is not None
        for _ in range(3):
            if self.sink._writing is not None:
                self.sink._writing.exception()
            self.sink.maintain()

    def paths(self, kind: str = "forecasts") -> list[Path]:
        """Returns the files."""
        return sorted((self.folder / kind).glob("date=*/hour=*/part-*.parquet"))

    def in_files(self) -> list[int]:
        """Returns the numbers of the outputs that another program finds in the files, as they are now.

        All of them are in the folder of the hour in which they were published.
        """
        found = []
        for path in [*self.paths(), *self.paths("silences")]:
            numbers = pq.ParquetFile(path).read(["id"])["id"].to_pylist()
            date, hour = (part.partition("=")[2] for part in path.parts[-3:-1])
            assert {self.hours[one] * 3600 for one in numbers} == {
                datetime.fromisoformat(f"{date}T{hour}:00Z").timestamp()
            }
            found += numbers
        return sorted(found)

    def stored(self) -> list[dict]:
        """Returns all outputs, in files or not."""
        with closing(ParquetForecasts(self.folder, self.database)) as reader:
            return read_all(reader, None, 70)[0]


@pytest.fixture
def make(tmp_path: Path) -> Callable[..., ParquetOutput]:
    """Makes an output in a folder of this test."""
    return lambda **more: ParquetOutput(tmp_path / "out", **more)


def assert_same(found: list[dict], written: list[dict]) -> None:
    """Asserts that the outputs are those that were published, in their order, to the precision of the format."""
    assert [key(one) for one in found] == [key(one) for one in written]
    for one, other in zip(found, written, strict=True):
        assert list(one) == list(other)
        for name in one.keys() - {"quantiles", "anomaly"}:
            assert one[name] == other[name], name
        if "levels" in one:
            assert (one["anomaly"] is None) == (other["anomaly"] is None)
            assert one["anomaly"] is None or one["anomaly"] == pytest.approx(other["anomaly"], rel=1e-6)
            assert (one["quantiles"] is None) == (other["quantiles"] is None)
            if one["quantiles"] is not None:
                np.testing.assert_allclose(one["quantiles"], other["quantiles"], atol=0.05)


ACTIONS = st.lists(
    st.sampled_from(["grow", "grow", "settle", "kill", "close", "later", "maintain", "full", "lost", "free", "read"]),
    max_size=25,
)


@settings(deadline=None, max_examples=60)
@given(ACTIONS)
def test_every_output_once_whatever_fails(tmp_path_factory, actions):
    """No output is in two files at any moment, and all are in files once the daemon has ended well.

    Units are accepted or refused as a whole; a refused one is published again.
    """
    output = ParquetOutput(tmp_path_factory.mktemp("p") / "out", age_ms=HOUR // 4)
    with output, capture_logs():
        position, followed = None, []
        reader = ParquetForecasts(output.folder, output.database)
        for action in actions:
            if action == "grow":
                try:
                    output.grow(every_ms=1000)
                except SinkUnavailableError:
                    assert output.full or output.lost
            elif action == "later":
                output.now += HOUR // 3
            elif action == "maintain":
                output.sink.maintain()
            elif action == "settle":
                output.settle()
            elif action == "read":
                more, position = read_all(reader, position, 50)
                followed += more
            elif action in {"full", "lost", "free"}:
                output.full, output.lost = action == "full", action == "lost"
            else:
                output.kill() if action == "kill" else output.sink.close()
                output.start()
            numbers = output.in_files()
            assert len(set(numbers)) == len(numbers)
            assert [key(one) for one in output.stored()] == [key(one) for one in output.written]
        output.full = output.lost = False
        output.settle()
        followed += read_all(reader, position, 50)[0]
        reader.close()
        output.sink.close()
        assert output.in_files() == list(range(1, len(output.written) + 1))
        assert [key(one) for one in followed] == [key(one) for one in output.written]
        output.start()
        assert_same(output.stored(), output.written)


def test_restart_goes_on(make):
    """Position, adoption, rejects and counts are those of the database, over a kill."""
    with make() as output:
        output.grow(5)
        output.kill()
        output.start()
        assert output.sink.committed("p") == 150
        assert output.sink.adoptions("p") == [Adoption(0, "m")]
        assert output.sink.outcomes(["p"]).rejects == {"undecodable": 5}
        with pytest.raises(ValueError, match="committed"):
            output.sink.publish(Unit("p", 100, 130, [], []))
        name, *starts = output.sink.identity.starts
        assert output.sink.identity.name == name
        assert starts


def test_age(make):
    """A forecast is in a file after the age at the latest, also where nothing more is published."""
    with make(age_ms=60_000, file_bytes=1 << 30) as output:
        output.grow(3, every_ms=1000)
        output.now += 56_000
        output.settle()
        assert output.paths() == []
        output.now += 2_000
        output.settle()
        assert output.in_files() == list(range(1, len(output.written) + 1))
        assert len(output.paths()) == 1


def test_size(make):
    """A file is written when its outputs take its bytes; they are at most those and one unit."""
    with make(age_ms=100 * HOUR, file_bytes=bytes_of(4)) as output:
        for _ in range(40):
            output.grow()
            output.settle()
        rows = [pq.read_metadata(path).num_rows for path in output.paths()]
        assert len(rows) >= 5
        assert len({*rows}) == 1
        assert rows[0] <= 30 * 7


def test_no_storm_of_small_files(make):
    """A day of single events makes no more files than its hours and the age allow."""
    with make(age_ms=HOUR // 2, file_bytes=1 << 30) as output:
        for _ in range(24 * 12):
            output.grow(every_ms=HOUR // 12)
            output.settle()
        assert 24 <= len(output.paths()) <= 24 * 2 + 1
        hours = {path.parent for path in output.paths()}
        assert 24 <= len(hours) <= 25


def test_folders_say_when(make):
    """Day and hour of a file are those in which all of its outputs were published."""
    with make(age_ms=10 * HOUR) as output:
        output.now = 480_000 * HOUR + HOUR - 1500
        output.grow(3, every_ms=1000)
        output.sink.close()
        (first, second) = output.paths()
        assert str(first.parent.relative_to(output.folder)) == "forecasts/date=2024-10-04/hour=00"
        assert second.parent.name == "hour=01"
        assert pq.read_metadata(first).num_rows == 30
        assert pq.read_metadata(second).num_rows == 60
        output.start()


def test_a_file_that_takes_longer_than_its_hour(make):
    """What is published meanwhile goes into a file of each hour, also after a kill."""
    with make(age_ms=HOUR, file_bytes=1 << 30) as output:
        output.disk.clear()
        output.now += HOUR - 1500
        output.grow(2, every_ms=1000)
        output.grow(2, every_ms=1000)
        output.now += HOUR - 5000
        output.grow(3, every_ms=2000)
        files = len(output.paths())
        output.disk.set()
        assert (len({*output.hours[1:]}), files) == (3, 0)
        output.kill()
        output.start()
        output.sink.close()
        assert output.in_files() == list(range(1, len(output.written) + 1))
        assert len(output.paths()) == 3
        output.start()


def test_kept_by_age(make):
    """Whole files are deleted when their hour is long over, with their folders; the rest stays."""
    with make(age_ms=HOUR // 2, keep_ms=5 * HOUR) as output:
        for _ in range(20):
            output.grow(every_ms=HOUR)
            output.settle()
        output.settle()
        assert 4 <= len(output.paths()) <= 6
        assert len([*(output.folder / "forecasts").glob("*/*")]) == len(output.paths())
        kept = {key(one) for one in output.stored()}
        assert {key(one) for one in output.written[-4 * 31 :]} <= kept < {key(one) for one in output.written}
        output.kill()
        output.start()
        assert {key(one) for one in output.stored()} == kept


def test_kept_by_size(make):
    """The oldest files are deleted where all of them take more than the bound."""
    with make(file_bytes=1) as output:
        for _ in range(4):
            output.grow()
            output.settle()
        size = sum(path.stat().st_size for kind in ("forecasts", "silences") for path in output.paths(kind))
        output.sink.close()
        output.max_bytes = size
        output.start()
        for _ in range(30):
            output.grow()
            output.settle()
            files = [path for kind in ("forecasts", "silences") for path in output.paths(kind)]
            assert sum(path.stat().st_size for path in files) <= size * 1.1
        assert 2 <= len(output.paths()) <= 5


@pytest.mark.parametrize(
    ("fault", "reason"),
    [("full", "No space left on device"), ("lost", "Input/output error"), ("locked", "database is locked")],
)
def test_a_full_disk(make, fault, reason):
    """While files cannot be written, units are refused as a whole; later everything is there once."""
    with make() as output, capture_logs() as logs:
        setattr(output, fault, True)
        refused, reasons = 0, set()
        for _ in range(12):
            try:
                output.grow()
            except SinkUnavailableError as error:
                reasons.add(str(error).partition("(")[2].partition(")")[0])
                refused += 1
            if output.sink._writing is not None:
                output.sink._writing.exception()
        assert refused >= 5
        assert reasons == {reason}
        setattr(output, fault, False)
        output.grow(3)
        output.sink.close()
        assert output.in_files() == list(range(1, len(output.written) + 1))
        output.start()
    assert [one["event"] for one in logs] == ["file of forecasts not written, retrying"]


def test_a_full_disk_at_the_end(make):
    """Where the last file cannot be written, the daemon ends all the same, and the next one writes it."""
    with make() as output:
        output.grow(2)
        output.full = True
        with capture_logs() as logs:
            output.sink.close()
        assert logs[-1]["event"] == "forecasts wait for the next start"
        output.full = False
        output.start()
        output.settle()
        output.sink.close()
        assert output.in_files() == list(range(1, len(output.written) + 1))
        output.start()


@contextmanager
def away(folder: Path, how: str) -> Iterator[None]:
    """Takes a folder away; who puts it back finds an empty place, or none.

    It is renamed, hidden by an empty folder as a volume that is unmounted leaves it, or closed to this process.
    """
    if how == "closed":
        user = os.geteuid()
        folder.chmod(0)
        if user == 0:
            os.seteuid(65534)  # root may enter every folder
        try:
            yield
        finally:
            os.seteuid(user)
            folder.chmod(0o755)
        return
    elsewhere = folder.with_name("elsewhere")
    folder.rename(elsewhere)
    if how == "hidden":
        folder.mkdir()
    try:
        yield
    finally:
        if how == "hidden":
            folder.rmdir()
        elsewhere.rename(folder)


AWAY = {
    "renamed": "No such file or directory",
    "hidden": "another folder is in its place",
    "closed": "Permission denied",
}


@pytest.mark.parametrize("how", AWAY)
@pytest.mark.parametrize("writing", [False, True])
def test_a_folder_that_is_away(make, how, writing):
    """While the folder is away, units are refused as a whole, and nothing is made in its place; later all is there.

    With `writing` it goes while a file is being written.
    """
    with make() as output, capture_logs() as logs:
        if writing:
            output.disk.clear()
        output.grow(4)
        output.sink.maintain()
        assert output.sink._writing is not None
        with away(output.folder, how):
            output.disk.set()
            for _ in range(3):
                with pytest.raises(SinkUnavailableError, match=AWAY[how]):
                    output.grow()
                output.now += 3000
                output.sink.maintain()
                if output.sink._writing is not None:
                    output.sink._writing.exception()
        output.grow(3)
        output.settle()
        output.sink.close()
        assert output.in_files() == list(range(1, len(output.written) + 1))
        output.start()
        assert_same(output.stored(), output.written)
    assert {one["event"] for one in logs} <= {"file of forecasts not written, retrying"}


@pytest.mark.parametrize("keep_ms", [0, HOUR])
def test_a_folder_that_goes_behind_a_commit(make, keep_ms):
    """Where it goes between the transaction and what follows from it, another folder in its place is left as it is.

    A file expires with this transaction (`keep_ms`), and the other folder has one of the same name.
    """
    with make(keep_ms=keep_ms) as output:
        output.grow(4)
        output.settle()
        (old,) = output.folder.glob("forecasts/*/*/*.parquet")
        output.now += 3 * HOUR
        theirs, elsewhere = output.folder.with_name("theirs"), output.folder.with_name("elsewhere")
        theirs.mkdir()
        shutil.copytree(output.folder / "forecasts", theirs / "forecasts")
        before = sorted(theirs.rglob("*"))
        apply = output.sink._apply

        def swapped(change):
            output.folder.rename(elsewhere)
            theirs.rename(output.folder)
            try:
                apply(change)
            finally:
                output.folder.rename(theirs)
                elsewhere.rename(output.folder)

        output.sink._apply = swapped
        output.grow(1)
        output.sink._apply = apply
        assert sorted(theirs.rglob("*")) == before
        for _ in range(2):  # the next file that expires takes it along
            output.now += 3 * HOUR
            output.grow(3)
            output.settle()
        assert old.exists() == (not keep_ms)
        output.sink.close()
        assert (output.folder / "views.sql").exists()


@pytest.mark.parametrize("how", AWAY)
def test_a_daemon_that_ends_while_its_folder_is_away(make, how):
    """What waits is in files after the next start with the folder."""
    with make() as output:
        output.grow(2)
        with capture_logs() as logs, away(output.folder, how):
            output.sink.close()
        assert logs[-1]["event"] == "forecasts wait for the next start"
        output.start()
        output.sink.close()
        assert output.in_files() == list(range(1, len(output.written) + 1))
        output.start()


def test_a_folder_that_is_exchanged_while_a_file_is_written(make):
    """Nothing is written to another folder that takes its place meanwhile, and the file is not complete."""
    with make() as output:
        output.disk.clear()
        output.grow(4)
        output.sink.maintain()
        file, other, held = output.sink._begun, output.folder.with_name("other"), output.folder.with_name("held")
        other.mkdir()

        def exchange(stored: Sequence[PendingUnit], levels: Sequence[float]) -> Tables:
            output.folder.rename(held)
            other.rename(output.folder)
            return tables_of(stored, levels)

        with pytest.MonkeyPatch.context() as patched:
            patched.setattr(parquet_files, "tables_of", exchange)
            with pytest.raises(OSError, match="another folder took its place"):
                write_files(output.folder, output.database, file)
        output.folder.rmdir()
        held.rename(output.folder)
        output.disk.set()
        output.grow()
        output.sink.close()
        assert output.in_files() == list(range(1, len(output.written) + 1))
        output.start()


@pytest.mark.parametrize("restart", [False, True])
def test_a_file_that_cannot_be_deleted_yet(make, monkeypatch, restart):
    """A file that is too old, and that the system refuses to delete, is deleted later; a start does not refuse it."""
    with make(age_ms=HOUR // 2, keep_ms=HOUR) as output:
        delete = parquet_files.os.unlink

        def refuse(path: Path, *, dir_fd: int | None = None) -> None:
            if Path(path).suffix == ".parquet":
                raise OSError(errno.EROFS, "Read-only file system")
            delete(path, dir_fd=dir_fd)

        monkeypatch.setattr(parquet_files.os, "unlink", refuse)
        for _ in range(6):
            output.grow(every_ms=HOUR)
            output.settle()
        assert len(output.paths()) >= 5
        if restart:
            output.kill()
            output.start()
        monkeypatch.setattr(parquet_files.os, "unlink", delete)
        for _ in range(2):
            output.grow(every_ms=HOUR)
            output.settle()
        assert len(output.paths()) <= 2
        output.kill()
        output.start()


def test_an_unwritable_folder(tmp_path):
    """A folder that cannot be made is reported, with what is expected."""
    (tmp_path / "file").write_text("")
    with pytest.raises(SinkUnavailableError, match="expected a writable folder"):
        ParquetOutput(tmp_path / "file" / "out").start()


def test_files_that_nobody_knows(make, tmp_path):
    """An older database beside newer files is refused: their forecasts would be published again."""
    with make() as output:
        output.grow(4)
        output.settle()
        output.kill()
        shutil.copy(output.database, tmp_path / "old.sqlite")
        output.start()
        output.grow(8)
        output.sink.close()
        shutil.copy(tmp_path / "old.sqlite", output.database)
        for name in ("-wal", "-shm"):
            output.database.with_name(output.database.name + name).unlink(missing_ok=True)
        with pytest.raises(SinkFormatError, match=r"does not know this file"):
            output.start()
        output.sink = None


def test_one_writer(make):
    """A second daemon is refused."""
    with make() as output, pytest.raises(TransportBusyError):
        ParquetOutput(output.folder).start()


def test_levels_that_change(make):
    """Files of other quantile levels and horizons are read together; a level that a forecast lacks is null."""
    with make() as output:
        output.grow()
        decoded, forecasts = batch(30, 5, steps=7, start=START + 500 * HOUR)
        made = encode(decoded, forecasts, partition="q", levels=(0.025, 0.5, 0.975), model_sha256="cd" * 32,
                      output=ExactFormat())  # fmt: skip
        output.sink.publish(Unit("q", 0, 30, made.series, made.forecasts, positions=made.positions))
        output.sink.close()
        (path,) = output.paths()
        table = pq.ParquetFile(path).read()
        names = [name for name in table.column_names if name[0] == "q"]
        assert names == ["q2_5", "q10", "q50", "q90", "q97_5"]
        rows = table.to_pylist()
        assert rows[5]["q2_5"] is None
        assert len(rows[5]["q10"]) == 3
        assert (len(rows[-1]["q2_5"]), rows[-1]["q10"]) == (7, None)
        output.start()
        assert output.stored()[-1]["levels"] == [0.025, 0.5, 0.975]


def test_small_memory(make, monkeypatch):
    """A file larger than a row group is written in several."""
    monkeypatch.setattr(parquet_files, "_CHUNK_BYTES", bytes_of(2))
    with make(file_bytes=bytes_of(9)) as output:
        output.grow(9)
        output.sink.close()
        (path,) = output.paths()
        assert pq.read_metadata(path).num_row_groups >= 3
        output.start()
        assert_same(output.stored(), output.written)


def test_what_is_left_in_the_database(make):
    """Outputs are deleted from the database when their file is complete."""
    with make() as output:
        output.grow(30)
        output.settle()
        output.sink.close()
        with closing(sqlite3.connect(output.database)) as database:
            assert database.execute("SELECT count(*) FROM pending").fetchone() == (0,)
            found = database.execute("SELECT number, first, next, state FROM parquet_files ORDER BY number").fetchall()
        assert [row[3] for row in found] == [1] * len(found)
        assert [row[2] for row in found[:-1]] == [row[1] for row in found[1:]]
        output.start()


def test_deleted_before_its_rows_are(make):
    """Outputs of a file that was deleted are not read again from rows that wait to be deleted."""
    with make(age_ms=HOUR // 2, file_bytes=1 << 30, keep_ms=HOUR) as output:
        output.grow(20)
        output.now += HOUR // 2
        output.sink.maintain()  # begins the file
        output.sink._writing.exception()
        output.now += 3 * HOUR
        output.sink.maintain()  # completes it
        output.sink.maintain()  # deletes it
        assert output.paths() == []
        with closing(sqlite3.connect(output.database)) as database:
            assert database.execute("SELECT count(*) FROM pending").fetchone()[0] > 10
        assert output.stored() == []
        with closing(ParquetForecasts(output.folder, output.database)) as reader:
            assert list(reader.newest("*", 1 << 50, 1)) == []
