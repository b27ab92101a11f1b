"""An explanation in a paragraph of plain words."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Final

import numpy as np

from forecaster.explanation.explain import PRIOR, Explanation

NAMED_WEIGHT: Final = 0.05  # members with less are not named
NAMED_EFFECT: Final = 0.01  # in scales; inputs with less are not named
LATEST_MS: Final = 253_402_300_799_000  # of a time that can be written with a year of four digits


def in_words(found: Explanation, horizon: int = 1) -> str:
    """Returns a paragraph about the forecast of a horizon.

    Args:
        found: the explanation.
        horizon: in steps, from 1 to that of the network.
    """
    h, situation = horizon - 1, found.situation
    levels, row = found.levels, found.quantiles[h]
    scale = situation.scale
    said = []
    said.append(
        f"The forecast of {situation.series} for {_time(int(found.targets_ms[h]))} ({_steps(horizon)} ahead) is "
        f"{_number(found.median[h], scale)}, and with a probability of {levels[-1] - levels[0]:.0%} it is between "
        f"{_number(row[0], scale)} and {_number(row[-1], scale)}; it read {_number(situation.last, scale)} as the "
        "newest value."
    )
    if found.names == (PRIOR,):
        said.append(
            "The series has not varied yet, so the forecast is its newest value, and the width is what the other "
            "series of the stream vary at their level."
        )
        return " ".join(said)
    median = levels.index(0.5)
    order = np.argsort(-found.weights[:, h], kind="stable")
    parts = [
        f"{_member(found.names[i])} ({found.weights[i, h]:.0%}) says {_number(found.members[i, h, median], scale)}"
        for i in order.tolist()
        if found.weights[i, h] >= NAMED_WEIGHT
    ]
    said.append(f"Of the members, {_listed(parts)}.")
    low, high = found.correction[h, 0], found.correction[h, -1]
    said.append(
        f"The calibration moves the median by {_signed(found.correction[h, median], scale)} and the outer quantiles by "
        f"{_signed(low, scale)} and {_signed(high, scale)}."
    )
    for season in situation.model.config.seasons:
        read = [one for one in found.read if one.season == season and one.horizon == horizon and np.isfinite(one.value)]
        if read:
            parts = [f"{_number(one.value, scale)} at {_time(one.time_ms)}" for one in read]
            said.append(f"One and two seasons of {season} steps before, it was {_listed(parts)}.")
    effects = [one for one in found.left_out if abs(one.effect[h]) > NAMED_EFFECT * scale]
    if effects:
        effects.sort(key=lambda one: -abs(float(one.effect[h])))
        parts = [f"{_input(one.kind, one.name)} {_signed(one.effect[h], scale)}" for one in effects]
        said.append(f"The inputs move the median by: {_listed(parts)}.")
    if found.similar:
        one = found.similar[0]
        value = one.followed[h]
        then = f"; {_steps(horizon)} later it was {_number(value, scale)}" if np.isfinite(value) else ""
        said.append(f"It looked most like now on {_time(one.end_ms)}{then}.")
    return " ".join(said)


def _number(value: float, scale: float) -> str:
    """Returns a number with digits down to a hundredth of the scale of its series."""
    digits = 6
    if scale > 0.0 and np.isfinite(value) and value:
        digits = min(max(int(np.log10(max(abs(value) / scale, 1.0))) + 3, 3), 15)
    return f"{value:.{digits}g}"


def _signed(value: float, scale: float) -> str:
    text = _number(value, scale)
    return text if text.startswith("-") else f"+{text}"


def _steps(count: int) -> str:
    return f"{count} step" + ("s" if count != 1 else "")


def _time(at_ms: int) -> str:
    """Returns a time in ISO-8601, in UTC."""
    if not 0 <= at_ms <= LATEST_MS:
        return f"{at_ms} ms"
    return datetime.fromtimestamp(at_ms / 1000, tz=UTC).isoformat(timespec="seconds").replace("+00:00", "Z")


def _member(name: str) -> str:
    kind, _, season = name.rpartition("_")
    texts = {
        "seasonal_naive": "the value one season of {} steps before",
        "seasonal_level": "that of one season of {} steps before, level-adjusted",
        "two_seasons": "the mean of two seasons of {} steps, level-adjusted",
    }
    return texts[kind].format(season) if kind in texts else f"the {name}"


def _input(kind: str, name: str) -> str:
    return {"covariate": f"covariate {name}", "season": f"season of {name} steps"}.get(kind, f"the {name}")


def _listed(parts: list[str]) -> str:
    return parts[0] if len(parts) == 1 else ", ".join(parts[:-1]) + " and " + parts[-1]
