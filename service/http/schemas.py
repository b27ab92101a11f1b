"""The answers of the JSON API as pydantic models; responses and OpenAPI document are generated from them.

Times are epoch milliseconds. Unknown values are null. Within a major version of the API (the "v1" of its paths), fields
may be added; none is removed or changes its meaning.
"""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field


class Answer(BaseModel):
    """A JSON object."""

    # Built when the first one is made: no answer is needed for a start.
    model_config = ConfigDict(frozen=True, protected_namespaces=(), defer_build=True)


class ErrorDetail(Answer):
    """An error."""

    code: str = Field(description="Machine-readable code: bad_request, not_found, unavailable, too_many, ...")
    message: str = Field(description="Text for people: what was received, what is expected, what to do.")
    lines: list[str] | None = Field(None, description="For pushed events: the first invalid lines, with reasons.")


class Failure(Answer):
    """The answer of every request that fails."""

    error: ErrorDetail


class Last(Answer):
    """The last event of a series."""

    timestamp_ms: int
    value: float | None = Field(description="null where the value is missing.")
    anomaly: float | None = Field(
        description="Score from 0 to 1 under the forecast made for this event; null while unknown."
    )


class SeriesQuality(Answer):
    """Quality of the 1-step-ahead forecasts of a series, as means over about its last 200 scored events."""

    scored: int = Field(description="Events that were scored since the start, or since the series began.")
    skill: float | None = Field(
        description="1 - error / naive_error: 0 is as good as seasonal naive, 1 perfect; null while unknown."
    )
    error: float | None = Field(description="Mean absolute error of the median, in units of the values.")
    naive_error: float | None = Field(description="That of seasonal naive, at the same events.")
    coverage: float | None = Field(description="Share of the actuals inside the widest interval.")
    nominal: float = Field(description="Nominal coverage of that interval.")
    flagged: float = Field(description="Share of the events that were flagged as anomalies.")
    newest_ms: int = Field(description="Time of the newest event.")


class SeriesRow(Answer):
    """A series that has state."""

    id: str = Field(description="Identifier of the series; percent-encode it in paths.")
    partition: str
    detailed: bool = Field(
        description="Whether its recent events are recorded; other series are recorded after the "
        "first request for them."
    )
    last: Last | None = Field(description="null where its events are not recorded.")
    group: str | None = Field(None, description="The [[group]] of the series, or default; null without groups.")
    quality: SeriesQuality | None = Field(None, description="null where nothing is recorded (`http.recent_series`).")


class SeriesPage(Answer):
    """Series in the requested order."""

    series: list[SeriesRow]
    total: int = Field(description="Number of series that match the search, on all pages.")
    next: str | None = Field(description="Value of `after` for the next page; null on the last page.")


class Forecast(Answer):
    """The newest forecast of a series."""

    origin_ms: int = Field(description="Forecast origin: the event time from which the steps are counted.")
    interval_ms: int = Field(
        description="Time between two steps; 0 while unknown. The mean length where `interval` is set."
    )
    interval: str | None = Field(description='"1mo", "3mo" or "1y" for calendar steps; else null.')
    targets_ms: list[int] = Field(description="Time of every step ahead; empty while the interval is unknown.")
    levels: list[float] = Field(description="Quantile levels, increasing, including 0.5.")
    quantiles: list[list[float]] = Field(description="One row per step ahead, one column per level.")
    model: str = Field(description="sha256 of the model that made the forecast.")


class Of(Answer):
    """The series of an answer."""

    series: str
    partition: str
    detailed: bool = Field(description="False: no events recorded yet; recording starts with the next one.")


class SeriesForecast(Of):
    """The newest forecast."""

    last: Last | None
    quality: SeriesQuality | None = Field(None, description="null where nothing is recorded.")
    forecast: Forecast | None = Field(description="null until the next event, and while the series has no forecast.")


class Event(Answer):
    """An event and the forecasts made for it."""

    timestamp_ms: int
    value: float | None
    anomaly: float | None
    flagged: bool
    position: int | None = Field(
        description="Position in the source; null for values that were restored from a snapshot."
    )
    forecasts: list[list[float] | None] = Field(
        description="One entry per requested horizon h: the quantiles of the h-step-ahead forecast of this event."
    )


class SeriesHistory(Of):
    """Recent events, oldest first."""

    levels: list[float]
    horizons: list[int] = Field(description="Horizons of `forecasts`, in steps.")
    remembered: list[int] = Field(description="Horizons that can be requested.")
    events: list[Event]
    more: bool = Field(description="Whether the window has older events that `limit` cut off.")


class AnomalyRow(Answer):
    """A flagged event, or a series that became silent."""

    kind: Literal["flagged", "silence"]
    series: str
    partition: str
    timestamp_ms: int = Field(description="Time of the event; for a silence, the time at which it was detected.")
    value: float | None
    score: float | None
    expected_ms: int | None = Field(description="For a silence: the time at which the next event was expected.")
    position: int
    expected_low: float | None = Field(
        None, description="Lowest quantile of the forecast made for the event; null where it was not recorded."
    )
    expected_high: float | None = Field(None, description="The highest one.")


class AnomalyList(Answer):
    """Anomalies, newest first."""

    anomalies: list[AnomalyRow]
    more: bool


