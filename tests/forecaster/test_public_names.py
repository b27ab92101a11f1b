"""The public names of the library: imported on demand, and equal in every list of `forecaster/__init__.py`."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import forecaster

SOURCE = ast.parse(Path(forecaster.__file__).read_text())


def test_the_lists_agree() -> None:
    """The names for type checkers, the lazily imported names and `__all__` agree."""
    (checked,) = (node for node in SOURCE.body if isinstance(node, ast.If))
    seen = {
        (alias.name, str(node.module).removeprefix("forecaster."))
        for node in checked.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    assert seen == set(forecaster._HOMES.items())
    assert sorted(forecaster._HOMES) == sorted(forecaster.__all__) == dir(forecaster)


@pytest.mark.parametrize("name", forecaster.__all__)
def test_each_is_there(name: str) -> None:
    """Each public name returns the object of that name."""
    assert getattr(forecaster, name).__name__ == name


def test_a_name_that_is_not_there() -> None:
    """An unknown name raises an AttributeError that names it, so that hasattr and `from forecaster import` work."""
    assert not hasattr(forecaster, "nothing")
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        forecaster.nothing  # noqa: B018 - the access is under test


def test_settings_do_not_wait_for_the_compiler() -> None:
    """Importing the settings of library and daemon does not import numba."""
    program = (
        "import sys; from forecaster import ConfigError, ModelConfig, TrainConfig; ModelConfig();"
        "from service.config.load import load_config; load_config(None, {});"
        "print([name for name in sys.modules if name.partition('.')[0] in ('numba', 'llvmlite')])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
