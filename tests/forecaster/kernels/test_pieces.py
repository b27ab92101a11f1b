"""Kernels and their pieces: compiled as one, and cached on disk by their content."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from numba import njit
from numba.core.codegen import JITCodeLibrary

from forecaster.config import ModelConfig
from forecaster.kernels import jit
from forecaster.kernels.jit import inlined, kernel, product, sources
from forecaster.kernels.operands import Rows, Strided
from forecaster.kernels.sizes import literals
from forecaster.layout import layout_of
from forecaster.observe import observe_kernel
from forecaster.training.chunk_kernel import chunk_kernel

FACTOR = 3.0
TABLE = np.arange(2000.0)
ADDRESS = " at 0x"
FORECASTER = Path(jit.__file__).parents[1]
PLACES = {"operands.py": ("kernels",), "quantile_output.py": ("network",)}


@inlined
def scaled(value: float) -> float:
    """A piece."""
    return value * FACTOR


class Pair(NamedTuple):
    """Arguments of a kernel."""

    first: float
    second: float


class Holder(NamedTuple):
    """A NamedTuple with a NamedTuple field."""

    pair: Pair


@literals
class Sizes(NamedTuple):
    """Literals of a kernel."""

    vectors: int
    seasons: tuple[int, ...]


@kernel
def difference(holder: Holder) -> float:
    """A kernel that names a class only in its annotation."""
    return holder.pair.first - holder.pair.second


@inlined
def raised(value: float) -> float:
    """A piece that calls a piece."""
    return scaled(value) + 1.0


def build(offset: float) -> Callable[[float], float]:
    """Returns a kernel that closes over a number."""

    @kernel
    def run(value: float) -> float:
        return raised(value) + offset

    return run


def sized(sizes: Sizes) -> Any:
    """Returns a kernel whose product needs a literal."""

    @kernel
    def run(acc: Any, x: Any, w: Any) -> None:
        product(1, sizes.vectors, Rows(acc, 0, 0), Strided(x, 0, 0, 1), Rows(w, 0, 32), 2)
        for season in sizes.seasons:
            for i in range(acc.shape[0]):
                acc[i] += season

    return run


def test_a_kernel_runs_the_pieces_of_its_pieces() -> None:
    """A kernel runs the pieces of its pieces with the value that it closes over."""
    assert [build(offset)(2.0) for offset in (0.0, 10.0)] == [7.0, 17.0]


def test_a_piece_runs_as_python_where_python_calls_it() -> None:
    """A piece called from Python runs as Python, before and after a kernel was compiled with it."""
    assert raised(2.0) == 7.0
    build(0.0)(2.0)
    assert raised(2.0) == 7.0


def test_no_piece_is_compiled_to_machine_code(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a kernel and two pieces only the kernel is compiled to machine code, which saves the pieces' compilation."""
    compiled: list[str] = []
    finalize = JITCodeLibrary._finalize_specific
    monkeypatch.setattr(JITCodeLibrary, "_finalize_specific", lambda self: (compiled.append(self.name), finalize(self)))

    @inlined
    def inner(value: float) -> float:
        return value - 1.0

    @inlined
    def outer(value: float) -> float:
        return inner(value) * 2.0

    @njit(**jit._OPTIONS)
    def uncached(value: float) -> float:
        return outer(value)

    assert uncached(3.0) == 4.0
    assert any("uncached" in name for name in compiled)
    assert not any("inner" in name or "outer" in name for name in compiled)


@literals
class Kind(NamedTuple):
    """A literal that selects a branch."""

    code: int


def test_a_branch_that_literals_exclude_is_not_compiled() -> None:
    """Of branches on a literal argument, or on its field, only the one that is taken is compiled."""

    @inlined
    def wanted(value: float) -> float:
        return value + 1.0

    @inlined
    def other(value: float) -> float:
        return value + 2.0

    @inlined
    def by_number(code: int, value: float) -> float:
        if code == 1:
            return wanted(value)
        return other(value)

    @inlined
    def by_field(kind: Kind, value: float) -> float:
        if kind.code == 2:
            return other(value)
        if kind.code == 1:
            return by_number(kind.code, value)
        return other(value)

    kind = Kind(1)

    @njit(**jit._OPTIONS)
    def uncached(value: float) -> float:
        return by_field(kind, value)

    assert uncached(3.0) == 4.0
    pieces: list[Any] = [wanted, by_number, other]
    assert [len(piece.overloads) for piece in pieces] == [1, 1, 0]


