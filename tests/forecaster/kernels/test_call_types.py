"""Types of calls are found once per kind, and only while a kernel is compiled."""

from __future__ import annotations

import operator
from collections import Counter
from typing import Any

import numba
import numpy as np
import pytest
from numba import njit
from numba.core.errors import TypingError
from numba.core.types.functions import BaseFunction

from forecaster.kernels import jit
from forecaster.kernels.jit import inlined, kernel


@inlined
def mixed(value: float, count: int) -> float:
    """A piece with the same operators between different types."""
    return (value + value) * (count + count) + value + count + value + count


def run(value: float, count: int) -> float:
    """Many calls of few kinds."""
    total = value + value + value + value + value + value
    return total + mixed(value, count) + mixed(total, count) + max(value, total, value) + min(count, 3) + len((1, 2))


@pytest.fixture
def searches(monkeypatch: pytest.MonkeyPatch) -> Counter[Any]:
    """Counts Numba's searches for the types of a call, by function and types."""
    found, search = Counter[Any](), BaseFunction.get_call_type

    def counted(self: Any, context: Any, args: Any, kws: Any) -> Any:
        found[self.key[0], args] += 1
        return search(self, context, args, kws)

    monkeypatch.setattr(BaseFunction, "get_call_type", counted)
    return found


def test_a_kind_of_call_is_searched_once(
    searches: Counter[Any], tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A kernel searches a kind of call once in itself, once in its pieces, with their options; Numba, always."""
    monkeypatch.setattr(numba.config, "CACHE_DIR", str(tmp_path))
    uncached = njit(**jit._OPTIONS)(run)
    expected = uncached(1.25, 7)
    assert max(number for (function, _), number in searches.items() if function is operator.add) > 2
    searches.clear()
    assert kernel(run)(1.25, 7) == expected
    assert searches
    assert max(searches.values()) <= 2


def test_numba_is_as_before(searches: Counter[Any]) -> None:
    """After a compilation, and after one that failed, Numba's own search is in force."""
    before = BaseFunction.get_call_type

    @kernel
    def works(value: float) -> float:
        return value + value + value

    @kernel
    def fails(value: float) -> Any:
        return value + value + (1, 2)

    assert works(2.0) == 6.0
    assert BaseFunction.get_call_type is before
    with pytest.raises(TypingError):
        fails(2.0)
    assert BaseFunction.get_call_type is before


def test_kinds_with_literals_differ() -> None:
    """A whole number that is known when a kernel is compiled is another kind than one that is not."""

    @kernel
    def fill(out: Any, number: int) -> None:
        pair = (1.5, 2)
        out[0], out[1] = pair[0], pair[1]
        many = (4, 5, 6)
        out[2], out[3] = many[number], many[2]

    out = np.zeros(4)
    fill(out, 1)
    assert out.tolist() == [1.5, 2.0, 5.0, 6.0]
