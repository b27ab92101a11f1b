"""Explains the newest forecast of a series, and answers what it would be with other known future values.

The engine only copies the row of the series, between two batches (`service.recent.situations`); everything else is
computed here, in a thread of the server. Nothing is changed.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
import orjson
from numpy.typing import NDArray
from starlette.requests import Request

from forecaster import BatchError, Explanation, Model, RowTwin, Situation, explain, what_if
from service.http import views
from service.http.api import PARTITION
from service.http.endpoint import Endpoint
from service.http.explanation_schemas import (
    LeftOutRow,
    MemberForecast,
    PastSituationRow,
    ReadValueRow,
    SeriesExplanation,
    SeriesWhatIf,
)
from service.http.parameters import Parameter
from service.http.views import RequestError
from service.messages.digits import plain
from service.recent import BoundedSituation, NoAnswerError, RecentStore, Situations

_SECONDS: Final = 3.0  # longest wait for the engine
_BODY: Final = 262_144  # bytes
_TWINS: Final = 4  # networks whose twins are kept: those of groups of series


class Explanations:
    """The endpoints `explain` and `whatif`.

    Args:
        live: the recorded recent events.
        situations: where the engine is asked.
    """

    def __init__(self, live: RecentStore, situations: Situations) -> None:
        self._live, self._situations = live, situations
        self._lock, self._twins = threading.Lock(), dict[str, RowTwin]()

    def endpoints(self) -> list[Endpoint]:
        """Returns the table of endpoints."""
        horizon = Parameter("horizon", "Horizon, in steps, of the paragraph in words.", "number", 1, 1, 10_000)
        kinds = {
            "application/json": 'An object with "values": by known future covariate a number for all steps ahead, or a '
            "list with one for each of the first steps, null where it stays as it is."
        }
        return [
            Endpoint("/series/{id}/explain", "Why the newest forecast of a series is what it is.", self.explain,
                     SeriesExplanation, (PARTITION, horizon), failures=(404, 409, 503)),
            Endpoint("/series/{id}/whatif", "The newest forecast of a series, with other known future values.",
                     self.whatif, SeriesWhatIf, (PARTITION,), method="POST", bodies=kinds,
                     failures=(404, 409, 413, 415, 503)),
        ]  # fmt: skip

    async def explain(self, request: Request, found: Mapping[str, Any]) -> SeriesExplanation:
        """Explains the newest forecast of a series."""
        return await asyncio.to_thread(self._explain, request.path_params["id"], found["partition"], found["horizon"])

    async def whatif(self, request: Request, found: Mapping[str, Any]) -> SeriesWhatIf:
        """Answers what the newest forecast would be with other known future values."""
        kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
        if kind != "application/json":
            msg = f"content-type: got {kind[:80]!r}, expected application/json"
            raise RequestError(415, "unsupported", msg)
        body = bytearray()
        async for part in request.stream():
            body += part
            if len(body) > _BODY:
                raise RequestError(413, "too_large", f"got more than {_BODY} bytes, expected values of some covariates")
        values = read_values(bytes(body))
        return await asyncio.to_thread(self._what_if, request.path_params["id"], found["partition"], values)

    # In a thread of the server -------------------------------------------------------------------------------

    def _explain(self, series: str, partition: str, horizon: int) -> SeriesExplanation:
        partition, (situation, bounds) = self._ask(series, partition)
        steps = situation.model.config.horizon
        if horizon > steps:
            msg = f"horizon: got {horizon}, expected 1 to {steps}, the horizon of the series"
            raise RequestError(400, "bad_request", msg)
        with self._lock:
            found = explain(situation, self._twin(situation.model))
        quantiles = np.clip(found.quantiles, *bounds)
        as_published = self._as_published(partition, situation, quantiles)
        return explanation_of(found, partition, quantiles, horizon, as_published=as_published)

    def _what_if(
        self, series: str, partition: str, values: Mapping[str, float | Sequence[float | None]]
    ) -> SeriesWhatIf:
        partition, (situation, bounds) = self._ask(series, partition)
        config = situation.model.config
        if not config.future_covariates:
            msg = (
                f"series {series[:80]!r} has no known future covariates; name some in input.future_covariates, and "
                "send their values with the events"
            )
            raise RequestError(409, "conflict", msg)
        with self._lock:
            twin = self._twin(situation.model)
            begun = time.perf_counter()
            try:
                found = what_if(situation, values, twin)
            except BatchError as error:
                raise RequestError(400, "bad_request", str(error)) from error
            seconds = time.perf_counter() - begun
        names = config.future_covariates
        actual = np.full(found.known.shape, np.nan, np.float32) if situation.known is None else situation.known
        return SeriesWhatIf(
            **_head(situation, partition),
            levels=list(config.quantiles),
            targets_ms=found.targets_ms.tolist(),
            actual=plain(np.clip(found.actual, *bounds)),
            quantiles=plain(np.clip(found.quantiles, *bounds)),
            known={name: numbers(row) for name, row in zip(names, found.known, strict=True)},
            known_actual={name: numbers(row) for name, row in zip(names, actual, strict=True)},
            computed_us=round(seconds * 1e6),
        )

    def _ask(self, series: str, partition: str) -> tuple[str, BoundedSituation]:
        """Returns the partition of a series, and its situation."""
        partition = views.find(self._live, series, partition)
        try:
            return partition, self._situations.ask(partition, series, _SECONDS)
        except NoAnswerError as error:
            raise RequestError(503, "unavailable", str(error), retry=1) from error
        except BatchError as error:
            raise RequestError(409, "conflict", str(error)) from error

    def _twin(self, model: Model) -> RowTwin:
        """Returns the twin of a network; the caller holds the lock."""
        found = self._twins.pop(model.sha256, None) or RowTwin(model)
        self._twins[model.sha256] = found
        while len(self._twins) > _TWINS:
            del self._twins[next(iter(self._twins))]
        return found

    def _as_published(self, partition: str, situation: Situation, quantiles: NDArray[np.float64]) -> bool | None:
        """Returns whether a forecast is equal bit for bit to the published one; None where that is not recorded."""
        detail = self._live.detail(partition, situation.series)
        if detail is None or detail.latest is None:
            return None
        at = np.flatnonzero(detail.timestamp_ms == situation.origin_ms)
        if not len(at):
            return None
        if at[-1] == len(detail.timestamp_ms) - 1:
            return bool(np.array_equal(detail.latest, quantiles))
        recorded = detail.quantiles[at[-1]]  # a newer event has come since: only some horizons are recorded
        if np.isnan(recorded).any():
            return None
        return bool(np.array_equal(recorded, quantiles[np.array(detail.tracked) - 1]))


def read_values(body: bytes) -> dict[str, float | Sequence[float | None]]:
    """Parses the body of a question.

    Raises:
        RequestError: it is not such an object.
    """
    expected = 'expected {"values": {"<covariate>": a number, or a list of numbers and null}}'
    try:
        given = orjson.loads(body)
    except ValueError as error:
        raise RequestError(400, "bad_request", f"got a body that is not JSON ({error}), {expected}") from error
    if not isinstance(given, dict) or set(given) != {"values"} or not isinstance(given["values"], dict):
        got = ", ".join(given)[:200] if isinstance(given, dict) else type(given).__name__
        raise RequestError(400, "bad_request", f"got a body with {got or 'nothing'}, {expected}")
    for name, value in given["values"].items():
        listed = value if isinstance(value, list) else [value]
        if not all(_is_number(one) or (one is None and isinstance(value, list)) for one in listed):
            got = orjson.dumps(value)[:80].decode("utf-8", "replace")
            raise RequestError(400, "bad_request", f"{name[:80]}: got {got}, {expected}")
    values: dict[str, float | Sequence[float | None]] = given["values"]
    return values


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def numbers(values: NDArray[np.floating]) -> list[float | None]:
    """Converts a row of numbers; None where one is not finite."""
    return [views.number(value) for value in values.tolist()]


def _head(situation: Situation, partition: str) -> dict[str, Any]:
    return {
        "series": situation.series, "partition": partition, "origin_ms": situation.origin_ms,
        "interval_ms": situation.interval_ms, "model": situation.model.sha256,
    }  # fmt: skip


def explanation_of(
    found: Explanation, partition: str, quantiles: NDArray[np.float64], horizon: int, *, as_published: bool | None
) -> SeriesExplanation:
    """Converts an explanation to an answer.

    Args:
        found: the explanation.
        partition: of the series.
        quantiles: the forecast within the bounds of the series.
        horizon: of the paragraph in words.
        as_published: see `SeriesExplanation`.
    """
    situation, config = found.situation, found.situation.model.config
    return SeriesExplanation(
        **_head(situation, partition),
        as_published=as_published,
        complete=found.is_complete,
        words=found.in_words(horizon),
        levels=list(found.levels),
        targets_ms=found.targets_ms.tolist(),
        quantiles=plain(quantiles),
        last=situation.last,
        level=situation.level,
        scale=situation.scale,
        members=[
            MemberForecast(name=name, weights=weights.tolist(), quantiles=member.tolist())
            for name, weights, member in zip(found.names, found.weights, found.members, strict=True)
        ],
        correction=found.correction.tolist(),
        adjustment=(found.adjustment + (quantiles - found.quantiles)).tolist(),
        read=[ReadValueRow(**one._asdict() | {"value": views.number(one.value)}) for one in found.read],
        similar=[
            PastSituationRow(end_ms=one.end_ms, distance=one.distance, shift=one.shift, followed=numbers(one.followed))
            for one in found.similar
        ],
        left_out=[
            LeftOutRow(kind=one.kind, name=one.name, median=one.median.tolist(), effect=one.effect.tolist())
            for one in found.left_out
        ],
        covariates=list(config.covariates),
        future_covariates=list(config.future_covariates),
    )
