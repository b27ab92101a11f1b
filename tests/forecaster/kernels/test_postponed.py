"""Kernels that need not be compiled yet run as Python until they are, with equal results."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numba
import numpy as np
import pytest

from forecaster import compile_postponed, kernels_wait, use_kernels, used_kernels
from forecaster.kernels.jit import kernel
from forecaster.kernels.postponed import Postponed, _Postponed


@pytest.fixture(autouse=True)
def _own_setting(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    before = used_kernels()
    monkeypatch.setattr(numba.config, "CACHE_DIR", str(tmp_path))
    monkeypatch.setattr(_Postponed, "kernels", ())
    yield
    use_kernels(before)


def build() -> tuple[Any, list[int]]:
    """Returns a kernel that divides by zero, and the list of its calls as Python."""
    calls = list[int]()

    @kernel
    def divided(values: Any, out: Any) -> None:
        for i in range(len(values)):
            out[i] = values[i] / 0.0 + np.float64(np.float32(values[i] * 1e300))

    function = divided.py_func  # type: ignore[attr-defined]

    def counted(*arguments: Any) -> None:
        calls.append(len(calls))
        function(*arguments)

    divided.py_func = counted  # type: ignore[attr-defined]
    return divided, calls


def test_python_until_it_is_compiled() -> None:
    """With quick code it runs as Python, also after others were selected, until its machine code is there."""
    use_kernels("quick")
    kernel_, calls = build()
    postponed, found = Postponed(kernel_), []
    values = np.array([1.0, -2.0, 0.0, np.nan, np.inf])

    def run() -> bytes:
        out = np.zeros(5)
        postponed(values, out)
        return out.tobytes()

    found += [run(), run()]
    assert (len(calls), postponed.waits, kernels_wait()) == (2, True, True)
    use_kernels("quick")
    assert not kernels_wait()  # it is not known before its next call
    found.append(run())
    assert (len(calls), kernels_wait()) == (3, True)
    kernel_(values, np.zeros(5))
    found.append(run())
    assert len(calls) == 4  # compiled code is looked for after `use_kernels`, not in each call
    use_kernels("quick")
    found.append(run())
    assert (len(calls), postponed.waits, kernels_wait()) == (4, False, False)
    assert len(set(found)) == 1


@pytest.mark.parametrize("form", ["auto", "general", "literal"])
def test_compiled_at_once(form: str) -> None:
    """With any other form it is compiled at its first call."""
    use_kernels(form)
    kernel_, calls = build()
    Postponed(kernel_)(np.zeros(1), np.zeros(1))
    assert not calls
    assert not kernels_wait()
    assert kernel_.signatures


def test_a_later_process_finds_it_on_disk() -> None:
    """Code in the cache on disk is used at the first call."""
    use_kernels("quick")
    build()[0](np.zeros(1), np.zeros(1))
    kernel_, calls = build()
    Postponed(kernel_)(np.zeros(1), np.zeros(1))
    assert not calls


def test_compile_postponed(monkeypatch: pytest.MonkeyPatch) -> None:
    """After `compile_postponed` no kernel of the library waits."""
    monkeypatch.undo()
    use_kernels("literal")
    compile_postponed()
    use_kernels("quick")
    compile_postponed()
    assert len(_Postponed.kernels) >= 2
    assert not kernels_wait()
