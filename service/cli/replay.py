"""`forecaster replay`: sends a file of events to a Kafka topic."""

from __future__ import annotations

import math
import sys
from pathlib import Path

import click

from service.cli._options import with_config
from service.config.sections import Config


class Speed(click.ParamType):  # type: ignore[type-arg] # generic in the stubs, not at run time
    """A factor such as "100x", or "max" for no delays."""

    name = "speed"

    def convert(self, value: str | float, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """Converts the text to seconds of event time per second."""
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
@click.option("--topic", required=True, help="The topic; it must exist.")
@click.option(
    "--speed",
    type=Speed(),
    default="max",
    show_default=True,
    help="1x: original speed, 100x: 100 times faster, max: no delays.",
)
@with_config("--format")
def replay(config: Config, *, file: Path, topic: str, speed: float) -> None:
    """Send a file of events (CSV or JSON lines, also .gz) to a Kafka topic, at a chosen speed.

    Every record has its series as key, and the time of sending as timestamp, so that the topic's retention does not
    delete events of the past. Lines that are not events are sent unchanged.

    Exit status: 0 all records were acknowledged, 1 some were not.
    """
    from service.kafka.tools.produce_file import replay_file  # noqa: PLC0415 - keeps the help page fast

    quiet = not sys.stderr.isatty()
    with click.progressbar(length=0, label=f"{file} -> {topic}", file=sys.stderr, show_pos=True, hidden=quiet) as bar:
        sent = replay_file(config.kafka, config.input, file, topic, speed, bar.update)
    click.echo(f"{sent} events sent to {topic}")
