"""`forecaster bench`: measures the speed of this machine."""

from __future__ import annotations

from pathlib import Path

import click

from service.cli._options import OutFile, with_config
from service.config.sections import Config

_SERIES = 1000
_EVENTS = 40_000


@click.command(short_help="Measure how fast this machine is.")
@click.option(
    "--seconds", default=0.5, show_default=True, type=click.FloatRange(0.01), help="Duration of every timing."
)
@click.option(
    "--events", default=_EVENTS, show_default=True, type=click.IntRange(1000), help="Events sent through the daemon."
)
@click.option("--save", type=OutFile(), metavar="FILE", help="Write the results to FILE, for `plan`.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object, for scripts.")
@with_config("--horizon", "--season", "--interval")
def bench(config: Config, *, seconds: float, events: int, save: Path | None, as_json: bool) -> None:
    """Measure how fast this machine is, with the network of the configuration, on one core.

    Measures the recurrent step and its share of the core's peak multiply-add rate, the complete work of the library per
    event, and the daemon from a file of JSON lines to committed forecasts in SQLite. This takes some seconds, and
    longer when it compiles first. It leaves no files behind. Stop other work for accurate results.

    Exit status: 0 measured, 1 the daemon failed or the file cannot be written, 2 wrong configuration.
    """
    from service.capacity.bench import measure, pin  # noqa: PLC0415 - keeps the help page fast
    from service.cli._bench_daemon import seconds_per_event  # noqa: PLC0415 - as above

    model = config.library_model()
    pin()
    found = measure(
        model,
        lambda: seconds_per_event(config, min(_SERIES, events // 10), events),
        lambda what: click.echo(f"measuring {what} ...", err=True),
        seconds,
    )
    if save is not None:
        save.write_bytes(found.to_json())
    if as_json:
        click.echo(found.to_json(), nl=False)
        return
    rows = [
        ("machine", found.machine),
        ("network", f"{model.cell}, {model.hidden_size} units, {model.horizon} steps, {len(model.quantiles)} levels"),
        ("multiply-adds of a core", f"{found.peak_gflops:.0f} GFLOP/s"),
        ("recurrent step", f"{found.step_ns:.0f} ns per event, {found.step_share:.0%} of the peak"),
        ("observe, in batches", f"{found.observe_us:.2f} us per event (+- {found.observe_spread:.0%})"),
        ("observe, one by one", f"{found.single_us:.1f} us per event"),
        ("file to SQLite", f"{found.pipeline_us:.1f} us per event, {1e6 / found.pipeline_us:,.0f} events/s"),
    ]
    for name, value in rows:
        click.echo(f"{name:<25}{value}")
