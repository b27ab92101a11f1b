"""The answers of the JSON API, as pydantic models: what is sent is built from them, and so is the OpenAPI document.

Times are epoch milliseconds. What is not known is null. Within a major version of the API (the "v1" of its paths)
fields may come, and none go or change their meaning.
"""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field


class Answer(BaseModel):
    """A JSON object."""

    model_config = ConfigDict(frozen=True, protected_namespaces=())


class Problem(Answer):
    """What is wrong."""

    code: str = Field(description="For programs: bad_request, not_found, unavailable, too_many, ...")
    message: str = Field(description="For people: what was got, what was expected, what to do.")
    lines: list[str] | None = Field(None, description="Of pushed events: the first lines that are wrong, and why.")


class Failure(Answer):
    """Every answer that is not a success."""

    error: Problem


class Last(Answer):
    """The last event of a series."""

    timestamp_ms: int
    value: float | None = Field(description="null where the event had none.")
    anomaly: float | None = Field(description="Score from 0 to 1 under what was forecast for it; null while unknown.")


class SeriesRow(Answer):
    """A series that has state."""

    id: str = Field(description="Its identifier; percent-encode it in paths.")
    partition: str
    detailed: bool = Field(description="Whether its recent events are remembered; those of others are once asked for.")
    last: Last | None = Field(description="null where its events are not remembered.")


class SeriesPage(Answer):
    """Series in the order of identifiers."""

    series: list[SeriesRow]
    total: int = Field(description="Series that fit the search, on all pages.")
    next: str | None = Field(description="Give it as `after` for the next page; null on the last one.")


class Forecast(Answer):
    """The newest forecast of a series."""

    origin_ms: int = Field(description="Event time from which the steps count.")
    interval_ms: int = Field(description="Between two steps; 0 while not known. About so much where `interval` is set.")
    interval: str | None = Field(description='"1mo", "3mo" or "1y" where steps are those of the calendar; else null.')
    targets_ms: list[int] = Field(description="Time of every step ahead; empty while the interval is not known.")
    levels: list[float] = Field(description="Quantile levels, increasing, 0.5 among them.")
    quantiles: list[list[float]] = Field(description="A row per step ahead, a column per level.")
    model: str = Field(description="sha256 of the model that made it.")


class Of(Answer):
    """Which series an answer is about."""

    series: str
    partition: str
    detailed: bool = Field(description="False: nothing is remembered yet; it is from its next event on.")


class SeriesForecast(Of):
    """The newest forecast."""

    last: Last | None
    forecast: Forecast | None = Field(
        description="null until the next event, and while nothing is known of the series."
    )


class Event(Answer):
    """An event and what had been forecast for it."""

    timestamp_ms: int
    value: float | None
    anomaly: float | None
    flagged: bool
    position: int | None = Field(description="In the source; null for values that were recalled after a restart.")
    forecasts: list[list[float] | None] = Field(
        description="One entry per horizon asked for: the quantiles that had been forecast so many steps before."
    )


class SeriesHistory(Of):
    """Recent events, oldest first."""

    levels: list[float]
    horizons: list[int] = Field(description="Those of `forecasts`, in steps.")
    remembered: list[int] = Field(description="Horizons that may be asked for.")
    events: list[Event]
    more: bool = Field(description="Whether there are older ones in the window that were left out by `limit`.")


class AnomalyRow(Answer):
    """A flagged event, or a series that fell silent."""

    kind: Literal["flagged", "silence"]
    series: str
    partition: str
    timestamp_ms: int = Field(description="Of the event; of a silence when it was noticed.")
    value: float | None
    score: float | None
    expected_ms: int | None = Field(description="Of a silence: when the next event had been expected.")
    position: int


class AnomalyList(Answer):
    """The newest first."""

    anomalies: list[AnomalyRow]
    more: bool


class LevelCount(Answer):
    """How often values came to lie at or below a quantile."""

    level: float
    at_or_below: int
    share: float | None


class IntervalCount(Answer):
    """How often values came to lie inside an interval around the median."""

    nominal: float = Field(description="Share that should lie inside.")
    inside: int
    share: float | None


class HorizonCalibration(Answer):
    """Reliability at one horizon, over the remembered events."""

    horizon: int
    scored: int = Field(description="Events whose forecast is remembered.")
    levels: list[LevelCount]
    intervals: list[IntervalCount] = Field(description="The widest first.")


class SeriesCalibration(Of):
    """Reliability of the intervals."""

    horizons: list[HorizonCalibration]


class HorizonWeights(Answer):
    """Weight of every expert at one horizon."""

    horizon: int
    weights: list[float | None] = Field(description="In the order of `experts`; they add up to 1. null: not known yet.")


class SeriesWeights(Of):
    """What the mixture relies on for a series, now."""

    experts: list[str]
    horizons: list[HorizonWeights]


class ModelRow(Answer):
    """A model of the registry."""

    sha256: str
    parent: str | None
    created_ms: int
    figures: dict[str, Any] = Field(description="Losses and counts of the training that made it.")
    role: Literal["champion", "challenger", "former", "other"]


class DecisionRow(Answer):
    """What was decided about a model."""

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
    """As the probes have it."""

    model_config = ConfigDict(extra="allow", frozen=True, protected_namespaces=())

    healthy: bool
    ready: bool
    phase: str
    reason: str


class StatusAnswer(Answer):
    """The state of the daemon; renewed once a second."""

    model_config = ConfigDict(extra="allow", frozen=True, protected_namespaces=())

    health: HealthAnswer
    phase: str | None = None
    model: str | None = None
    partitions: dict[str, Any] = Field(default_factory=dict)
    training: dict[str, Any] = Field(default_factory=dict)
    quality: dict[str, Any] = Field(default_factory=dict)


class LiveEvent(Answer):
    """Of /events: the data of `event: event`."""

    series: str
    partition: str
    timestamp_ms: int
    value: float | None
    anomaly: float | None
    flagged: bool
    position: int
    forecast: Forecast | None = Field(description="null while nothing is known of the series.")


class LiveLost(Answer):
    """Of /events: the data of `event: lost`; what is missing would have stood before it.

    0: a series that was listened to has come since; ask for what it had first.
    """

    messages: int


class Taken(Answer):
    """Pushed events that are on disk."""

    accepted: int
    filtered: int = Field(0, description="Samples that input.push_metrics leaves out.")
