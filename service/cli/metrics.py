"""`forecaster metrics`: shows the metrics of a running daemon."""

from __future__ import annotations

import contextlib
import math
import os
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import click
import orjson
from rich import filesize
from rich.console import Console
from rich.live import Live
from rich.markup import escape
from rich.table import Table

from service.http.scrape import Access, Figure, ScrapeError, figures, scrape
from service.http_credentials import password_in

FILE = click.Path(exists=True, dir_okay=False, path_type=Path)
PASSWORD_VARIABLE = "FORECASTER_METRICS_PASSWORD"  # noqa: S105 - the name of a variable
DEFAULT_URL = "http://127.0.0.1:9464/metrics"

# A sample is identified by its name and labels; rates are computed between two readings of the same sample.
SampleKey = tuple[str, tuple[tuple[str, str], ...]]


@click.command(short_help="Read a running daemon's metrics and show them.")
@click.argument("url", default=DEFAULT_URL)
@click.option("--watch", type=click.FloatRange(min=0.1), metavar="SECONDS", help="Repeat every SECONDS.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object per metric, for scripts.")
@click.option(
    "--all", "everything", is_flag=True, help="Also show metrics that are zero, and those of the Python process."
)
@click.option("--match", default="", metavar="TEXT", help="Only metrics whose name contains TEXT.")
@click.option(
    "--ca",
    type=FILE,
    help="Certificate authorities to verify an https:// daemon with (PEM); default: those of the system.",
)
@click.option("--cert", type=FILE, help="Client certificate, where the daemon requires one (PEM).")
@click.option("--key", type=FILE, help="Key of the client certificate (PEM).")
@click.option("--user", default="", metavar="NAME", help="User name.")
@click.option("--password-file", type=FILE, help=f"File with the password only; default: {PASSWORD_VARIABLE}.")
def metrics(
    url: str,
    *,
    watch: float | None,
    as_json: bool,
    everything: bool,
    match: str,
    ca: Path | None,
    cert: Path | None,
    key: Path | None,
    user: str,
    password_file: Path | None,
) -> None:
    """Read a running daemon's metrics and show them.

    URL is the daemon's metrics page; without a path, /metrics is used. Metrics that are still zero are omitted. With
    --watch, counters show their rate from the second reading on. Histograms show their mean and upper bounds of the 50
    % and 99 % quantiles.

    Exit status: 0 shown, 1 no daemon answers at URL.
    """
    page = with_path(url)
    if password_file is not None:
        password = password_in(password_file)
    else:
        password = os.environ.get(PASSWORD_VARIABLE, "").encode()
    access = Access(ca, cert, key, user, password)

    def read() -> list[Figure]:
        return [
            figure
            for figure in figures(scrape(page, access=access))
            if match in figure.name and (everything or figure.name.startswith("forecaster"))
        ]

    def show_json(found: Sequence[Figure]) -> None:
        for figure in found:
            click.echo(orjson.dumps(as_object(figure)))

    found = read()
    if match and not found:
        click.echo(f"no metric has {match!r} in its name", err=True)
    if watch is None:
        if as_json:
            show_json(found)
        else:
            Console().print(table(_happened(found, everything=everything), {}, 0.0))
        return
    with contextlib.suppress(KeyboardInterrupt):
        if as_json:
            show_json(found)
            _repeat(read, watch, show_json)
        else:
            _watch(lambda: _happened(read(), everything=everything), _happened(found, everything=everything), watch)


def _happened(found: Sequence[Figure], *, everything: bool) -> list[Figure]:
    """Returns the figures without zero counters and empty histograms, or all where `everything`."""
    return [
        figure
        for figure in found
        if everything
        or figure.kind not in {"counter", "histogram"}
        or (figure.value if figure.count is None else figure.count)
    ]


def _repeat(read: Callable[[], list[Figure]], seconds: float, show: Callable[[list[Figure]], None]) -> None:
    while True:
        time.sleep(seconds)
        show(read())


