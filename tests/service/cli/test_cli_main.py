"""The command group: quick help, one-line errors, exit statuses."""

from __future__ import annotations

import builtins
import importlib
import subprocess
import sys

import click
import pytest
from click.testing import CliRunner

from service.cli import COMMANDS, main
from service.cli._errors import STATUS_OF, as_failure


@pytest.mark.parametrize("name", list(COMMANDS))
def test_table(name: str) -> None:
    """Every table entry resolves to a command with the same short help as the entry."""
    command = main.get_command(click.Context(main), name)

    assert command is not None
    assert command.name == name
    assert command.get_short_help_str(200) == COMMANDS[name].help


def test_help_imports_little() -> None:
    """The help page imports neither numpy, nor the compiler, nor pydantic."""
    code = (
        "import sys\nfrom service.cli import main\n"
        "try: main(['--help'])\nexcept SystemExit as end: assert end.code == 0\n"
        "print(sorted({'numpy', 'numba', 'pydantic', 'rich', 'starlette'} & set(sys.modules)))"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert result.stdout.splitlines()[-1] == "[]"
    for name in COMMANDS:
        assert name in result.stdout


def test_run_imports_no_more_than_it_needs() -> None:
    """`run` waits neither for trainings and sequence models, nor for protobuf, which few pushed bodies need."""
    code = (
        "import sys, service.cli.run\nspared = ('forecaster.sequences', 'forecaster.training', 'google.protobuf')\n"
        "print([name for name in sys.modules if name.startswith(spared)])"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert result.stdout.splitlines()[-1] == "[]"


def test_module() -> None:
    """`python -m service.cli` runs the program."""
    result = subprocess.run(
        [sys.executable, "-m", "service.cli", "--version"], capture_output=True, text=True, check=True
    )

    assert "0.1.0" in result.stdout


def test_unknown_command() -> None:
    """An unknown command is a usage error with status 2."""
    assert CliRunner().invoke(main, ["no-such-command"]).exit_code == 2


@pytest.mark.parametrize("name", list(STATUS_OF))
def test_status_table_names_classes(name: str) -> None:
    """Every error of the status table exists under its listed name."""
    module, _, kind = name.rpartition(".")
    source = builtins if module == "builtins" else importlib.import_module(module)

    assert issubclass(getattr(source, kind), Exception)


def test_defects_keep_their_traceback() -> None:
    """An internal error is not converted to a user error."""
    assert as_failure(AssertionError("bug")) is None


def test_a_reader_that_ends_is_no_failure() -> None:
    """A pipe whose reader has ended, such as `head`, ends the command without a line."""
    assert as_failure(BrokenPipeError(32, "Broken pipe")) is None


def test_users_errors_become_one_line() -> None:
    """A missing file becomes one line and status 1."""
    failure = as_failure(FileNotFoundError(2, "No such file or directory", "events.csv"))

    assert failure is not None
    assert failure.exit_code == 1
    assert "events.csv" in failure.message
