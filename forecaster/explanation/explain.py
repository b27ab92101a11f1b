"""Explains the newest forecast of a series, and computes it for other known future values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from forecaster.ensemble.names import member_names
from forecaster.errors import BatchError
from forecaster.explanation.left_out import LeftOut, left_out
from forecaster.explanation.read_values import ReadValue, read_values
from forecaster.explanation.row_twin import RowTwin
from forecaster.explanation.similar import PastSituation, similar
from forecaster.explanation.situation import Situation
from forecaster.explanation.terms import Terms, terms_of
from forecaster.features.calendar_steps import step_times
from forecaster.observe.forecast import LARGEST

PRIOR = "prior"
"""Member of a series that has no scale yet: its newest value, widened by what other series vary (ensemble/prior.py)."""


@dataclass(frozen=True)
class Explanation:
    """Why the newest forecast of a series is what it is. H horizons, Q quantile levels, M members.

    Attributes:
        situation: what it was computed from.
        targets_ms: (H,) int64, the times forecast.
        quantiles: (H, Q) float64, the forecast, bit for bit as it was made where the situation holds all its inputs.
        names: (M,) the members, as of `member_names`; ("prior",) where the series has no scale yet.
        members: (M, H, Q) float64, their own forecasts; those of simple members are equal for all quantiles.
        weights: (M, H) float64, rows of `mixture_weights` interpolated between tracked horizons.
        correction: (H, Q) float64, what the calibration adds to the weighted members.
        adjustment: (H, Q) float64, the rest: widening, order, limits, rounding; see terms.py.
        read: the past values that it has read.
        similar: the nearest past situations, the nearest first.
        left_out: the forecast without each input.
        terms: its terms as the kernel has them; None where `names` is ("prior",).
    """

    situation: Situation
    targets_ms: NDArray[np.int64]
    quantiles: NDArray[np.float64]
    names: tuple[str, ...]
    members: NDArray[np.float64]
    weights: NDArray[np.float64]
    correction: NDArray[np.float64]
    adjustment: NDArray[np.float64]
    read: Sequence[ReadValue]
    similar: Sequence[PastSituation]
    left_out: Sequence[LeftOut]
    terms: Terms | None

    @property
    def levels(self) -> tuple[float, ...]:
        """The quantile levels."""
        return self.situation.model.config.quantiles

    @property
    def median(self) -> NDArray[np.float64]:
        """(H,) the median of the forecast."""
        found: NDArray[np.float64] = self.quantiles[:, self.levels.index(0.5)]
        return found

    @property
    def is_complete(self) -> bool:
        """Whether the situation holds all inputs of the forecast that was made at its newest event.

        It does not where new weights came into force since, where the history no longer holds the known future values
        of that event, or where the time gap before it is an input of the head, as with `cell = "none"`.
        """
        situation = self.situation
        return situation.is_adopted and situation.known is not None and situation.model.layout.layers > 0

    def in_words(self, horizon: int = 1) -> str:
        """Returns a paragraph about the forecast of a horizon; see words.py."""
        from forecaster.explanation.words import in_words  # noqa: PLC0415 - words.py describes this class

        return in_words(self, horizon)


@dataclass(frozen=True)
class WhatIf:
    """A forecast with other known future values beside the one with the actual values.

    Attributes:
        targets_ms: (H,) int64, the times forecast.
        actual, quantiles: (H, Q) float64, with the actual values, and with the others.
        known: (F, H) float32, the values of `quantiles`; nan where missing.
    """

    targets_ms: NDArray[np.int64]
    actual: NDArray[np.float64]
    quantiles: NDArray[np.float64]
    known: NDArray[np.float32]


def explain(situation: Situation, twin: RowTwin | None = None) -> Explanation:
    """Explains the newest forecast of a series.

    Args:
        situation: of the series; not changed.
        twin: of the network of the situation, for who explains often; None: a new one.
    """
    twin = RowTwin(situation.model) if twin is None else twin
    quantiles = twin.forecast(situation)
    terms = terms_of(twin, situation)
    if terms is None:
        names: tuple[str, ...] = (PRIOR,)
        members, weights = quantiles[None].copy(), np.ones((1, len(quantiles)))
        mixture, correction = quantiles, np.zeros(quantiles.shape)
    else:
        names = member_names(situation.model.config)
        members, weights = terms.members(), terms.weights.astype(np.float64)
        mixture, correction = terms.mixture(), terms.correction()
    return Explanation(
        situation, _targets(situation), quantiles, names, members, weights, correction,
        quantiles - mixture - correction, read_values(situation), similar(situation),
        [*left_out(twin, situation)] if terms is not None else [], terms,
    )  # fmt: skip


def what_if(
    situation: Situation, values: Mapping[str, float | Sequence[float | None]], twin: RowTwin | None = None
) -> WhatIf:
    """Computes the newest forecast of a series for other known future values.

    Levels and scales of the covariates stay those of the actual events.

    Args:
        situation: of the series; not changed.
        values: by covariate, a number for all steps ahead, or one for each of the first steps, None where it stays as
            it is. Steps that are not named stay as they are.
        twin: of the network of the situation, for who asks often; None: a new one.

    Raises:
        BatchError: the network has no such known future covariate, or there are more values than horizons.
    """
    config = situation.model.config
    known = _known(situation, values)
    twin = RowTwin(situation.model) if twin is None else twin
    actual = twin.forecast(situation)
    changed = twin.forecast(situation, known)
    return WhatIf(_targets(situation), actual, changed, known.reshape(len(config.future_covariates), config.horizon))


def _known(situation: Situation, values: Mapping[str, float | Sequence[float | None]]) -> NDArray[np.float32]:
    config = situation.model.config
    names, horizon = config.future_covariates, config.horizon
    if not names:
        msg = (
            f"got values of {', '.join(values) or 'nothing'}, but the network has no known future covariates; expected "
            "some in future_covariates of its configuration"
        )
        raise BatchError(msg)
    known = np.full((len(names), horizon), np.nan, np.float32) if situation.known is None else situation.known.copy()
    for name, given in values.items():
        if name not in names:
            msg = f"got values of {name[:80]!r}, expected one of the known future covariates: {', '.join(names)}"
            raise BatchError(msg)
        row = known[names.index(name)]
        listed = [given] * horizon if isinstance(given, int | float) else given
        if not 1 <= len(listed) <= horizon:
            msg = f"{name}: got {len(listed)} values, expected 1 to {horizon}: one per step ahead, up to the horizon"
            raise BatchError(msg)
        for step, value in enumerate(listed):
            if value is None:
                continue
            if not abs(value) <= LARGEST:
                msg = f"{name}: got {value}, expected a number that float32 can hold"
                raise BatchError(msg)
            row[step] = value
    return known


def _targets(situation: Situation) -> NDArray[np.int64]:
    config = situation.model.config
    steps = np.arange(1, config.horizon + 1)
    return step_times(situation.origin_ms, situation.interval_ms, situation.calendar, steps, config.timezone)
