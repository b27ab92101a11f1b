"""`forecaster exclude`: windows that trainings do not use."""

from __future__ import annotations

from datetime import UTC, datetime

import click

from service.cli._options import with_config
from service.cli.models import open_registry
from service.config.sections import Config
from service.lifecycle import SystemClock
from service.registry import exclusions
from service.registry.exclusions import Exclusion


@click.command(short_help="Exclude a window of series from training.")
@click.option("--series", metavar="GLOB", help='Series of the window, e.g. "cpu.*"; "*" for all.')
@click.option(
    "--from", "start", metavar="TIME", help="Start of the window as event time, ISO-8601 (UTC without a zone)."
)
@click.option(
    "--to", "end", metavar="TIME", help="End of the window as event time; trainings use events from this time on."
)
@click.option("--reason", default="", help="Reason, stored with the window.")
@click.option("--list", "show", is_flag=True, help="List all windows with their numbers.")
@click.option("--remove", "number", type=int, metavar="NUMBER", help="Remove a window.")
@with_config("--data-dir")
def exclude(
    config: Config,
    series: str | None,
    start: str | None,
    end: str | None,
    reason: str,
    *,
    show: bool,
    number: int | None,
) -> None:
    """Exclude a window of series from training, in advance or afterwards.

    For an incident, a test or a broken sensor: every later training, also of a running daemon, treats the values in the
    window as missing. Forecasts during the window do not change.

    Exit status: 0 done, 1 there is no such window, 2 wrong command line or configuration.
    """
    folder = open_registry(config).folder
    if show:
        for at, each in enumerate(exclusions.read(folder), 1):
            click.echo(f"{at}  {_line(each)}")
        return
    if number is not None:
        click.echo(f"removed {_line(exclusions.remove(folder, number))}")
        return
    if series is None or start is None or end is None:
        msg = "expected --series, --from and --to; or --list; or --remove NUMBER"
        raise click.UsageError(msg)
    window = Exclusion(
        series, event_time_ms(start, "--from"), event_time_ms(end, "--to"), reason, SystemClock().wall_ms()
    )
    if window.to_ms <= window.from_ms:
        msg = f"got {end}, which is not after --from {start}; expected a later time"
        raise click.BadParameter(msg, param_hint="--to")
    click.echo(f"{exclusions.add(folder, window)}  {_line(window)}")


def event_time_ms(text: str, option: str) -> int:
    """Returns a time in ISO-8601, UTC without a zone, as epoch milliseconds; `option` is named in an error."""
    try:
        time = datetime.fromisoformat(text)
    except ValueError as error:
        msg = f"got {text!r}, expected a time like 2026-11-22T10:00:00Z"
        raise click.BadParameter(msg, param_hint=option) from error
    return round((time if time.tzinfo else time.replace(tzinfo=UTC)).timestamp() * 1000)


def _line(each: Exclusion) -> str:
    start, end = (datetime.fromtimestamp(at / 1000, tz=UTC).isoformat() for at in (each.from_ms, each.to_ms))
    return f"{each.series}  {start}  {end}  {each.reason}".rstrip()
