"""`forecaster anomalies ack|mute|confirm|list`: feedback on anomalies, for a running daemon or the next start."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

import click
import orjson

from service.cli._options import with_config
from service.config.sections import Config
from service.errors import ConfigurationError
from service.lifecycle import SystemClock
from service.registry.feedback import FeedbackStore, Verdict


@click.group(short_help="Give feedback on anomalies; it changes the threshold of a series.")
def anomalies() -> None:
    """Give feedback on anomalies; it changes the threshold of a series.

    A daemon that runs takes it within about a second, between two batches, else the next start does. It is in force
    from that position on, also in a replay. docs/anomalies.md has the formula.
    """


def _store(config: Config) -> FeedbackStore:
    """Returns the feedback of the data directory.

    Raises:
        ConfigurationError: no daemon has run there.
    """
    if not (config.state.data_dir / "models").is_dir():
        msg = (
            f"state.data_dir: {config.state.data_dir} is not the data directory of a daemon that has run, expected one"
        )
        raise ConfigurationError(msg)
    return FeedbackStore(config.state.data_dir / "feedback")


def _verdict(verdict: Verdict, text: str) -> Callable[..., Any]:
    @anomalies.command(verdict, short_help=text, help=f"{text}\n\nSERIES is the name of one series, not a pattern.")
    @click.argument("series")
    @click.option("--reason", default="", help="Reason, stored with the feedback.")
    @with_config("--data-dir")
    def command(config: Config, series: str, reason: str) -> None:
        request = _store(config).ask(series, verdict, reason, SystemClock().wall_ms())
        click.echo(f"{verdict} {series}: waits for the daemon ({request.identity})")

    found: Callable[..., Any] = command
    return found


_verdict("ack", "Say that the anomaly was seen: the alerts of the series are over.")
_verdict("mute", "Say that it was a false alarm: stricter threshold, the alerts are over.")
_verdict("confirm", "Say that it was a true anomaly: less strict threshold.")


@anomalies.command("list", short_help="List the feedback that waits and that is in force.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object per line.")
@with_config("--data-dir")
def list_feedback(config: Config, *, as_json: bool) -> None:
    """List the feedback that waits for the daemon, and that is in force, with its positions."""
    store = _store(config)
    found = [(path.stem, one.position, one.request) for path in store.partitions() for one in store.entries(path)]
    waiting = [("", 0, request) for _, request in store.requests() if request is not None]
    if not (found or waiting):
        click.echo("no feedback; the daemon shows flagged events on its page and at /api/v1/anomalies", err=True)
    for partition, position, request in found + waiting:
        if as_json:
            place = {"partition": partition, "position": position} if partition else {"partition": None}
            click.echo(orjson.dumps(place | asdict(request)))
            continue
        time = datetime.fromtimestamp(request.said_ms / 1000, tz=UTC).isoformat(timespec="seconds")
        where = f"from {partition}:{position}" if partition else "waits"
        click.echo(f"{time}  {request.verdict}  {request.series}  {where}  {request.reason}".rstrip())
