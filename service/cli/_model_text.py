"""The text of `models show`: names of figures and settings as a reader says them, values with their units."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

from service.config.durations import format_duration

FIGURES: Final = {
    "challenger_loss": "held-out loss",
    "champion_loss": "held-out loss of the champion before",
    "naive_loss": 'held-out loss of "the last value stays"',
    "margin": "least gain for a promotion",
    "standard_error": "standard error of the difference of the losses",
    "targets": "held-out targets compared",
    "blocks": "blocks of the comparison",
    "loss": "training loss",
    "validation_loss": "validation loss",
    "steps": "optimiser steps",
    "best_step": "optimiser step that was kept",
    "clipped_steps": "optimiser steps with a clipped gradient",
    "gradient_norm": "gradient norm of the last step",
    "training_steps": "steps of history learnt from",
    "series": "series learnt from",
}
"""Figures of a training (`service.trainer.job.figures_of`), in the order in which they are shown."""

TRIAL: Final = {
    "shadow_events": "events of the trial",
    "shadow_compared": "forecasts compared",
    "shadow_gain": "gain on live events",
    "shadow_ratio": "loss over that of the live model",
    "shadow_better": "e-value that it is better",
    "shadow_worse": "e-value that it is worse",
}
"""Figures of a trial as a shadow model, in the order in which they are shown."""

_SHARES: Final = frozenset({"margin", "shadow_gain"})


def figure_lines(figures: Mapping[str, Any], names: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """Yields name and value of the figures that `names` has, in its order, as text."""
    for key, name in names.items():
        if isinstance(value := figures.get(key), int | float):
            yield name, f"{value:.2%}" if key in _SHARES else f"{value:.4g}" if isinstance(value, float) else str(value)


def network_lines(network: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Yields key of the configuration and value of the settings of a network, as text."""
    for key, value in network.items():
        if key == "interval_ms":
            yield "model.interval", format_duration(value / 1000.0) if value else "learnt from each series"
        elif key == "profile_steps":
            yield "state.bytes_per_series", f"older values kept as means of {value} steps"
        elif key in {"covariates", "future_covariates"}:
            yield f"input.{key}", _text(value)
        else:
            yield f"model.{key}", _text(value)


def _text(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list | tuple):
        return ", ".join(map(str, value)) or "none"
    return "none" if value == "" else str(value)
