"""`forecaster doctor`: is everything there that the daemon needs, and if not, what to do."""

from __future__ import annotations

import click
import orjson

from service.cli._errors import FAILED
from service.cli._options import with_config
from service.config import Config

_MARKS = {"ok": ("ok", "green"), "warning": ("warning", "yellow"), "error": ("ERROR", "red")}
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
    from service.transports.build import check_transport  # noqa: PLC0415 - the help must not wait for it

    check_transport(config)
    if not config.kafka.topics:
        click.echo("no Kafka topic is configured; files and the data folder are checked by `forecaster run`")
        return
    from service.transports.kafka_admin import plan  # noqa: PLC0415 - as above
    from service.transports.kafka_doctor import examine  # noqa: PLC0415 - as above

    failed = False
    for finding in examine(config.kafka, plan(config.kafka, 1, _LEAST_RETENTION_MS)):
        failed |= finding.verdict == "error"
        if as_json:
            click.echo(orjson.dumps({"verdict": finding.verdict, "subject": finding.subject, "text": finding.text}))
        else:
            mark, colour = _MARKS[finding.verdict]
            click.echo(f"{click.style(f'{mark:>7}', fg=colour)}  {finding.subject}: {finding.text}")
    if failed:
        raise click.exceptions.Exit(FAILED)
