"""Writes Parquet files as a whole, and the file of SQL views over them. Needs the extra `parquet`.

    FOLDER/forecasts/date=2026-12-01/hour=07/part-000000000012.parquet
    FOLDER/silences/date=2026-12-01/hour=07/part-000000000012.parquet
    FOLDER/views.sql              forecasts, steps, verified and silences, for DuckDB

Date and hour (UTC) are those in which the forecasts were published.
"""

from __future__ import annotations

import errno
import os
import sqlite3
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO, Final

import pyarrow as pa
from pyarrow import parquet

from service.folder_lock import identity_of, opened, sync_folder
from service.messages.exact_columns import levels_in
from service.sinks.parquet_columns import SILENCE_SCHEMA, Tables, forecast_schema, level_columns, tables_of
from service.sinks.parquet_pending import HOUR_MS, ParquetFile, PendingUnit, units

KINDS: Final = ("forecasts", "silences")
_REPLACED: Final = "another folder took its place"
_CHUNK_BYTES: Final = 16 << 20  # of records, in a row group
_PLAIN: Final = ("value", "anomaly", "position", "id")  # columns without repetitions, for which a dictionary is useless

_FORECASTS_VIEW: Final = """
-- One row per forecast; a column of a quantile level has a number for each step: q50[1] is the median of the next step.
CREATE OR REPLACE VIEW forecasts AS
SELECT * FROM read_parquet({files}, hive_types = {{'date': DATE, 'hour': INTEGER}}, union_by_name = true);

-- One row per step.
CREATE OR REPLACE VIEW steps AS
SELECT
    series, labels, origin, unnest(steps) AS step, unnest(targets) AS target, unnest(COLUMNS('^q[0-9]+(_[0-9]+)?$')),
    interval_ms, model, partition, position, revision, date, hour, id
FROM forecasts
WHERE status <> 'unknown';

-- One row per step whose target has been observed: forecast is the median, error is actual - forecast. An event of the
-- same partition is the actual of a target where it is nearer to it than half an interval.
CREATE OR REPLACE VIEW verified AS
SELECT s.* EXCLUDE (latest), s.q50 AS forecast, a.value AS actual, a.value - s.q50 AS error
FROM (SELECT *, target + to_milliseconds(interval_ms // 2) AS latest FROM steps WHERE target IS NOT NULL) AS s
ASOF JOIN (SELECT series, partition, origin, value FROM forecasts WHERE value IS NOT NULL) AS a
    ON s.series = a.series AND s.partition = a.partition AND s.latest >= a.origin
WHERE a.origin > s.target - to_milliseconds((s.interval_ms + 1) // 2);
"""
_SILENCES_VIEW: Final = """
-- One row per silence of a series: its last event, when the next one was expected, and when that was noticed.
CREATE OR REPLACE VIEW silences AS
SELECT * FROM read_parquet({files}, hive_types = {{'date': DATE, 'hour': INTEGER}}, union_by_name = true);
"""
_NO_SILENCES: Final = """
-- No series has been silent.
CREATE OR REPLACE VIEW silences AS
SELECT
    series, labels, origin AS last, origin AS expected, origin AS noticed, partition, position, id, date, hour
FROM forecasts
WHERE false;
"""


def path_of(folder: Path, kind: str, file: ParquetFile) -> Path:
    """Returns the path of the forecasts or silences of a file."""
    hour = datetime.fromtimestamp(file.hour * HOUR_MS / 1000, UTC)
    return folder / kind / f"date={hour:%Y-%m-%d}" / f"hour={hour:%H}" / f"part-{file.number:012}.parquet"


def write_files(folder: Path, database: Path, file: ParquetFile) -> dict[str, int]:
    """Writes the outputs of a file, so that it appears as a whole and is durable on return.

    A file of the same name is replaced: it has the same outputs.

    Args:
        folder: of all files.
        database: the SQLite file that has the outputs.
        file: which outputs, and where.

    Returns:
        The size of the file of each of `KINDS`; 0 where there is nothing to write.

    Raises:
        OSError: the disk is full, or the folder cannot be written, is away, or was replaced meanwhile.
        sqlite3.OperationalError: the same of the database.
    """
    uri = f"{database.absolute().as_uri()}?mode=ro"
    with opened(folder) as root, closing(sqlite3.connect(uri, uri=True)) as connection:
        levels = set[float]()
        for unit in units(connection, file.first, file.next):
            levels |= levels_in(unit.records, unit.sizes)
        chunks = (tables_of(chunk, sorted(levels)) for chunk in _chunks(units(connection, file.first, file.next)))
        sizes = _write(root, chunks, file, {"forecasts": forecast_schema(levels), "silences": SILENCE_SCHEMA})
        status = os.fstat(root)
        if identity_of(folder) != (status.st_dev, status.st_ino):
            raise OSError(errno.ESTALE, _REPLACED)
    return sizes


def _chunks(stored: Iterator[PendingUnit]) -> Iterator[list[PendingUnit]]:
    chunk, size = list[PendingUnit](), 0
    for unit in stored:
        chunk.append(unit)
        size += len(unit.records)
        if size >= _CHUNK_BYTES:
            yield chunk
            chunk, size = [], 0
    if chunk:
        yield chunk


