"""Locks a folder for one process, with a lock that the kernel releases when its holder dies; syncs, recognises them."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from service.errors import TransportBusyError


@contextmanager
def opened(folder: Path, root: int | None = None) -> Iterator[int]:
    """Opens a folder; yields its descriptor, which stays with it when it is renamed.

    Args:
        folder: its path.
        root: the descriptor of the folder in which a relative path begins, in place of the working directory.

    Raises:
        OSError: it is not there, or cannot be read.
    """
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=root)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def sync_folder(folder: Path, root: int | None = None) -> None:
    """Syncs a folder: its file names are durable on return.

    Args:
        folder, root: see `opened`.

    Raises:
        OSError: they could not be written.
    """
    with opened(folder, root) as descriptor:
        os.fsync(descriptor)


def identity_of(path: Path) -> tuple[int, int]:
    """Returns what a file or folder keeps when it is renamed, and another one of its name does not have.

    Raises:
        OSError: it is not there, or cannot be reached.
    """
    status = path.stat()
    return status.st_dev, status.st_ino


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
