"""Where compiled kernels go when no usual place for them may be written: a read-only system, a user without a home.

numba keeps them where NUMBA_CACHE_DIR says, else beside the program, else in the user's cache folder, and refuses to
load the library where it may write to none of them.
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
    "there is no folder for compiled kernels that may be written: not NUMBA_CACHE_DIR, beside the program, "
    "the user's cache or a temporary one; set NUMBA_CACHE_DIR to a folder that may be"
)


def may_write(folder: Path) -> bool:
    """Whether a folder can be written, or made."""
    there = next(place for place in (folder, *folder.parents) if place.exists())
    return there.is_dir() and os.access(there, os.W_OK | os.X_OK)


def usual_places() -> Iterable[Path]:
    """Where numba looks, in its order."""
    if given := os.environ.get(VARIABLE):
        yield Path(given).absolute()
    found = importlib.util.find_spec("forecaster")
    if found is not None and found.origin:
        yield Path(found.origin).parent / "__pycache__"
    yield Path(os.environ.get("XDG_CACHE_HOME") or Path("~/.cache").expanduser()).absolute() / "numba"


def find_a_place() -> bool:
    """Lets numba keep them for as long as this process lives, where it could nowhere else; its children find them.

    Call it before the library is imported.

    Returns:
        Whether that was needed: every start compiles then.
    """
    if any(may_write(place) for place in usual_places()):
        return False
    import shutil  # noqa: PLC0415 - nearly every start needs neither
    import tempfile  # noqa: PLC0415 - as above

    try:
        folder = tempfile.mkdtemp(prefix="forecaster-kernels-")  # our own: what lies in it is run
    except OSError:
        return False  # numba says so
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    os.environ[VARIABLE] = folder
    return True