def _write(root: int, chunks: Iterator[Tables], file: ParquetFile, schemas: dict[str, pa.Schema]) -> dict[str, int]:
    """Writes the files of each kind.

    Everything is done in the folder whose descriptor is `root`, wherever it is by now: nothing is made, overwritten or
    deleted in another one that took its place.
    """
    paths = {kind: path_of(Path(), kind, file) for kind in KINDS}
    temporary, sizes = (
        {kind: path.with_name(f".{path.name}.tmp") for kind, path in paths.items()},
        dict.fromkeys(KINDS, 0),
    )
    try:
        with ExitStack() as stack:
            writers = dict[str, tuple[Any, Any]]()
            for chunk in chunks:
                for kind, table in zip(KINDS, chunk, strict=True):
                    if not table.num_rows:
                        continue
                    if kind not in writers:
                        _make_folders(root, paths[kind].parent)
                        out = stack.enter_context(_created(root, temporary[kind]))
                        writers[kind] = _writer(out, schemas[kind]), out
                    writers[kind][0].write_table(table)
            for kind, (writer, out) in writers.items():
                writer.close()
                out.flush()
                os.fsync(out.fileno())
                sizes[kind] = out.tell()
        for kind, size in sizes.items():
            if size:
                os.replace(temporary[kind], paths[kind], src_dir_fd=root, dst_dir_fd=root)
                for parent in paths[kind].parents:  # makes the names durable
                    sync_folder(parent, root)
    except BaseException:
        for path in temporary.values():
            with suppress(OSError):  # it was not made, or the folder cannot be written: it is overwritten later
                os.unlink(path, dir_fd=root)
        raise
    return sizes


def _make_folders(root: int, innermost: Path) -> None:
    for name in [*reversed(innermost.parents), innermost][1:]:
        with suppress(FileExistsError):
            os.mkdir(name, dir_fd=root)


def _created(root: int, path: Path) -> BinaryIO:
    return open(path, "wb", opener=lambda name, flags: os.open(name, flags, 0o666, dir_fd=root))


def _writer(out: Any, schema: pa.Schema) -> Any:
    """Returns a writer with encodings that all readers know."""
    plain = {*_PLAIN, *level_columns(schema.names)}
    nested = {"labels": ("labels.key_value.key", "labels.key_value.value")}
    coded: list[str] = []
    for field in schema:
        if field.name in nested:
            coded += nested[field.name]
        elif field.name not in plain:
            coded.append(f"{field.name}.list.element" if pa.types.is_list(field.type) else field.name)
    return parquet.ParquetWriter(out, schema, compression="zstd", use_dictionary=coded)


def write_views(root: int, folder: Path, kinds: frozenset[str]) -> None:
    """Writes the file of SQL views.

    Args:
        root: the descriptor of the folder, see `own_folder`.
        folder: its path, of which the views read, with at least one file of forecasts.
        kinds: those of `KINDS` that have files.

    Raises:
        OSError: it cannot be written.
    """
    text = "-- Views for DuckDB: .read views.sql. Written by the daemon; select by date and hour where you can.\n"
    views = {"forecasts": _FORECASTS_VIEW, "silences": _SILENCES_VIEW if "silences" in kinds else _NO_SILENCES}
    for kind, view in views.items():
        files = str(folder.absolute() / kind / "*" / "*" / "*.parquet").replace("'", "''")
        text += view.format(files=f"'{files}'")
    wanted, temporary = text.encode(), Path(".views.sql.tmp")
    with suppress(FileNotFoundError), open("views.sql", "rb", opener=partial(os.open, dir_fd=root)) as there:
        if there.read() == wanted:
            return
    with _created(root, temporary) as out:
        out.write(wanted)
    os.replace(temporary, "views.sql", src_dir_fd=root, dst_dir_fd=root)


@contextmanager
def own_folder(folder: Path, identity: tuple[int, int]) -> Iterator[int]:
    """Opens the folder of an output; yields its descriptor, by which nothing is changed in one that takes its place.

    Args:
        folder: its path.
        identity: what it had when the output was opened, see `identity_of`.

    Raises:
        OSError: it is away, or another folder is in its place.
    """
    with opened(folder) as root:
        status = os.fstat(root)
        if identity != (status.st_dev, status.st_ino):
            raise OSError(errno.ESTALE, _REPLACED)
        yield root


def delete_file(root: int, file: ParquetFile) -> None:
    """Deletes a file of each of `KINDS`, and folders of hours and days that have no other.

    Args:
        root: the descriptor of the folder of all files.
        file: which one; nothing is done where it is not there.

    Raises:
        OSError: it cannot be deleted.
    """
    paths = [path_of(Path(), kind, file) for kind in KINDS]
    for path in paths:
        with suppress(FileNotFoundError):
            os.unlink(path, dir_fd=root)
    for path in paths:
        for parent in list(path.parents)[:2]:
            with suppress(OSError):  # not empty, or not there
                os.rmdir(parent, dir_fd=root)
