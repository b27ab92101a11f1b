"""Finds for series the first of several patterns that matches their names."""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Callable, Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

_REMEMBERED: Final = 100_000
"""Names whose patterns are cached; then the cache is cleared, which bounds its memory."""

_ESCAPED: Final = re.compile(r"\[([*?\[])\]")  # as by `glob.escape`
_NAME: Final = re.compile(rf"(?:[^*?\[]|{_ESCAPED.pattern})*", re.DOTALL)


class SeriesPatterns:
    """Finds the first pattern that matches a series. Used by one thread.

    Args:
        patterns: globs as in a shell.
    """

    def __init__(self, patterns: Sequence[str]) -> None:
        self._names: dict[str, int] = {}  # of patterns that are names: there may be very many
        self._fits = list[tuple[int, Callable[[str], object]]]()  # of the others
        for at, pattern in enumerate(patterns, 1):
            if _NAME.fullmatch(pattern):
                self._names.setdefault(_ESCAPED.sub(r"\1", pattern), at)
            else:
                self._fits.append((at, re.compile(fnmatch.translate(pattern)).fullmatch))
        self._known: dict[str, int] = {}

    def __bool__(self) -> bool:
        """Whether there are any patterns."""
        return bool(self._fits or self._names)

    def first(self, series: Sequence[str]) -> NDArray[np.int64]:
        """Returns the number of the first pattern that matches each series, from 1; 0 where none does. Shape (n,)."""
        return np.array([self._known.get(name) or self._find(name) for name in series], np.int64)

    def _find(self, name: str) -> int:
        found = self._known.get(name)
        if found is None:
            if len(self._known) >= _REMEMBERED:
                self._known.clear()
            found = self._names.get(name, 0)
            found = next((at for at, fits in self._fits if (at < found or not found) and fits(name)), found)
            self._known[name] = found
        return found
