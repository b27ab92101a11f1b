"""The labels of the samples of a forecast.

    forecast{metric="load", instance="web1", horizon="3600", step="12", quantile="0.5"}

The labels of a series of Prometheus stay labels, so that its forecasts can be joined with it; its name becomes the
label `metric`. A series of another source has its name in the label `series`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import orjson

from forecaster import calendar_name
from service.config.remote_write import OWN_LABELS
from service.deliveries.series_labels import with_series_labels
from service.messages.prometheus_names import NAME
from service.messages.remote_write_samples import encode_head

_REMEMBERED: Final = 200_000  # encoded label sets
_COARSE_MS: Final = 10_000  # intervals from here on count as whole seconds


class SampleHeads:
    """The encoded labels of series, which are remembered. Used by one thread.

    Args:
        metric: name of the metric. further: labels of all samples.
    """

    def __init__(self, metric: str, further: Mapping[str, str]) -> None:
        self._metric, self._further = metric, further
        self._heads: dict[tuple[str, bytes, int], list[bytes]] = {}

    def of(self, series: str, shape: bytes, time_bytes: int) -> list[bytes]:
        """Returns what precedes the values of a forecast, for each level of each step, steps first.

        Args:
            series: as events name it.
            shape: result of `shape_of`.
            time_bytes: length of the encoded time.
        """
        key = series, shape, time_bytes
        found = self._heads.get(key)
        if found is None:
            interval_ms, calendar, steps, levels = orjson.loads(shape)
            if (len(self._heads) + 1) * len(steps) * len(levels) > _REMEMBERED:
                self._heads.clear()
            own = base_labels(series, self._metric, self._further)
            found = self._heads[key] = [
                encode_head(
                    [*own, ("horizon", horizon_label(interval_ms, calendar, step)), ("step", str(step)),
                     ("quantile", f"{level:g}")],
                    time_bytes,
                )
                for step in steps
                for level in levels
            ]  # fmt: skip
        return found


def shape_of(interval_ms: int, calendar: int, steps: list[int], levels: list[float]) -> bytes:
    """Encodes what the labels of a forecast need beside its series, in one line.

    Args:
        interval_ms, calendar: of the forecast, as in `Forecasts`. steps, levels: those that are written.
    """
    return orjson.dumps([interval_ms, calendar, steps, levels])


def base_labels(series: str, metric: str, further: Mapping[str, str]) -> list[tuple[str, str]]:
    """Returns the labels of the forecasts of a series, without those of step and quantile.

    Args:
        series: as events name it. metric: name of the metric of forecasts. further: labels of all samples.
    """
    fixed = {NAME: metric, **further}
    found = with_series_labels(series, fixed, OWN_LABELS)
    return [*fixed.items(), ("series", series)] if found is None else [*found.items()]


def horizon_label(interval_ms: int, calendar: int, step: int) -> str:
    """Returns how far ahead a step is: in seconds, such as "3600"; for steps of the calendar as "3mo" or "2y".

    Intervals from `_COARSE_MS` on count as whole seconds: learnt ones differ by milliseconds from series to series, and
    the label is to be the same.
    """
    if calendar:
        name = calendar_name(calendar)
        unit = name.lstrip("0123456789")
        return f"{step * int(name.removesuffix(unit))}{unit}"
    if interval_ms >= _COARSE_MS:
        interval_ms = round(interval_ms / 1000) * 1000
    whole, rest = divmod(step * interval_ms, 1000)
    return f"{whole}.{rest:03d}".rstrip("0") if rest else str(whole)
