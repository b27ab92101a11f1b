"""Schema of a PostgreSQL output: its tables, and the migration from earlier versions.

`STEPS` is the history of the schema: a new output runs all steps, an older one those that it lacks. The version of an
output is the number of steps that it has. Views are made anew whenever a step has run.
"""

from __future__ import annotations

import secrets
from typing import Final

from psycopg import sql

from service.errors import SinkFormatError
from service.sinks.postgres_connection import Session
from service.sinks.postgres_views import VIEWS

PARTITIONED: Final = ("stored_forecasts", "stored_silences", "rejects")
"""Tables of outputs, whose oldest parts are dropped."""

_TABLES: Final = """
CREATE TABLE starts (                 -- starts of daemons that have committed here, in their order
    n bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    start text NOT NULL UNIQUE        -- random; the first one was created with the output
);
CREATE TABLE positions (
    partition text PRIMARY KEY,
    next_position bigint NOT NULL,
    commits bigint NOT NULL           -- number of units, by which a lost answer to a commit is found out
);
CREATE TABLE adoptions (
    partition text NOT NULL,
    position bigint NOT NULL,         -- the first record forecast with the model
    group_name text NOT NULL,         -- "" of series without a [[group]]
    model text NOT NULL,              -- sha256
    PRIMARY KEY (partition, position, group_name)
);
CREATE TABLE marks (                  -- time marks, which closed windows of a silent partition
    partition text NOT NULL,
    position bigint NOT NULL,         -- behind the last record before it
    time_ms bigint NOT NULL,          -- event time that it stands for
    PRIMARY KEY (partition, position, time_ms)
);
CREATE TABLE deleted_marks (partition text PRIMARY KEY, before bigint NOT NULL);
CREATE TABLE outcomes (               -- counts of events by outcome, over all runs
    partition text PRIMARY KEY,
    events bigint NOT NULL,
    late bigint NOT NULL,
    duplicates bigint NOT NULL
);
CREATE TABLE pruned_rejects (         -- counts of deleted rejects
    partition text NOT NULL,
    reason text NOT NULL,
    n bigint NOT NULL,
    PRIMARY KEY (partition, reason)
);
CREATE TABLE files (                  -- the input files as they were read; see FileEntry
    partition text NOT NULL,
    base bigint NOT NULL,
    path text NOT NULL,
    size bigint,
    head_bytes bigint NOT NULL,
    head_sha256 text NOT NULL,
    cuts text NOT NULL,
    start bigint NOT NULL,
    checked bigint NOT NULL,
    checksum bigint,
    device numeric NOT NULL,
    inode numeric NOT NULL,
    stored bigint NOT NULL,
    changed_ns bigint NOT NULL,
    PRIMARY KEY (partition, base, path)
);
CREATE TABLE parts (begins timestamptz PRIMARY KEY);
CREATE TABLE series_names (
    id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    name text NOT NULL,
    labels jsonb                      -- of names such as requests{instance="a"}, else null
);
CREATE INDEX ON series_names USING hash (name);
CREATE INDEX ON series_names USING gin (labels);
CREATE TABLE contexts (               -- what many forecasts have in common
    id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    partition text NOT NULL,
    model text NOT NULL,              -- the first digits of its sha256, "" of a silence
    levels double precision[] NOT NULL,
    UNIQUE (partition, model, levels)
);
CREATE SEQUENCE output_ids;
CREATE TABLE stored_forecasts (
    id bigint NOT NULL DEFAULT nextval('output_ids'), -- in the order in which they were written
    part timestamptz NOT NULL,        -- the time at which the part of the table began that the row is in
    position bigint NOT NULL,
    origin timestamptz NOT NULL,
    interval_ms bigint NOT NULL,
    value double precision,           -- of the event
    series int NOT NULL,
    context int NOT NULL,
    anomaly real,
    missing boolean NOT NULL,         -- the event had no value
    flagged boolean NOT NULL,
    quantiles real[],                 -- [step][level]
    wide double precision[],          -- in place of them, where real does not hold them exactly
    more jsonb                        -- rarer fields: interval, targets, source, revision, suppressed
) {by_part};
CREATE INDEX ON stored_forecasts (series, origin);
CREATE INDEX ON stored_forecasts (id);
CREATE TABLE stored_silences (
    id bigint NOT NULL DEFAULT nextval('output_ids'),
    part timestamptz NOT NULL,
    position bigint NOT NULL,
    last timestamptz NOT NULL,
    expected timestamptz NOT NULL,
    noticed timestamptz NOT NULL,
    series int NOT NULL,
    context int NOT NULL
) {by_part};
CREATE INDEX ON stored_silences (series);
CREATE TABLE rejects (
    id bigint NOT NULL DEFAULT nextval('output_ids'),
    part timestamptz NOT NULL,
    partition text NOT NULL,
    position bigint NOT NULL,
    reason text NOT NULL,
    detail text NOT NULL,
    value bytea NOT NULL,             -- the bytes of the record, unchanged
    key bytea,
    headers jsonb NOT NULL            -- array of [name, value in UTF-8 with \\xNN for other bytes]
) {by_part};
CREATE INDEX ON rejects (partition, position);
"""

