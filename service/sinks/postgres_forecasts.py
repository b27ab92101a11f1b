"""Reads the forecasts that a PostgreSQL output holds, for the command line; a daemon may be writing it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from fnmatch import fnmatchcase
from typing import Any

import psycopg

from service.config.findings import Finding
from service.config.postgres import PostgresConfig
from service.errors import SinkFormatError, TransportError
from service.messages.encode import silence_object
from service.sinks.postgres_connection import Connector, Session
from service.sinks.postgres_schema import STEPS, version_of
from service.sinks.stored_forecasts import Position, StoredForecast, StoredOutputs

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_NEWEST = """
SELECT id, origin, model, levels, quantiles FROM forecasts
WHERE series = %s AND origin <= %s AND status <> 'unknown' ORDER BY origin DESC, revision DESC, id DESC LIMIT %s"""

_END = """
SELECT start, greatest((SELECT max(id) FROM stored_forecasts), (SELECT max(id) FROM stored_silences), 0)
FROM starts ORDER BY n LIMIT 1"""
_FORECASTS_AFTER = """
SELECT v.id, v.series, v.partition, v.position, v.origin, v.interval_ms, v.status, v.model, v.levels, v.quantiles,
    v.anomaly, v.flagged, f.more
FROM forecasts AS v JOIN stored_forecasts AS f ON f.id = v.id
WHERE v.id > %s AND v.id <= %s ORDER BY v.id LIMIT %s"""
_SILENCES_AFTER = """
SELECT id, series, partition, position, last, expected, noticed FROM silences
WHERE id > %s AND id <= %s ORDER BY id LIMIT %s"""


class PostgresForecasts(StoredOutputs):
    """`StoredOutputs` of a database.

    Args:
        settings: address and schema. A role that may only read is enough.
    """

    def __init__(self, settings: PostgresConfig) -> None:
        self._settings = settings
        self._connector = Connector(settings)
        self._session: Session | None = None

    @property
    def place(self) -> str:
        """Returns the schema."""
        return f"schema {self._settings.schema_name}"

    def _open(self) -> Session:
        if self._session is None:
            self._session = self._connector.connect()
        return self._session

    def _failed(self, error: psycopg.Error) -> TransportError:
        msg = f"{self._connector.place}: cannot be read ({error}); expected a role that may read the schema"
        return TransportError(msg)

    def newest(self, pattern: str, until_ms: int, last: int) -> Iterator[StoredForecast]:
        """Yields the newest forecasts of series, oldest first in each.

        Raises:
            SinkFormatError: there is no such output, or it is of a later program.
            TransportError: the server does not answer, or refuses.
        """
        session = self._open()
        try:
            _check(session, self._connector.place)
            names = [
                str(name) for (name,) in session.execute('SELECT name FROM series_names ORDER BY name COLLATE "C"')
            ]
            for name in names:
                if fnmatchcase(name, pattern):
                    yield from _of_series(session, name, _EPOCH + timedelta(milliseconds=until_ms), last)
        except psycopg.Error as error:
            raise self._failed(error) from error

    def end(self) -> Position | None:
        """Returns the position behind the newest output; None while there is no output at all.

        Raises:
            SinkFormatError: it is of a later program.
            TransportError: the server does not answer, or refuses.
        """
        session = self._open()
        try:
            if session.execute("SELECT to_regclass('output') IS NULL").fetchone() == (True,):
                return None
            _check(session, self._connector.place)
            found: Any = session.execute(_END).fetchone()
        except psycopg.Error as error:
            raise self._failed(error) from error
        return None if found is None else (found[0], int(found[1]))

    def after(self, position: Position | None, limit: int, series: str = "") -> tuple[list[dict[str, Any]], Position]:
        """Returns the outputs that follow a position; see `StoredOutputs`.

        Raises:
            SinkFormatError, TransportError: see `end`.
        """
        output, last = ("", 0) if position is None else (str(position[0]), int(str(position[1])))
        end = self.end()  # one daemon writes at a time: all outputs up to this number are committed
        if end is None:
            return [], (output, last)
        name, newest = str(end[0]), int(str(end[1]))
        start = last if name == output else 0
        try:
            page = (start, newest, limit)
            forecasts: list[Any] = self._open().execute(_FORECASTS_AFTER, page).fetchall()
            silences: list[Any] = self._open().execute(_SILENCES_AFTER, page).fetchall()
        except psycopg.Error as error:
            raise self._failed(error) from error
        ends = [rows[-1][0] for rows in (forecasts, silences) if len(rows) == limit]
        reached = min(ends, default=max(start, newest))
        found = [(row[0], _forecast_object(*row[1:])) for row in forecasts if row[0] <= reached]
        found += [(row[0], _silence_object(*row[1:])) for row in silences if row[0] <= reached]
        found.sort(key=lambda one: one[0])
        return [one for _, one in found if series in ("", one["series"])], (name, reached)

    def close(self) -> None:
        """Ends the session."""
        if self._session is not None:
            self._session.close()
            self._session = None


def _forecast_object(
    series: str, partition: str, position: int, origin: datetime, interval_ms: int, status: str, model: str,
    levels: list[float], quantiles: list[list[float]] | None, anomaly: float | None, flagged: bool,  # noqa: FBT001 - a column
    more: dict[str, Any] | None,
) -> dict[str, Any]:  # fmt: skip
    rare = more or {}
    return {
        "series": series,
        "origin": _text(origin),
        "interval_ms": interval_ms,
        **{name: rare[name] for name in ("interval", "targets") if name in rare},
        "levels": levels,
        "quantiles": quantiles,
        "anomaly": anomaly,
        "flagged": flagged,
        "model": model,
        "source": {"partition": partition, "position": position, **rare.get("source", {})},
        "status": status,
        **{name: rare[name] for name in ("revision", "suppressed") if name in rare},
    }


def _silence_object(
    series: str, partition: str, position: int, last: datetime, expected: datetime, noticed: datetime
) -> dict[str, Any]:
    times = _text(last), _text(expected), _text(noticed)
    return silence_object(series, times, {"partition": partition, "position": position})


def examine(settings: PostgresConfig) -> Finding:
    """Checks an output as a daemon would, and changes nothing."""
    connector = Connector(settings)
    try:
        with closing(connector.connect()) as session:
            found = session.execute(
                "SELECT has_database_privilege(current_database(), 'CREATE'), to_regnamespace(%s) IS NOT NULL, "
                "coalesce(has_schema_privilege(to_regnamespace(%s), 'CREATE'), false)",
                (settings.schema_name, settings.schema_name),
            ).fetchone()
            assert found is not None  # noqa: S101 - a row without a table
            may_create, is_there, may_use = found
            if not is_there:
                if may_create:
                    return Finding("ok", connector.place, "the schema will be created")
                text = "the role may not create the schema; create it with this role as its owner"
                return Finding("error", connector.place, text)
            if not may_use:
                return Finding("error", connector.place, "the role may not use the schema; make it its owner")
            empty = session.execute(
                "SELECT count(*) = 0 FROM pg_class WHERE relnamespace = to_regnamespace(%s)", (settings.schema_name,)
            ).fetchone()
            if empty == (True,):
                return Finding("ok", connector.place, "the tables will be created")
            version = _check(session, connector.place)
    except (TransportError, psycopg.Error) as error:
        return Finding("error", connector.place, " ".join(str(error).split()))
    more = "" if version == len(STEPS) else f", and its schema of version {version} will be migrated to {len(STEPS)}"
    return Finding("ok", connector.place, f"exists and will be continued{more}")


def _check(session: Session, place: str) -> int:
    """Returns the version of an output.

    Raises:
        SinkFormatError: there is none, or one of a later program.
    """
    if session.execute("SELECT to_regclass('output') IS NULL").fetchone() == (True,):
        msg = f"{place}: has no output; expected the schema of a daemon that has run"
        raise SinkFormatError(msg)
    version, _ = version_of(session, place)
    if version > len(STEPS):
        msg = f"{place}: got schema version {version}, expected {len(STEPS)} or less; use a later program version"
        raise SinkFormatError(msg)
    return version


def _of_series(session: Session, name: str, until: datetime, last: int) -> Iterator[StoredForecast]:
    found: list[Any] = session.execute(_NEWEST, (name, until, last)).fetchall()
    for number, origin, model, levels, quantiles in reversed(found):
        targets: dict[Any, Any] = dict(session.execute("SELECT step, target FROM steps WHERE id = %s", (number,)))  # type: ignore[arg-type]
        actuals: dict[Any, Any] = dict(session.execute("SELECT step, actual FROM verified WHERE id = %s", (number,)))  # type: ignore[arg-type]
        steps = range(1, len(quantiles) + 1)
        yield StoredForecast(
            name,
            _text(origin),
            str(model),
            levels,
            [None if targets.get(step) is None else _text(targets[step]) for step in steps],
            quantiles,
            [actuals.get(step) for step in steps],
        )


def _text(time: datetime) -> str:
    return f"{time:%Y-%m-%dT%H:%M:%S}.{time.microsecond // 1000:03d}Z"
