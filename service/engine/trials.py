"""Trials of shadow models on live events: a challenger, and after its promotion the former champion.

    challenger   better by both e-processes: promoted.  worse, or time is up: kept as a file, never adopted
    former       its mean loss is lower than that of its successor: restored.  worse, or time is up: confirmed

The e-processes are those of forecaster/evaluation/e_process.py. There is no verdict before most compared forecasts are
of series that have seen one longest season since the start, nor before `ENOUGH` forecasts were compared. The registry
has the models on trial; the partitions and their snapshots have the progress, which a replay repeats. A trial is
evaluated every `retrain.check_events` events of a partition, at exactly these positions, and only while no partition is
being restored.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import Any, Final

import structlog

from forecaster import ForecasterError, Shadow
from service.config.retrain import RetrainConfig
from service.engine.champion import Champion
from service.errors import ServiceError
from service.monitoring.metrics import Metrics
from service.partitions.partition import Partition
from service.registry.decisions import Action, Decision
from service.registry.models import Registry

_log = structlog.get_logger()

# Compared forecasts before a verdict, except "not clearly better".
ENOUGH: Final = 100
# A trial whose series have not seen one season when its time is up is extended to at most this multiple.
PATIENCE: Final = 10
_MOST: Final = 1e300  # JSON has no infinity


@dataclass(frozen=True, slots=True)
class TrialScore:
    """The state of a trial over all partitions that take part.

    Attributes:
        events: of their streams since the start. compared: number of compared forecasts.
        seasoned: number of them of series that have seen one longest season since the start.
        gain: relative improvement by the shadow model, as a share of the sum of both losses.
        ratio: mean loss of the shadow model divided by that of the control, scaled by the usual loss of each series.
        better, worse: mean of the partitions' e-values, itself an e-value (Vovk & Wang 2021): for the shadow, against
            it.
        lower: the same for a lower mean loss of the shadow only.
    """

    events: int
    compared: int
    seasoned: int
    gain: float
    ratio: float
    better: float
    worse: float
    lower: float

    @classmethod
    def of(cls, shadows: Collection[Shadow]) -> TrialScore:
        """Combines the trials of the partitions."""
        found = [shadow.e_process for shadow in shadows]
        count, control = sum(e_process.count for e_process in found), sum(e_process.first for e_process in found)
        finite = 0.0 < control < math.inf
        return cls(
            sum(shadow.events for shadow in shadows),
            count,
            sum(shadow.seasoned for shadow in shadows),
            sum(e_process.total for e_process in found) / max(1, count),
            min(sum(e_process.second for e_process in found) / control, _MOST) if finite else 1.0,
            sum(e_process.better for e_process in found) / max(1, len(found)),
            sum(e_process.worse for e_process in found) / max(1, len(found)),
            sum(e_process.lower for e_process in found) / max(1, len(found)),
        )

    @property
    def enough(self) -> bool:
        """Whether there were enough compared forecasts and seasons for a verdict."""
        return self.compared >= ENOUGH and self.full_season

    @property
    def full_season(self) -> bool:
        """Whether most compared forecasts are of series that have seen one longest season."""
        return 0 < self.compared <= 2 * self.seasoned


class Trials:
    """Starts and ends trials.

    Args:
        settings: duration and error probability of trials.
        registry: reads and records decisions.
        champion: loads promoted and restored models.
        metrics: count the verdicts.
    """

    def __init__(self, settings: RetrainConfig, registry: Registry, champion: Champion, metrics: Metrics) -> None:
        self._settings, self._registry, self._champion, self._metrics = settings, registry, champion, metrics

    def reconcile(self, partitions: Iterable[Partition]) -> None:
        """Runs the trial of the registry in all partitions: after a restart, a manual decision or a retrain.

        A trial that a crash or a handover interrupted starts again at the position where this is called.
        """
        standing = self._registry.standing()
        challenger, former = (standing.challenger, standing.former) if self._settings.shadow else ("", "")
        champion = self._champion.model.sha256 if self._champion.model else ""
        for partition in partitions:
            in_force = partition.forecaster.model.sha256
            if partition.shadow is not None:
                mine = partition.shadow.model.sha256
                promoted = not partition.guard and mine == champion  # adopted with the next events
                if not promoted and mine != (former if partition.guard else challenger):
                    partition.shadow = None
            if partition.shadow is None and challenger not in {"", in_force}:
                self._begin(partition, challenger, guard=False)
            elif partition.shadow is None and former not in {"", in_force} and in_force == champion:
                self._begin(partition, former, guard=True)

    def _begin(self, partition: Partition, sha256: str, *, guard: bool) -> None:
        try:
            partition.begin(self._registry.load(sha256), guard=guard)
        except (ForecasterError, ServiceError) as error:
            reason = f"cannot run as a shadow model: {error}"
            in_force = partition.forecaster.model.sha256
            verdict = Decision("confirmed", in_force, sha256, reason)
            self._registry.record(verdict if guard else Decision("kept", sha256, in_force, reason))
            self._metrics.models_refused.inc()
            _log.warning("model refused", model=sha256[:12], error=str(error))
            return
        _log.info("trial started", partition=partition.name, position=partition.position, model=sha256[:12],
                  role="former champion" if guard else "challenger")  # fmt: skip

    def check(self, partition: Partition, partitions: Collection[Partition]) -> None:
        """Evaluates the trial, if the partition is at a position where it has to be evaluated.

        The decision depends on the events before this position only; a second call has no effect.

        Args:
            partition: at a committed position.
            partitions: all partitions of this process; none of them is being restored.
        """
        if partition.shadow is None or not partition.at_check:
            return
        sha256, guard = partition.shadow.model.sha256, partition.guard
        standing = self._registry.standing()
        if sha256 != (standing.former if guard else standing.challenger):
            return  # decided already; adopted with the next events, or dropped at the next `reconcile`
        shadows = [p.shadow for p in partitions if p.shadow and p.guard == guard and p.shadow.model.sha256 == sha256]
        score, bar = TrialScore.of(shadows), 1.0 / self._settings.shadow_alpha
        if score.enough and (score.lower if guard else score.better) >= bar:
            self._end(partition, partitions, score, "restored" if guard else "promoted", "better")
        elif score.enough and score.worse >= bar:
            self._end(partition, partitions, score, "confirmed" if guard else "kept", "worse")
        elif score.events >= self._settings.shadow * (1 if score.full_season else PATIENCE):
            self._end(partition, partitions, score, "confirmed" if guard else "kept", "not clearly better")

    def _end(
        self, partition: Partition, partitions: Collection[Partition], score: TrialScore, action: Action, how: str
    ) -> None:
        assert partition.shadow is not None  # noqa: S101 - checked by `check`
        shadow, live = partition.shadow.model.sha256, partition.forecaster.model.sha256
        role = "former champion" if partition.guard else "challenger"
        reason = (
            f"{role} {how} on live events: mean loss {score.ratio - 1.0:+.2%}, gain {score.gain:+.2%} over "
            f"{score.compared} compared, e-value for it {score.lower if partition.guard else score.better:.3g}, "
            f"against it {score.worse:.3g}, needed {1.0 / self._settings.shadow_alpha:g}; at "
            f"{partition.name}:{partition.position}"
        )
        figures: dict[str, Any] = {
            "shadow_events": score.events,
            "shadow_compared": score.compared,
            "shadow_gain": score.gain,
            "shadow_ratio": score.ratio,
            "shadow_better": score.better,
            "shadow_worse": score.worse,
            "partition": partition.name,
            "position": partition.position,
        }
        about, parent = (live, shadow) if action == "confirmed" else (shadow, live)
        self._registry.record(Decision(action, about, parent, reason, figures))
        self._metrics.shadow_verdicts.labels(action).inc()
        _log.info("trial ended", verdict=action, model=about[:12], reason=reason)
        if action in {"promoted", "restored"}:
            self._champion.refresh()
            return
        for one in partitions:
            if one.shadow is not None and one.shadow.model.sha256 == shadow:
                one.shadow = None
