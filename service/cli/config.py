"""`forecaster config check|show|schema`."""

from __future__ import annotations

import click
import orjson

from service.cli._errors import FAILED
from service.cli._findings import show_findings
from service.cli._options import FLAGS, config_source, with_config
from service.config.sections import Config


@click.group(short_help="Check, show and describe the configuration.")
def config() -> None:
    """Check, show and describe the configuration.

    The configuration is one TOML file, then FORECASTER_<SECTION>__<KEY> from the environment, then options; later
    sources override earlier ones. These commands create and change nothing.
    """


@config.command()
@click.option("--online", is_flag=True, help="Also check brokers, files, folder and address; changes nothing.")
@with_config(*FLAGS)
def check(config: Config, *, online: bool) -> None:
    """Check whether the configuration can be used.

    --online performs a dry run: it connects to the brokers and checks permissions, decodes the first events of files,
    and checks the data folder, the output and the address. It does not disturb a running daemon.

    Exit status: 0 the configuration can be used, 2 it cannot; one line per bad key says where it was set, the value
    found and the value expected. With --online also 1: a check found an error that must be fixed first.
    """
    from service.deliveries.routes import check_deliveries  # noqa: PLC0415 - keeps the help page fast
    from service.transport.build import check_transport  # noqa: PLC0415 - as above

    for group in config.group_names:  # files show the interval of seasons that need one
        config.of_group(group).library_model(() if config.input.files else None)
    config.library_train()
    config.library_anomaly()
    check_transport(config)
    check_deliveries(config)
    if config.http.web_config is not None:
        from service.http import ReloadableTls  # noqa: PLC0415 - as above

        ReloadableTls(config.http.web_config)
    click.echo("the configuration is valid")
    if online:
        from service.cli._preflight import dry_run  # noqa: PLC0415 - as above
        from service.cli._settled import with_chosen_fields  # noqa: PLC0415 - as above

        if not show_findings(dry_run(config, lambda: with_chosen_fields(config, *config_source()))):
            raise click.exceptions.Exit(FAILED)


@config.command()
@with_config(*FLAGS)
def show(config: Config) -> None:
    """Print the resulting configuration as JSON."""
    shown = config.model_dump(mode="json")
    click.echo(orjson.dumps(shown, option=orjson.OPT_INDENT_2).decode())


@config.command()
def schema() -> None:
    """Print the JSON schema of the configuration file, for editors and validators."""
    click.echo(orjson.dumps(Config.model_json_schema(), option=orjson.OPT_INDENT_2).decode())