class AlertRow(Answer):
    """An alert that lasts, or was over lately."""

    id: str = Field(description="The same for an Alertmanager, a webhook and after any restart.")
    status: Literal["firing", "resolved"] = Field(description="firing: it lasts.")
    kind: Literal["anomaly", "silence", "breach", "drift"]
    name: str = Field(description="Name of the alert: that of the [[alert]], or of the kind.")
    rule: str | None = Field(description="The [[alert]] of a breach.")
    severity: str
    series: str = Field(description="Empty for drift.")
    labels: dict[str, str] = Field(description="Labels of a series of Prometheus; its metric is `metric`.")
    group: str | None = Field(description="The [[group]] of the series, or default; null without groups.")
    partition: str
    position: int = Field(description="Position of the event that began it.")
    starts_ms: int = Field(description="Event time since which it lasts.")
    ends_ms: int | None = Field(description="Event time at which it was over; null while it lasts.")
    value: float | None = Field(description="Of an anomaly the value, of a breach the quantile beyond the limit.")
    score: float | None = Field(description="Anomaly score of an anomaly.")
    expected_ms: int | None = Field(
        description="Of a silence, when the next event was expected; of a breach, the first time beyond the limit."
    )
    expected_low: float | None = Field(
        description="Of an anomaly, the lowest quantile of the forecast of its event; null where it was not recorded, "
        "as after a restart."
    )
    expected_high: float | None = Field(description="The highest one.")
    threshold: str | None = Field(description='Limit of a breach, such as "above 90".')
    feedback: Literal["ack", "mute", "confirm"] | None = Field(
        description="The newest feedback on the series since the alert began (`forecaster anomalies`)."
    )
    feedback_reason: str | None
    summary: str = Field(description="One sentence for people.")


class AlertPage(Answer):
    """Alerts: those that last, the newest first, then those that are over, the last one first."""

    alerts: list[AlertRow]
    lasting: int = Field(description="Number of alerts that last.")
    kinds: list[str] = Field(description="Kinds of alerts that there are; none without a target or an [[alert]].")
    more: bool = Field(description="Whether `limit` has cut some off.")


class LevelCount(Answer):
    """Number of actuals at or below a quantile."""

    level: float
    at_or_below: int
    share: float | None


class IntervalCount(Answer):
    """Number of actuals inside a prediction interval around the median."""

    nominal: float = Field(description="Nominal coverage.")
    inside: int
    share: float | None


class HorizonCalibration(Answer):
    """Interval coverage and quantile calibration at one horizon, over the recorded events."""

    horizon: int
    scored: int = Field(description="Events whose forecast is recorded (verified forecasts).")
    error: float | None = Field(None, description="Mean absolute error of the median over `paired` events.")
    naive_error: float | None = Field(
        None, description="That of seasonal naive, with the shortest season (the last value without one)."
    )
    paired: int = Field(0, description="Scored events that have a seasonal naive forecast.")
    levels: list[LevelCount]
    intervals: list[IntervalCount] = Field(description="Widest first.")


class SeriesCalibration(Of):
    """Interval coverage and quantile calibration of a series."""

    horizons: list[HorizonCalibration]


class HorizonWeights(Answer):
    """Weights of the ensemble members at one horizon."""

    horizon: int
    weights: list[float | None] = Field(description="In the order of `experts`; their sum is 1. null: unknown.")


class SeriesWeights(Of):
    """The present ensemble weights of a series."""

    experts: list[str]
    horizons: list[HorizonWeights]


class ModelRow(Answer):
    """A model of the registry."""

    sha256: str
    parent: str | None
    created_ms: int
    figures: dict[str, Any] = Field(description="Losses and counts of the training that created it.")
    role: Literal["champion", "challenger", "former", "other"]


class DecisionRow(Answer):
    """A decision about a model."""

    action: str
    model: str | None
    parent: str | None
    reason: str
    figures: dict[str, Any]
    decided_ms: int


class Models(Answer):
    """The newest models and the newest decisions, each oldest first."""

    champion: str | None
    challenger: str | None
    models: list[ModelRow]
    decisions: list[DecisionRow]


class HealthAnswer(Answer):
    """The state of the probes."""

    model_config = ConfigDict(extra="allow", frozen=True, protected_namespaces=())

    healthy: bool
    ready: bool
    phase: str
    reason: str


class StatusAnswer(Answer):
    """The state of the daemon; updated once a second."""

    model_config = ConfigDict(extra="allow", frozen=True, protected_namespaces=())

    health: HealthAnswer
    phase: str | None = None
    model: str | None = None
    partitions: dict[str, Any] = Field(default_factory=dict)
    training: dict[str, Any] = Field(default_factory=dict)
    quality: dict[str, Any] = Field(default_factory=dict)


class RejectedRecord(Answer):
    """A rejected record."""

    partition: str
    position: int
    detail: str = Field(description="What was received, and what was expected.")


class RejectReason(Answer):
    """Rejected records of one reason."""

    reason: str
    meaning: str
    count: int = Field(description="Number of records since the start.")
    examples: list[RejectedRecord] = Field(description="The newest ones.")


class IngestAnswer(Answer):
    """What became of the records since the start of the process."""

    events: dict[str, int] = Field(description="Events by status: ok, missing, duplicate, late, repaired, ...")
    rejected: list[RejectReason] = Field(description="The most frequent reason first.")
    filtered: int = Field(description="Records, or elements of arrays in them, that do not meet `input.where`.")


class LiveEvent(Answer):
    """Data of `event: event` in /events."""

    series: str
    partition: str
    timestamp_ms: int
    value: float | None
    anomaly: float | None
    flagged: bool
    position: int
    forecast: Forecast | None = Field(description="null while the series has no forecast.")


class LiveLost(Answer):
    """Data of `event: lost` in /events: messages were dropped before this one.

    0: a subscribed series appeared after the connection was opened; its first events were not sent.
    """

    messages: int


class Taken(Answer):
    """Pushed events that have been written to disk."""

    accepted: int
    filtered: int = Field(0, description="Samples that input.push_metrics filters out.")
