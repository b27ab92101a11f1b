"""Catalog of the files of one entry of `input.files`: which were read and how far, their present names, and the next.

A file is identified by device and inode, independent of its name, and by its content. New files are read in the natural
order of their names; bytes appended to a file after it was left are a further stretch of it, after everything that was
read meanwhile. A file that no longer begins with the bytes that were read of it is an error.
"""

from __future__ import annotations

import glob
import os
import stat
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import replace
from itertools import zip_longest
from pathlib import Path
from typing import NamedTuple

import structlog

from service.errors import EXHAUSTED, SourceGoneError
from service.sources.byte_source import content_size
from service.sources.manifest import FileEntry, natural_key, settled_ns
from service.sources.pipes import is_text

_log = structlog.get_logger(__name__)

# Maximum share of time spent on listing files: a folder with more than _FEW files is listed less often.
_SHARE, _FEW = 0.05, 100


def no_such_file(section: str, entry: str) -> str:
    """Returns the message about an entry of `files` in a section that no file matches."""
    return f'{section}.files: got "{entry}", which is no file; expected a name or glob of files'


def has_file(entry: str) -> bool:
    """Returns whether a file matches an entry of `files` now."""
    return bool(Catalog(entry).pending(now=True))


class Stretch(NamedTuple):
    """A stretch to read next: a file, or the bytes appended since it was left, and its approximate size in bytes."""

    path: str
    size: int
    appended: bool = False


