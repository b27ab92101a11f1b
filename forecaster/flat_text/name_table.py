"""A hash table of names in arrays, compared by their bytes; a piece of kernels.

It is open-addressed with linear probing (Knuth, TAOCP 3, 6.4), hashed by FNV-1a, and at most half full. Names are only
added; a table without room is replaced by an empty one.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from forecaster.kernels.jit import inlined

_BASIS: Final = np.uint64(0xCBF29CE484222325)
_PRIME: Final = np.uint64(0x100000001B3)
_FOLD: Final = np.uint64(32)


@inlined
def entry_of(table: Any, text: Any, at: int, end: int) -> Any:
    """Returns the entry of the name text[at:end] in a `NameTable`, added where it is new; -1 where there is no room."""
    key = _BASIS
    for i in range(at, end):
        key = (key ^ np.uint64(text[i])) * _PRIME
    mask = len(table.slots) - 1
    slot = np.int64((key ^ (key >> _FOLD)) & np.uint64(mask))
    size = end - at
    while table.slots[slot] != 0:
        entry = np.int64(table.slots[slot]) - 1
        start = table.starts[entry]
        if table.hashes[entry] == key and table.starts[entry + 1] - start == size:
            same = True
            for i in range(size):
                if table.bytes[start + i] != text[at + i]:
                    same = False
                    break
            if same:
                return entry
        slot = (slot + 1) & mask
    entry = table.used[0]
    start = table.starts[entry]
    if entry >= len(table.hashes) or start + size > len(table.bytes):
        return -1
    for i in range(size):
        table.bytes[start + i] = text[at + i]
    table.starts[entry + 1] = start + size
    table.hashes[entry] = key
    table.slots[slot] = entry + 1
    table.used[0] = entry + 1
    return entry
