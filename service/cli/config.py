"""`forecaster config check|show|schema`."""

from __future__ import annotations

import click
import orjson

from service.cli._options import FLAGS, with_config
from service.config import Config


@click.group(short_help="Check, show and describe the configuration.")
def config() -> None:
    """Check, show and describe the configuration.

    The configuration is one TOML file, then FORECASTER_<SECTION>__<KEY> from the environment, then options;
    the later wins. Nothing is created or changed by these commands.
    """


@config.command()
@with_config(*FLAGS)
def check(config: Config) -> None:
    """Say whether the configuration can be used.

    Exit status: 0 it can, 2 it cannot; one line per bad key says where it was set, what was got and expected.
    """
    config.library_model()
    config.library_train()
    click.echo("the configuration is fine")


@config.command()
@with_config(*FLAGS)
def show(config: Config) -> None:
    """Print the configuration that holds in the end, as JSON."""
    shown = config.model_dump(mode="json")
    click.echo(orjson.dumps(shown, option=orjson.OPT_INDENT_2).decode())


@config.command()
def schema() -> None:
    """Print the JSON schema of the configuration file, for editors and other checkers."""
    click.echo(orjson.dumps(Config.model_json_schema(), option=orjson.OPT_INDENT_2).decode())
