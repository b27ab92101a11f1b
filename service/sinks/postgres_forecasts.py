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
from service.sinks.postgres_connection import Connector, Session
from service.sinks.postgres_schema import STEPS, version_of
from service.sinks.stored_forecasts import StoredForecast

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_NEWEST = """
SELECT id, origin, model, levels, quantiles FROM forecasts
WHERE series = %s AND origin <= %s AND status <> 'unknown' ORDER BY origin DESC, revision DESC, id DESC LIMIT %s"""


def stored_forecasts(settings: PostgresConfig, pattern: str, until_ms: int, last: int) -> Iterator[StoredForecast]:
    """Yields the newest forecasts of series, oldest first in each.

    Args:
        settings: address and schema. A role that may only read is enough.
        pattern: glob of the names of series.
        until_ms: the latest origin, epoch milliseconds.
        last: how many of each series.

    Raises:
        SinkFormatError: there is no such output, or it is of a later program.
        TransportError: the server does not answer, or refuses.
    """
    connector = Connector(settings)
    with closing(connector.connect()) as session:
        try:
            _check(session, connector.place)
            names = [
                str(name) for (name,) in session.execute('SELECT name FROM series_names ORDER BY name COLLATE "C"')
            ]
            for name in names:
                if fnmatchcase(name, pattern):
                    yield from _of_series(session, name, _EPOCH + timedelta(milliseconds=until_ms), last)
        except psycopg.Error as error:
            msg = f"{connector.place}: cannot be read ({error}); expected a role that may read the schema"
            raise TransportError(msg) from error


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
