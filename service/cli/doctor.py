"""`forecaster doctor`: is everything there that the daemon needs, and if not, what to do."""

from __future__ import annotations

import click

from service.cli._errors import FAILED
from service.cli._findings import show_findings
from service.cli._options import with_config
from service.config.sections import Config

# Snapshots are minutes old; a day leaves time to mend a machine.
_LEAST_RETENTION_MS = 86_400_000


@click.command(short_help="Check that the daemon will find all it needs.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object per finding and line.")
@with_config()
def doctor(config: Config, *, as_json: bool) -> None:
    """Check that the daemon will find all it needs: brokers, versions, topics, rights, clocks.

    Nothing is changed. A running daemon is not disturbed.

    Exit status: 0 all is well, 1 something must be mended first.
    """
    from service.transport.build import check_transport  # noqa: PLC0415 - the help must not wait for it

    check_transport(config)
    if not config.uses_kafka:
        click.echo("Kafka is neither input nor output; files, folder and address: `forecaster config check --online`")
        return
    from service.kafka.tools.doctor import examine  # noqa: PLC0415 - as above
    from service.kafka.tools.topics import plan  # noqa: PLC0415 - as above

    if not show_findings(examine(config.kafka, plan(config, 1, _LEAST_RETENTION_MS)), as_json=as_json):
        raise click.exceptions.Exit(FAILED)
