"""Builds the answers of the API from recorded data; pure functions without HTTP."""

from __future__ import annotations

import base64
import binascii
import heapq
import math
from collections import defaultdict
from collections.abc import Sequence
from typing import Any

import numpy as np
import orjson
from numpy.typing import NDArray

from forecaster import calendar_name, member_names, mixture_weights, step_times, tracked_horizons
from service.config.groups import DEFAULT_GROUP, shown_group
from service.errors import ServiceError
from service.http import ranking
from service.http import schemas as answers
from service.messages.decode import REASONS
from service.messages.digits import narrow, plain
from service.publication import SeriesKey
from service.recent import Anomaly, Detail, IngestLog, RecentStore
from service.registry.models import Registry


class RequestError(ServiceError):
    """A request cannot be answered.

    Args:
        status: the HTTP status. code: machine-readable. message: for people. lines: invalid lines of pushed events.
        retry: seconds after which a retry makes sense, 0 for never.
    """

    def __init__(self, status: int, code: str, message: str, lines: list[str] | None = None, retry: int = 0) -> None:
        super().__init__(message)
        self.status, self.code, self.message, self.lines, self.retry = status, code, message, lines, retry


def number(value: float) -> float | None:
    """Converts a value; None where it is not finite."""
    return float(value) if math.isfinite(value) else None


def find(live: RecentStore, series: str, partition: str) -> str:
    """Returns the partition of a series.

    Raises:
        RequestError: the series is unknown.
    """
    found = live.partition_of(series, partition)
    if found is None:
        where = f" in partition {partition[:80]!r}" if partition else ""
        msg = f"got series {series[:80]!r}, which is not known{where}; /api/v1/series?search= lists those that are"
        raise RequestError(404, "unknown_series", msg)
    return found


def last_of(newest: tuple[int, float, float] | None) -> answers.Last | None:
    """Converts the last event of a series to an answer."""
    if newest is None:
        return None
    at, value, score = newest
    return answers.Last(timestamp_ms=at, value=number(value), anomaly=number(score))


def series_page(
    live: RecentStore, search: str, partition: str, limit: int, after: str, sort: str = "name"
) -> answers.SeriesPage:
    """Returns one page of the series that match `search`, in an order of `ranking.SORTS`."""
    if sort.removeprefix("-") not in ranking.SORTS:
        raise RequestError(400, "bad_request", f"sort: got {sort[:80]!r}, expected one of {', '.join(ranking.SORTS)}")
    if sort == "name":
        return _by_name(live, search, partition, limit, after)
    start = _unplace(after) if after else 0
    keys, figures, total = ranking.ranked(live, sort, search, partition, slice(start, start + limit))
    further = str(start + limit) if start + limit < total else None
    return answers.SeriesPage(series=_rows(live, keys, figures), total=total, next=further)


def _by_name(live: RecentStore, search: str, partition: str, limit: int, after: str) -> answers.SeriesPage:
    keys = [(series, name) for name, series in live.series() if partition in ("", name)]
    if search:
        fits = ranking.matching(search)
        keys = [key for key in keys if fits(key[0])]
    total = len(keys)
    if after:
        start = _uncursor(after)
        keys = [key for key in keys if key > start]
    # Not sorted completely: sorting 100,000 names would block the interpreter, and with it the engine, for too long.
    page = heapq.nsmallest(limit, keys)
    found = [(name, series) for series, name in page]
    rows = _rows(live, found, [quality(live, series, name) for series, name in page])
    return answers.SeriesPage(series=rows, total=total, next=_cursor(page[-1]) if len(keys) > limit else None)


def _rows(
    live: RecentStore, keys: Sequence[SeriesKey], figures: Sequence[answers.SeriesQuality | None]
) -> list[answers.SeriesRow]:
    return [
        answers.SeriesRow(
            id=series, partition=name, detailed=one is not None, last=last_of(one), quality=figure,
            group=None if (group := live.group_of(name, series)) is None else shown_group(group),
        )
        for (name, series), one, figure in zip(keys, live.newest(keys), figures, strict=True)
    ]  # fmt: skip


def quality(live: RecentStore, series: str, partition: str) -> answers.SeriesQuality | None:
    """Returns the recent figures of a series; None where there are none."""
    found = live.scores_of(partition, series)
    return None if found is None else ranking.quality_of(found, 0)


def _unplace(text: str) -> int:
    if text.isascii() and text.isdigit() and len(text) <= 9:
        return int(text)
    msg = f"after: got {text[:80]!r}, expected the field `next` of an answer in the same order"
    raise RequestError(400, "bad_request", msg)


def _cursor(key: SeriesKey) -> str:
    return base64.urlsafe_b64encode(orjson.dumps(key)).decode().rstrip("=")


def _uncursor(text: str) -> SeriesKey:
    try:
        series, partition = orjson.loads(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)))
        if isinstance(series, str) and isinstance(partition, str):
            return series, partition
    except (ValueError, TypeError, binascii.Error):
        pass
    msg = f"after: got {text[:80]!r}, expected the field `next` of an answer"
    raise RequestError(400, "bad_request", msg)


