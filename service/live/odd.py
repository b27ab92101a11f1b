"""What was out of the ordinary: flagged events and series that fell silent, of all series alike."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

if TYPE_CHECKING:
    from forecaster import Forecasts
    from service.messages import Decoded


@dataclass(frozen=True, slots=True)
class Anomaly:
    """A flagged event, or a series that fell silent.

    Attributes:
        kind: which of the two. partition, series: whose.
        timestamp_ms: of the event; for a silence when it was noticed.
        value, score: of the event, nan for a silence.
        expected_ms: for a silence when its next event had been expected, else 0.
        position: of the event, or of the one of another series that showed the silence.
    """

    kind: Literal["flagged", "silence"]
    partition: str
    series: str
    timestamp_ms: int
    value: float
    score: float
    expected_ms: int
    position: int


def anomalies_of(partition: str, decoded: Decoded, forecasts: Forecasts) -> list[Anomaly]:
    """The anomalies of a batch, as the rules of the engine have it."""
    nan = float("nan")
    found = [
        Anomaly(
            "flagged", partition, decoded.series[i], int(decoded.timestamp_ms[i]), float(decoded.value[i]),
            float(forecasts.anomaly[i]), 0, decoded.positions[i],
        )
        for i in np.flatnonzero(forecasts.flagged).tolist()
    ]  # fmt: skip
    found += [
        Anomaly("silence", partition, one.series, one.noticed_ms, nan, nan, one.expected_ms,
                decoded.positions[one.event])
        for one in forecasts.silences
    ]  # fmt: skip
    return found
