"""Provides a cache folder for compiled kernels where none of the usual ones is writable (read-only systems).

numba uses NUMBA_CACHE_DIR, else a folder of the program, else the user's cache folder, and refuses to import the
library where none of them is writable.
"""

from __future__ import annotations

import atexit
import importlib.util
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Final

VARIABLE: Final = "NUMBA_CACHE_DIR"
NEEDED: Final = (
    "no folder for compiled kernels is writable: neither NUMBA_CACHE_DIR, nor the folder of the program, the user's "
    "cache or a temporary folder; set NUMBA_CACHE_DIR to a writable folder"
)


def may_write(folder: Path) -> bool:
    """Returns whether a folder is writable or can be created."""
    there = next(place for place in (folder, *folder.parents) if place.exists())
    return there.is_dir() and os.access(there, os.W_OK | os.X_OK)


def usual_folders() -> Iterable[Path]:
    """Yields the folders that numba tries, in its order."""
    if given := os.environ.get(VARIABLE):
        yield Path(given).absolute()
    found = importlib.util.find_spec("forecaster")
    if found is not None and found.origin:
        yield Path(found.origin).parent / "__pycache__"
    yield Path(os.environ.get("XDG_CACHE_HOME") or Path("~/.cache").expanduser()).absolute() / "numba"


def ensure_cache_folder() -> bool:
    """Sets NUMBA_CACHE_DIR to a temporary folder for the lifetime of this process and its children, if needed.

    Must be called before the library is imported.

    Returns:
        Whether it was needed: then every start compiles.
    """
    if any(may_write(place) for place in usual_folders()):
        return False
    import shutil  # noqa: PLC0415 - few starts need it
    import tempfile  # noqa: PLC0415 - as above

    try:
        folder = tempfile.mkdtemp(prefix="forecaster-kernels-")  # private, because its content is executed
    except OSError:
        return False  # numba reports it
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    os.environ[VARIABLE] = folder
    return True
