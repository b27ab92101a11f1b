"""Sink of forecasts, rejects, adoptions and positions in a PostgreSQL database, one transaction per batch.

    SELECT target, forecast FROM steps WHERE series = 'cpu' AND origin > now() - interval '1 hour';

Durable means `synchronous_commit = on`, or what the server has in its place for standbys. While the database is down,
`publish` raises `SinkUnavailableError` and connects again when it is called again. If the connection breaks while a
commit is under way, the number of commits of the partition, which every unit counts up, tells whether it took place.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final, NamedTuple

import psycopg
from psycopg import ClientCursor
from psycopg.errors import InterfaceError, OperationalError

from service.config.postgres import PostgresConfig
from service.errors import SinkFormatError, SinkUnavailableError, TransportError, UnreachableError
from service.ports import Adoption, Outcomes, OutputIdentity, TimeMark, Unit, marks_from, models_from
from service.sinks import Sink
from service.sinks.postgres_connection import Connector, Session, error_of
from service.sinks.postgres_parts import PostgresParts
from service.sinks.postgres_rows import PostgresRows
from service.sinks.postgres_schema import prepare
from service.sinks.unit_rows import (
    FILE_COLUMNS,
    MOST_STARTS,
    THIS_START,
    file_entry,
    file_rows,
    order_error,
)
from service.sources.manifest import FileEntry

# The position rises with every unit, and only where the unit follows it.
_POSITION: Final = """
INSERT INTO positions AS p VALUES (%s, %s, 1) ON CONFLICT (partition)
DO UPDATE SET next_position = excluded.next_position, commits = p.commits + 1 WHERE p.next_position <= %s
RETURNING commits, pg_backend_pid()"""
_OUTCOMES: Final = """
INSERT INTO outcomes AS o VALUES (%s, %s, %s, %s) ON CONFLICT (partition) DO UPDATE SET
events = o.events + excluded.events, late = o.late + excluded.late, duplicates = o.duplicates + excluded.duplicates"""
_NOTE_DELETED_MARKS: Final = """
INSERT INTO deleted_marks SELECT partition, max(position) + 1 FROM marks WHERE partition = %s AND position < %s
GROUP BY partition ON CONFLICT (partition) DO UPDATE SET before = excluded.before"""
_ADOPTION: Final = """
INSERT INTO adoptions VALUES (%s, %s, %s, %s)
ON CONFLICT (partition, position, group_name) DO UPDATE SET model = excluded.model"""
_FILE: Final = (
    f"INSERT INTO files (partition, {', '.join(FILE_COLUMNS)}) VALUES (%s{', %s' * len(FILE_COLUMNS)}) "
    "ON CONFLICT (partition, base, path) DO UPDATE SET "
    + ", ".join(f"{name} = excluded.{name}" for name in FILE_COLUMNS if name not in {"base", "path"})
)
_SHORTEN_STARTS: Final = """
DELETE FROM starts WHERE n <= (SELECT max(n) - %s FROM starts) AND n > (SELECT min(n) FROM starts)"""


class _Doubt(NamedTuple):
    """A commit whose outcome is not known: of a unit, which counts the commits of its partition up to this number."""

    unit: Unit
    commits: int
    sent: int


class PostgresSink(Sink):
    """Sink to a schema of a database. One thread at a time; exclusive between processes while it is connected.

    Args:
        settings: address and schema.
        parts: parts and retention of the tables.
    """

    def __init__(self, settings: PostgresConfig, parts: PostgresParts | None = None) -> None:
        self._settings = settings
        self._connector = Connector(settings)
        self._parts = parts or PostgresParts()
        self._rows = PostgresRows()
        self._session: Session | None = None
        self._starts: tuple[str, ...] = ()
        self._commits: dict[str, int] = {}  # by partition, as this process has left them
        self._adoptions: dict[str, list[Adoption]] = {}  # by partition, so that they are known while it is down
        self._released: dict[str, int] = {}  # by partition: time marks before it go with the next unit
        self._doubt: _Doubt | None = None

    @property
    def place(self) -> str:
        """The address of the output for people."""
        return self._connector.place

    def open(self) -> None:
        """Connects, takes the lock, and creates or migrates the schema.

        Raises:
            TransportBusyError: another daemon uses the schema.
            SinkFormatError: the schema was not made by this program, or by a later version of it.
            UnreachableError: the server does not answer.
            TransportError: it refuses.
        """
        self.close()
        self._connect()
        self._starts = self._read_starts()
        self._commits = self._read_commits()
        self._adoptions = {}
        found = self._query("SELECT partition, position, model, group_name FROM adoptions")
        for partition, position, model, group in found:
            one = Adoption(int(str(position)), str(model), str(group))
            self._adoptions.setdefault(str(partition), []).append(one)

    def _connect(self) -> Session:
        session = self._connector.connect()
        try:
            self._connector.lock(session)
            self._parts.extension = prepare(session, self._settings.schema_name, self.place)
            self._parts.load(session)
        except (OperationalError, InterfaceError) as error:
            session.close()
            msg = f"{self.place}: cannot be opened now ({error})"
            raise UnreachableError(msg) from error
        except psycopg.Error as error:
            session.close()
            msg = f"{self.place}: cannot be prepared ({error}); expected a role that may create the schema, or owns it"
            raise TransportError(msg) from error
        except BaseException:
            session.close()
            raise
        self._rows.numbers.forget()
        self._session = session
        return session

    def _connected(self) -> Session:
        """Returns the session, connected again where it broke.

        Raises:
            UnreachableError: the server does not answer.
            TransportError: it is not the output as this process has left it.
        """
        if self._session is not None and not self._session.closed:
            return self._session
        if not self._starts:
            msg = f"{self.place}: is not open"
            raise TransportError(msg)
        self._drop()
        session = self._connect()
        found, expected, newest = self._read_commits(), dict(self._commits), self._starts[-1]
        if (doubt := self._doubt) is not None and found.get(doubt.unit.partition) == doubt.commits:
            expected[doubt.unit.partition], newest = doubt.commits, THIS_START
        starts = self._read_starts()
        if found != expected or (starts[:1], starts[-1:]) != (self._starts[:1], (newest,)):
            self._drop()
            msg = (
                f"{self.place}: got other positions after the connection was lost, expected those of before; it may "
                "have been restored from a backup, or a standby without the last transactions has taken over"
            )
            raise TransportError(msg)
        return session

    def _drop(self) -> None:
        """Closes the connection, if any."""
        if self._session is not None:
            self._session.close()
            self._session = None

    # Reading ------------------------------------------------------------------------------------------------

    @property
    def identity(self) -> OutputIdentity:
        """Returns the name created with the output, and the starts stored in it."""
        return OutputIdentity(self._starts[0], self._starts, self.place) if self._starts else OutputIdentity()

    def _query(self, query: str, *parameters: object) -> list[tuple[object, ...]]:
        """Reads rows, with a new connection where the present one is found to be broken."""
        for attempt in range(2):
            session = self._connected()
            try:
                return session.execute(query.encode(), parameters).fetchall()
            except psycopg.Error as error:
                if not session.closed:
                    raise error_of(error, self.place) from error
                self._drop()
                if attempt:
                    msg = f"{self.place}: cannot be read now ({error})"
                    raise UnreachableError(msg) from error
        raise AssertionError

    def _read_starts(self) -> tuple[str, ...]:
        return tuple(str(start) for (start,) in self._query("SELECT start FROM starts ORDER BY n"))

    def _read_commits(self) -> dict[str, int]:
        found = self._query("SELECT partition, commits FROM positions")
        return {str(partition): int(str(commits)) for partition, commits in found}

    def committed(self, partition: str) -> int | None:
        """Returns the committed source position, or None."""
        rows = self._query("SELECT next_position FROM positions WHERE partition = %s", partition)
        return int(str(rows[0][0])) if rows else None

    def adoptions(self, partition: str) -> list[Adoption]:
        """Returns all committed adoptions, by rising position."""
        return sorted(self._adoptions.get(partition, ()), key=lambda one: (one.position, one.group))

    def marks(self, partition: str, start: int) -> Sequence[TimeMark]:
        """Returns the committed time marks from a position on, in order.

        Raises:
            SourceGoneError: some of them were deleted.
        """
        query = "SELECT position, time_ms FROM marks WHERE partition = %s AND position >= %s ORDER BY 1, 2"
        marks = [TimeMark(int(str(at)), int(str(time))) for at, time in self._query(query, partition, start)]
        deleted = self._query("SELECT before FROM deleted_marks WHERE partition = %s", partition)
        return marks_from(partition, marks, start, int(str(deleted[0][0])) if deleted else None)

    def run(self, partition: str) -> int:  # noqa: ARG002 - positions are in the same database as the forecasts
        """Returns 1: the first run is the only one."""
        return 1

    def models_needed(self, earliest: Callable[[str], int]) -> set[str]:
        """Returns the models in force for events that the source still holds; of partitions not read now, all."""
        return {sha for name in self._adoptions for sha in models_from(self.adoptions(name), earliest(name))}

    def files(self, partition: str) -> list[FileEntry]:
        """Returns the entries of the input files at the committed position, in order."""
        query = f'SELECT {", ".join(FILE_COLUMNS)} FROM files WHERE partition = %s ORDER BY base, path COLLATE "C"'
        return [
            file_entry([value if value is None or isinstance(value, str) else int(str(value)) for value in row])
            for row in self._query(query, partition)
        ]

    def outcomes(self, partitions: Sequence[str]) -> Outcomes:
        """Returns the outcome counters of all committed records of these partitions."""
        names = [*partitions]
        query = "SELECT sum(events), sum(late), sum(duplicates) FROM outcomes WHERE partition = ANY(%s)"
        events, late, duplicates = (int(str(count or 0)) for count in self._query(query, names)[0])
        reasons = self._query(
            "SELECT reason, sum(n) FROM (SELECT reason, count(*) AS n FROM rejects WHERE partition = ANY(%s) "
            "GROUP BY reason UNION ALL SELECT reason, n FROM pruned_rejects WHERE partition = ANY(%s)) AS r "
            "GROUP BY reason",
            names,
            names,
        )
        first = self._query("SELECT detail FROM rejects WHERE partition = ANY(%s) ORDER BY id LIMIT 1", names)
        rejects = {str(reason): int(str(count)) for reason, count in reasons if reason != "late"}
        return Outcomes(events, late, duplicates, rejects, str(first[0][0]) if first else "")

    # Writing ------------------------------------------------------------------------------------------------

    def release(self, partition: str, position: int) -> None:
        """Deletes the time marks before a position with the next unit of the partition."""
        self._released[partition] = position

    def publish(self, unit: Unit, files: Sequence[FileEntry] = (), removed: Sequence[tuple[int, str]] = ()) -> None:
        """Commits a unit and the entries of the input files at its `next_position` as one transaction.

        Raises:
            SinkUnavailableError: the database cannot be reached or written now. The unit may be given again: if its
                commit was under way, the next call finds out whether it took place, and writes it at most once.
            SinkFormatError: tables were changed or dropped.
            ValueError: the unit starts before the committed position, or ends before its start; not written.
            TransportError: any other error.
        """
        try:
            session = self._connected()
            if self._settled(unit):
                return
        except UnreachableError as error:
            raise SinkUnavailableError(str(error)) from error
        if unit.next_position < unit.position:
            raise order_error(unit, self.committed(unit.partition))
        begins = self._starts[-1] != THIS_START
        try:
            before = self._parts.forgotten
            part = self._parts.prepare(session)
            if self._parts.forgotten != before:
                self._rows.numbers.forget()
            commits = self._begin(session, unit, files, removed, begins=begins)
            sent = self._rows.write(session, unit, part)
        except psycopg.Error as error:
            self._roll_back(session)
            raise error_of(error, self.place) from error
        except BaseException:
            self._roll_back(session)
            raise
        self._doubt = _Doubt(unit, commits, sent)
        try:
            done = session.execute("COMMIT").statusmessage
        except psycopg.Error as error:
            if session.closed:
                self._drop()
                msg = f"{self.place}: connection lost during a commit ({error}), whose outcome is read back"
                raise SinkUnavailableError(msg) from error
            self._doubt = None
            self._roll_back(session)
            raise error_of(error, self.place) from error
        if done != "COMMIT":
            self._doubt = None
            self._rows.numbers.forget()
            msg = f"{self.place}: got {done} for a commit, expected COMMIT; nothing was written"
            raise TransportError(msg)
        self._note_committed()

    def _settled(self, unit: Unit) -> bool:
        """Finds out what became of a commit whose outcome was not known.

        Returns:
            Whether it was that of this unit and took place.
        """
        doubt = self._doubt
        if doubt is None:
            return False
        if self._read_commits().get(doubt.unit.partition) != doubt.commits:
            self._doubt = None
            return False
        self._note_committed()
        return doubt.unit == unit

    def _note_committed(self) -> None:
        doubt = self._doubt
        assert doubt is not None  # noqa: S101 - set before the commit
        self._doubt = None
        unit = doubt.unit
        self._commits[unit.partition] = doubt.commits
        self._parts.note_written(doubt.sent)
        self._released.pop(unit.partition, None)
        if unit.adoptions:
            places = {(one.position, one.group) for one in unit.adoptions}
            kept = [one for one in self.adoptions(unit.partition) if (one.position, one.group) not in places]
            self._adoptions[unit.partition] = [*kept, *unit.adoptions]
        if self._starts[-1] != THIS_START:
            self._starts = (*(one for one in self._starts if one != THIS_START), THIS_START)

    def _begin(
        self,
        session: Session,
        unit: Unit,
        files: Sequence[FileEntry],
        removed: Sequence[tuple[int, str]],
        *,
        begins: bool,
    ) -> int:
        """Begins the transaction and writes all but the outputs, in one message; returns the number of commits.

        Raises:
            ValueError: the unit does not follow the committed position.
        """
        partition, made = unit.partition, unit.outcomes
        statements: list[tuple[str, tuple[object, ...]]] = [
            ("BEGIN", ()),
            (_POSITION, (partition, unit.next_position, unit.position)),
            (_OUTCOMES, (partition, made.events, made.late, made.duplicates)),
        ]
        if (before := self._released.get(partition)) is not None:
            statements.append((_NOTE_DELETED_MARKS, (partition, before)))
            statements.append(("DELETE FROM marks WHERE partition = %s AND position < %s", (partition, before)))
        if unit.mark is not None:
            statements.append(("INSERT INTO marks VALUES (%s, %s, %s)", (partition, *unit.mark)))
        statements += [(_ADOPTION, (partition, one.position, one.group, one.model_sha256)) for one in unit.adoptions]
        gone = "DELETE FROM files WHERE partition = %s AND base = %s AND path = %s"
        statements += [(gone, (partition, *key)) for key in removed]
        statements += [(_FILE, row) for row in file_rows(partition, files)]
        if begins:
            statements.append(("DELETE FROM starts WHERE start = %s", (THIS_START,)))
            statements.append(("INSERT INTO starts (start) VALUES (%s)", (THIS_START,)))
            statements.append((_SHORTEN_STARTS, (MOST_STARTS,)))
        with ClientCursor(session) as cursor:
            text = "; ".join(cursor.mogrify(query.encode(), values) for query, values in statements)
            cursor.execute(text.encode())
            cursor.nextset()
            found = cursor.fetchone()
        if found is None:
            session.execute("ROLLBACK")
            raise order_error(unit, self.committed(partition))
        if found[1] != self._connector.process:
            session.execute("ROLLBACK")
            msg = (
                f"{self.place}: got a session that changes between transactions, expected one that stays, as it has "
                "the lock. A pooler between daemon and server must pool sessions, not transactions"
            )
            raise SinkFormatError(msg)
        return int(str(found[0]))

    def _roll_back(self, session: Session) -> None:
        self._rows.numbers.forget()  # those that this transaction has added
        if not session.closed:
            try:
                session.execute("ROLLBACK")
            except psycopg.Error:
                session.close()  # which rolls back as well
        if session.closed:
            self._drop()

    def close(self) -> None:
        """Closes the connection, and so releases the lock."""
        self._drop()
        self._doubt = None
        self._starts, self._commits, self._adoptions = (), {}, {}
