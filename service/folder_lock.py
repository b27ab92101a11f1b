"""Folders: one process for each, by a lock that the kernel takes back when its holder dies; names that are synced."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

from service.errors import TransportBusyError


def sync_folder(folder: Path) -> None:
    """Returns when the names in a folder are on disk.

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
        path: of the lock file; its folder is made.
        subject: what it stands for, named in the error.
        advice: what a person can do when somebody else holds it.
    """

    def __init__(self, path: Path, subject: Path, advice: str) -> None:
        self._path, self._subject, self._advice, self._file = path, subject, advice, -1

    def take(self) -> None:
        """Takes it, or holds it already.

        Raises:
            TransportBusyError: another process holds it; the message has its number.
            OSError: the file cannot be made.
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
        """Lets go of it, if it is held."""
        if self._file >= 0:
            os.close(self._file)
            self._file = -1
