"""What the command line reads from an output: the protocol `StoredOutputs`, and the reader of the configured sink."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from contextlib import closing
from typing import Any, Final, NamedTuple, Protocol

from service.config.sections import Config
from service.errors import ConfigurationError

PAGE: Final = 1000
"""Outputs that are read at a time."""

Position = tuple[object, ...]
"""A place between two outputs in the order in which they were written. Only the reader that made it understands it."""


class StoredForecast(NamedTuple):
    """A forecast that was published.

    Attributes:
        series, origin, model: of the forecast; the origin in ISO-8601.
        levels: the quantile levels.
        targets: the time of every step in ISO-8601, None while the interval is not known.
        quantiles: of every step.
        actuals: the value that was observed at the target of every step, None where none was.
    """

    series: str
    origin: str
    model: str
    levels: list[float]
    targets: list[str | None]
    quantiles: list[list[float]]
    actuals: list[float | None]


class StoredOutputs(Protocol):
    """Reads what a sink has stored, also while a daemon writes it. Used in one thread.

    To add a sink, implement these methods and name the class in `stored_outputs`.
    """

    @property
    def place(self) -> str:
        """Returns where the outputs are, for people."""

    def newest(self, pattern: str, until_ms: int, last: int) -> Iterator[StoredForecast]:
        """Yields the newest forecasts of series, oldest first in each.

        Args:
            pattern: glob of the names of series.
            until_ms: the latest origin, epoch milliseconds.
            last: how many of each series.

        Raises:
            TransportError: there is no output, it cannot be read, or it is none of this program.
        """

    def end(self) -> Position | None:
        """Returns the position behind the newest output; None while there is no output at all.

        Raises:
            TransportError: it cannot be read, or it is none of this program.
        """

    def after(self, position: Position | None, limit: int, series: str = "") -> tuple[list[dict[str, Any]], Position]:
        """Returns the outputs that follow a position, in the order in which they were written.

        Deleted outputs are passed over. Where the output was replaced by another one, it is read from its beginning.

        Args:
            position: a result of this method or of `end`; None: before the oldest output.
            limit: about how many are read; fewer mean that these are all that there are now.
            series: only those of this series; "" of all.

        Returns:
            Forecasts and silences as the JSON format has them, and the position behind those that were read. It is
            another one than `position` exactly where something was read.

        Raises:
            TransportError: they cannot be read, or are none of this program.
        """

    def close(self) -> None:
        """Releases everything."""


def stored_outputs(config: Config) -> StoredOutputs:
    """Returns the reader of the outputs of a configuration; opens nothing yet.

    Raises:
        ConfigurationError: its sink keeps nothing that could be read.
    """
    if config.sink == "sqlite":
        from service.sinks.sqlite_forecasts import SqliteForecasts  # noqa: PLC0415 - implements the protocol above

        return SqliteForecasts(config.output_path)
    try:
        if config.sink == "parquet":
            from service.sinks.parquet_forecasts import ParquetForecasts  # noqa: PLC0415 - an extra

            return ParquetForecasts(config.output_path, config.positions_path)
        if config.sink == "postgres":
            from service.sinks.postgres_forecasts import PostgresForecasts  # noqa: PLC0415 - an extra

            return PostgresForecasts(config.postgres)
    except ModuleNotFoundError as error:
        from forecaster import install_command  # noqa: PLC0415 - compiled kernels

        msg = f"{error.name} is not installed; expected the extra: {install_command(config.sink)}"
        raise ConfigurationError(msg) from None
    if config.sink == "stdout":
        msg = 'output.sink: got "stdout", whose forecasts nothing keeps; expected a sink that does, e.g. "sqlite"'
    else:
        msg = f'output.sink: got "{config.sink}", expected "sqlite": `forecaster tail` reads the topic of forecasts'
    raise ConfigurationError(msg)


def follow(
    stored: StoredOutputs, wait: Callable[[], None], series: str = "", *, from_start: bool = False
) -> Generator[dict[str, Any] | None, None, None]:
    """Yields outputs in the order in which they were written, and goes on with those that are written from now on.

    It does not matter whether a daemon writes, has ended or has not started yet.

    Args:
        stored: of the sink; closed at the end.
        wait: called where nothing new was found.
        series: only those of this series; "" of all.
        from_start: begin with the oldest output that is kept instead of the next one.

    Yields:
        Forecasts and silences as the JSON format has them; None before each wait, so that a caller can stop.

    Raises:
        TransportError: they cannot be read, or are none of this program.
    """
    with closing(stored):
        position = None if from_start else stored.end()
        while True:
            before = position
            found, position = stored.after(position, PAGE, series)
            yield from found
            if position == before:
                yield None
                wait()