def test_a_literal_tuple_may_be_empty() -> None:
    """A branch that only a tuple with elements takes is not compiled for one without: Numba cannot index that."""

    @inlined
    def total(numbers: Any) -> int:
        found = 0
        if len(numbers) > 0:
            for i in range(len(numbers)):
                found += numbers[i]
        return found

    def counted(sizes: Sizes) -> int:
        @njit(**jit._OPTIONS)
        def uncached() -> int:
            return total(sizes.seasons)

        return int(uncached())

    assert [counted(Sizes(1, numbers)) for numbers in ((), (3, 4))] == [0, 7]


class TestMadeOf:
    """The cache key of a compiled kernel."""

    def test_closure(self) -> None:
        """Another value closed over changes the key."""
        assert sources(build(1.0)) == sources(build(1.0)) != sources(build(2.0))

    def test_constant_of_a_piece(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Another module constant used by a piece within a piece changes the key."""
        before = sources(build(1.0))
        monkeypatch.setattr(sys.modules[__name__], "FACTOR", 4.0)
        assert sources(build(1.0)) != before

    def test_middle_of_a_long_table(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """All values of an array count in the key, including those that its text omits."""

        @kernel
        def run(at: int) -> Any:
            return TABLE[at]

        before, other = sources(run), TABLE.copy()
        other[1000] += 1.0
        monkeypatch.setattr(sys.modules[__name__], "TABLE", other)
        assert sources(run) != before

    def test_source_of_a_piece(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """A changed source file changes the keys of the kernels that have a piece of that file, and no others."""
        observe = observe_kernel(layout_of(ModelConfig(horizon=2))).literal
        before = sources(observe), sources(build(1.0))
        digest = jit._file_digest
        monkeypatch.setattr(jit, "_file_digest", lambda path: "changed" if path.endswith("trend.py") else digest(path))
        assert sources(observe) != before[0]
        assert sources(build(1.0)) == before[1]

    def test_order_of_the_fields_of_an_argument(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Another field order of a NamedTuple, also of a nested one, changes the key: fields are read by position."""
        before = sources(difference)
        assert difference(Holder(Pair(3.0, 1.0))) == 2.0

        class Swapped(NamedTuple):
            second: float
            first: float

        Swapped.__qualname__ = Pair.__qualname__
        monkeypatch.setattr(sys.modules[__name__], "Pair", Swapped)
        assert sources(difference) != before

    def test_files_of_the_classes(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Files of the classes of arguments, and of literals closed over and nested in them, count in the key."""
        layout = layout_of(ModelConfig(horizon=2))
        observe, chunk = observe_kernel(layout).literal, chunk_kernel(layout)[0]
        for name in ("observe/buffers.py", "layout.py", "operands.py", "quantile_output.py"):
            assert jit._file_digest(str(FORECASTER.joinpath(*PLACES.get(name, ()), name))) in sources(observe), name
        assert jit._file_digest(str(FORECASTER / "training" / "chunk_kernel.py")) in sources(chunk)

    def test_literals(self) -> None:
        """Another number in a NamedTuple closed over changes the key, and its numbers are literals in the kernel."""
        assert sources(sized(Sizes(1, ()))) == sources(sized(Sizes(1, ()))) != sources(sized(Sizes(2, ())))
        acc = np.zeros(32, np.float32)
        sized(Sizes(2, (3, 4)))(acc, np.ones(2, np.float32), np.arange(64, dtype=np.float32))
        assert acc.tolist() == [i + (32 + i) + 7 for i in range(32)]

    def test_files_without_pieces(self) -> None:
        """Sources without a piece of the kernel do not count in the key: editing them recompiles nothing."""
        found = sources(observe_kernel(layout_of(ModelConfig(horizon=2))).literal)
        others = "training/compare.py", "state/history.py", "state/checkpoint.py", "evaluation/scores.py"
        for path in (*others, "interop/frames.py"):
            assert jit._file_digest(str(FORECASTER / path)) not in found

    def test_is_the_same_in_every_process(self) -> None:
        """The key contains no object identity, whatever a kernel closes over, and is equal in every process."""
        program = (
            "import hashlib; from forecaster.kernels.jit import sources; from forecaster.observe import observe_kernel;"
            "from forecaster.config import ModelConfig; from forecaster.layout import layout_of;"
            "print(hashlib.sha256(repr(sorted(sources(observe_kernel(layout_of(ModelConfig(horizon=2))).literal))).encode()).hexdigest())"
        )
        run = [sys.executable, "-c", program]
        first, second = (subprocess.run(run, capture_output=True, text=True, check=True).stdout for _ in range(2))
        assert first == second
        forms = observe_kernel(layout_of(ModelConfig(horizon=2)))
        for form in (forms.literal, forms.general):
            assert not [text for text in sources(form) if ADDRESS in text]
