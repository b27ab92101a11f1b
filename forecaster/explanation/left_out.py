r"""The effect of each input: the forecast without it, on the same row.

An input is left out by setting its weights to 0: the network then reads it as usual (a covariate at its own level) or
as not known (the lags of a season). With a season, its members of the ensemble are left out too, as if none of their
forecasts had been scored; the weights of the others sum to 1 again. The hidden state has read the input at earlier
steps, so it is encoded anew from the steps that the row holds, `layout.WARM_STEPS` at most, with it and without it: the
difference of these two forecasts is the effect. Offsets of the calibration, and scales of covariates, stay.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from forecaster.config import ModelConfig
from forecaster.ensemble.experts import PER_SEASON, SEASONAL_FROM
from forecaster.explanation.row_twin import RowTwin
from forecaster.explanation.situation import Situation
from forecaster.features.head_inputs import SEASONAL
from forecaster.layout import Layout, calendar_weights, kernel_weights, row_layout

Kind = Literal["covariate", "season", "calendar"]


@dataclass(frozen=True)
class LeftOut:
    """What a forecast would be without one of its inputs.

    Attributes:
        kind: "covariate", "season" or "calendar".
        name: of the covariate, steps of the season, or "hour of day" or "weekday".
        median: (horizon,) median of the forecast without it.
        effect: (horizon,) median with it minus that without it, both with a state that was encoded anew.
    """

    kind: Kind
    name: str
    median: NDArray[np.float64]
    effect: NDArray[np.float64]


def covariate_names(config: ModelConfig) -> tuple[str, ...]:
    """Returns the covariates of both kinds, each once."""
    return tuple(dict.fromkeys((*config.covariates, *config.future_covariates)))


def covariate_weights(layout: Layout, name: str) -> NDArray[np.bool_]:
    """Returns a mask of the parameters that multiply a covariate, or that it is missing; both kinds of the name."""
    config = layout.config
    steps, targets = list[int](), list[int]()
    if name in config.covariates:
        first = layout.n_x - 2 * len(config.covariates) + 2 * config.covariates.index(name)
        steps = [first, first + 1]
    if name in config.future_covariates:
        first = SEASONAL * len(config.seasons) + 2 * config.future_covariates.index(name)
        targets = [first, first + 1]
    return _weights_of(layout, steps, [], targets)


def season_weights(layout: Layout, index: int) -> NDArray[np.bool_]:
    """Returns a mask of the parameters that multiply the lags of a season."""
    targets = range(SEASONAL * index, SEASONAL * (index + 1))
    return _weights_of(layout, [2 + index], [1 + index], [*targets])


def _weights_of(layout: Layout, steps: list[int], moment: list[int], targets: list[int]) -> NDArray[np.bool_]:
    """Returns a mask of the parameters of inputs of a step, and of the head about the moment and about a target."""
    mask = np.zeros(layout.n_params, np.bool_)
    view, (n_place, n_moment, _, _) = layout.views(mask), layout.head_columns
    if layout.layers:
        view["layer0.wx"][:, steps] = True
    else:
        view["head.A"][steps] = True
    rows = [n_place + at for at in moment] + [n_place + n_moment + at for at in targets]
    view["head.L"][rows] = True
    if layout.config.head == "decoder":
        view["head.B"][moment] = True
        view["head.wx"][:, targets] = True
    else:
        view["head.B"][rows] = True
    return mask


def left_out(twin: RowTwin, situation: Situation) -> Iterator[LeftOut]:
    """Yields the forecasts without each covariate, each season, and the hour of day and weekday of the calendar.

    Args:
        twin: of the network of the situation.
        situation: not changed.
    """
    layout, config = twin.model.layout, twin.model.config
    parts: list[tuple[Kind, str, NDArray[np.bool_], int]] = [
        ("covariate", name, covariate_weights(layout, name), -1) for name in covariate_names(config)
    ]
    parts += [("season", str(steps), season_weights(layout, i), i) for i, steps in enumerate(config.seasons)]
    if config.calendar:
        parts += [
            ("calendar", "hour of day", calendar_weights(layout, hour=True, week=False), -1),
            ("calendar", "weekday", calendar_weights(layout, hour=False, week=True), -1),
        ]
    if not parts:
        return
    median = config.quantiles.index(0.5)
    whole = twin.forecast(situation, hidden=twin.encoded_again(situation))[:, median]
    for kind, name, mask, season in parts:
        params = np.where(mask, np.float32(0.0), twin.model.params)
        weights = kernel_weights(layout, params)
        hidden = twin.encoded_again(situation, weights)
        if season >= 0:
            _leave_out_members(layout, hidden, season)
        without = twin.forecast(situation, hidden=hidden, weights=weights)[:, median]
        yield LeftOut(kind, name, without, whole - without)


def _leave_out_members(layout: Layout, hidden: NDArray[np.float32], season: int) -> None:
    """Makes the members of a season ones that have never been scored."""
    shape = layout.ensemble
    if not shape.members:
        return
    at, cells = row_layout(layout).ensemble, (len(shape.tracked), shape.members)
    first = SEASONAL_FROM + PER_SEASON * season
    for block in (shape.errors, shape.losses):
        numbers = hidden[at + block : at + block + cells[0] * cells[1]].reshape(cells)
        numbers[:, first : first + PER_SEASON] = np.nan
