"""A click group that imports a command only when it is called, which keeps `--help` fast."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from dataclasses import dataclass

import click

from service.cli._errors import as_failure
from service.cli._examples import add_examples
from service.cli._kernel_cache import ensure_cache_folder
from service.engine.malloc import share_arena
from service.kernels import use_kernels_of_environment


@dataclass(frozen=True, slots=True)
class Entry:
    """Where a command is defined.

    Attributes:
        module: the module that defines it, under `service.cli`.
        name: the attribute of the module.
        help: its one-line help, repeated here so that listing commands needs no import; a test compares the two.
    """

    module: str
    name: str
    help: str


class LazyGroup(click.Group):
    """A group whose commands are listed in a table of entries.

    Args:
        entries: command name -> definition, in the order of the help page.
        **settings: passed on to `click.Group`.
    """

    def __init__(self, *args: object, entries: Mapping[str, Entry] | None = None, **settings: object) -> None:
        super().__init__(*args, **settings)  # type: ignore[arg-type] # passed on unchanged
        self.entries = dict(entries or {})

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - the signature is click's
        """Lists the names in the order of the table."""
        return list(self.entries)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Imports the module of the command; returns None for a name that is not in the table."""
        entry = self.entries.get(cmd_name)
        if entry is None:
            return super().get_command(ctx, cmd_name)
        share_arena()  # before numpy, whose threads would get arenas
        if ensure_cache_folder():
            click.echo(
                "forecaster: kernels are compiled at every start; set NUMBA_CACHE_DIR to a writable folder", err=True
            )
        use_kernels_of_environment()
        command: click.Command = getattr(importlib.import_module(f"service.cli.{entry.module}"), entry.name)
        add_examples(cmd_name, command)
        return command

    def invoke(self, ctx: click.Context) -> object:
        """Runs the command; converts an error that a user can cause to one line and an exit status."""
        try:
            return super().invoke(ctx)
        except (click.ClickException, click.exceptions.Exit, click.Abort):
            raise
        except Exception as error:
            failure = as_failure(error)
            if failure is None:
                raise
            raise failure from error

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002 - as above
        """Writes the list of commands from the table."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, entry.help) for name, entry in self.entries.items()])
