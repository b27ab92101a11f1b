"""The forms of a kernel: equal bits, and which of them is selected."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import cases
import numba
import numpy as np
import pytest
from numba.core import event

from forecaster import Batch, Forecaster, ModelConfig, kernel_form, use_kernels, used_kernels
from forecaster.kernels.forms import Forms, is_compiled
from forecaster.kernels.jit import kernel
from forecaster.kernels.setting import AUTO, FORMS, GENERAL, LITERAL, QUICK
from forecaster.layout import feature_layout, layout_of
from forecaster.observe import observe_kernel

SHAPES = {name: (cases.STREAMING | cases.POOLED)[name] for name in (
    "gru-1-pool", "gru-2-covariates-calendar-learnt", "lstm-2-bare-learnt", "decoder-calendar",
)}  # fmt: skip


@pytest.fixture(autouse=True)
def _form_as_it_was() -> Iterator[None]:
    before = used_kernels()
    yield
    use_kernels(before)


def bits(forecaster: Forecaster) -> dict[str, Any]:
    """Returns the whole state as bytes."""
    return {name: array.tobytes() for name, array in forecaster.state().items()} | {"header": forecaster.header()}


def outputs(config: ModelConfig, batch: Batch, forms: list[str], cuts: list[int]) -> tuple[list[bytes], dict[str, Any]]:
    """Observes the parts of a batch, each with a form of its own, restores in the middle, and adopts other weights."""
    forecaster, out = Forecaster(cases.rough_model(config, 1), max_series=5), list[bytes]()
    for number, (form, start, end) in enumerate(zip(forms, cuts, cuts[1:], strict=False)):
        use_kernels(form)
        found = forecaster.observe(cases.part(batch, start, end))
        assert kernel_form(config) == form
        out += [found.quantiles.tobytes(), found.anomaly.tobytes(), found.steps.tobytes(), found.status.tobytes()]
        if number == 1:
            arrays = {name: np.array(array) for name, array in forecaster.state().items()}
            forecaster = Forecaster.from_state(arrays, forecaster.header(), forecaster.model, max_series=5)
        if number == 2:
            forecaster.adopt(cases.rough_model(config, 2))
    return out, bits(forecaster)


@pytest.mark.timeout(1800)  # on a busy machine three compilations take that long
@pytest.mark.parametrize("name", SHAPES)
def test_forms_have_equal_bits(name: str) -> None:
    """The forms are equal bit for bit over gaps, missing values, evictions, a restore and an adoption, also mixed."""
    config = SHAPES[name]
    batch, cuts = cases.stream(config, 1200, series=7, seed=3), [0, 1, 300, 700, 1200]
    expected = outputs(config, batch, [LITERAL] * 4, cuts)
    assert outputs(config, batch, [GENERAL] * 4, cuts) == expected
    assert outputs(config, batch, [GENERAL, LITERAL, GENERAL, LITERAL], cuts) == expected


def test_quick_code_has_equal_bits(monkeypatch: pytest.MonkeyPatch) -> None:
    """Quickly made code has the bits of the general form over the same stream, also mixed with it."""
    config = SHAPES["gru-1-pool"]
    batch, cuts = cases.stream(config, 1200, series=7, seed=3), [0, 1, 300, 700, 1200]
    expected = outputs(config, batch, [GENERAL] * 4, cuts)
    monkeypatch.setattr("forecaster.kernels.forms.is_compiled", lambda kernel, arguments: False)
    assert outputs(config, batch, [QUICK] * 4, cuts) == expected
    assert outputs(config, batch, [QUICK, GENERAL, QUICK, GENERAL], cuts) == expected


@pytest.fixture
def _fresh_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An empty folder of compiled code, for kernels that the test makes."""
    monkeypatch.setattr(numba.config, "CACHE_DIR", str(tmp_path))


@pytest.mark.usefixtures("_fresh_cache")
def test_auto_takes_what_is_compiled() -> None:
    """Without a literal kernel the general one answers; once it is compiled, the next selection is the literal one."""
    forms = Forms(lambda sizes: _kernel(repr(sizes)), feature_layout(layout_of(ModelConfig(horizon=3))))
    use_kernels(AUTO)
    arguments = (np.zeros(3),)
    assert forms.form == ""
    assert forms.select(arguments) is forms.general
    assert forms.form == GENERAL
    forms.literal(*arguments)
    assert forms.select(arguments) is forms.general, "kept until `use_kernels`"
    use_kernels(AUTO)
    assert forms.form == ""
    assert forms.select(arguments) is forms.literal
    assert forms.form == LITERAL


@pytest.mark.usefixtures("_fresh_cache")
def test_quick_until_something_better_is_compiled() -> None:
    """Quickly made code answers first, then the general form, then the literal one; another setting never uses it."""
    forms = Forms(lambda sizes: _kernel("quick" + repr(sizes)), feature_layout(layout_of(ModelConfig(horizon=3))))
    arguments = (np.zeros(3),)
    found = []
    for better in (lambda x: None, forms.general, forms.literal):
        better(*arguments)
        use_kernels(QUICK)
        found.append((forms.select(arguments), forms.form))
    assert found == [(forms.quick, QUICK), (forms.general, GENERAL), (forms.literal, LITERAL)]
    use_kernels(GENERAL)
    assert forms.select(arguments) is forms.general


_made: dict[str, Any] = {}


def _kernel(name: str) -> Any:
    if name not in _made:

        @kernel
        def add(x: Any) -> None:
            x[0] += len(name)

        _made[name] = add
    return _made[name]


@pytest.mark.usefixtures("_fresh_cache")
def test_loads_from_disk() -> None:
    """A kernel that another process has compiled is loaded and runs; for other types there is none."""

    def build() -> Any:
        @kernel
        def double(x: Any) -> None:
            x[0] *= 2

        return double

    x = np.ones(2)
    build()(x)
    fresh = build()
    assert not fresh.signatures
    assert not is_compiled(fresh, (np.ones((2, 2, 2), np.uint16),))
    with event.install_recorder("numba:compile") as compilations:  # type: ignore[no-untyped-call]
        assert is_compiled(fresh, (x,))
        fresh(x)
    assert not compilations.buffer
    assert x[0] == 4
    assert len(fresh.signatures) == 1


def test_shape_that_was_never_compiled_uses_the_general_form() -> None:
    """A new horizon under `AUTO` runs the general kernel."""
    use_kernels(AUTO)
    config = replace(SHAPES["gru-1-pool"], horizon=23)
    Forecaster(config).observe(cases.stream(config, 3, series=1, seed=0))
    assert observe_kernel(layout_of(config)).form == GENERAL


def test_wrong_form() -> None:
    """A form that does not exist is refused, naming those that do."""
    with pytest.raises(ValueError, match=f"got 'fast', expected one of {', '.join(FORMS)}"):
        use_kernels("fast")
