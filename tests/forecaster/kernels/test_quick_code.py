"""Quickly made code: equal bits, cached beside the optimised code, and not optimised."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numba
import numpy as np
import pytest
from numba.core import event
from numba.core.codegen import CPUCodeLibrary

from forecaster.kernels import quick_code
from forecaster.kernels.activations import sigmoid, squareplus, tanh
from forecaster.kernels.jit import inlined, kernel, product, quick_kernel
from forecaster.kernels.operands import Rows, Strided
from forecaster.kernels.piece_code import is_quick, module_of
from forecaster.kernels.reductions import column_sum
from forecaster.kernels.simd import fma, load, reduce_sum, store


@inlined
def piece(x: Any, at: int) -> Any:
    """A piece with vectors."""
    return sigmoid(load(x, at)) * tanh(load(x, at)) + squareplus(load(x, at)) / (load(x, at) + 3.0)


def build() -> Any:
    """Returns a kernel with a product, activations, sums, and scalar functions of the C library."""

    @kernel
    def run(x: Any, w: Any, out: Any, depth: int) -> None:
        for at in range(0, x.shape[0], 16):
            store(out, at, fma(piece(x, at), load(w, at), load(x, at)))
        product(2, 1, Rows(out, 0, 16), Strided(x, 0, 16, 1), Rows(w, 0, 16), depth)
        column_sum(out, 32, x, 0, 16, 4)
        out[48] = reduce_sum(load(out, 0))
        out[49] = np.exp(x[1]) + np.log(abs(x[2])) * np.sqrt(abs(x[3])) - x[4] / x[5] + x[6] * x[7] + x[8]

    return run


@pytest.fixture(autouse=True)
def _fresh_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(numba.config, "CACHE_DIR", str(tmp_path))


def results(run: Any) -> bytes:
    """Runs a kernel over random numbers, of which some are not finite or not normal."""
    random = np.random.default_rng(7)
    found = []
    for scale in (1e-42, 1e-3, 1.0, 30.0, 1e30):
        x, w = ((random.normal(size=n) * scale).astype(np.float32) for n in (64, 7 * 16))
        x[20:23] = np.nan, np.inf, -np.inf
        out = np.zeros(64, np.float32)
        run(x, w, out, 7)
        found.append(out.tobytes())
    return b"".join(found)


def test_equal_bits() -> None:
    """The results are those of the optimised code, for every kind of instruction that kernels use."""
    assert results(quick_kernel(build())) == results(build())


def test_both_are_cached() -> None:
    """Both are loaded from disk by the next process, each as what it is."""
    expected = results(build())
    assert results(quick_kernel(build())) == expected
    with event.install_recorder("numba:compile") as compilations:  # type: ignore[no-untyped-call]
        assert results(build()) == expected
        assert results(quick_kernel(build())) == expected
    assert not compilations.buffer


def test_nothing_is_optimised_as_usual(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither a kernel nor its pieces pass Numba's own optimisation, which is in force afterwards."""
    optimised = list[str]()
    for name in ("_optimize_functions", "_optimize_final_module"):
        usual = getattr(CPUCodeLibrary, name)

        def counted(self: Any, *arguments: Any, usual: Any = usual) -> None:
            optimised.append(self.name)
            usual(self, *arguments)

        monkeypatch.setattr(CPUCodeLibrary, name, counted)
    results(quick_kernel(build()))
    assert not [name for name in optimised if "run" in name or "piece" in name]
    assert not is_quick()
    results(build())
    assert [name for name in optimised if "run" in name]


def test_pieces_are_linked_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """A piece that two pieces of a kernel contain is linked into quick code once, and is a function of that code."""
    linked = list[Any]()

    def counted(part: Any) -> Any:
        linked.append(part.name)
        return module_of(part)

    monkeypatch.setattr(quick_code, "module_of", counted)

    @inlined
    def inner(value: float) -> float:
        return value * 3.0

    @inlined
    def first(value: float) -> float:
        return inner(value) - 1.0

    @inlined
    def second(value: float) -> float:
        return inner(value) + first(value)

    @kernel
    def outer(value: float) -> float:
        return second(value) * first(value)

    assert quick_kernel(outer)(2.0) == 55.0
    names = sorted(name.rpartition(".")[2] for name in linked if name != "nrt")  # Numba's own, which no code uses
    assert names == ["first", "inner", "second"]
    assert outer(2.0) == 55.0


def test_a_failure_ends_it() -> None:
    """After a compilation that failed the next one is a usual one."""

    @kernel
    def fails(x: Any) -> Any:
        return x + "text"

    with pytest.raises(numba.TypingError):
        quick_kernel(fails)(1.0)
    assert not is_quick()
