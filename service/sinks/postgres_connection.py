"""Connects to the database of a PostgreSQL output, holds its lock, and says what an error means.

The lock is an advisory lock of the session, so the server releases it with the end of the session and not before: who
has it knows that every transaction of its predecessor is decided. A session of this process whose connection broke,
and which the server has not noticed yet, is ended.
"""

from __future__ import annotations

import os
import time
import zlib
from typing import Final

import psycopg
from psycopg import errors
from psycopg.conninfo import conninfo_to_dict

from service.config.postgres import PostgresConfig
from service.errors import (
    ConfigurationError,
    SinkFormatError,
    SinkUnavailableError,
    TransportBusyError,
    TransportError,
    UnreachableError,
)

Session = psycopg.Connection[tuple[object, ...]]

LOCK_SECONDS: Final = 3.0
"""Longest wait for the lock: the server needs a moment to notice that a killed predecessor is gone."""

_LOCK_CLASS: Final = 0x46435354  # "FCST"
# A server that does not answer is noticed within half a minute, on both sides. The keys are those of libpq.
_DEFAULTS: Final = {
    "application_name": ("PGAPPNAME", "forecaster"),
    "connect_timeout": ("PGCONNECT_TIMEOUT", "10"),
    "target_session_attrs": ("PGTARGETSESSIONATTRS", "read-write"),  # of several hosts the one that is no standby
    "keepalives_idle": ("", "10"),
    "keepalives_interval": ("", "5"),
    "keepalives_count": ("", "3"),
    "tcp_user_timeout": ("", "20000"),
}
_SETTINGS: Final = """
SET lock_timeout = '10s'; SET statement_timeout = 0; SET timezone = 'UTC';
SET tcp_keepalives_idle = 10; SET tcp_keepalives_interval = 5; SET tcp_keepalives_count = 3;
SELECT set_config('synchronous_commit', 'on', false) WHERE current_setting('synchronous_commit') = 'off'"""
_HOLDER: Final = """
SELECT l.pid, coalesce(host(a.client_addr), 'this machine') FROM pg_locks AS l
LEFT JOIN pg_stat_activity AS a ON a.pid = l.pid
WHERE l.locktype = 'advisory' AND l.granted AND l.classid = %s AND l.objid = %s AND l.objsubid = 2
AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())"""

# Classes and codes of SQLSTATE for which nothing was written and a later try may succeed.
_LATER: Final = (
    "08",  # connection exceptions
    "40",  # rolled back: deadlock, serialization
    "53",  # too little of something: disk full, out of memory, too many connections
    "57",  # an operator intervened: shutdown, cancelled
    "58",  # an error of its system, such as of its disk
    "25006",  # read-only, as a standby is
    "55P03",  # a lock is not available
)
_CHANGED: Final = ("42P01", "42703", "42804", "42883", "3F000")  # tables, columns or the schema are not what was made
# Connecting fails for these until a person helps; libpq gives no code.
_REFUSED: Final = (
    "authentication failed", "no password supplied", "does not exist", "pg_hba.conf", "certificate", "not permitted",
    "does not support SSL",
)  # fmt: skip


