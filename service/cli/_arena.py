"""Makes all threads of a command allocate from one arena of glibc's allocator.

Without a limit every thread, up to eight per core, gets an arena of its own. A few long-lived blocks in each then keep
megabytes that no other thread can use: a daemon on Kafka grew for an hour by what looked like a leak.
"""

from __future__ import annotations

import ctypes
from typing import Final

_M_ARENA_MAX: Final = -8  # malloc.h


def share_arena() -> None:
    """Limits the number of arenas to one; does nothing with another C library, or after threads have arenas.

    Every thread keeps a cache of small blocks (tcache), so that threads seldom wait for each other.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):  # musl has none
        return
    mallopt(_M_ARENA_MAX, 1)
