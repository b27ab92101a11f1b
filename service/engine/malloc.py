"""Settings of glibc's allocator, which keep the memory of a long-lived process small.

Without a limit every thread, up to eight per core, gets an arena of its own. A few long-lived blocks in each then keep
megabytes that no other thread can use: a daemon on Kafka grew for an hour by what looked like a leak.

glibc also keeps freed memory below memory in use, so that after a pause with large temporary buffers a process stays as
large as its maximum.
"""

from __future__ import annotations

import ctypes
import functools
from collections.abc import Callable
from typing import Any, Final

_M_ARENA_MAX: Final = -8  # malloc.h


@functools.cache
def _glibc_function(name: str) -> Callable[..., Any] | None:
    """Returns a function of glibc; None for other C libraries (musl has neither function and needs none)."""
    try:
        return getattr(ctypes.CDLL(None), name, None)
    except OSError:
        return None


def share_arena() -> None:
    """Limits the number of arenas to one; does nothing with another C library, or after threads have arenas.

    Every thread keeps a cache of small blocks (tcache), so that threads seldom wait for each other.
    """
    if (mallopt := _glibc_function("mallopt")) is not None:
        mallopt(_M_ARENA_MAX, 1)


def trim() -> None:
    """Returns all free pages to the operating system, see `malloc_trim(3)`; does nothing with another C library."""
    if (malloc_trim := _glibc_function("malloc_trim")) is not None:
        malloc_trim(0)