class Connector:
    """Opens sessions of one output.

    Args:
        settings: address and schema.

    Attributes:
        place: the output's address for people, without a password.
        process: that of the server which has the lock.
    """

    def __init__(self, settings: PostgresConfig) -> None:
        self._settings = settings
        self.process = 0
        self.place = place_of(settings)

    def connect(self) -> Session:
        """Returns a new session.

        Raises:
            UnreachableError: the server does not answer, or is starting, full or a standby.
            TransportError: it refuses, and a person has to change something.
        """
        parameters = parameters_of(self._settings)
        try:
            if password := self._settings.password:
                parameters["password"] = password
            session = psycopg.connect(**parameters, autocommit=True, prepare_threshold=None)  # type: ignore[arg-type]
        except OSError as error:
            msg = f"postgres.password_file: cannot be read ({error.strerror}); expected a file with the password only"
            raise TransportError(msg) from error
        except psycopg.Error as error:
            text = without_secrets(str(error), parameters)
            msg = f"{self.place}: cannot be connected ({text})"
            kind = TransportError if any(part in text for part in _REFUSED) else UnreachableError
            raise kind(msg) from None
        if (encoding := session.info.parameter_status("server_encoding")) != "UTF8":
            session.close()
            msg = f"{self.place}: got a database with the encoding {encoding}, expected UTF8"
            raise SinkFormatError(msg)
        try:
            session.execute(_SETTINGS)
            session.execute("SELECT set_config('search_path', %s, false)", (self._settings.schema_name,))
        except psycopg.Error as error:
            session.close()
            msg = f"{self.place}: cannot be used now ({error})"
            raise UnreachableError(msg) from error
        return session

    def lock(self, session: Session) -> None:
        """Takes the lock of the output.

        Raises:
            TransportBusyError: another daemon has it.
            psycopg.Error: the connection broke.
        """
        key = (_LOCK_CLASS, zlib.crc32(self._settings.schema_name.encode()) & 0x7FFFFFFF)
        ends = time.monotonic() + LOCK_SECONDS
        while not _value(session, "SELECT pg_try_advisory_lock(%s, %s)", *key):
            holder = session.execute(_HOLDER, key).fetchone()
            if holder is not None and holder[0] == self.process:
                session.execute("SELECT pg_terminate_backend(%s)", (holder[0],))
            elif time.monotonic() > ends:
                who = f" (process {holder[0]} of the server, from {holder[1]})" if holder else ""
                msg = f"{self.place}: another daemon uses this schema{who}; end it, or set another postgres.schema_name"
                raise TransportBusyError(msg)
            time.sleep(0.05)
        self.process = int(str(_value(session, "SELECT pg_backend_pid()")))


def parameters_of(settings: PostgresConfig) -> dict[str, str]:
    """Returns the connection parameters of libpq, without those that only its environment has.

    Raises:
        ConfigurationError: the address cannot be read.
    """
    try:
        found = {key: str(value) for key, value in conninfo_to_dict(settings.url.get_secret_value()).items()}
    except psycopg.ProgrammingError:  # its text may contain the password
        msg = (
            "postgres.url: cannot be read by libpq; expected postgresql://USER@HOST:PORT/DATABASE?KEY=VALUE with the "
            "keys of libpq and special characters percent-encoded"
        )
        raise ConfigurationError(msg) from None
    for key, (variable, value) in _DEFAULTS.items():
        if key not in found and variable not in os.environ:
            found[key] = value
    return found


def place_of(settings: PostgresConfig) -> str:
    """Returns the address of the output for people, without user name and password."""
    found = parameters_of(settings)
    host = found.get("host") or found.get("hostaddr") or os.environ.get("PGHOST", "")
    port = found.get("port") or os.environ.get("PGPORT", "5432")
    user = found.get("user") or os.environ.get("PGUSER", "")
    database = found.get("dbname") or os.environ.get("PGDATABASE", user)
    return f"postgresql://{host}:{port}/{database} schema {settings.schema_name}"


def without_secrets(text: str, parameters: dict[str, str]) -> str:
    """Returns a message of libpq in one line, without the passwords that were given to it."""
    for key in ("password", "sslpassword"):
        if secret := parameters.get(key):
            text = text.replace(secret, "***")
    return " ".join(text.split())


def error_of(error: psycopg.Error, place: str) -> TransportError:
    """Returns the transport error of an error after which nothing was written."""
    code = error.sqlstate or ""
    text = " ".join(str(error).split())
    if code.startswith(_LATER) or isinstance(error, (errors.OperationalError, errors.InterfaceError)):
        return SinkUnavailableError(f"{place}: cannot be written now ({text}); nothing was written")
    if code in _CHANGED:
        return SinkFormatError(f"{place}: tables were changed or dropped by another program ({text}); restore them")
    return TransportError(f"{place}: {text}")


def _value(session: Session, query: str, *parameters: object) -> object:
    found = session.execute(query, parameters).fetchone()
    return None if found is None else found[0]
