"""Memory for rows that is committed when first touched, and aligned memory for kernels."""

from __future__ import annotations

import contextlib
import mmap
from typing import Any

import numpy as np
from numpy.typing import NDArray

LINE = 64  # bytes of a cache line


def reserve(rows: int, columns: int, dtype: type, *, dense: bool = False) -> NDArray[Any]:
    """Returns zeroed rows, page-aligned: address space that the operating system commits where it is first touched.

    Args:
        rows, columns, dtype: of the array.
        dense: rows are filled from the first on and soon; requests pages of 2 MiB, which are faster to commit.
    """
    size = max(1, rows * columns) * np.dtype(dtype).itemsize
    flags = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | getattr(mmap, "MAP_NORESERVE", 0)
    buffer = mmap.mmap(-1, size, flags=flags)
    if dense and hasattr(mmap, "MADV_HUGEPAGE"):
        with contextlib.suppress(OSError):  # not all systems have them
            buffer.madvise(mmap.MADV_HUGEPAGE)
    return np.frombuffer(buffer, dtype=dtype, count=rows * columns).reshape(rows, columns)


def padded_width(n: int) -> int:
    """Returns the next multiple of 16, the width of a row of whole vectors."""
    return -(-n // 16) * 16


def buffer(n: int, dtype: Any) -> NDArray[Any]:
    """Returns n zeros (memory for one at least) that begin at a cache line, so that no vector of a kernel spans two."""
    size = max(1, n) * np.dtype(dtype).itemsize
    room = np.zeros(size + LINE, np.uint8)
    at = -room.ctypes.data % LINE
    zeros: NDArray[Any] = room[at : at + size].view(dtype)[:n]
    return zeros
