"""Docstrings of the public names of the library: parameters, shapes and errors."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterator
from enum import Enum
from types import FunctionType
from typing import Any

import pytest

import forecaster
import forecaster.inspection
import forecaster.state


def functions() -> Iterator[tuple[str, Callable[..., Any]]]:
    """Yields every public function and every public method of a public class, with its name."""
    for module in (forecaster, forecaster.inspection, forecaster.state):
        for name in module.__all__:
            found = getattr(module, name)
            if isinstance(found, FunctionType):
                yield name, found
            elif inspect.isclass(found) and not issubclass(found, Enum | Exception):
                for method, value in vars(found).items():
                    function = getattr(value, "__func__", value)
                    if not method.startswith("_") and isinstance(function, FunctionType):
                        yield f"{name}.{method}", function


# The signatures of FrameForecaster are those of scikit-learn.
FUNCTIONS = {name: function for name, function in functions() if not name.startswith("FrameForecaster.")}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_parameters_shapes_and_errors(name: str) -> None:
    """A docstring names every parameter, the shape of every array, and what is raised."""
    function = FUNCTIONS[name]
    text, signature = inspect.getdoc(function) or "", inspect.signature(function)
    parameters = [one for one in signature.parameters.values() if one.name not in {"self", "cls"}]
    assert [one.name for one in parameters if not re.search(rf"\b{one.name}\b", text)] == []
    arrays = [*map(str, (one.annotation for one in parameters)), str(signature.return_annotation)]
    if any(kind.startswith("NDArray") for kind in arrays):
        assert re.search(r"[Ss]hape|\(\w+,", text), "arrays without a shape"
    if re.search(r"^\s+raise \w", inspect.getsource(inspect.unwrap(function)), re.MULTILINE):
        assert "Raises:" in text


@pytest.mark.parametrize("module", [forecaster, forecaster.inspection, forecaster.state], ids=lambda one: one.__name__)
def test_attributes(module: Any) -> None:
    """A public class without settings names every attribute in its docstring."""
    for name in module.__all__:
        found = getattr(module, name)
        fields = getattr(found, "__dataclass_fields__", {})
        text = inspect.getdoc(found) or ""
        assert text, name
        shown = [one for one, field in fields.items() if not one.startswith("_") and not field.metadata]
        assert [one for one in shown if not re.search(rf"\b{one}\b", text)] == [], name
