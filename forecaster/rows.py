"""Memory for rows that costs nothing until it is touched."""

from __future__ import annotations

import mmap
from typing import Any

import numpy as np
from numpy.typing import NDArray


def reserve(rows: int, columns: int, dtype: type) -> NDArray[Any]:
    """Zeroed rows, page-aligned: address space, which the operating system commits where it is first touched."""
    size = max(1, rows * columns) * np.dtype(dtype).itemsize
    flags = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | getattr(mmap, "MAP_NORESERVE", 0)
    buffer = mmap.mmap(-1, size, flags=flags)
    return np.frombuffer(buffer, dtype=dtype, count=rows * columns).reshape(rows, columns)