def _of(series: str, partition: str, detail: Detail | None) -> dict[str, Any]:
    return {"series": series, "partition": partition, "detailed": detail is not None and len(detail) > 0}


def forecast(live: RecentStore, series: str, partition: str) -> answers.SeriesForecast:
    """Returns the newest forecast of a series."""
    detail = live.detail(partition, series)
    found = None
    if detail is not None and detail.latest is not None and np.isfinite(detail.latest).all():
        found = answers.Forecast(
            origin_ms=int(detail.timestamp_ms[-1]),
            interval_ms=detail.interval_ms,
            **steps_ahead(
                int(detail.timestamp_ms[-1]),
                detail.interval_ms,
                detail.calendar,
                len(detail.latest),
                live.timezone(partition, series),
            ),
            levels=list(detail.levels),
            quantiles=plain(detail.latest),
            model=detail.model,
        )
    (newest,) = live.newest([(partition, series)])
    return answers.SeriesForecast(
        **_of(series, partition, detail), last=last_of(newest), quality=quality(live, series, partition),
        forecast=found,
    )  # fmt: skip


def steps_ahead(origin_ms: int, interval_ms: int, calendar: int, horizon: int, timezone: str) -> dict[str, Any]:
    """Returns the times of the steps of a forecast, and their name for calendar steps."""
    targets = step_times(origin_ms, interval_ms, calendar, np.arange(1, horizon + 1), timezone)
    return {"interval": calendar_name(calendar) or None, "targets_ms": targets.tolist() if interval_ms else []}


def history(
    live: RecentStore, series: str, partition: str, limit: int, window: tuple[int | None, int | None], wanted: list[int]
) -> answers.SeriesHistory:
    """Returns recent events, the newest `limit` in the window, with the forecasts made for them."""
    detail = live.detail(partition, series)
    if detail is None:
        return answers.SeriesHistory(
            **_of(series, partition, None), levels=[], horizons=[], remembered=[], events=[], more=False
        )
    wanted = wanted or [1]
    if unknown := [one for one in wanted if one not in detail.tracked]:
        shown = ", ".join(map(str, detail.tracked))
        raise RequestError(400, "bad_request", f"horizon: got {unknown[0]}, expected some of {shown}")
    since, until = window
    inside = np.ones(len(detail), np.bool_)
    if since is not None:
        inside &= detail.timestamp_ms >= since
    if until is not None:
        inside &= detail.timestamp_ms <= until
    chosen = np.flatnonzero(inside)
    picked = chosen[-limit:]
    before = [plain(detail.forecast_for(horizon)[picked]) for horizon in wanted]
    events = [
        answers.Event(
            timestamp_ms=int(detail.timestamp_ms[i]),
            value=number(detail.value[i]),
            anomaly=number(detail.anomaly[i]),
            flagged=bool(detail.flagged[i]),
            position=int(detail.position[i]) if detail.position[i] >= 0 else None,
            forecasts=[None if rows[at][0] is None else rows[at] for rows in before],
        )
        for at, i in enumerate(picked.tolist())
    ]
    return answers.SeriesHistory(
        **_of(series, partition, detail), levels=list(detail.levels), horizons=wanted,
        remembered=list(detail.tracked), events=events, more=len(chosen) > len(picked),
    )  # fmt: skip


def anomalies(live: RecentStore, found: Sequence[Anomaly], limit: int) -> answers.AnomalyList:
    """Returns the newest anomalies first, with the range that was expected where it is recorded."""
    shown = found[-limit:]
    by_series = defaultdict[SeriesKey, list[int]](list)
    for at, one in enumerate(shown):
        if one.kind == "flagged":
            by_series[one.partition, one.series].append(at)
    expected: list[tuple[float, float] | None] = [None] * len(shown)
    for key, places in by_series.items():
        for at, range_of in zip(places, live.expected_of(*key, [shown[at].position for at in places]), strict=True):
            expected[at] = range_of
    rows = [anomaly_row(*one) for one in zip(reversed(shown), reversed(expected), strict=True)]
    return answers.AnomalyList(anomalies=rows, more=len(found) > limit)


def anomaly_row(one: Anomaly, expected: tuple[float, float] | None = None) -> answers.AnomalyRow:
    """Converts an anomaly to an answer; `expected` are the outermost quantiles of the forecast for its event."""
    low, high = expected or (None, None)
    return answers.AnomalyRow(
        kind=one.kind, series=one.series, partition=one.partition, timestamp_ms=one.timestamp_ms,
        value=number(one.value), score=number(one.score), expected_ms=one.expected_ms or None, position=one.position,
        expected_low=low, expected_high=high,
    )  # fmt: skip


