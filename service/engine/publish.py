"""Step 4 of the loop: what was forecast for a piece of a batch as one unit, and that unit into the sink.

Until the sink has it, nothing of it counts as read; while the sink is down, nothing else is read.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence

import numpy as np
import structlog

from forecaster import Forecasts, Status
from service.backoff import Backoff
from service.config.sections import Config
from service.errors import SinkUnavailableError
from service.messages.controls import Exclude
from service.messages.decode import Decoded, encode
from service.monitoring.health import Health
from service.monitoring.metrics import Metrics
from service.partition import Partition, Piece
from service.ports import Adoption, Clock, Encoded, Outcomes, Records, Reject, Transport, Unit
from service.registry.exclusions import Exclusion, ExclusionError, say
from service.registry.models import Registry

_log = structlog.get_logger()


class Publisher:
    """Makes units and publishes them. Belongs to the loop's thread.

    Args:
        config: `output` and `input.late` count; they do not change under way.
        registry: keeps what control records say.
        metrics, health: where it tells of a sink that is down.
        clock: for durations.
    """

    def __init__(self, config: Config, registry: Registry, metrics: Metrics, health: Health, clock: Clock) -> None:
        self._every, self._keeps_late = config.output.every, config.input.late == "dead-letter"
        self._registry, self._metrics, self._health, self._clock = registry, metrics, health, clock

    def unit(
        self,
        transport: Transport,
        partition: Partition,
        piece: Piece,
        records: Records,
        forecasts: Forecasts,
        adoption: Adoption | None,
    ) -> tuple[Unit, float]:
        """What is published, and the seconds that handing on its first forecasts took meanwhile."""
        model, staging = partition.forecaster.model, 0.0

        def stage(part: Encoded) -> None:
            nonlocal staging
            before = self._clock.monotonic()
            transport.stage(partition.name, part)
            staging += self._clock.monotonic() - before

        encoded = encode(
            piece.decoded,
            forecasts,
            partition=partition.name,
            levels=model.config.quantiles,
            model_sha256=model.sha256,
            every=self._every,
            stage=stage,
            run=partition.run,
        )
        rejects = piece.decoded.rejects
        if self._keeps_late and (late := _late(piece.decoded, forecasts, records)):
            rejects = sorted([*rejects, *late], key=lambda reject: reject.position)
        unit = Unit(
            partition.name,
            piece.position,
            piece.next_position,
            encoded.series,
            encoded.forecasts,
            rejects,
            adoption,
            encoded.positions,
            _outcomes(forecasts),
            partition.run,
        )
        return unit, staging

    def obey(self, controls: Sequence[Exclude]) -> None:
        """Keeps what control records say before they count as read; said twice, after a crash, it counts once."""
        for one in controls:
            window = Exclusion(one.series, one.from_ms, one.to_ms, one.reason, self._clock.wall_ms())
            told = {"series": one.series, "from_ms": one.from_ms, "to_ms": one.to_ms, "position": one.position}
            try:
                if say(self._registry.folder, window):
                    _log.info("not to be learnt from", reason=one.reason, **told)
            except ExclusionError as error:
                _log.warning("window not kept, it will be learnt from", error=str(error), **told)

    def publish(self, transport: Transport, unit: Unit, stop: threading.Event) -> bool:
        """Publishes; while the sink is down nothing else is read, and nothing is lost.

        Returns:
            False if the end is wanted before the sink came back: the unit is not committed.
        """
        backoff, blocked = Backoff(), False
        while True:
            try:
                transport.publish(unit)
            except SinkUnavailableError as error:
                self._metrics.sink_retries.inc()
                self._health.enter("blocked", str(error))
                if not blocked:
                    _log.warning("sink down, waiting for it", error=str(error))
                blocked = True
                if stop.wait(backoff.next()):
                    return False
            else:
                if blocked:
                    _log.info("sink is back")
                    self._health.enter("running")
                return True


def _outcomes(forecasts: Forecasts) -> Outcomes:
    counts = np.bincount(forecasts.status, minlength=len(Status)).tolist()
    late, duplicates = counts[Status.LATE], counts[Status.DUPLICATE]
    return Outcomes(sum(counts) - late - duplicates, late, duplicates)


def _late(decoded: Decoded, forecasts: Forecasts, records: Records) -> Sequence[Reject]:
    """The late events of a batch as rejects, with their original bytes."""
    found = []
    for at in np.flatnonzero(forecasts.status == Status.LATE).tolist():
        index = decoded.index[at]
        found.append(
            Reject(
                records.positions[index],
                records.values[index],
                "late",
                f"event time {int(forecasts.origin_ms[at])} ms is before the newest of series {decoded.series[at]!r}",
                None if records.keys is None else records.keys[index],
                () if records.headers is None else records.headers[index],
            )
        )
    return found
