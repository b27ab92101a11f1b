"""Kinds of entries of `input.files`: a file or glob, standard input, or a pipe; the last two are spooled."""

from __future__ import annotations

import hashlib
import os
import re
import stat
from collections import Counter
from pathlib import Path
from typing import Final, Literal

from service.errors import ConfigurationError

STDIN: Final = "-"
_STDIN_NAMES: Final = frozenset({"/dev/stdin", "/dev/fd/0", "/proc/self/fd/0"})
_DESCRIPTOR: Final = re.compile(r"/(?:dev|proc/self)/fd/(\d{1,9})")

Kind = Literal["file", "stdin", "pipe"]


def kind_of(entry: str) -> Kind:
    """Returns the kind of an entry without opening it, as opening a pipe consumes its content.

    Raises:
        ConfigurationError: the entry exists and cannot be read as events: a folder, a device.
    """
    if entry == STDIN:
        return "stdin"
    if not entry.isascii() and not is_text(entry):
        msg = (
            f"input.files: got {os.fsencode(entry)!r}, whose name is not UTF-8; expected another name, or a link to it"
        )
        raise ConfigurationError(msg)
    try:
        mode = Path(entry).stat().st_mode
    except (OSError, ValueError):
        return "file"  # a glob, or a file that does not exist yet
    if stat.S_ISREG(mode):
        return "file"
    if stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode) or stat.S_ISCHR(mode):
        if entry in _STDIN_NAMES:
            return "stdin"
        if stat.S_ISFIFO(mode):
            return "pipe"
    if stat.S_ISDIR(mode):
        glob = os.path.join(entry, "*.csv")  # noqa: PTH118 - as the entry was written
        msg = f'input.files: got "{entry}", which is a folder; expected a file, or a glob of files such as "{glob}"'
        raise ConfigurationError(msg)
    msg = f'input.files: got "{entry}", which is a device or a socket; expected a file, a pipe, or "-"'
    raise ConfigurationError(msg)


def is_text(name: str) -> bool:
    """Returns whether the name of a file is UTF-8."""
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


def descriptor_of(entry: str) -> int | None:
    """Returns the descriptor of a name such as /dev/fd/63 (from process substitution), else None."""
    found = _DESCRIPTOR.fullmatch(entry)
    return int(found[1]) if found else None


def check_twice(entries: list[str]) -> None:
    """Rejects duplicate names, and two names of the same stream.

    Raises:
        ConfigurationError: a name is duplicate; each must be a partition of its own.
    """
    names = [STDIN if kind_of(entry) == "stdin" else entry for entry in entries]
    twice = [name for name, count in Counter(names).items() if count > 1]
    if twice:
        msg = f'input.files: got "{twice[0]}" more than once, expected every input once'
        raise ConfigurationError(msg)


def spool_name(entry: str) -> str:
    """Returns the folder in the spool for a pipe of that name."""
    return f"pipe-{hashlib.sha256(os.fsencode(entry)).hexdigest()[:16]}"
