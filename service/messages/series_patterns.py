"""Finds for series the first of several patterns that matches their names."""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

_REMEMBERED: Final = 100_000
"""Names whose patterns are cached; then the cache is cleared, which bounds its memory."""


class SeriesPatterns:
    """Finds the first pattern that matches a series. Used by one thread.

    Args:
        patterns: globs as in a shell.
    """

    def __init__(self, patterns: Sequence[str]) -> None:
        self._fits = [re.compile(fnmatch.translate(pattern)).fullmatch for pattern in patterns]
        self._known: dict[str, int] = {}

    def __bool__(self) -> bool:
        """Whether there are any patterns."""
        return bool(self._fits)

    def first(self, series: Sequence[str]) -> NDArray[np.int64]:
        """Returns the number of the first pattern that matches each series, from 1; 0 where none does. Shape (n,)."""
        return np.array([self._known.get(name) or self._find(name) for name in series], np.int64)

    def _find(self, name: str) -> int:
        found = self._known.get(name)
        if found is None:
            if len(self._known) >= _REMEMBERED:
                self._known.clear()
            found = next((at for at, fits in enumerate(self._fits, 1) if fits(name)), 0)
            self._known[name] = found
        return found
