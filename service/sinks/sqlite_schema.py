"""Schema of an output's SQLite file: tables, views, and the migration of files of earlier program versions."""

from __future__ import annotations

import secrets
import sqlite3
from pathlib import Path

from service.errors import SinkFormatError

APPLICATION_ID = 0x46435354  # "FCST", so that `file` and this program recognise the database
FORMAT_VERSION = 1

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
SCHEMA = """
CREATE TABLE batches (
    partition TEXT NOT NULL,
    position INTEGER NOT NULL,        -- of the first record of the batch; next_position: of time marks
    next_position INTEGER NOT NULL,
    n INTEGER NOT NULL,               -- forecasts in the batch
    forecasts TEXT NOT NULL,          -- JSON array of the forecast objects
    PRIMARY KEY (partition, position, next_position)
);
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
CREATE VIEW forecasts AS
SELECT
    batches.partition AS partition,
    json_extract(one.value, '$.source.position') AS position,
    json_extract(one.value, '$.series') AS series,
    json_extract(one.value, '$.origin') AS origin,
    json_extract(one.value, '$.interval_ms') AS interval_ms,
    json_extract(one.value, '$.model') AS model,
    json_extract(one.value, '$.status') AS status,
    json_extract(one.value, '$.levels') AS levels,
    json_extract(one.value, '$.quantiles') AS quantiles,
    json_extract(one.value, '$.anomaly') AS anomaly,
    json_extract(one.value, '$.flagged') AS flagged
FROM batches, json_each(batches.forecasts) AS one
WHERE json_extract(one.value, '$.kind') IS NULL;
CREATE VIEW silences AS
SELECT
    batches.partition AS partition,
    json_extract(one.value, '$.source.position') AS position,
    json_extract(one.value, '$.series') AS series,
    json_extract(one.value, '$.last') AS last,
    json_extract(one.value, '$.expected') AS expected,
    json_extract(one.value, '$.noticed') AS noticed
FROM batches, json_each(batches.forecasts) AS one
WHERE json_extract(one.value, '$.kind') = 'silence';
"""

# Columns that earlier programs of the same format did not write; they come last in the schema.
ADDED = ("start", "checked", "checksum", "device", "inode", "stored", "changed_ns")

# A row per step ahead, with its target time; the view is added to older files, too.
STEPS = """
CREATE VIEW steps AS
SELECT
    batches.partition AS partition,
    json_extract(one.value, '$.source.position') AS position,
    json_extract(one.value, '$.series') AS series,
    json_extract(one.value, '$.origin') AS origin,
    step.key + 1 AS step,
    CASE
        WHEN json_extract(one.value, '$.targets') IS NOT NULL
            THEN json_extract(one.value, '$.targets[' || step.key || ']')
        WHEN json_extract(one.value, '$.interval_ms') > 0
            THEN strftime(
                '%Y-%m-%dT%H:%M:%fZ',
                json_extract(one.value, '$.origin'),
                printf(
                    '+%d.%03d seconds',
                    (step.key + 1) * json_extract(one.value, '$.interval_ms') / 1000,
                    (step.key + 1) * json_extract(one.value, '$.interval_ms') % 1000
                )
            )
    END AS target,
    json_extract(one.value, '$.model') AS model,
    json_extract(one.value, '$.levels') AS levels,
    step.value AS quantiles
FROM batches, json_each(batches.forecasts) AS one, json_each(one.value, '$.quantiles') AS step
WHERE json_extract(one.value, '$.kind') IS NULL AND json_type(one.value, '$.quantiles') = 'array';
"""


def prepare(database: sqlite3.Connection, path: Path) -> None:
    """Creates the tables of a new file, and those that a file of an earlier program of the same format lacks.

    Raises:
        SinkFormatError: the file was not written by this program, or has another format version.
        sqlite3.Error: the file cannot be read or written.
    """
    database.execute("PRAGMA journal_mode = WAL")
    database.execute("PRAGMA synchronous = FULL")
    application = database.execute("PRAGMA application_id").fetchone()[0]
    version = database.execute("PRAGMA user_version").fetchone()[0]
    if application == 0 and not database.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]:
        database.executescript(
            f"BEGIN IMMEDIATE; {SCHEMA}; {STEPS}; PRAGMA application_id = {APPLICATION_ID}; "
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
    if not database.execute("SELECT count(*) FROM sqlite_master WHERE name = 'steps'").fetchone()[0]:
        database.executescript(f"BEGIN IMMEDIATE; {STEPS}; COMMIT")
