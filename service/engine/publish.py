"""Step 4 of the loop: builds a unit from the forecasts of a piece, and publishes it to the sink.

Records count as read only after the sink has committed the unit; while the sink is unavailable, nothing else is read.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence

import numpy as np
import structlog

from forecaster import Forecasts, Status
from service.backoff import Backoff
from service.config.sections import Config
from service.engine.group_units import in_order, total_of, units_of_groups
from service.engine.schema_lookups import answered
from service.errors import ConfigurationError, SinkUnavailableError
from service.messages.controls import Exclude
from service.messages.decode import Decoded, reject_of
from service.messages.encode import JSON, encode
from service.messages.parsed import Problem
from service.monitoring.health import Health
from service.monitoring.metrics import Metrics
from service.partitions.partition import Partition, Piece
from service.ports import Adoption, Clock, Encoded, Outcomes, Records, Reject, Transport, Unit
from service.registry.exclusions import Exclusion, ExclusionError, record
from service.registry.models import Registry
from service.schemas.output_formats import registered_format
from service.schemas.schema import SchemaError

_log = structlog.get_logger()


class Publisher:
    """Builds units and publishes them. Used in the loop's thread.

    Args:
        config: uses `output` and `input.late`, which do not change at run time; `schema_registry` for `output.format`.
        registry: stores the exclusions of control records.
        metrics, health: report a sink that is unavailable.
        clock: for durations.
    """

    def __init__(self, config: Config, registry: Registry, metrics: Metrics, health: Health, clock: Clock) -> None:
        self._outputs = {name: config.of_group(name).output for name in config.group_names}
        self._keeps_late = config.input.late == "dead-letter"
        self._registry, self._metrics, self._health, self._clock = registry, metrics, health, clock
        self._config, self._output = config, JSON

    def open(self, stop: threading.Event) -> bool:
        """Registers the schema of forecasts where their format has one, and waits while the registry is down.

        Returns:
            False if a stop was requested before it was registered.

        Raises:
            ConfigurationError: the registry refuses it.
        """

        def register() -> None:
            self._output = registered_format(self._config)

        try:
            return answered(register, self._health, stop)
        except SchemaError as error:
            msg = f'output.format: got "{self._config.output.format}", but its schema cannot be registered: {error}'
            raise ConfigurationError(msg) from None

    def unit(
        self,
        transport: Transport,
        partition: Partition,
        piece: Piece,
        records: Records,
        forecasts: Sequence[Forecasts],
        adoptions: Sequence[Adoption],
    ) -> tuple[list[Unit], float]:
        """Builds a unit of the forecasts of each share of a piece.

        Returns:
            The unit, with groups followed by the share of each group in it, and the seconds that staging its first
            forecasts took meanwhile.
        """
        staging = 0.0

        def stage(part: Encoded) -> None:
            nonlocal staging
            before = self._clock.monotonic()
            transport.stage(partition.name, part)
            staging += self._clock.monotonic() - before

        shares = partition.shares(piece)
        several = len(shares) > 1  # whose forecasts are put in the order of the records before they are sent
        places: list[list[int]] = [[] for _ in shares]
        parts = [
            self._encoded(group, share, records, found, None if several else stage, at if several else None)
            for (group, share), found, at in zip(shares, forecasts, places, strict=True)
        ]
        rejects = piece.decoded.rejects
        if more := self._refused(shares, forecasts, records):
            rejects = sorted([*rejects, *more], key=lambda reject: reject.position)
        outcomes = [_outcomes(share.decoded, found) for (_, share), found in zip(shares, forecasts, strict=True)]
        encoded = in_order(parts, places, [share for _, share in shares]) if several else parts[0]
        own = [one for one in adoptions if not one.group]
        unit = Unit(
            partition.name,
            piece.position,
            piece.next_position,
            encoded.series,
            encoded.forecasts,
            rejects,
            own[0] if own else None,
            encoded.positions,
            total_of(outcomes),
            partition.run,
            piece.mark,
            [one for one in adoptions if one.group],
        )
        return [unit, *(units_of_groups(unit, parts, outcomes) if several else ())], staging

    def _encoded(
        self,
        group: Partition,
        share: Piece,
        records: Records,
        forecasts: Forecasts,
        stage: Callable[[Encoded], None] | None,
        places: list[int] | None,
    ) -> Encoded:
        """Returns the forecasts of a share as outgoing records."""
        settings, model = self._outputs[group.group], group.forecaster.model
        if settings.publish_from_ms is None and records.of_history:
            return Encoded([], [], [])
        return encode(
            share.decoded,
            forecasts,
            partition=group.name,
            levels=model.config.quantiles,
            model_sha256=model.sha256,
            every=settings.every,
            from_ms=settings.publish_from_ms,
            stage=stage,
            run=group.run,
            output=self._output,
            places=places,
        )

    def _refused(
        self, shares: Sequence[tuple[Partition, Piece]], forecasts: Sequence[Forecasts], records: Records
    ) -> Sequence[Reject]:
        """Returns the records of events that were decoded and not observed, as far as they are to be rejected."""
        found = list[tuple[int, Problem]]()
        for (_, share), own in zip(shares, forecasts, strict=True):
            decoded = share.decoded
            if decoded.windows is not None:
                found += [(at, one) for at, one in decoded.windows.refused if self._keeps_late or one.reason != "late"]
            elif self._keeps_late:
                found += _late(decoded, own)
        rejected = {reject.position for _, share in shares for reject in share.decoded.rejects}
        return _as_rejects(rejected, found, records) if found else ()

    def apply_controls(self, controls: Sequence[Exclude]) -> None:
        """Stores the exclusions of control records before these count as read.

        A repetition after a crash has no effect.
        """
        for one in controls:
            window = Exclusion(one.series, one.from_ms, one.to_ms, one.reason, self._clock.wall_ms())
            window_fields = {"series": one.series, "from_ms": one.from_ms, "to_ms": one.to_ms, "position": one.position}
            try:
                if record(self._registry.folder, window):
                    _log.info("window excluded from training", reason=one.reason, **window_fields)
            except ExclusionError as error:
                _log.warning("exclusion not stored, training still uses the window", error=str(error), **window_fields)

    def publish(self, transport: Transport, unit: Unit, stop: threading.Event) -> bool:
        """Publishes a unit. While the sink is unavailable, it retries and reads nothing else; no unit is lost.

        Returns:
            False if a stop was requested while the sink was unavailable: the unit is not committed.
        """
        backoff, blocked = Backoff(), False
        while True:
            try:
                transport.publish(unit)
            except SinkUnavailableError as error:
                self._metrics.sink_retries.inc()
                self._health.enter("blocked", str(error))
                if not blocked:
                    _log.warning("sink unavailable, retrying", error=str(error))
                blocked = True
                if stop.wait(backoff.next()):
                    return False
            else:
                if blocked:
                    _log.info("sink available again")
                    self._health.enter("running")
                return True


def _outcomes(decoded: Decoded, forecasts: Forecasts) -> Outcomes:
    counts = np.bincount(forecasts.status, minlength=len(Status)).tolist()
    late, repeated = counts[Status.LATE], counts[Status.DUPLICATE]
    if decoded.windows is not None:  # counts are of raw events
        return Outcomes(decoded.windows.taken, decoded.windows.late, len(decoded.duplicates))
    return Outcomes(sum(counts) - late - repeated, late, repeated + len(decoded.duplicates))


def _late(decoded: Decoded, forecasts: Forecasts) -> list[tuple[int, Problem]]:
    """Returns index of the record and problem of every late event."""
    return [
        (
            decoded.index[at],
            Problem(
                "late",
                f"event time {int(forecasts.origin_ms[at])} ms is before the newest event of {decoded.series[at]!r}",
            ),
        )
        for at in np.flatnonzero(forecasts.status == Status.LATE).tolist()
    ]


def _as_rejects(rejected: set[int], found: Sequence[tuple[int, Problem]], records: Records) -> Sequence[Reject]:
    """Returns records as rejects, with their original bytes, each record once; `rejected`: positions of others."""
    rejects = list[Reject]()
    for index, problem in found:
        if records.positions[index] not in rejected:
            rejected.add(records.positions[index])
            rejects.append(reject_of(records, index, problem))
    return rejects
