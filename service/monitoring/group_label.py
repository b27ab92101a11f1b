"""The label `group` of metrics, which they have where the configuration has groups of series (`[[group]]`) only."""

from __future__ import annotations

from typing import Any, Final

GROUPED: Final = frozenset({
    "events", "forecasts", "anomalies", "silences", "series", "state_bytes", "series_bytes", "evicted_series",
    "scored_forecasts", "interval_scored", "interval_hits", "interval_coverage", "interval_width", "pinball_scored",
    "pinball_losses", "pinball_loss", "absolute_errors", "naive_absolute_errors", "skill", "ensemble_weight", "model",
    "adoptions", "models_refused", "training_runs", "training_triggers", "drift", "shadow_running", "shadow_events",
    "shadow_gain", "shadow_e_value", "shadow_verdicts", "training_duration_seconds", "training_loss",
    "training_challenger_loss", "training_champion_loss", "training_naive_loss", "training_gradient_norm",
    "training_steps", "training_clipped_steps", "seasons_differ", "training_last_timestamp_seconds",
})  # fmt: skip
"""Metrics, by their names without prefix, whose values differ between groups."""


class OfGroup:
    """A family of metrics with the label `group`, for one group: used like one without that label.

    Args:
        family: its last label is `group`.
        group: the value of the label.
    """

    def __init__(self, family: Any, group: str) -> None:
        self._family, self._group = family, group

    def labels(self, *values: str) -> Any:
        """Returns the metric of the group with these values of the other labels."""
        return self._family.labels(*values, self._group)

    def remove(self, *values: str) -> None:
        """Removes the metric of the group with these values of the other labels."""
        self._family.remove(*values, self._group)

    def __getattr__(self, name: str) -> Any:
        """Returns an attribute of the metric of the group, as `inc` or `set`, where there are no other labels."""
        return getattr(self._family.labels(self._group), name)
