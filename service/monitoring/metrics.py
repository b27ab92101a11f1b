"""Every metric of the daemon, in one class that takes a registry. Prefix `forecaster_`, base units.

The engine's updates cost the same for a batch of one and of ten thousand events. No label has values that grow with the
input: partitions are named by the configuration, reasons and outcomes are fixed lists.
"""

from __future__ import annotations

import contextlib
import copy
import time
from collections.abc import Mapping, Sequence
from importlib import metadata
from typing import Final

from prometheus_client import CollectorRegistry
from prometheus_client.metrics import MetricWrapperBase

from service.config.groups import shown_group
from service.messages.decode import REASONS
from service.monitoring.batch_histogram import BatchHistogram
from service.monitoring.collectors import SeriesCollector
from service.monitoring.families import FILES, RAW_STATUSES, STAGES, STATUSES, Families
from service.monitoring.group_label import GROUPED, OfGroup
from service.monitoring.health import CONDITIONS, HealthReport

# 1 us to 10 s, three per decade: from one event in a large batch up to a sink that hangs.
FAST_BUCKETS: Final = (
    *(float(f"{mantissa}e{power}") for power in range(-6, 1) for mantissa in (1, 2, 5)),
    10.0,
)
# A training takes seconds up to the deadline, a quarter of an hour by default.
TRAINING_BUCKETS: Final = (0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 60.0, 120.0, 300.0, 600.0, 900.0, 1800.0, 3600.0)

# From a step, which may be a duplicate with another time, to a day of minutes.
LATE_BUCKETS: Final = (1.0, 2.0, 3.0, 5.0, 10.0, 20.0, 30.0, 60.0, 120.0, 300.0, 1440.0)

_GROUPED_NAMES: Final = frozenset(f"forecaster_{name}" for name in GROUPED)


