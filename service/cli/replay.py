"""`forecaster replay`: a file of events into a Kafka topic."""

from __future__ import annotations

import math
import sys
from pathlib import Path

import click

from service.cli._options import with_config
from service.config.sections import Config


class Speed(click.ParamType):  # type: ignore[type-arg] # generic in the stubs, not at run time
    """A factor such as "100x", or "max" for no waiting."""

    name = "speed"

    def convert(self, value: str | float, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """Seconds of event time per second."""
        if isinstance(value, float):
            return value
        if value == "max":
            return math.inf
        try:
            speed = float(str(value).removesuffix("x"))
        except ValueError:
            speed = math.nan
        if not speed > 0:
            self.fail(f"got {value!r}, expected a factor such as 1x or 100x, or max", param, ctx)
        return speed


@click.command(short_help="Send a file of events to a Kafka topic, at a chosen speed.")
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--topic", required=True, help="The topic; it must be there.")
@click.option("--speed", type=Speed(), default="max", show_default=True, help="1x as it happened, 100x faster, max.")
@with_config("--format")
def replay(config: Config, *, file: Path, topic: str, speed: float) -> None:
    """Send a file of events (CSV or JSON lines, also .gz) to a Kafka topic, at a chosen speed.

    Every record has its series as key and its event time as timestamp. Lines that are no events are sent as they are.

    Exit status: 0 all were acknowledged, 1 not.
    """
    from service.kafka.tools.produce_file import replay_file  # noqa: PLC0415 - the help must not wait for it

    quiet = not sys.stderr.isatty()
    with click.progressbar(length=0, label=f"{file} -> {topic}", file=sys.stderr, show_pos=True, hidden=quiet) as bar:
        sent = replay_file(config.kafka, config.input, file, topic, speed, bar.update)
    click.echo(f"{sent} events sent to {topic}")
