"""Schema of an output's SQLite file: its tables, and the migration of files of earlier program versions."""

from __future__ import annotations

import secrets
import sqlite3
from pathlib import Path

from service.errors import SinkFormatError
from service.sinks.sqlite_retention import PRUNED_REJECTS, WRITTEN
from service.sinks.sqlite_views import MOST_STEPS, views
from service.sinks.unit_rows import ADDED

APPLICATION_ID = 0x46435354  # "FCST", so that `file` and this program recognise the database
FORMAT_VERSION = 1
PAGE_BYTES = 8192
# The pages of a unit: the index has one for a few hundred forecasts of a series, so that a unit of a thousand series
# changes as many. Where they find no room, SQLite writes them to the log before the commit, and reads them again.
CACHE_BYTES = 32 << 20

# Added to older files when they are opened; their format version stays the same.
OUTCOMES = """
CREATE TABLE IF NOT EXISTS outcomes ( -- counts of events by outcome, over all runs; rejects are in the table rejects
    partition TEXT PRIMARY KEY,
    events INTEGER NOT NULL,          -- accepted
    late INTEGER NOT NULL,
    duplicates INTEGER NOT NULL
)"""
STARTS = """
CREATE TABLE IF NOT EXISTS starts ( -- starts of daemons that have committed here, in their order
    start TEXT PRIMARY KEY          -- random; the first one was created with the file, or when the file had none
)"""
MARKS = """
CREATE TABLE IF NOT EXISTS marks ( -- time marks, which closed windows of a silent partition
    partition TEXT NOT NULL,
    position INTEGER NOT NULL,     -- behind the last record before it
    time_ms INTEGER NOT NULL,      -- event time that it stands for
    PRIMARY KEY (partition, position, time_ms)
)"""
DELETED_MARKS = """
CREATE TABLE IF NOT EXISTS deleted_marks ( -- of partitions whose oldest time marks were deleted
    partition TEXT PRIMARY KEY,
    before INTEGER NOT NULL        -- the position behind the last one that was deleted
)"""
UNPRINTED = """
CREATE TABLE IF NOT EXISTS unprinted ( -- forecasts of committed time marks that may not be on standard output yet
    forecast TEXT NOT NULL
)"""
# Created with the first adoption of a group, so that files without groups stay as they are.
GROUP_ADOPTIONS = """
CREATE TABLE IF NOT EXISTS group_adoptions ( -- like adoptions, of the series of a [[group]]
    partition TEXT NOT NULL,
    position INTEGER NOT NULL,
    group_name TEXT NOT NULL,
    model TEXT NOT NULL,
    PRIMARY KEY (partition, position, group_name)
)"""
STORED = """
CREATE TABLE IF NOT EXISTS series_names (id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE);
CREATE TABLE IF NOT EXISTS contexts ( -- what many forecasts have in common
    id INTEGER PRIMARY KEY,
    partition TEXT NOT NULL,
    model TEXT NOT NULL,              -- the first digits of its sha256, "" of a silence
    levels TEXT NOT NULL,             -- JSON array of the quantile levels
    UNIQUE (partition, model, levels)
);
CREATE TABLE IF NOT EXISTS stored_forecasts ( -- in the order of the output; see service/messages/compact.py
    id INTEGER PRIMARY KEY,
    series INTEGER NOT NULL,
    origin_ms INTEGER NOT NULL,
    context INTEGER NOT NULL,
    position INTEGER NOT NULL,
    interval_ms INTEGER NOT NULL,
    missing INTEGER NOT NULL,         -- 1: the event had no value
    flagged INTEGER NOT NULL,
    value REAL,                       -- of the event
    anomaly REAL,
    least REAL, greatest REAL,        -- of all quantiles
    digits INTEGER,                   -- decimals that quantiles are rounded to
    steps INTEGER NOT NULL,           -- 0: no forecast
    quantiles BLOB,                   -- codes of the quantiles, by step
    more TEXT                         -- JSON object of rarer fields: interval, targets, source, revision, quantiles
);
CREATE INDEX IF NOT EXISTS stored_forecasts_of_series ON stored_forecasts (series, origin_ms);
CREATE TABLE IF NOT EXISTS stored_silences (
    id INTEGER PRIMARY KEY,
    series INTEGER NOT NULL,
    context INTEGER NOT NULL,
    position INTEGER NOT NULL,
    last_ms INTEGER NOT NULL,
    expected_ms INTEGER NOT NULL,
    noticed_ms INTEGER NOT NULL
);
CREATE INDEX IF NOT EXISTS stored_silences_of_series ON stored_silences (series);
CREATE TABLE IF NOT EXISTS step_numbers (at INTEGER PRIMARY KEY);                           -- for the views
CREATE TABLE IF NOT EXISTS byte_numbers (byte BLOB PRIMARY KEY, n INTEGER NOT NULL) WITHOUT ROWID; -- for the views
"""
# With the first batch of forecasts in JSON (`output.format = "json"`).
BATCHES = """
CREATE TABLE IF NOT EXISTS batches (
    partition TEXT NOT NULL,
    position INTEGER NOT NULL,        -- of the first record of the batch; next_position: of time marks
    next_position INTEGER NOT NULL,
    n INTEGER NOT NULL,               -- forecasts in the batch
    forecasts TEXT NOT NULL,          -- JSON array of the forecast objects
    PRIMARY KEY (partition, position, next_position)
)"""
SCHEMA = """
CREATE TABLE rejects (
    partition TEXT NOT NULL,
    position INTEGER NOT NULL,
    reason TEXT NOT NULL,
    detail TEXT NOT NULL,
    value BLOB NOT NULL,              -- the bytes of the record, unchanged
    key BLOB,
    headers TEXT NOT NULL,            -- JSON array of [name, value in UTF-8 with \\xNN for other bytes]
    PRIMARY KEY (partition, position)
);
CREATE TABLE positions (partition TEXT PRIMARY KEY, next_position INTEGER NOT NULL);
CREATE TABLE adoptions (
    partition TEXT NOT NULL,
    position INTEGER NOT NULL,        -- the first record forecast with the model
    model TEXT NOT NULL,              -- sha256
    PRIMARY KEY (partition, position)
);
CREATE TABLE files (                  -- the input files as they were read; see FileEntry
    partition TEXT NOT NULL,
    base INTEGER NOT NULL,
    path TEXT NOT NULL,
    size INTEGER,
    head_bytes INTEGER NOT NULL,
    head_sha256 TEXT NOT NULL,
    cuts TEXT NOT NULL,
    start INTEGER NOT NULL DEFAULT 0,
    checked INTEGER NOT NULL DEFAULT 0,
    checksum INTEGER,
    device INTEGER NOT NULL DEFAULT 0,
    inode INTEGER NOT NULL DEFAULT 0,
    stored INTEGER NOT NULL DEFAULT 0,
    changed_ns INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (partition, base, path)
);
"""


