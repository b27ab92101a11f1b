"""Creates families of metrics with every value of their bounded labels, so that rates have no gap at the beginning."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import product
from typing import Any, Final, TypeVar

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Info
from prometheus_client.metrics import MetricWrapperBase

from forecaster import Status
from service.config.alerts import KINDS
from service.config.groups import shown_group
from service.messages.decode import REASONS
from service.monitoring.group_label import GROUPED
from service.monitoring.health import CONDITIONS

STATUSES: Final = tuple(status.name.lower() for status in Status)
RAW_STATUSES: Final = ("open", "repaired", "late")
STAGES: Final = ("decode", "observe", "encode", "publish")
FILES: Final = ("config", "web")
DELIVERY_KINDS: Final = ("remote_write", "alertmanager", "webhook")
_SNAPSHOT_KINDS: Final = ("full", "incremental")

_VALUES: Final[Mapping[str, Sequence[str]]] = {
    "events": STATUSES,
    "rejected": tuple(REASONS),
    "window_events": RAW_STATUSES,
    "stage_duration_seconds": STAGES,
    "condition": CONDITIONS,
    "schema_lookups": ("found", "unknown", "failed"),
    "config_last_reload_successful": FILES,
    "http_refused": (
        "unauthorized", "too_large", "too_slow", "busy", "bodies", "connections", "cut", "host", "origin",
    ),
    "feedback": ("ack", "mute", "confirm"),
    "alerts": KINDS,
    "alerts_lasting": KINDS,
    "push_events": ("events", "write", "otlp"),
    **dict.fromkeys(
        ("deliveries_sent", "deliveries_refused", "deliveries_dropped", "deliveries_expired", "delivery_failures",
         "deliveries_pending_bytes", "deliveries_oldest_seconds"),
        DELIVERY_KINDS,
    ),
    "push_refused": ("invalid", "too_large", "unsupported", "full", "not_ready", "failed", "off"),
    "training_runs": ("promoted", "shadow", "kept", "nothing_to_learn", "failed", "killed", "skipped"),
    "training_triggers": ("schedule", "drift", "hand"),
    "training_loss": ("train", "validation"),
    "shadow_verdicts": ("promoted", "kept", "confirmed", "restored"),
    "shadow_e_value": ("for", "against"),
    "snapshots_written": _SNAPSHOT_KINDS,
    "snapshot_written_bytes": _SNAPSHOT_KINDS,
    "snapshots_refused": ("damaged", "ahead", "misplaced", "foreign", "unfit"),
}  # fmt: skip
LABEL_VALUES: Final[Mapping[str, Sequence[tuple[str, ...]]]] = {
    **{name: [(value,) for value in values] for name, values in _VALUES.items()},
    "config_reloads": [*product(FILES, ("done", "refused"))],
}
"""Values of the labels of a metric, by its name without prefix; partitions, horizons and members are not among them."""

_Family = TypeVar("_Family", bound=MetricWrapperBase)


class Families:
    """Creates families of metrics. A metric of `GROUPED` has the label `group` where there are groups.

    Args:
        registry: the registry that is scraped.
        groups: the groups of series; none where the configuration has none.
    """

    def __init__(self, registry: CollectorRegistry, groups: Sequence[str]) -> None:
        self._registry = registry
        self._groups = [(shown_group(group),) for group in groups]

    def counter(self, name: str, text: str, *labels: str) -> Counter:
        """Creates a counter, by its name without prefix and `_total`, its help text and its labels."""
        return self._created(Counter, name, text, labels)

    def gauge(self, name: str, text: str, *labels: str) -> Gauge:
        """Creates a gauge, see `counter`."""
        return self._created(Gauge, name, text, labels)

    def histogram(self, name: str, text: str, buckets: Sequence[float], *labels: str) -> Histogram:
        """Creates a histogram with the upper bounds of its buckets, see `counter`."""
        return self._created(Histogram, name, text, labels, buckets=buckets)

    def info(self, name: str, text: str) -> Info:
        """Creates a metric that shows texts as labels, see `counter`."""
        return self._created(Info, name, text, ())

    def _created(self, kind: type[_Family], name: str, text: str, labels: Sequence[str], **options: Any) -> _Family:
        groups: Sequence[tuple[str, ...]] = self._groups if name in GROUPED and self._groups else [()]
        named = (*labels, "group") if groups[0] else labels
        family = kind(f"forecaster_{name}", text, named, registry=self._registry, **options)
        if labels or (named and kind is Counter):
            for values, group in product(LABEL_VALUES.get(name, ()) if labels else [()], groups):
                family.labels(*values, *group)
        return family