def calibration(live: RecentStore, series: str, partition: str) -> answers.SeriesCalibration:
    """Counts actuals against the recorded forecasts of all recorded events."""
    detail, found = live.detail(partition, series), []
    season = live.season(partition, series)
    for horizon in detail.tracked if detail is not None else ():
        if detail is None:
            break
        quantiles = detail.forecast_for(horizon)
        scored = np.isfinite(quantiles[:, 0]) & np.isfinite(detail.value)
        q, n = quantiles[scored], int(scored.sum())
        y = detail.value[scored][:, None]
        y = np.where(narrow(q)[:, None], y.astype(np.float32), y)  # a constant 0.1 is forecast as a float32 value
        below, last = (y <= q).sum(axis=0).tolist(), len(detail.levels) - 1
        levels = [
            answers.LevelCount(level=level, at_or_below=count, share=count / n if n else None)
            for level, count in zip(detail.levels, below, strict=True)
        ]
        intervals = []
        for j in range(len(detail.levels) // 2):
            inside = int(((q[:, [j]] <= y) & (y <= q[:, [last - j]])).sum())
            nominal = round(detail.levels[last - j] - detail.levels[j], 6)
            intervals.append(answers.IntervalCount(nominal=nominal, inside=inside, share=inside / n if n else None))
        paired, error, naive = _errors(detail, horizon, quantiles, season)
        found.append(
            answers.HorizonCalibration(
                horizon=horizon, scored=n, levels=levels, intervals=intervals, paired=paired, error=error,
                naive_error=naive,
            )
        )  # fmt: skip
    return answers.SeriesCalibration(**_of(series, partition, detail), horizons=found)


def _errors(
    detail: Detail, horizon: int, quantiles: NDArray[np.float64], season: int
) -> tuple[int, float | None, float | None]:
    """Returns the number of events with both forecasts, and the mean absolute errors of median and seasonal naive."""
    before = detail.value_before(-(-horizon // season) * season)
    median = quantiles[:, detail.levels.index(0.5)]
    both = np.isfinite(median) & np.isfinite(before) & np.isfinite(detail.value)
    if not both.any():
        return 0, None, None
    value = detail.value[both]
    error, naive = (float(np.abs(value - one[both]).mean()) for one in (median, before))
    return int(both.sum()), error, naive


def ingest(log: IngestLog) -> answers.IngestAnswer:
    """Returns what became of the records."""
    counts = log.counts()
    reasons = sorted(counts.rejected, key=lambda reason: (-counts.rejected[reason], reason))
    return answers.IngestAnswer(
        events=counts.events,
        filtered=counts.filtered,
        rejected=[
            answers.RejectReason(
                reason=reason, meaning=REASONS.get(reason, reason), count=counts.rejected[reason],
                examples=[
                    answers.RejectedRecord(**one._asdict()) for one in reversed(counts.examples.get(reason, []))
                ],
            )
            for reason in reasons
        ],
    )  # fmt: skip


def weights(live: RecentStore, series: str, partition: str) -> answers.SeriesWeights:
    """Returns the present ensemble weights of any series, recorded or not."""
    forecaster = live.forecaster(partition, series)
    if forecaster is None or forecaster.row_of(series) is None:
        find(live, series, partition)
        raise RequestError(503, "unavailable", "the partition is being restored; retry later", retry=1)
    config = forecaster.config
    table = mixture_weights(forecaster.copies(series, 1))
    rows = [
        answers.HorizonWeights(horizon=horizon, weights=[number(weight) for weight in row])
        for horizon, row in zip(tracked_horizons(config.horizon), table.tolist(), strict=True)
    ]
    (newest,) = live.newest([(partition, series)])
    return answers.SeriesWeights(
        series=series, partition=partition, detailed=newest is not None, experts=list(member_names(config)),
        horizons=rows,
    )  # fmt: skip


def models(registry: Registry, limit: int, group: str = "") -> answers.Models:
    """Returns the content of the registry, with the decisions and the champion of a group of series."""
    group = "" if group == DEFAULT_GROUP else group
    if group not in ("", *registry.groups()):
        known = ", ".join(map(shown_group, ("", *registry.groups())))
        raise RequestError(404, "not_found", f"group: got {group[:80]!r}, expected one of {known}")
    registry = registry.of_group(group)
    standing, entries, decisions = registry.standing(), registry.entries(), registry.decisions()
    roles = {standing.former: "former", standing.challenger: "challenger", registry.champion() or "": "champion"}
    return answers.Models(
        champion=registry.champion(),
        challenger=standing.challenger or None,
        models=[
            answers.ModelRow.model_validate({
                "sha256": one.sha256, "parent": one.parent or None, "created_ms": one.created_ms,
                "figures": one.figures, "role": roles.get(one.sha256, "other"),
            })
            for one in entries[-limit:]
        ],
        decisions=[
            answers.DecisionRow(
                action=one.action, model=one.model or None, parent=one.parent or None, reason=one.reason,
                figures=one.figures, decided_ms=one.decided_ms,
            )
            for one in decisions[-limit:]
        ],
    )  # fmt: skip
