"""Settings of the PostgreSQL output.

The address may contain a password, so it is held as `SecretStr` and shown as stars wherever settings are printed.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final, Self

from pydantic import Field, SecretStr, model_validator

from service.config.base import Section

_SCHEMES: Final = ("postgresql://", "postgres://")
_NAME: Final = re.compile(r"[a-z_][a-z0-9_]{0,62}")


class PostgresConfig(Section):
    """The database of forecasts, where `output.sink` is postgres. Needs the extra `postgres`.

    PostgreSQL 13 or later, with the extension TimescaleDB or without it.
    """

    url: SecretStr = Field(
        SecretStr(""),
        description="Address of the database as libpq reads it, e.g. "
        '"postgresql://forecaster@db.example/metrics?sslmode=verify-full&sslrootcert=ca.pem". What it leaves out comes '
        "from libpq's environment (PGHOST, PGUSER, PGPASSWORD, PGPASSFILE, PGSSLMODE, ...) and its password file. A "
        "password in it is shown nowhere; one in the environment or in password_file is better.",
    )
    password_file: Path | None = Field(
        None, description="File with the password only; read for every connection, so it can be renewed there."
    )
    schema_name: str = Field(
        "forecaster",
        description="The schema of the tables and views; it is created when missing. A daemon needs one of its own: "
        "another one that uses the same schema is refused.",
    )

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if not _NAME.fullmatch(self.schema_name) or self.schema_name.startswith("pg_"):
            msg = "schema_name: expected a name of lower-case letters, digits and _ that does not begin with pg_"
            raise ValueError(msg)
        url = self.url.get_secret_value()
        # Other processes of the daemon get its settings without secrets: stars in their place, which they do not use.
        if url.strip("*") and not url.startswith(_SCHEMES):
            msg = "url: expected postgresql://USER@HOST:PORT/DATABASE, as libpq reads it"
            raise ValueError(msg)
        return self

    @property
    def password(self) -> str:
        """The password in `password_file`, "" where none is named.

        Raises:
            OSError: the file cannot be read.
        """
        return "" if self.password_file is None else self.password_file.read_text(encoding="utf-8").rstrip("\r\n")
