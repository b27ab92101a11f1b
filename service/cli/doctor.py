"""`forecaster doctor`: checks that everything that the daemon needs exists and answers."""

from __future__ import annotations

import click

from service.cli._errors import FAILED
from service.cli._findings import show_findings
from service.cli._options import FLAGS, config_source, with_config
from service.config.sections import Config


@click.command(short_help="Check inputs, brokers, topics, outputs and permissions before a start.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object per finding.")
@with_config(*FLAGS)
def doctor(config: Config, *, as_json: bool) -> None:
    """Check inputs, brokers, topics, outputs, permissions and clocks before a start.

    Decodes the first events of each input file. Changes nothing, and does not disturb a running daemon.

    Exit status: 0 no errors, 1 an error must be fixed first.
    """
    from service.transport.build import check_transport  # noqa: PLC0415 - keeps the help page fast

    check_transport(config)
    from service.cli._preflight import dry_run  # noqa: PLC0415 - as above
    from service.cli._settled import with_chosen_fields  # noqa: PLC0415 - as above

    if not show_findings(dry_run(config, lambda: with_chosen_fields(config, *config_source())), as_json=as_json):
        raise click.exceptions.Exit(FAILED)
