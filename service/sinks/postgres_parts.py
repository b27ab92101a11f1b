"""The parts of the tables of a PostgreSQL output: new ones begin in time, the oldest are dropped.

The time at which rows were written decides, whatever the times of their events are, so one wrong timestamp makes no
partition. A part is a partition of each table of outputs, or with TimescaleDB a chunk; all of its rows have the time at
which it began. A new one begins after a 32nd of `output.keep` (an hour at least; 30 days without it), or where the
present one takes a 16th of `output.max_bytes`. Dropping a part costs the same however many rows it has.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Final

import structlog
from psycopg import errors, sql

from service.sinks.postgres_connection import Session
from service.sinks.postgres_schema import PARTITIONED
from service.sinks.unit_rows import report_bound

_log = structlog.get_logger()

_LEAST_SECONDS: Final = 3600
_UNBOUNDED_SECONDS: Final = 30 * 86_400
_PARTS_OF_KEEP: Final = 32
_PARTS_OF_BYTES: Final = 16
_CHECKED: Final = 8 * _PARTS_OF_BYTES  # sizes are read whenever such a part of the bound has been written
_AGAIN_SECONDS: Final = 10  # after a reader has kept a part from being dropped
_SWEPT: Final = 500  # series that are looked up with a unit, after a part was dropped
_SIZES: Final = """
SELECT sum(pg_total_relation_size(i.inhrelid))::bigint FROM pg_inherits AS i
WHERE i.inhparent = ANY(%s::regclass[])"""
_COUNT_REJECTS: Final = """
INSERT INTO pruned_rejects AS p SELECT partition, reason, count(*) FROM rejects WHERE part = %s GROUP BY 1, 2
ON CONFLICT (partition, reason) DO UPDATE SET n = p.n + excluded.n"""
_SWEEP: Final = """
WITH few AS (SELECT id FROM series_names WHERE id > %s ORDER BY id LIMIT %s),
gone AS (
    DELETE FROM series_names AS s USING few WHERE s.id = few.id
    AND NOT EXISTS (SELECT FROM stored_forecasts WHERE series = s.id)
    AND NOT EXISTS (SELECT FROM stored_silences WHERE series = s.id)
    RETURNING s.id
)
SELECT (SELECT max(id) FROM few), (SELECT count(*) FROM gone)"""


class PostgresParts:
    """Parts and retention. Used between the units of a sink, in transactions of its own.

    Args:
        keep_seconds: rows written longer ago are dropped; 0: none by age.
        max_bytes: bound of tables and indexes; 0: none.
        now: the wall clock, epoch seconds.

    Attributes:
        extension: see `service.sinks.postgres_schema.prepare`.
        forgotten: number of series whose names were deleted, with their last rows.
    """

    def __init__(self, keep_seconds: float = 0.0, max_bytes: int = 0, now: Callable[[], float] = lambda: 0.0) -> None:
        self._keep, self._max_bytes, self._now = keep_seconds, max_bytes, now
        self.extension, self.forgotten = "", 0
        self._begins: list[int] = []
        self._unchecked = self._in_part = 0  # bytes written since sizes were read, and since the part began
        self._again = 0.0
        self._swept: int | None = None  # the last series that was looked up; None: all were
        self._reported = self._blocked = False

    @property
    def _length(self) -> float:
        return max(_LEAST_SECONDS, self._keep / _PARTS_OF_KEEP) if self._keep else _UNBOUNDED_SECONDS

    def load(self, session: Session) -> None:
        """Reads which parts there are."""
        found = session.execute("SELECT extract(epoch FROM begins)::bigint FROM parts ORDER BY begins")
        self._begins = [int(str(begins)) for (begins,) in found]
        self._unchecked, self._in_part, self._swept = self._max_bytes, 0, None

    def note_written(self, count: int) -> None:
        """Counts bytes of rows that were committed."""
        self._unchecked += count
        self._in_part += count

    def prepare(self, session: Session) -> int:
        """Drops what is too old or too much, and returns the part of the next rows, made if need be.

        Raises:
            psycopg.Error: the database refuses.
        """
        now = self._now()
        if not self._begins or now >= self._begins[-1] + self._length:
            self._begin(session, now)
        if self._max_bytes and self._unchecked >= self._max_bytes // _CHECKED:
            self._unchecked = 0
            self._check_size(session, now)
        while self._keep and len(self._begins) > 1 and self._begins[1] <= now - self._keep:
            if not self._drop_oldest(session, now):
                break
        if self._swept is not None:
            self._sweep(session, self._swept)
        return self._begins[-1]

    def _begin(self, session: Session, now: float) -> None:
        """Makes a part. Attaching an empty table does not wait for readers, unlike creating it as a partition."""
        begins = int(now) if not self._begins else max(int(now), self._begins[-1] + 1)
        with session.transaction():
            session.execute("INSERT INTO parts VALUES (to_timestamp(%s))", (begins,))
            for table in () if self.extension else PARTITIONED:
                names = {"table": sql.Identifier(table), "part": sql.Identifier(_name(table, begins))}
                session.execute(sql.SQL("CREATE TABLE {part} (LIKE {table} INCLUDING ALL)").format(**names))
                attach = sql.SQL("ALTER TABLE {table} ATTACH PARTITION {part} FOR VALUES IN ({begins})")
                session.execute(attach.format(**names, begins=sql.Literal(_time(begins))))
        self._begins.append(begins)
        self._in_part = 0

    def _check_size(self, session: Session, now: float) -> None:
        """Begins a part where the present one is large, and drops the oldest while all of them are."""
        if self._size(session, self._begins[-1:]) >= self._max_bytes // _PARTS_OF_BYTES:
            self._begin(session, now)
        while len(self._begins) > 1 and self._size(session, self._begins) > self._max_bytes:
            if not self._reported:
                self._reported = True
                report_bound(self._max_bytes)
            if not self._drop_oldest(session, now):
                break

    def _size(self, session: Session, begins: list[int]) -> int:
        """Returns the bytes of parts, with indexes."""
        found: tuple[object, ...] | None
        if self.extension:
            if len(begins) == 1:
                return self._in_part
            of_chunks = sql.SQL(
                "SELECT sum({}.hypertable_size(name::regclass))::bigint FROM unnest(%s::text[]) AS name"
            )
            found = session.execute(of_chunks.format(sql.Identifier(self.extension)), ([*PARTITIONED],)).fetchone()
        elif len(begins) == 1:
            query = "SELECT sum(pg_total_relation_size(name::regclass))::bigint FROM unnest(%s::text[]) AS name"
            found = session.execute(query, ([_name(table, begins[0]) for table in PARTITIONED],)).fetchone()
        else:
            found = session.execute(_SIZES, ([*PARTITIONED],)).fetchone()
        return int(str(found[0] or 0)) if found else 0

    def _drop_oldest(self, session: Session, now: float) -> bool:
        """Drops the oldest part; returns False where readers hold it, which is tried again later."""
        if now < self._again:
            return False
        oldest, following = self._begins[:2]
        try:
            with session.transaction():
                session.execute("SET LOCAL lock_timeout = '200ms'")
                session.execute(_COUNT_REJECTS, (_time(oldest),))
                session.execute("DELETE FROM parts WHERE begins = %s", (_time(oldest),))
                for table in PARTITIONED:
                    if self.extension:
                        drop = sql.SQL("SELECT {}.drop_chunks(%s::regclass, older_than => %s)")
                        session.execute(drop.format(sql.Identifier(self.extension)), (table, _time(following)))
                    else:
                        session.execute(sql.SQL("DROP TABLE {}").format(sql.Identifier(_name(table, oldest))))
        except errors.LockNotAvailable:
            self._again = now + _AGAIN_SECONDS
            if not self._blocked:
                self._blocked = True
                _log.warning("oldest output not dropped yet, a reader holds it", begins=_time(oldest).isoformat())
            return False
        self._blocked = False
        del self._begins[0]
        self._swept = 0
        return True

    def _sweep(self, session: Session, after: int) -> None:
        """Deletes the names of series without rows, of the next few series."""
        found = session.execute(_SWEEP, (after, _SWEPT)).fetchone()
        if found is None or found[0] is None:
            self._swept = None
            return
        self._swept = int(str(found[0]))
        self.forgotten += int(str(found[1]))


def _name(table: str, begins: int) -> str:
    return f"{table}_{_time(begins):%Y%m%d_%H%M%S}"


def _time(seconds: int) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)
