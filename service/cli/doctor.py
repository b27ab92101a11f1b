"""`forecaster doctor`: checks that everything that the daemon needs on Kafka exists."""

from __future__ import annotations

import click

from service.cli._errors import FAILED
from service.cli._findings import show_findings
from service.cli._options import with_config
from service.config.sections import Config


@click.command(short_help="Check brokers, topics and permissions before a start.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object per finding.")
@with_config()
def doctor(config: Config, *, as_json: bool) -> None:
    """Check brokers, versions, topics, permissions and clocks before a start.

    Changes nothing, and does not disturb a running daemon.

    Exit status: 0 no errors, 1 an error must be fixed first.
    """
    from service.transport.build import check_transport  # noqa: PLC0415 - keeps the help page fast

    check_transport(config)
    if not config.uses_kafka:
        click.echo(
            "Kafka is neither input nor output; `forecaster config check --online` checks files, folder, address"
        )
        return
    from service.kafka.tools.doctor import examine  # noqa: PLC0415 - as above
    from service.kafka.tools.topics import plan  # noqa: PLC0415 - as above

    if not show_findings(examine(config.kafka, plan(config)), as_json=as_json):
        raise click.exceptions.Exit(FAILED)