class Catalog:
    """The files of a name or a glob. Used by one thread only.

    Args:
        pattern: the entry of `input.files`.
        setting: `input.format`.
    """

    def __init__(self, pattern: str, setting: str = "auto") -> None:
        self.pattern = pattern
        self._setting = setting
        self.is_glob = glob.has_magic(pattern) and not Path(pattern).exists()
        self.entries: list[FileEntry] = []  # in the order in which they were read
        self._latest: dict[str, int] = {}  # index of the newest stretch of every file
        self._pending: deque[Stretch] = deque()
        self._changed: dict[tuple[int, str], int] = {}  # entries to be stored, by key: their index
        self._removed: list[tuple[int, str]] = []  # keys of removed entries
        self._scanned, self._pause = -1e9, 0.0
        self._names: frozenset[str] = frozenset()  # found by the last scan
        self._unnamed: set[str] = set()  # names that were logged as not UTF-8

    # Stretches read -------------------------------------------------------------------------------------------

    def load(self, entries: Sequence[FileEntry]) -> None:
        """Loads the stored entries."""
        self.entries, self._removed, self._changed = list(entries), [], {}
        self._latest = {entry.path: at for at, entry in enumerate(self.entries)}
        self._pending.clear()
        self._scanned = -1e9

    def newest(self, path: str) -> FileEntry | None:
        """Returns the newest stretch of a file."""
        at = self._latest.get(path)
        return None if at is None else self.entries[at]

    def holds(self, path: str) -> bool:
        """Returns whether a file is still found by its name."""
        return not self.is_glob or not self._names or path in self._names

    def append(self, entry: FileEntry) -> None:
        """Adds a stretch, which is read from now on."""
        self._pending = deque(one for one in self._pending if one.path != entry.path)
        self.entries.append(entry)
        self._latest[entry.path] = len(self.entries) - 1
        self._changed[entry.key] = len(self.entries) - 1

    def put(self, at: int, entry: FileEntry) -> None:
        """Replaces an entry by its present state, under the same name."""
        self.entries[at] = entry
        self._changed[entry.key] = at

    def forget(self, path: str) -> None:
        """Removes the entries of a file whose name belongs to another file now."""
        self._keep([entry for entry in self.entries if entry.path != path])

    def _keep(self, entries: Sequence[FileEntry]) -> None:
        """Removes all entries but these."""
        kept = {entry.key: at for at, entry in enumerate(entries)}
        self._removed += [entry.key for entry in self.entries if entry.key not in kept]
        self._changed = {key: kept[key] for key in self._changed if key in kept}
        self.entries = list(entries)
        self._latest = {entry.path: at for at, entry in enumerate(self.entries)}

    def merge(self, position: int) -> bool:
        """Removes all but the newest stretch of each file before the position, which will not be read again.

        Returns:
            Whether any were removed.
        """
        ended = {following.base for following in self.entries if following.base <= position}
        kept = [
            entry
            for at, (entry, following) in enumerate(zip_longest(self.entries, self.entries[1:]))
            if self._latest[entry.path] == at or following is None or following.base not in ended
        ]
        fewer = len(kept) < len(self.entries)
        if fewer:
            self._keep(kept)
        return fewer

    def changes(self, position: int) -> tuple[list[FileEntry], list[tuple[int, str]]]:
        """Returns the entries changed since the last `written`, as of the position, and the keys of removed ones."""
        found = [self.as_of(at, position) for at in sorted(self._changed.values()) if self.entries[at].base <= position]
        return found, list(self._removed)

    def written(self, position: int) -> None:
        """Notes that the result of `changes` for the position is on disk."""
        last = len(self.entries) - 1
        self._changed = {
            key: at
            for key, at in self._changed.items()
            if at == last or self.entries[at].base > position or self.entries[at + 1].base > position
        }
        self._removed.clear()

    def as_of(self, at: int, position: int) -> FileEntry:
        """Returns an entry as it was when everything before the position had been read."""
        entry = self.entries[at]
        following = self.entries[at + 1] if at + 1 < len(self.entries) else None
        size = entry.size if following is not None and following.base <= position else None
        return replace(entry, size=size, cuts=tuple(cut for cut in entry.cuts if cut[0] <= position))

    # Next stretches -------------------------------------------------------------------------------------------

    def pending(self, *, now: bool = False) -> deque[Stretch]:
        """Returns the stretches to read, in order.

        Args:
            now: list the folder regardless of the cost.

        Raises:
            SourceGoneError: a file that was read was replaced or changed.
        """
        started = time.monotonic()
        if not self._pending and (now or started - self._scanned >= self._pause):
            self._pending.extend(self._scan())
            self._scanned = time.monotonic()
            self._pause = (self._scanned - started) / _SHARE if len(self._names) > _FEW else 0.0
        return self._pending

    def _scan(self) -> list[Stretch]:
        found = self._files()
        self._names = frozenset(found)
        self._follow_renames(found)
        newest = self.entries[-1].path if self.entries else ""
        stretches = []
        for path in sorted(found, key=natural_key):
            at = self._latest.get(path)
            if at is None:
                stretches.append(Stretch(path, content_size(Path(path))))
            elif path == newest and self.entries[at].identity in {(0, 0), _identity(found[path])}:
                continue  # is read to its end, and checked there
            elif (more := self._appended_stretch(at, found[path])) is not None:
                stretches.append(more)
        return stretches

    def _files(self) -> dict[str, os.stat_result]:
        names = [self.pattern]
        if self.is_glob:
            names = glob.glob(self.pattern, recursive=True)  # noqa: PTH207 - Path.glob refuses absolute patterns
        found = {}
        for name in names:
            if not is_text(name):
                if name not in self._unnamed:
                    self._unnamed.add(name)
                    _log.warning("input file is not read: its name is not UTF-8", path=repr(os.fsencode(name)))
                continue
            try:
                status = os.stat(name)  # noqa: PTH116 - of ten thousand names
            except OSError:
                continue
            if stat.S_ISREG(status.st_mode):
                found[name] = status
        return found

    def _follow_renames(self, found: dict[str, os.stat_result]) -> None:
        """Updates the names of renamed files; a new file that reuses the inode of a deleted one is not renamed."""
        by_identity = {self.entries[at].identity: self.entries[at] for at in self._latest.values()}
        renamed = []
        for path, status in found.items():
            entry = by_identity.get(_identity(status))
            if entry is None or entry.path == path:
                continue
            before = found.get(entry.path)
            if before is None or _identity(before) != entry.identity:  # else a second name of the same file
                renamed.append((entry, path))
        self._rename([(entry, path) for entry, path in renamed if not entry.mismatch(_end(entry), path, self._setting)])

    def _rename(self, renamed: Sequence[tuple[FileEntry, str]]) -> None:
        """Renames entries all at once, as a rotation gives the name of one file to the next."""
        names = {(entry.path, entry.identity): path for entry, path in renamed}
        for (before, _), now in names.items():
            _log.info("input file was renamed", before=before, now=now)
        if not names:
            return
        for at, entry in enumerate(self.entries):
            if path := names.get((entry.path, entry.identity)):
                self._removed.append(entry.key)
                self._changed.pop(entry.key, None)
                self.entries[at] = replace(entry, path=path)
        for at, entry in enumerate(self.entries):
            if entry.key in self._removed:  # the old key of one entry is the new key of another
                self._removed.remove(entry.key)
                self._changed[entry.key] = at
            elif entry.path in names.values():
                self._changed[entry.key] = at
        self._latest = {entry.path: at for at, entry in enumerate(self.entries)}

    def is_now(self, before: FileEntry, status: os.stat_result) -> None:
        """Updates device and inode of a file that was replaced by a copy."""
        device, inode = _identity(status)
        for at, entry in enumerate(self.entries):
            if (entry.path, entry.identity) == (before.path, before.identity):
                self.put(at, replace(entry, device=device, inode=inode))

    def _appended_stretch(self, at: int, status: os.stat_result) -> Stretch | None:
        """Returns the stretch appended to a file that was left, or None.

        Raises:
            SourceGoneError: the file no longer begins with the bytes that were read.
        """
        entry = self.entries[at]
        if entry.untouched(status):
            return None
        reason = entry.mismatch(_end(entry), setting=self._setting)
        if reason and self.is_glob and _identity(status) != entry.identity and self._moved_away(entry):
            return Stretch(entry.path, content_size(Path(entry.path)))
        if reason:
            raise self.gone(entry, reason)
        if status.st_size > entry.stored:
            return Stretch(entry.path, status.st_size - entry.stored, appended=True)
        if _identity(status) != entry.identity:
            self.is_now(entry, status)
        changed_ns = settled_ns(status, status.st_size)
        self.put(at, replace(self.entries[at], stored=status.st_size, changed_ns=changed_ns))
        return None

    def is_at(self, path: str, status: os.stat_result) -> bool:
        """Returns whether that file has that name now."""
        try:
            return _identity(os.stat(path)) == _identity(status)  # noqa: PTH116 - as above
        except OSError:
            return False

    def _moved_away(self, entry: FileEntry) -> bool:
        """Returns whether the file of an entry was renamed within its folder; updates the entry if so."""
        path = _inodes(Path(entry.path).parent).get(entry.inode)
        if path is None or not replace(entry, path=path).is_there or entry.mismatch(_end(entry), path, self._setting):
            return False
        self._rename([(entry, path)])
        return True

    def find(self) -> None:
        """Finds files that were renamed within their folders since the loaded entries were stored."""
        moved = {(entry.path, entry.identity): entry for entry in self.entries if entry.inode and not entry.is_there}
        renamed = []
        for folder in {Path(entry.path).parent for entry in moved.values()}:
            names = _inodes(folder)
            for entry in moved.values():
                if Path(entry.path).parent == folder and (path := names.get(entry.inode)):
                    there = replace(entry, path=path).is_there and not entry.mismatch(_end(entry), path, self._setting)
                    renamed += [(entry, path)] if there else []
        self._rename(renamed)

    def gone(self, entry: FileEntry, reason: str) -> SourceGoneError:
        """Returns the error for a file that is not the one that was read."""
        read = entry.checked or entry.start + (entry.size or 0)
        return SourceGoneError(
            f"{entry.path}: {reason}; expected the file of which {read} bytes were read. Restore it, give the new file "
            'another name, or set state.on_source_gone = "cold" to continue with the present files'
        )


def _end(entry: FileEntry) -> int:
    """Returns the position of the end of the checksummed part of a file."""
    return entry.base + max(0, entry.checked - entry.start)


def _identity(status: os.stat_result) -> tuple[int, int]:
    return status.st_dev, status.st_ino


def _inodes(folder: Path) -> dict[int, str]:
    """Returns the files of a folder by inode.

    Raises:
        OSError: no descriptor or memory is left, which says nothing about the folder.
    """
    try:
        with os.scandir(folder) as found:
            return {one.inode(): one.path for one in found if one.is_file()}
    except OSError as error:
        if error.errno in EXHAUSTED:
            raise
        return {}
