"""Memory for rows that costs nothing until it is touched, and memory that kernels read at their speed."""

from __future__ import annotations

import contextlib
import mmap
from typing import Any

import numpy as np
from numpy.typing import NDArray

LINE = 64  # bytes of a cache line


def reserve(rows: int, columns: int, dtype: type, *, dense: bool = False) -> NDArray[Any]:
    """Zeroed rows, page-aligned: address space, which the operating system commits where it is first touched.

    Args:
        rows, columns, dtype: of the array.
        dense: rows are filled from the first on and soon; asks for pages of 2 MiB, which are quicker to get.
    """
    size = max(1, rows * columns) * np.dtype(dtype).itemsize
    flags = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | getattr(mmap, "MAP_NORESERVE", 0)
    buffer = mmap.mmap(-1, size, flags=flags)
    if dense and hasattr(mmap, "MADV_HUGEPAGE"):
        with contextlib.suppress(OSError):  # a system without them
            buffer.madvise(mmap.MADV_HUGEPAGE)
    return np.frombuffer(buffer, dtype=dtype, count=rows * columns).reshape(rows, columns)


def padded_width(n: int) -> int:
    """The next multiple of 16: a row that begins with a whole vector, behind rows that do."""
    return -(-n // 16) * 16


def buffer(n: int, dtype: Any) -> NDArray[Any]:
    """n zeros (one at least) that begin a cache line, so that no vector of a kernel lies across two."""
    size = max(1, n) * np.dtype(dtype).itemsize
    room = np.zeros(size + LINE, np.uint8)
    at = -room.ctypes.data % LINE
    zeros: NDArray[Any] = room[at : at + size].view(dtype)[:n]
    return zeros
