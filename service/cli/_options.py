"""Options that stand for configuration keys: `--config`, short ones for those most used, `--set` for all."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

# The file that every command reads; the environment variable spares typing it in every command of a session.
CONFIG_VARIABLE = "FORECASTER_CONFIG"


_SOURCE = "service.cli.config_source"


def config_source() -> tuple[Path | None, dict[str, object]]:
    """File and flags that the running command's configuration was made from, to make it again."""
    found: tuple[Path | None, dict[str, object]] = click.get_current_context().meta[_SOURCE]
    return found


class OutFile(click.Path):
    """A file that is written in the end: its folder must be there at the beginning, not only after the work.

    Args:
        endings: of its name, where it is written in one format only; none: any.
    """

    def __init__(self, *endings: str) -> None:
        super().__init__(dir_okay=False, path_type=Path)
        self._endings = endings

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """As click's, and looks for the folder."""
        found = Path(str(super().convert(value, param, ctx)))
        if not found.parent.is_dir():
            self.fail(f"got {str(found)!r}, whose folder is not there; make it, or name another", param, ctx)
        if self._endings and found.suffix.lower() not in self._endings:
            self.fail(f"got {str(found)!r}, expected a name in {' or '.join(self._endings)}", param, ctx)
        return found


@dataclass(frozen=True, slots=True)
class Flag:
    """An option that sets one configuration key.

    Attributes:
        key: the key, "section.name".
        help: for the help page.
        metavar: what the value looks like; empty for a switch.
        multiple: the option may be given several times and sets a list.
    """

    key: str
    help: str
    metavar: str = ""
    multiple: bool = False


FLAGS = {
    "--input": Flag("input.files", "File, glob or - to read; repeat for more.", "PATH", multiple=True),
    "--format": Flag("input.format", "auto, csv or jsonl.", "FORMAT"),
    "--follow": Flag("input.follow", "Wait at the end of the input for more."),
    "--push": Flag("input.push", "Take events over HTTP: JSON lines, or Prometheus remote write."),
    "--sink": Flag("output.sink", "auto, sqlite, stdout or kafka.", "SINK"),
    "--output": Flag("output.path", "SQLite file, relative to the data directory.", "FILE"),
    "--data-dir": Flag("state.data_dir", "Folder of everything that is kept.", "DIR"),
    "--horizon": Flag("model.horizon", "Steps ahead to forecast.", "STEPS"),
    "--interval": Flag("model.interval", 'Time between events of a series, "30m" or "1mo"; auto learns it.', "TIME"),
    "--season": Flag("model.seasons", "Season, in steps or as a duration.", "STEPS", multiple=True),
    "--retrain-every": Flag("retrain.every_events", "Train after this many events; 0 never.", "EVENTS"),
    "--host": Flag("http.host", "Address of the page, the API and the metrics.", "ADDRESS"),
    "--port": Flag("http.port", "Port of the page, the API and the metrics; 0 takes a free one.", "PORT"),
    "--web-config": Flag("http.web_config", "File with TLS and passwords for it.", "FILE"),
    "--log-level": Flag("log.level", "debug, info, warning or error.", "LEVEL"),
}


def with_config(*names: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Gives a command `--config`, the named flags and `--set`, and hands it the checked `Config` as `config`.

    A mistake in any of them ends the program with status 2 before the command's body runs.
    """

    def decorate(command: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(command)
        def call(*args: Any, config_file: Path | None, settings: tuple[str, ...], **given: Any) -> Any:
            from service.config.load import load_config  # noqa: PLC0415 - the help page must not wait for it

            flags = {FLAGS[name].key: given.pop(_parameter(name)) for name in names}
            overrides = {key: value for key, value in flags.items() if value not in {None, ()}}
            given_here = overrides | assignments(settings)
            click.get_current_context().meta[_SOURCE] = config_file, given_here
            return command(*args, config=load_config(config_file, given_here), **given)

        decorated: Callable[..., Any] = call
        decorated = click.option(
            "--set",
            "settings",
            multiple=True,
            metavar="KEY=VALUE",
            help="Any configuration key, e.g. model.cell=lstm; repeat for more.",
        )(decorated)
        for name in reversed(names):
            decorated = _option(name)(decorated)
        return click.option(
            "--config",
            "config_file",
            type=click.Path(dir_okay=False, path_type=Path),
            envvar=CONFIG_VARIABLE,
            help="TOML file with the configuration.",
            show_envvar=True,
        )(decorated)

    return decorate


def assignments(settings: tuple[str, ...]) -> dict[str, str]:
    """The values of `--set`, by key.

    Raises:
        click.BadParameter: one has no "=" or no section.
    """
    found = {}
    for setting in settings:
        key, equals, value = setting.partition("=")
        if not equals or "." not in key.strip("."):
            msg = f"got {setting!r}, expected section.key=value, e.g. model.horizon=12"
            raise click.BadParameter(msg, param_hint="--set")
        found[key.strip()] = value.strip()
    return found


def _parameter(name: str) -> str:
    return name.removeprefix("--").replace("-", "_") + "_flag"


def _option(name: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    flag = FLAGS[name]
    if not flag.metavar:
        return click.option(name, _parameter(name), is_flag=True, default=None, help=flag.help)
    return click.option(
        name, _parameter(name), multiple=flag.multiple, metavar=flag.metavar, help=flag.help, default=None
    )
