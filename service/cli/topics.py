"""`forecaster topics create`: creates the topics that a daemon on Kafka needs."""

from __future__ import annotations

import click

from service.cli._options import with_config
from service.config.durations import parse_duration
from service.config.sections import Config
from service.errors import ConfigurationError


@click.group(short_help="Create the Kafka topics that a daemon needs.")
def topics() -> None:
    """Create the Kafka topics that a daemon needs.

    Their names follow from kafka.app and kafka.topics. Which are needed depends on input and output: a daemon that
    reads files and writes to Kafka needs a topic for its positions.
    """


@topics.command()
@click.option(
    "--partitions",
    default=4,
    show_default=True,
    type=click.IntRange(1),
    help="Number of partitions of input and output topics.",
)
@click.option(
    "--replication", default=1, show_default=True, type=click.IntRange(1), help="Number of replicas; 3 in production."
)
@click.option("--retention", default="7d", show_default=True, metavar="TIME", help="Retention time of events.")
@with_config()
def create(config: Config, *, partitions: int, replication: int, retention: str) -> None:
    """Create the missing topics, with the retention and compaction that a daemon needs.

    Existing topics stay unchanged; `forecaster doctor` reports what is wrong with them.

    Exit status: 0 all exist, 1 the brokers refused or could not be reached, 2 Kafka is neither input nor output.
    """
    if not config.uses_kafka:
        msg = (
            "kafka.topics: got none, expected at least one; e.g. --set kafka.topics=events, or --set output.sink=kafka "
            "where the input are files"
        )
        raise ConfigurationError(msg)
    from service.kafka.tools.topics import create_topics, plan  # noqa: PLC0415 - keeps the help page fast

    try:
        kept_ms = round(parse_duration(retention) * 1000)
    except ValueError as error:
        msg = f"got {retention!r}, {error}"
        raise click.BadParameter(msg, param_hint="--retention") from error
    wanted = plan(config, partitions, kept_ms)
    made = set(create_topics(config.kafka, wanted, replication))
    for topic in wanted:
        state = "created" if topic.name in made else "exists"
        click.echo(f"{topic.name}: {state} ({topic.role})")