class Metrics:
    """All metrics. Attributes are named like the metrics, without prefix and unit.

    Args:
        registry: the registry that is scraped; None: a private one that is not scraped.
        groups: the groups of series, where the configuration has some: `GROUPED` families get the label `group`, and
            are used through `of_group`.
    """

    def __init__(self, registry: CollectorRegistry | None = None, groups: Sequence[str] = ()) -> None:
        self.registry = registry = registry or CollectorRegistry()
        families = Families(registry, groups)
        counter, gauge, histogram = families.counter, families.gauge, families.histogram

        # The stream.
        self.events = counter("events", "Events, by status; with aggregate the values of windows.", "status")
        self.rejected = counter("rejected", "Records rejected, by reason.", "reason")
        self.filtered = counter(
            "filtered_records", "Records, and elements of arrays in records, that do not meet input.where."
        )
        self.bootstrap_events = counter("bootstrap_events", "Events of the history of bootstrap that were taken in.")
        self.bootstrap_partitions = gauge("bootstrap_partitions", "Partitions that are taking in their history.")
        self.forecasts = counter("forecasts", "Forecasts published.")
        self.anomalies = counter("anomalies", "Events flagged as anomalies.")
        self.silences = counter("silences", "Series announced as silent.")
        self.feedback = counter("feedback", "Feedback on anomalies that is in force, by verdict.", "verdict")
        self.alerts = counter("alerts", "Alerts that have begun, by kind.", "kind")
        self.alerts_lasting = gauge("alerts_lasting", "Alerts that last, by kind.", "kind")
        self.desired_replicas = gauge(
            "desired_replicas", "Replicas for the load forecast up to the lead time.", "scale"
        )
        self.scale_load_forecast = gauge(
            "scale_load_forecast", "Quantile of the load that the desired replicas are for.", "scale"
        )
        self.scale_events = counter(
            "scale_events", "Loads compared with the replicas requested for the lead time before them.", "scale"
        )
        self.scale_under_provisioned = counter(
            "scale_under_provisioned", "Loads that exceeded the capacity of these replicas.", "scale"
        )
        self.same_step_events = counter(
            "same_step_events", "Events less than half an interval after the newest step, which replace its value."
        )
        self.interval_changes = counter("interval_changes", "Changes of the interval of a series.")
        self.interval_contradictions = counter(
            "interval_contradictions", "Series whose events contradict the configured model.interval."
        )
        self.series_reopened = counter(
            "series_reopened", "Series that continue after an event whose time was far in the future."
        )
        self.window_events = counter(
            "window_events",
            "Raw events, by what became of them: added to an open window, to a closed one (repaired), or late. "
            "After an adoption, repaired ones whose window is from before it have no revision.",
            "status",
        )
        self.windows_open = gauge("windows_open", "Open windows.", "partition")
        self.windows_skipped = counter("windows_skipped", "Windows without events left out of long gaps.")
        self.windows_dropped = counter(
            "windows_dropped", "Windows removed because their event times were far too late."
        )
        self.time_marks = counter("time_marks", "Time marks, which close windows of silent partitions.")
        self.revisions = counter(
            "revisions", "Forecasts corrected because of a late event, published or not (output.every)."
        )
        self.late_steps = BatchHistogram(
            "forecaster_late_steps",
            "Steps by which late events are late, repaired or not: the least input.late_within that repairs them.",
            registry, LATE_BUCKETS,
        )  # fmt: skip
        self.batches = counter("batches", "Batches published.")
        self.batch_events = histogram("batch_events", "Events per batch.", tuple(float(4**power) for power in range(9)))
        self.batch_duration = histogram(
            "batch_duration_seconds", "Seconds from the return of a poll to the commit of its batch.", FAST_BUCKETS
        )
        self.stage_duration = histogram(
            "stage_duration_seconds", "Seconds of one stage of a batch.", FAST_BUCKETS, "stage"
        )
        self.event_duration = BatchHistogram(
            "forecaster_event_duration_seconds", "Seconds of a batch divided by its events.", registry, FAST_BUCKETS
        )
        self.lag = gauge(
            "lag",
            "Distance of the committed position from the end of the source, in records; in bytes for files.",
            "partition",
        )
        self.position = gauge("position", "Committed source position.", "partition")
        self.newest_event = gauge("newest_event_timestamp_seconds", "Greatest event time observed.", "partition")

        # The engine.
        self.ready = gauge(
            "ready", "1 while every partition is restored, the transport is connected and the kernels are compiled."
        )
        self.healthy = gauge("healthy", "1 while the engine makes progress.")
        self.started = gauge("started", "1 after the daemon was ready for the first time.")
        self.warm = gauge("warm", "1 after the kernels are compiled.")
        self.condition = gauge(
            "condition", "1 while the condition holds: a reason not to be ready, or a warning.", "reason"
        )
        self.restored = gauge("restored_ratio", "Share of the present restore that is done; 1 without one.")
        self.disk_free = gauge("disk_free_bytes", "Free space of the file system of state.data_dir.")
        self.restarts = counter("restarts", "Restarts from the committed state after a failure of the transport.")
        self.sink_retries = counter("sink_retries", "Publications retried because the sink was unavailable.")
        self.schema_lookups = counter(
            "schema_lookups", "Schemas asked for at the schema registry, by result.", "result"
        )
        self.cold_starts = counter(
            "cold_starts", "Partitions started with empty state because the source no longer held what a replay needed."
        )
        self.restore_duration = gauge("restore_duration_seconds", "Seconds of the last restore, replay included.")
        self.replayed_events = counter("replayed_events", "Events replayed after a restart.")
        self.replayed_damaged = counter("replayed_damaged", "Damaged records found and left out in a replay.")
        self.series = gauge("series", "Series with state.", "partition")
        self.state_bytes = gauge("state_bytes", "Bytes of state in use.", "partition")
        self.series_bytes = gauge("series_bytes", "Bytes of state per series.")
        self.evicted = gauge("evicted_series", "Series evicted, over all restarts.")

        # Deliveries to targets that are not a sink.
        self.deliveries_sent = counter("deliveries_sent", "Deliveries that their target acknowledged.", "kind")
        self.deliveries_refused = counter(
            "deliveries_refused", "Deliveries that their target refused; they are not sent again.", "kind"
        )
        self.deliveries_dropped = counter(
            "deliveries_dropped", "Deliveries dropped because the spool was full or could not be written.", "kind"
        )
        self.deliveries_expired = counter(
            "deliveries_expired",
            "Deliveries that were not sent, as their alert is too old (alerts.max_age), over or of another process.",
            "kind",
        )
        self.delivery_failures = counter(
            "delivery_failures", "Failed attempts to send a batch of deliveries, which is sent again.", "kind"
        )
        self.deliveries_pending = gauge(
            "deliveries_pending_bytes", "Bytes of deliveries on disk that are not acknowledged.", "kind"
        )
        self.deliveries_oldest = gauge(
            "deliveries_oldest_seconds", "Age of the oldest delivery that is not acknowledged; 0 without one.", "kind"
        )

        # Quality of forecasts, verified when their targets arrive; of a sample of series (metrics.sample_series).
        # Errors, losses and widths are in units of the usual error of the series' 1-step-ahead seasonal naive forecast.
        self.scored = counter("scored_forecasts", "Verified forecasts: those whose target has arrived.", "horizon")
        self.interval_scored = counter(
            "interval_scored", "Verified prediction intervals, the denominator of coverage.", "horizon", "level"
        )
        self.interval_hits = counter(
            "interval_hits", "Actuals inside their prediction interval, the numerator of coverage.", "horizon", "level"
        )
        self.interval_coverage = gauge(
            "interval_coverage", "Rolling interval coverage: share of actuals inside the interval.", "horizon", "level"
        )
        self.interval_width = gauge("interval_width", "Rolling mean width of prediction intervals.", "horizon", "level")
        self.interval_budget = gauge(
            "interval_miss_budget", "Share of actuals that may lie outside: 1 - level + tolerance.", "level"
        )
        self.loss_scored = counter(
            "pinball_scored", "Verified forecasts that the pinball loss is summed over.", "horizon"
        )
        self.loss_sum = counter("pinball_losses", "Sum of mean pinball losses.", "horizon")
        self.loss = gauge("pinball_loss", "Rolling mean pinball loss over all quantiles.", "horizon")
        self.error_sum = counter("absolute_errors", "Sum of absolute errors of medians.", "horizon")
        self.naive_error_sum = counter(
            "naive_absolute_errors",
            "Sum of absolute errors of seasonal naive forecasts of the same actuals.",
            "horizon",
        )
        self.skill = gauge("skill", "Rolling skill: 1 - absolute error / absolute error of seasonal naive.", "horizon")
        self.skill_target = gauge("skill_target", "Objective for the skill (metrics.skill_target).")
        self.ensemble_weight = gauge("ensemble_weight", "Mean weight of an ensemble member.", "member", "horizon")

        # Configuration files: "config" and "web".
        self.reloads = counter(
            "config_reloads", "Reloads of a changed configuration file, by outcome.", "file", "outcome"
        )
        self.reload_ok = gauge(
            "config_last_reload_successful", "0 while the changed configuration file cannot be used.", "file"
        )
        self.reload_at = gauge(
            "config_last_reload_timestamp_seconds", "Time at which the configuration file last took effect.", "file"
        )
        self.restart_needed = gauge("config_restart_needed", "Changed keys that take effect at the next restart.")

        # The process itself.
        self.log_lines = counter("log_lines", "Log lines, by kind.", "level", "kind")
        self.log_suppressed = counter(
            "log_suppressed", "Log lines suppressed because there were too many of a kind.", "kind"
        )
        self.http_refused = counter("http_refused", "Requests and connections refused, by reason.", "reason")
        self.push_events = counter("push_events", "Pushed events that were acknowledged.", "path")
        self.push_refused = counter("push_refused", "Requests with pushed events refused, by reason.", "reason")
        self.push_filtered = counter("push_filtered", "Samples filtered out by input.push_metrics or input.series.")
        self.push_spool = gauge("push_spool_bytes", "Bytes of pushed events on disk.")
        self.recent_failures = counter("recent_failures", "Batches that could not be recorded for the API.")
        self.stream_clients = gauge("stream_clients", "Clients of the stream of server-sent events.")
        self.stream_dropped = counter(
            "stream_messages_dropped", "Server-sent events dropped because the client was too slow; it is notified."
        )

        # Metrics of exported series, see `exports`.
        self.exports = SeriesCollector(registry)

        # Models.
        self.model = families.info("model", "The champion in force.")
        self.adoptions = counter("adoptions", "Models adopted between two batches.")
        self.models_refused = counter("models_refused", "Champions that could not be adopted.")
        self.training_runs = counter("training_runs", "Trainings, by outcome.", "outcome")
        self.training_triggers = counter("training_triggers", "Trainings that became due, by cause.", "cause")
        self.drift = gauge(
            "drift", "Statistic of the drift test: excess relative error, in steps of all series.", "partition"
        )
        self.shadow_running = gauge(
            "shadow_running", "1 while a shadow model runs: a challenger, or the former champion."
        )
        self.shadow_events = gauge(
            "shadow_events", "Forecasts compared in the present or last trial of a shadow model."
        )
        self.shadow_gain = gauge("shadow_gain", "Mean of (champion's loss - shadow model's loss) / (their sum).")
        self.shadow_e_value = gauge("shadow_e_value", "E-value for the shadow model, and against it.", "side")
        self.shadow_verdicts = counter("shadow_verdicts", "Trials of shadow models that ended, by verdict.", "verdict")
        self.training_running = gauge("training_running", "1 while a training runs.")
        self.training_duration = histogram("training_duration_seconds", "Seconds of a training.", TRAINING_BUCKETS)
        self.training_loss = gauge("training_loss", "Loss of the last training, by data.", "data")
        self.training_challenger_loss = gauge("training_challenger_loss", "Held-out loss of the last challenger.")
        self.training_champion_loss = gauge("training_champion_loss", "Held-out loss of its champion.")
        self.training_naive_loss = gauge("training_naive_loss", "Held-out loss of the naive forecast: the last value.")
        self.training_gradient_norm = gauge(
            "training_gradient_norm", "Global norm of the gradient of the last optimiser step, before clipping."
        )
        self.training_steps = counter("training_steps", "Optimiser steps taken.")
        self.training_clipped_steps = counter("training_clipped_steps", "Optimiser steps whose gradient was clipped.")
        self.seasons_differ = gauge(
            "seasons_differ",
            "Seasons that the history of the last training shows and the network lacks, or the reverse.",
        )
        self.training_last = gauge("training_last_timestamp_seconds", "Time at which the last training ended.")

        # Snapshots.
        self.snapshot_duration = histogram(
            "snapshot_duration_seconds", "Seconds to write a snapshot, in the background.", FAST_BUCKETS
        )
        self.snapshot_age = gauge(
            "snapshot_age_seconds",
            "Seconds since the last snapshot, or since the restore if none was written.",
            "partition",
        )
        self.snapshots_written = counter("snapshots_written", "Snapshots written, full and incremental.", "kind")
        self.snapshot_bytes = counter(
            "snapshot_written_bytes", "Bytes of snapshots written, full and incremental.", "kind"
        )
        self.snapshot_size = gauge("snapshot_size_bytes", "Size of the last snapshot.", "partition")
        self.snapshot_failures = counter("snapshot_failures", "Snapshots that could not be written.")
        self.snapshots_shared = counter("snapshots_shared", "Snapshots copied to the topic that other machines read.")
        self.snapshot_share_failures = counter("snapshot_share_failures", "Snapshots that could not be copied there.")
        self.snapshots_fetched = counter("snapshots_fetched", "Snapshots of another machine used at a start.")
        self.snapshots_refused = counter("snapshots_refused", "Snapshots not used, by reason.", "reason")
        self.build = families.info("build", "The program.")

        self._snapshot_at: dict[str, float] = {}
        self._stages = {name: self.stage_duration.labels(name) for name in STAGES}
        self._of_groups: dict[str, Metrics] = {}
        for group in groups:
            self._of_groups[group] = own = copy.copy(self)
            for name, family in vars(self).items():
                if isinstance(family, MetricWrapperBase) and next(iter(family.describe())).name in _GROUPED_NAMES:
                    setattr(own, name, OfGroup(family, shown_group(group)))
        for name in FILES:
            self.reload_ok.labels(name).set(1)
        self.build.info({"version": metadata.version("forecaster-daemon")})

    def of_group(self, group: str) -> Metrics:
        """Returns the metrics of a group of series; these without groups."""
        return self._of_groups.get(group, self)

    def raw_events(self, counts: Sequence[int]) -> None:
        """Counts raw events of windows: those of open windows, repaired and late ones."""
        for name, count in zip(RAW_STATUSES, counts, strict=True):
            self.window_events.labels(name).inc(count)

    def batch_published(
        self, statuses: Sequence[int], rejects: Mapping[str, int], forecasts: int, stages: Mapping[str, float]
    ) -> None:
        """Counts one published batch.

        Args:
            statuses: number of events by status: ok, missing, duplicate, late, broadcast, unknown, repaired.
            rejects: records rejected, by reason.
            forecasts: number of published forecasts.
            stages: seconds by stage.
        """
        for name, count in zip(STATUSES, statuses, strict=True):
            if count:
                self.events.labels(name).inc(count)
        for reason, count in rejects.items():
            self.rejected.labels(reason if reason in REASONS else "undecodable").inc(count)
        self.forecasts.inc(forecasts)
        self.batches.inc()
        total = sum(stages.values())
        self.batch_duration.observe(total)
        for stage, seconds in stages.items():
            self._stages[stage].observe(seconds)
        if events := sum(statuses):
            self.batch_events.observe(events)
            self.event_duration.observe(total / events, events)

    def show_health(self, report: HealthReport) -> None:
        """Sets the gauges of a health report."""
        self.healthy.set(report.healthy)
        self.ready.set(report.ready)
        self.started.set(report.started)
        self.warm.set(report.warm)
        self.restored.set(report.restored)
        for name in CONDITIONS:
            self.condition.labels(name).set(name in report.conditions)

    def logged(self, level: str, kind: str, through: bool) -> None:  # noqa: FBT001 - the signature of LogLimits
        """Counts a log line; the kinds are literals in the program."""
        (self.log_lines.labels(level, kind) if through else self.log_suppressed.labels(kind)).inc()

    def partition_restored(self, partition: str, now: float | None = None) -> None:
        """Adds the gauges of a partition; the age of its snapshot counts from now until the first one is written."""
        self._snapshot_at[partition] = time.time() if now is None else now
        child = self.snapshot_age.labels(partition)
        child.set_function(lambda: max(0.0, time.time() - self._snapshot_at[partition]))

    def partition_left(self, partition: str) -> None:
        """Removes the gauges of a partition that another process serves now."""
        gauges = (self.lag, self.position, self.newest_event, self.snapshot_age, self.snapshot_size, self.windows_open)
        groups = self._of_groups.values() or [self]
        for family in (*gauges, *(one for own in groups for one in (own.series, own.state_bytes, own.drift))):
            with contextlib.suppress(KeyError):  # not shown yet
                family.remove(partition)

    def snapshot_written(self, partition: str, kind: str, size: int, seconds: float, now: float) -> None:
        """Counts one written snapshot: full or incremental, bytes, seconds to write, time in epoch seconds."""
        self._snapshot_at[partition] = now
        self.snapshot_duration.observe(seconds)
        self.snapshots_written.labels(kind).inc()
        self.snapshot_bytes.labels(kind).inc(size)
        self.snapshot_size.labels(partition).set(size)

    def training_ended(self, outcome: str, seconds: float, figures: Mapping[str, float], now: float) -> None:
        """Counts one finished training and its figures (see `service.trainer.job.figures_of`)."""
        self.training_runs.labels(outcome).inc()
        self.training_running.set(0)
        self.training_duration.observe(seconds)
        self.training_last.set(now)
        gauges = {
            "loss": self.training_loss.labels("train"),
            "validation_loss": self.training_loss.labels("validation"),
            "challenger_loss": self.training_challenger_loss,
            "champion_loss": self.training_champion_loss,
            "naive_loss": self.training_naive_loss,
            "gradient_norm": self.training_gradient_norm,
        }
        for name, child in gauges.items():
            if name in figures:
                child.set(figures[name])
        self.training_steps.inc(figures.get("steps", 0))
        self.training_clipped_steps.inc(figures.get("clipped_steps", 0))