def prepare(database: sqlite3.Connection, path: Path) -> None:
    """Creates the tables of a new file, and those that a file of an earlier program of the same format lacks.

    Raises:
        SinkFormatError: the file was not written by this program, or has another format version.
        sqlite3.Error: the file cannot be read or written.
    """
    if not database.execute("PRAGMA page_count").fetchone()[0]:  # only a file without tables can be changed
        database.execute(f"PRAGMA page_size = {PAGE_BYTES}")
        database.execute("PRAGMA auto_vacuum = INCREMENTAL")
    database.execute("PRAGMA journal_mode = WAL")
    database.execute("PRAGMA synchronous = FULL")
    database.execute(f"PRAGMA cache_size = -{CACHE_BYTES >> 10}")
    application = database.execute("PRAGMA application_id").fetchone()[0]
    version = database.execute("PRAGMA user_version").fetchone()[0]
    if application == 0 and not database.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]:
        database.executescript(
            f"BEGIN IMMEDIATE; {SCHEMA}; PRAGMA application_id = {APPLICATION_ID}; "
            f"PRAGMA user_version = {FORMAT_VERSION}; COMMIT"
        )
    elif application != APPLICATION_ID:
        msg = f"{path}: got a SQLite file of another program; expected one of this program, or an unused name"
        raise SinkFormatError(msg)
    elif version != FORMAT_VERSION:
        msg = (
            f"{path}: got format version {version}, expected {FORMAT_VERSION}. "
            "Use the program version that wrote it, or another output.path"
        )
        raise SinkFormatError(msg)
    database.execute(OUTCOMES)
    database.execute(STARTS)
    database.execute(MARKS)
    database.execute(DELETED_MARKS)
    database.execute(UNPRINTED)
    first = "INSERT INTO starts SELECT ? WHERE NOT EXISTS (SELECT 1 FROM starts)"
    database.execute(first, (secrets.token_hex(16),))
    present = {row[1] for row in database.execute("PRAGMA table_info(files)")}
    for name in ADDED:
        if present and name not in present:
            kind = "INTEGER" if name == "checksum" else "INTEGER NOT NULL DEFAULT 0"
            database.execute(f"ALTER TABLE files ADD COLUMN {name} {kind}")
    if not database.execute("SELECT count(*) FROM sqlite_master WHERE name = 'verified'").fetchone()[0]:
        numbers = f"INSERT OR IGNORE INTO step_numbers VALUES {', '.join(f'({at})' for at in range(MOST_STEPS))}"
        values = ", ".join(f"(x'{at:02x}', {at})" for at in range(256))
        bytes_ = f"INSERT OR IGNORE INTO byte_numbers VALUES {values}"
        made = "; ".join([WRITTEN, PRUNED_REJECTS, numbers, bytes_, *views(batches=has_batches(database))])
        database.executescript(f"BEGIN IMMEDIATE; {STORED} {made}; COMMIT")


def has_batches(database: sqlite3.Connection) -> bool:
    """Returns whether the file has a table for batches of forecasts in JSON."""
    return bool(database.execute("SELECT count(*) FROM sqlite_master WHERE name = 'batches'").fetchone()[0])


def add_batches(database: sqlite3.Connection) -> None:
    """Adds the table for batches of forecasts in JSON, and shows them in the views; in an open transaction."""
    database.execute(BATCHES)
    for statement in views(batches=True):
        database.execute(statement)
