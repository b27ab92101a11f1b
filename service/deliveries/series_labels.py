"""The labels of a series of Prometheus beside labels of the daemon's own.

The name of the metric becomes the label `metric`. A label of the series whose name the daemon uses itself, or somebody
has configured, gets the prefix `exported_`, as in Prometheus.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Final

from service.messages.prometheus_names import NAME, labels_of

MOST_LABELS: Final = 40
"""Labels of a series that an alert gets."""
MOST_CHARACTERS: Final = 1024
"""Longest name or value of a label of an alert."""

_JOINED: Final = ("instance", "job")  # what alerts are joined by; kept first


def with_series_labels(series: str, fixed: Mapping[str, str], own: Collection[str]) -> dict[str, str] | None:
    """Returns labels and those of a series.

    Args:
        series: as events name it.
        fixed: the labels that are there.
        own: names that the daemon gives besides these.

    Returns:
        The labels, `fixed` first; None where the name of the series has no labels.
    """
    labels = labels_of(series)
    if labels is None:
        return None
    found, rest = dict(fixed), dict(labels)
    if name := rest.pop(NAME, ""):
        _add(found, (), "metric", name)
    taken = {*found, *own}
    for label, value in sorted(rest.items(), key=lambda one: one[0] in taken):  # those that keep their name first
        _add(found, own, label, value)
    return found


def _add(found: dict[str, str], own: Collection[str], label: str, value: str) -> None:
    while label in found or label in own:
        label = f"exported_{label}"
    found[label] = value


def alert_labels(series: str, fixed: Mapping[str, str], own: Collection[str]) -> dict[str, str]:
    """Returns the labels that an alert gets from its series, as an Alertmanager accepts them.

    Left out are empty ones, which are none to an Alertmanager, names that begin with "__", which are internal, and what
    is too long or too many; `instance` and `job` come first.

    Args:
        series: as events name it; a name without labels has none.
        fixed: labels of all alerts. own: names that the daemon gives itself.
    """
    found = with_series_labels(series, fixed, own) or {}
    usable = [
        (label, value) for label, value in found.items()
        if label not in fixed and value and not label.startswith("__")
        and max(len(label), len(value)) <= MOST_CHARACTERS
    ]  # fmt: skip
    usable.sort(key=lambda one: one[0] not in _JOINED)
    return dict(usable[:MOST_LABELS])