STEPS: Final[list[str]] = [_TABLES]
"""The statements of every version; `{by_part}` is how a table is divided into parts."""

_BY_LIST: Final = "PARTITION BY LIST (part)"
_EXTENSION: Final = """
SELECT n.nspname FROM pg_extension AS e JOIN pg_namespace AS n ON n.oid = e.extnamespace
WHERE e.extname = 'timescaledb'"""
# Chunks hold the rows of one part each, whose rows all have the time at which it began, in whole seconds. Chunks of an
# hour would hold many parts where the bound of bytes is reached sooner, and none could be dropped before its end.
_HYPERTABLE: Final = """
SELECT {schema}.create_hypertable({table}, {column}, chunk_time_interval => interval '1 second',
create_default_indexes => false)"""


def prepare(session: Session, schema: str, place: str) -> str:
    """Creates the schema of a new output, and brings one of an earlier version up to date, in one transaction.

    Args:
        session: has the lock of the output.
        schema: the name of the schema.
        place: of the output, for messages.

    Returns:
        The schema of the extension TimescaleDB where the tables are hypertables, else "".

    Raises:
        SinkFormatError: the schema belongs to another program, or a later version of this one.
        psycopg.Error: the database refuses.
    """
    with session.transaction():
        name = sql.Identifier(schema)
        if not _one(session, "SELECT count(*) FROM pg_namespace WHERE nspname = %s", schema):
            session.execute(sql.SQL("CREATE SCHEMA {}").format(name))
        if not _one(session, "SELECT count(*) FROM pg_class WHERE relnamespace = %s::regnamespace", schema):
            session.execute("CREATE TABLE output (version int NOT NULL, extension text NOT NULL)")
            found = session.execute(_EXTENSION).fetchone()
            session.execute("INSERT INTO output VALUES (0, %s)", (str(found[0]) if found else "",))
        version, extension = version_of(session, place)
        if version > len(STEPS):
            msg = (
                f"{place}: got schema version {version}, expected {len(STEPS)} or less. Use the program version that "
                "wrote it, or another postgres.schema_name"
            )
            raise SinkFormatError(msg)
        for step in STEPS[version:]:
            session.execute(step.replace("{by_part}", "" if extension else _BY_LIST).encode())
        if version == 0:
            if extension:
                _make_hypertables(session, extension)
            session.execute("INSERT INTO starts (start) VALUES (%s)", (secrets.token_hex(16),))
        if version < len(STEPS):
            for view in reversed(VIEWS):
                session.execute(f"DROP VIEW IF EXISTS {view}".encode())
            for view, text in VIEWS.items():
                session.execute(f"CREATE VIEW {view} AS {text}".encode())
            session.execute("UPDATE output SET version = %s", (len(STEPS),))
    return extension


def version_of(session: Session, place: str) -> tuple[int, str]:
    """Returns the version of an output, and the schema of TimescaleDB where its tables are hypertables, else "".

    Raises:
        SinkFormatError: the schema has no output.
    """
    if _one(session, "SELECT count(*) FROM pg_attribute WHERE attrelid = to_regclass('output') AND attnum > 0") != 2:
        msg = f"{place}: got a schema with tables of another program; expected one of this program, or an unused name"
        raise SinkFormatError(msg)
    found = session.execute("SELECT version, extension FROM output").fetchone()
    return (int(str(found[0])), str(found[1])) if found else (0, "")


def _make_hypertables(session: Session, extension: str) -> None:
    for table in PARTITIONED:
        statement = sql.SQL(_HYPERTABLE).format(
            schema=sql.Identifier(extension), table=sql.Literal(table), column=sql.Literal("part")
        )
        session.execute(statement)


def _one(session: Session, query: str, *parameters: object) -> object:
    found = session.execute(query.encode(), parameters).fetchone()
    return None if found is None else found[0]
