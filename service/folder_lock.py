"""Locks a folder for one process, with a lock that the kernel releases when its holder dies; syncs folders."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

from service.errors import TransportBusyError


def sync_folder(folder: Path) -> None:
    """Syncs a folder: its file names are durable on return.

    Raises:
        OSError: they could not be written.
    """
    file = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(file)
    finally:
        os.close(file)


class FolderLock:
    """An exclusive lock, held until `release` or the end of the process.

    Args:
        path: of the lock file; its folder is created.
        subject: what the lock protects, for the error.
        advice: what a person can do when another process holds it.
    """

    def __init__(self, path: Path, subject: Path, advice: str) -> None:
        self._path, self._subject, self._advice, self._file = path, subject, advice, -1

    def take(self) -> None:
        """Takes the lock, unless it is held already.

        Raises:
            TransportBusyError: another process holds it; the message has its process id.
            OSError: the file cannot be created.
        """
        self._path.parent.mkdir(parents=True, exist_ok=True)
        if self._file < 0:
            self._file = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            holder = os.pread(self._file, 32, 0).decode("ascii", "replace").strip()
            self.release()
            msg = f"{self._subject}: in use by another process (pid {holder}); {self._advice}"
            raise TransportBusyError(msg) from error
        os.ftruncate(self._file, 0)
        os.pwrite(self._file, b"%d\n" % os.getpid(), 0)

    def release(self) -> None:
        """Releases the lock, if it is held."""
        if self._file >= 0:
            os.close(self._file)
            self._file = -1
