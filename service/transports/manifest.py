"""What is remembered of files that were read, so that a restart knows them again or refuses them."""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from service.errors import ConfigurationError

Format = Literal["csv", "jsonl"]
HEAD_BYTES = 4096  # of a file's start are hashed: enough to tell two files apart, cheap at every restart
_SUFFIXES: dict[str, Format] = {".csv": "csv", ".jsonl": "jsonl", ".ndjson": "jsonl", ".json": "jsonl"}


@dataclass(frozen=True, slots=True)
class FileEntry:
    """One file as it was read.

    Attributes:
        path: the file's name as the configuration or its glob gave it.
        base: position of its first byte.
        size: its uncompressed bytes when it was left for the next file, or None while it is the newest.
        head_bytes: how many bytes of its start `head_sha256` covers (as stored, so compressed for gzip).
        head_sha256: the checksum of these bytes, hexadecimal.
        cuts: positions where a record ended without a line end because the file ended there then, each with
            the reason code of its reject ("" when it was a record like any other).
    """

    path: str
    base: int
    size: int | None = None
    head_bytes: int = 0
    head_sha256: str = ""
    cuts: tuple[tuple[int, str], ...] = ()

    def with_head_of(self, descriptor: int) -> FileEntry:
        """The entry with the checksum of the start of the open file, where it is not known in full yet."""
        if self.head_bytes == HEAD_BYTES or descriptor < 0:
            return self
        head = os.pread(descriptor, HEAD_BYTES, 0)
        return replace(self, head_bytes=len(head), head_sha256=hashlib.sha256(head).hexdigest())

    def mismatch(self, end: int) -> str:
        """Why the file on disk is not the one that was read up to position `end`, or the empty text."""
        try:
            with Path(self.path).open("rb") as file:
                size, head = os.fstat(file.fileno()).st_size, file.read(self.head_bytes)
        except OSError as error:
            return f"cannot be read ({error.strerror})"
        if not self.path.endswith(".gz") and size < end - self.base:
            return f"was truncated to {size} bytes"
        if hashlib.sha256(head).hexdigest() != self.head_sha256:
            return f"was replaced: its first {self.head_bytes} bytes differ"
        return ""


def file_format(path: str, setting: str) -> Format:
    """The format of a file: the setting, or what the suffix says when the setting is "auto".

    Raises:
        ConfigurationError: the suffix says nothing.
    """
    if setting in ("csv", "jsonl"):
        return "csv" if setting == "csv" else "jsonl"
    suffix = Path(path.removesuffix(".gz")).suffix
    if suffix not in _SUFFIXES:
        msg = (
            f'input.files: got "{path}", whose format its name does not say; expected a name in '
            f'{", ".join(_SUFFIXES)} (or one of these and .gz), or input.format = "csv" or "jsonl"'
        )
        raise ConfigurationError(msg)
    return _SUFFIXES[suffix]
