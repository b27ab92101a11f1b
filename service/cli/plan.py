"""`forecaster plan`: estimates the resources that a load needs."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import click
import orjson

from service.cli._options import with_config, without_groups
from service.config.sections import Config


@click.command(short_help="Estimate the memory, cores and disk that a load needs.")
@click.option("--series", required=True, type=click.IntRange(1), help="Number of series.")
@click.option(
    "--rate", required=True, type=click.FloatRange(0, min_open=True), help="Events per second, of all series together."
)
@click.option("--input-bytes", default=110, show_default=True, type=click.IntRange(1), help="Bytes per input event.")
@click.option(
    "--measured",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    metavar="FILE",
    help="Output of `forecaster bench --save` on the target machine; default: the measurements shipped with the "
    "program.",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object, in bytes and seconds, for scripts.")
@with_config("--horizon", "--season", "--interval")
def plan(config: Config, *, series: int, rate: float, input_bytes: int, measured: Path | None, as_json: bool) -> None:
    """Estimate the memory, cores, disk and topics that a load needs.

    Bytes follow from the arrays of the configured network, times from measurements: those shipped, which name their
    machine, or your own. The estimate is on the safe side; the daemon's metrics show the actual use.

    Exit status: 0 shown, 2 wrong command line, configuration or file of measurements.
    """
    config = without_groups(config)
    from service.capacity.plan import SHIPPED, Load, load_measured, make_plan  # noqa: PLC0415 - keeps the help page fast

    figures = SHIPPED
    if measured is not None:
        try:
            figures = load_measured(measured.read_bytes())
        except ValueError as error:
            msg = f"{measured}: got {error}; expected a file that `forecaster bench --save` wrote"
            raise click.BadParameter(msg, param_hint="--measured") from error
    load = Load(
        series, rate, config.library_model(), config.state.history_events, config.state.snapshots_kept, input_bytes,
        config.input.max_series_bytes, config.input.late_within,
    )  # fmt: skip
    found = make_plan(load, figures)
    if as_json:
        click.echo(orjson.dumps(asdict(found), option=orjson.OPT_INDENT_2))
        return
    for name, value in (
        ("state", f"{_size(found.bytes_per_series)} per series, {_size(found.state_bytes)} in all"),
        ("memory", f"{_size(found.memory_bytes)}, while a snapshot is written"),
        ("", f"{_size(found.training_memory_bytes)} more while a training runs"),
        (
            "",
            f"{_size(found.longest_names_bytes)} more where names have {load.max_series_bytes:,} bytes each",
        ),
        ("history", f"{_size(found.history_bytes)} of it: {load.history_events:,} recent events for training"),
        ("work", f"{found.microseconds_per_event:.1f} us per event, {found.busy_cores:.2f} cores busy"),
        ("cores", f"{found.cores}: {found.cores - 1} for events with room for bursts, 1 for trainings"),
        (
            "partitions",
            f"{found.partitions} of the input at least; {found.events_per_second_per_core:,} events/s each",
        ),
        ("restart", f"{found.restart_seconds:.1f} s to read a minute of events again"),
        ("snapshots", f"{_size(found.snapshot_bytes)} on disk"),
        ("events in", f"{_size(found.input_bytes_per_day)} a day, before compression"),
        (
            "forecasts out",
            f"{_size(found.output_bytes_per_day)} a day ({_size(found.forecast_bytes)} each), before compression",
        ),
        ("times measured on", found.measured_on),
    ):
        click.echo(f"{name:<19}{value}")
    if config.state.max_series < series:
        click.echo(
            f"note: state.max_series is {config.state.max_series:,}; set it to {series:,} or more, or distribute the "
            "series over partitions",
            err=True,
        )


def _size(count: float) -> str:
    for unit in ("B", "KiB", "MiB", "GiB"):
        if count < 1024:
            return f"{count:.0f} {unit}" if unit == "B" or count >= 100 else f"{count:.1f} {unit}"
        count /= 1024
    return f"{count:.1f} TiB"
