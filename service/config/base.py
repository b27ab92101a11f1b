"""The base class of configuration sections, and what several of them parse or check: lists, times, zones, servers."""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Mapping
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any, Final
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field

_LABEL: Final = re.compile(r"[a-zA-Z_][a-zA-Z0-9_]*")


def listed(value: Any) -> Any:
    """Parses a list from the environment or a flag, written as JSON or as comma-separated text."""
    if not isinstance(value, str):
        return value
    text = value.strip()
    if text.startswith("[") and not text.startswith(("[].", "[][", "[:].")):  # a path into an array is not a list
        return json.loads(text)
    return [part.strip() for part in text.split(",") if part.strip()]


def check_timezone(name: str) -> None:
    """Checks the name of a time zone.

    Raises:
        ValueError: the tz database has no such zone.
    """
    try:
        ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        msg = f'timezone is {name!r}; expected a name of the tz database, such as "Europe/Berlin"'
        raise ValueError(msg) from None


def epoch_ms(text: str, also: str = "") -> int:
    """Returns a time in ISO-8601 as epoch milliseconds.

    Args:
        text: the time, with its zone.
        also: other texts that would have been accepted, for the message.

    Raises:
        ValueError: it is none.
    """
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        found = None
    if found is None or found.tzinfo is None:
        others = f"{also}, or " if also else ""
        msg = f"expected {others}a time in ISO-8601 with its zone, such as 2026-11-01T00:00:00Z"
        raise ValueError(msg)
    return round(found.timestamp() * 1000)


def check_server(url: str, username: str, password_file: Path | None, token_file: Path | None, *, server: str) -> None:
    """Checks the address of a server and how the program authenticates itself there.

    Args:
        url: the address.
        username, password_file, token_file: the settings of these names.
        server: what it is, for the message.

    Raises:
        ValueError: they cannot be used.
    """
    parts = urlsplit(url)
    if parts.scheme not in {"http", "https"} or not parts.hostname or parts.query or parts.fragment:
        msg = f"url: expected http://HOST:PORT or https://HOST:PORT, with the {server}'s path where it has one"
        raise ValueError(msg)
    if parts.username is not None or parts.password is not None:
        msg = "url: got an address with a user name or a password, expected these in username and password_file"
        raise ValueError(msg)
    if bool(username) != (password_file is not None):
        msg = "username and password_file: got one of them, expected both or none"
        raise ValueError(msg)
    if token_file is not None and username:
        msg = "token_file: got a token and a user name, expected one of them"
        raise ValueError(msg)


def check_labels(labels: Mapping[str, str], own: Collection[str]) -> None:
    """Checks configured labels of Prometheus.

    Args:
        labels: values by name. own: names that the daemon sets itself.

    Raises:
        ValueError: a name is none of a label, or one of `own`, or a value is empty.
    """
    for name, value in labels.items():
        if not _LABEL.fullmatch(name) or name.startswith("__") or not value:
            msg = f"got {name!r} = {value!r}, expected a name of letters, digits and _, and a value that is not empty"
            raise ValueError(msg)
        if name in own:
            msg = f"got {name!r}, expected another name than {', '.join(sorted(own))}, which the daemon sets"
            raise ValueError(msg)


def _distinct(value: tuple[str, ...]) -> tuple[str, ...]:
    if "" in value or len(set(value)) != len(value):
        msg = "expected non-empty texts that differ from each other"
        raise ValueError(msg)
    return value


Texts = Annotated[tuple[str, ...], BeforeValidator(listed), AfterValidator(_distinct)]
Name = Annotated[str, Field(min_length=1)]


class Section(BaseModel):
    """A section of the configuration: immutable, and without unknown keys."""

    model_config = ConfigDict(extra="forbid", frozen=True, validate_default=True, protected_namespaces=())
