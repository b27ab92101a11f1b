"""Options that set configuration keys: `--config`, short options for the common keys, `--set` for all keys."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from service.errors import ConfigurationError

if TYPE_CHECKING:
    from service.config.sections import Config

# The configuration file that every command reads can also be given by this environment variable.
CONFIG_VARIABLE = "FORECASTER_CONFIG"


_SOURCE = "service.cli.config_source"


def config_source() -> tuple[Path | None, dict[str, object]]:
    """Returns the file and the flags of the running command's configuration, for a reload."""
    found: tuple[Path | None, dict[str, object]] = click.get_current_context().meta[_SOURCE]
    return found


class OutFile(click.Path):
    """An output file; its folder must exist when the command starts, before any work is done.

    Args:
        endings: permitted suffixes; none: any suffix.
    """

    def __init__(self, *endings: str) -> None:
        super().__init__(dir_okay=False, path_type=Path)
        self._endings = endings

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Converts like click, and checks that the folder exists."""
        found = Path(str(super().convert(value, param, ctx)))
        if not found.parent.is_dir():
            self.fail(f"got {str(found)!r}, whose folder does not exist; create it, or use another path", param, ctx)
        if self._endings and found.suffix.lower() not in self._endings:
            self.fail(f"got {str(found)!r}, expected a name in {' or '.join(self._endings)}", param, ctx)
        return found


@dataclass(frozen=True, slots=True)
class Flag:
    """An option that sets one configuration key.

    Attributes:
        key: the configuration key, "section.name".
        help: text on the help page.
        metavar: placeholder of the value; empty for a switch.
        multiple: the option may be given several times and sets a list.
    """

    key: str
    help: str
    metavar: str = ""
    multiple: bool = False


FLAGS = {
    "--input": Flag("input.files", "File, glob or - to read; repeat for more.", "PATH", multiple=True),
    "--format": Flag(
        "input.format", "Format: auto, csv, jsonl, json, parquet, avro, influx, access-log, protobuf.", "FORMAT"
    ),
    "--follow": Flag("input.follow", "Wait at the end of the input for more data."),
    "--push": Flag("input.push", "Accept events over HTTP: JSON lines, or Prometheus remote write."),
    "--sink": Flag(
        "output.sink", "Where forecasts are written: auto, sqlite, stdout, parquet, kafka or postgres.", "SINK"
    ),
    "--output": Flag("output.path", "SQLite file or Parquet folder, relative to the data directory.", "PATH"),
    "--data-dir": Flag("state.data_dir", "Folder of all data that the daemon keeps.", "DIR"),
    "--horizon": Flag("model.horizon", "Steps ahead to forecast (forecast horizon).", "STEPS"),
    "--interval": Flag("model.interval", 'Time between events of a series, "30m" or "1mo"; auto estimates it.', "TIME"),
    "--season": Flag("model.seasons", "Season length, in steps or as a duration.", "STEPS", multiple=True),
    "--retrain-every": Flag("retrain.every_events", "Train after this many events; 0: never; auto.", "EVENTS"),
    "--host": Flag("http.host", "Address of page, API and metrics.", "ADDRESS"),
    "--port": Flag("http.port", "Port of page, API and metrics; 0: any free port.", "PORT"),
    "--web-config": Flag("http.web_config", "File with TLS settings and passwords of the HTTP server.", "FILE"),
    "--log-level": Flag("log.level", "Lowest severity logged: debug, info, warning or error.", "LEVEL"),
}


def with_config(*names: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Adds `--config`, the named flags and `--set` to a command, which gets the checked `Config` as `config`.

    An error in any of them ends the program with status 2 before the command's body runs.
    """

    def decorate(command: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(command)
        def call(*args: Any, config_file: Path | None, settings: tuple[str, ...], **given: Any) -> Any:
            from service.config.load import load_config  # noqa: PLC0415 - keeps the help page fast

            flags = {FLAGS[name].key: given.pop(_parameter(name)) for name in names}
            overrides = {key: value for key, value in flags.items() if value not in {None, ()}}
            given_here = overrides | assignments(settings)
            click.get_current_context().meta[_SOURCE] = config_file, given_here
            try:
                return command(*args, config=load_config(config_file, given_here), **given)
            except ConfigurationError as error:
                if not (origin := _origin_of_file(config_file)):
                    raise
                msg = f"{error}\n{origin}"
                raise ConfigurationError(msg) from error

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


def without_groups(config: Config) -> Config:
    """Returns the settings of the sections, for commands that know no groups, and says so where there are some."""
    if config.group:
        click.echo("note: [[group]] is not used here: all series have the settings of the sections", err=True)
    return config.of_group("")


def assignments(settings: tuple[str, ...]) -> dict[str, str]:
    """Returns the values of `--set` by key.

    Raises:
        click.BadParameter: a setting has no "=" or no section.
    """
    found = {}
    for setting in settings:
        key, equals, value = setting.partition("=")
        if not equals or "." not in key.strip("."):
            msg = f"got {setting!r}, expected section.key=value, e.g. model.horizon=12"
            raise click.BadParameter(msg, param_hint="--set")
        found[key.strip()] = value.strip()
    return found


def _origin_of_file(config_file: Path | None) -> str:
    """Says where a configuration file from the environment is from, as nobody named it in this command; else ""."""
    context = click.get_current_context()
    if config_file is None or context.get_parameter_source("config_file") is not ParameterSource.ENVIRONMENT:
        return ""
    return f"The environment variable {CONFIG_VARIABLE} names the configuration file: {config_file}"


def _parameter(name: str) -> str:
    return name.removeprefix("--").replace("-", "_") + "_flag"


def _option(name: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    flag = FLAGS[name]
    if not flag.metavar:
        return click.option(name, _parameter(name), is_flag=True, default=None, help=flag.help)
    return click.option(
        name, _parameter(name), multiple=flag.multiple, metavar=flag.metavar, help=flag.help, default=None
    )