def _watch(read: Callable[[], list[Figure]], found: list[Figure], seconds: float) -> None:
    before, taken = values(found), time.monotonic()
    with Live(table(found, {}, 0.0), auto_refresh=False) as live:

        def show(now: list[Figure]) -> None:
            nonlocal before, taken
            live.update(table(now, before, time.monotonic() - taken), refresh=True)
            before, taken = values(now), time.monotonic()

        _repeat(read, seconds, show)


def with_path(url: str) -> str:
    """Returns the URL with /metrics where it has no path, and http:// where it has no scheme ("127.0.0.1:9464")."""
    try:
        parts = urlsplit(url if "://" in url else f"http://{url}")
    except ValueError as error:
        msg = f"got the URL {url!r} ({error}); expected one like http://127.0.0.1:9464"
        raise ScrapeError(msg) from error
    return urlunsplit(parts._replace(path=parts.path if parts.path.strip("/") else "/metrics"))


def as_object(figure: Figure) -> dict[str, object]:
    """Returns a figure as a JSON object; non-finite values become null, because JSON cannot represent them."""
    found: dict[str, object] = {
        "name": figure.name,
        "type": figure.kind,
        "labels": figure.labels,
        "value": _finite(figure.value),
    }
    if figure.count is not None:
        found["count"] = figure.count
        found["quantiles"] = {f"{level:g}": _finite(bound) for level, bound in figure.quantiles}
    return found


def values(found: Sequence[Figure]) -> dict[SampleKey, float]:
    """Returns the counters of a reading by name and labels, and the observation counts of its histograms."""
    return {
        _key(figure): figure.value if figure.count is None else figure.count
        for figure in found
        if figure.kind in {"counter", "histogram"}
    }


def table(found: Sequence[Figure], before: Mapping[SampleKey, float], seconds: float) -> Table:
    """Returns the figures as a table, with rates against the counters `before`, read `seconds` ago (empty: none)."""
    shown = Table(box=None, pad_edge=False, header_style="bold")
    shown.add_column("metric", overflow="fold")
    shown.add_column("value", justify="right", no_wrap=True)
    shown.add_column("per second", justify="right", no_wrap=True)
    now = values(found)
    for figure in found:
        key = _key(figure)
        rate = (now[key] - before[key]) / seconds if key in now and key in before and seconds > 0 else None
        labels = ", ".join(f"{label}={value}" for label, value in figure.labels.items() if value)
        name = figure.name.removeprefix("forecaster_")
        if labels:
            name += f" [dim]{escape('{' + labels + '}')}[/dim]"
        shown.add_row(name, _value(figure), "" if rate is None else f"{rate:,.1f}")
    return shown


def _value(figure: Figure) -> str:
    if figure.count is None:
        return _amount(figure.value, figure.name)
    if not figure.count:
        return "none yet"
    bounds = "  ".join(f"p{100 * level:g} < {_amount(bound, figure.name)}" for level, bound in figure.quantiles)
    return f"mean {_amount(figure.value, figure.name)}  {bounds}"


def _amount(value: float, name: str) -> str:
    """Formats seconds and bytes with a unit, and other values with thousands separators."""
    if not math.isfinite(value):
        return {math.inf: "over all", -math.inf: "-inf"}.get(value, "-")
    if "timestamp" in name:
        return datetime.fromtimestamp(value, tz=UTC).strftime("%Y-%m-%d %H:%M:%SZ") if value else "never"
    if name.endswith("_seconds"):
        return next(
            (f"{value * size:.3g} {unit}" for limit, size, unit in _SECONDS if abs(value) < limit),
            f"{value:,.1f} s",
        )
    if name.endswith("_bytes"):
        return filesize.decimal(int(value))
    return f"{value:,.0f}" if value == int(value) else f"{value:,.4g}"


_SECONDS = ((1e-3, 1e6, "us"), (1.0, 1e3, "ms"), (100.0, 1.0, "s"))


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _key(figure: Figure) -> SampleKey:
    return figure.name, tuple(sorted(figure.labels.items()))
