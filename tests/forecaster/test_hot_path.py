"""The warm observe kernel allocates nothing per event and compiles nothing."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import cases
import numpy as np
import pytest
from numba import njit
from numba.core.errors import TypingError
from numba.core.runtime import _nrt_python, rtsys

from forecaster import Batch, Forecaster
from forecaster.kernels.jit import kernel


@pytest.fixture(autouse=True)
def counting() -> Any:
    """Makes Numba count the allocations of compiled code."""
    _nrt_python.memsys_enable_stats()
    yield
    _nrt_python.memsys_disable_stats()


def allocations(work: Callable[[], object]) -> int:
    """Returns how often compiled code and its calling convention allocate during `work`."""
    before = rtsys.get_allocation_stats().alloc
    work()
    return int(rtsys.get_allocation_stats().alloc - before)


def _allocates(n: int) -> Any:
    total = 0.0
    for i in range(n):
        total += np.zeros(4 + i % 3).sum()
    return total


def test_the_counter_sees_allocations() -> None:
    """The counter detects compiled code that allocates per event (control)."""
    compiled: Any = njit(_allocates)
    compiled(1)
    assert allocations(lambda: compiled(100)) - allocations(lambda: compiled(1)) >= 99


def test_a_kernel_that_allocates_does_not_compile() -> None:
    """A kernel that allocates fails to compile: kernels are built without Numba's memory management."""
    with pytest.raises(TypingError, match="returning of array"):
        kernel(_allocates)(1)


@pytest.mark.parametrize(
    "name", ["gru-1", "gru-1-pool", "gru-2-covariates-calendar-learnt", "lstm-2-bare-learnt", "decoder-calendar"]
)
class TestObserve:
    """Streams with every branch: gaps, missing values, duplicates, an adopted model."""

    def _warm(self, name: str) -> tuple[Forecaster, Batch]:
        config = (cases.STREAMING | cases.POOLED)[name]
        batch = cases.stream(config, 2000, series=7, seed=1)
        forecaster = Forecaster(cases.rough_model(config, 1), history_events=0)
        forecaster.observe(cases.part(batch, 0, 1))
        return forecaster, batch

    def test_allocates_nothing_per_event(self, name: str) -> None:
        """Allocations per call (a record per array argument) do not depend on the number of events."""
        forecaster, batch = self._warm(name)
        forecaster.observe(cases.part(batch, 1, 500))
        one = allocations(lambda: forecaster.observe(cases.part(batch, 500, 501)))
        many = allocations(lambda: forecaster.observe(cases.part(batch, 501, 1400)))
        forecaster.adopt(cases.rough_model(forecaster.config, 2))
        adopted = allocations(lambda: forecaster.observe(cases.part(batch, 1400, 2000)))
        assert one == many == adopted

    def test_compiles_nothing(self, name: str) -> None:
        """One signature serves all batches: one event, many events, none, and more series than rows."""
        forecaster, batch = self._warm(name)
        forms = forecaster._observed._kernel
        compiled: Any = forms.literal if forms.form == "literal" else forms.general
        before = list(compiled.signatures)
        assert len(before) == 1
        for start, end in ((1, 2), (2, 900), (900, 900), (900, 2000)):
            forecaster.observe(cases.part(batch, start, end))
        other = Forecaster(cases.rough_model(forecaster.config, 3), max_series=2)
        other.observe(batch)
        assert other._observed._kernel is forms
        assert list(compiled.signatures) == before
