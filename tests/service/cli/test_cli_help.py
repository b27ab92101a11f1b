"""Help of the command line: examples that parse, completion, colours, sparklines."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from collections.abc import Iterator

import click
import pytest
from click.testing import CliRunner

from service.cli import main
from service.cli._examples import EXAMPLES
from service.cli.tail import as_line, sparkline


def commands(group: click.Group = main, path: str = "") -> Iterator[tuple[str, click.Command]]:
    """Yields every command with its path."""
    context = click.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        assert command is not None
        yield f"{path}{name}", command
        if isinstance(command, click.Group):
            yield from commands(command, f"{path}{name} ")


@pytest.mark.parametrize(
    ("path", "command"), list(commands()), ids=lambda value: value if isinstance(value, str) else ""
)
def test_every_command_has_examples(path: str, command: click.Command) -> None:
    """The help page of every command ends with examples of the command, each on a single line."""
    shown = CliRunner().invoke(main, [*path.split(), "--help"]).output
    assert "Examples:" in shown
    for line in EXAMPLES[path]:
        assert f"  {line}\n" in shown
        assert f"forecaster {path}" in line


EVERY = sorted({line for path, lines in EXAMPLES.items() for line in lines if path in dict(commands())})


@pytest.mark.parametrize("line", EVERY)
def test_examples_parse(line: str) -> None:
    """Every option and argument of an example exists in its command."""
    words = shlex.split(line.removeprefix('eval "$(').removesuffix(')"').partition(" | ")[0].partition(" > ")[0])[1:]
    command: click.Command = main
    context = click.Context(main)
    while isinstance(command, click.Group):
        found = command.get_command(context, words.pop(0))
        assert found is not None
        command, context = found, click.Context(found)
    _, rest, _ = command.make_parser(context).parse_args(words)
    assert rest == []


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion(shell: str) -> None:
    """The script contains the completion variable and the shell's instruction."""
    script = CliRunner().invoke(main, ["completion", shell]).output
    assert "_FORECASTER_COMPLETE" in script
    assert f"{shell}_complete" in script


def test_completion_answers() -> None:
    """With bash's completion variables set, the program completes commands and options."""

    def answer(words: str, number: int) -> set[str]:
        asked = {"_FORECASTER_COMPLETE": "bash_complete", "COMP_WORDS": words, "COMP_CWORD": str(number)}
        program = [sys.executable, "-c", "from service.cli import main; main(prog_name='forecaster')"]
        done = subprocess.run(program, env=os.environ | asked, capture_output=True, text=True, check=True)
        return {line.partition(",")[2] for line in done.stdout.split()}

    assert answer("forecaster mo", 1) == {"models"}
    assert answer("forecaster run --hori", 2) == {"--horizon"}


def test_colours_only_where_they_are_wanted(monkeypatch: pytest.MonkeyPatch) -> None:
    """NO_COLOR switches colours off even where they would be shown."""

    @click.command(name="coloured")
    def coloured() -> None:
        click.secho("text", fg="red")

    monkeypatch.setattr(main, "get_command", lambda _context, _name: coloured)
    assert "\x1b[" in CliRunner().invoke(main, ["coloured"], color=True).output
    assert CliRunner().invoke(main, ["coloured"], color=True, env={"NO_COLOR": "1"}).output == "text\n"


def test_sparkline() -> None:
    """Blocks range from the smallest to the largest value, constant values stay flat, long series are averaged."""
    assert sparkline([0, 1, 2, 3, 4, 5, 6, 7]) == "▁▂▃▄▅▆▇█"
    assert sparkline([2.0, 2.0]) == "▄▄"
    assert sparkline([0, 0, 0, 0, 1, 1, 1, 1] * 12) == "▁█" * 12


def test_tail_line() -> None:
    """A forecast is one line with the next median, its bounds and a sparkline of the medians."""
    forecast = {"levels": [0.1, 0.5, 0.9], "quantiles": [[1, 2, 3], [2, 4, 6]], "origin": "2026-01-05T00:00:00Z",
                "series": "cpu"}  # fmt: skip
    assert as_line(forecast) == "2026-01-05T00:00:00Z  cpu  next 2 [1, 3]  ▁█  +2 4 [2, 6]"
    large = forecast | {"quantiles": [[1e9 - 1, 1e9, 1e9 + 1], [1e9 - 0.5, 1e9 + 0.25, 1e9 + 1]]}
    assert "next 1000000000 [999999999, 1000000001]" in as_line(large)
    assert "+2 1000000000.25 [999999999.5, 1000000001]" in as_line(large)
    silence = {"series": "cpu", "kind": "silence", "last": "09:00", "expected": "09:30", "noticed": "10:00"}
    assert as_line(silence) == "10:00  cpu  silent since 09:00"
    assert as_line(forecast | {"quantiles": None}) == "2026-01-05T00:00:00Z  cpu  no forecast yet"
