"""`forecaster completion`: prints the completion script of a shell."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class


@click.command(short_help="Print the completion script of a shell.")
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@click.pass_context
def completion(context: click.Context, shell: str) -> None:
    """Print the script with which SHELL completes commands and options.

    Exit status: 0 printed, 2 another shell.
    """
    kind = get_completion_class(shell)
    assert kind is not None, shell  # noqa: S101 - click has all three
    root = context.find_root()
    script = kind(root.command, {}, "forecaster", "_FORECASTER_COMPLETE")
    click.echo(script.source_template % script.source_vars())
