"""Checks at a start whether the files are still those that were read before."""

from __future__ import annotations

import os
from dataclasses import replace
from itertools import zip_longest
from pathlib import Path

from service.sources.catalog import Catalog
from service.sources.manifest import FileEntry, checksum_of


def check_files(catalog: Catalog, position: int, setting: str) -> tuple[dict[str, tuple[FileEntry, str]], int]:
    """Compares the files with what the catalog says of them.

    A file that was left may be missing: then only the bytes read after it can be replayed.

    Args:
        catalog: with the entries of the last run, and the files of now. Entries of earlier versions are completed.
        position: the committed one.
        setting: `input.format`.

    Returns:
        The files that differ from what was read, by name, with the reason; and the earliest position that can be
        replayed.
    """
    changed: dict[str, tuple[FileEntry, str]] = {}
    gone, checked = set[tuple[int, str]](), set[str]()
    entries = catalog.entries
    for at, entry in reversed(list(enumerate(entries))):
        newest, last = catalog.newest(entry.path), at == len(entries) - 1
        another = newest is not None and newest.identity != entry.identity  # another file has its name now
        if another or (not last and not Path(entry.path).exists()):
            gone.add(entry.key)
            continue
        if entry.path in checked:  # a later stretch of the file covers this one
            continue
        checked.add(entry.path)
        end = position if last else entry.base + (entry.size or 0)
        if reason := entry.mismatch(end, setting=setting):
            changed[entry.path] = entry, reason
        elif entry.checksum is None:  # written by an earlier version
            checksum = checksum_of(entry.path, end - entry.base, setting)
            status = os.stat(entry.path)  # noqa: PTH116 - of ten thousand files
            catalog.put(at, replace(
                entry, checked=end - entry.base, checksum=checksum, device=status.st_dev, inode=status.st_ino,
                stored=end - entry.base if not entry.path.endswith(".gz") else status.st_size,
            ))  # fmt: skip
    earliest = position
    for entry, following in reversed([*zip_longest(entries, entries[1:])]):
        end = entry.base + (entry.size or 0)
        if entry.key in gone or entry.path in changed or (following is not None and following.base != end):
            break
        earliest = min(entry.base, position if following is None else following.base)
    return changed, earliest
