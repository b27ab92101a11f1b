"""The form of compiled functions that the environment asks for."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from click.testing import CliRunner

from forecaster import use_kernels, used_kernels
from service.cli import main
from service.kernels import VARIABLE, use_kernels_of_environment, use_quick_kernels


@pytest.fixture(autouse=True)
def _form_as_it_was() -> Iterator[None]:
    before = used_kernels()
    yield
    use_kernels(before)


@pytest.mark.parametrize("form", ["auto", "general", "literal"])
def test_every_form(form: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each form can be named."""
    monkeypatch.setenv(VARIABLE, form)
    use_kernels_of_environment()
    assert used_kernels() == form


@pytest.mark.parametrize("value", [None, ""])
def test_none(value: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the variable, or with an empty one, nothing changes."""
    if value is None:
        monkeypatch.delenv(VARIABLE)
    else:
        monkeypatch.setenv(VARIABLE, value)
    use_kernels("literal")
    use_kernels_of_environment()
    assert used_kernels() == "literal"


@pytest.mark.parametrize(("before", "after"), [("auto", "quick"), ("general", "general"), ("literal", "literal")])
def test_quick_answers(before: str, after: str) -> None:
    """A daemon may answer with quickly made code unless a form was chosen."""
    use_kernels(before)
    use_quick_kernels()
    assert used_kernels() == after


def test_unknown(monkeypatch: pytest.MonkeyPatch) -> None:
    """A value that is no form ends every command with a message that names the forms."""
    monkeypatch.setenv(VARIABLE, "fast")
    done = CliRunner().invoke(main, ["config", "check"])
    assert done.exit_code == 2
    assert (
        "FORECASTER_KERNELS: form of kernels: got 'fast', expected one of auto, general, literal, quick" in done.output
    )
