"""Trials: a challenger beside the champion, and after its promotion the former champion beside it, on live events.

    challenger   better, by both tests of evidence.py: promoted.  worse, or time is up: kept as a file, never adopted
    former       its mean loss is lower than of the one that replaced it: restored.  worse, or time is up: confirmed

There is no verdict before most of what was compared is of series that have seen a whole longest season since the start,
nor before `ENOUGH` forecasts were compared. What is on trial stands in the registry; how far it is, in the partitions
and their snapshots, or is replayed. It is looked at every `retrain.check_events` events of a partition, at exactly
these positions, and only while none of the partitions is being restored.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import Any, Final

import structlog

from forecaster import ForecasterError, Shadow
from service.config.sections import RetrainConfig
from service.engine.champion import Champion
from service.errors import ServiceError
from service.monitoring.metrics import Metrics
from service.partition import Partition
from service.registry.decisions import Action, Decision
from service.registry.models import Registry

_log = structlog.get_logger()

# Compared forecasts before a verdict, "not clearly better" apart.
ENOUGH: Final = 100
# A trial whose series have not seen a whole season when its time is up goes on for so many times as long at most.
PATIENCE: Final = 10
_MOST: Final = 1e300  # JSON has no infinity


@dataclass(frozen=True, slots=True)
class TrialScore:
    """How a trial stands, over all partitions that take part.

    Attributes:
        events: of their streams since the start. compared: forecasts that were compared.
        seasoned: of these, those of series that have seen a whole longest season since the start.
        gain: by what share of the sum of both losses the shadow was better.
        ratio: mean loss of the shadow over that of the control, every series in units of its usual loss.
        better, worse: mean of the partitions' e-values, an e-value itself (Vovk & Wang 2021): for the shadow, against.
        lower: the same for a lower mean loss of the shadow alone.
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
        """The mean over partitions."""
        found = [shadow.evidence for shadow in shadows]
        count, control = sum(evidence.count for evidence in found), sum(evidence.first for evidence in found)
        finite = 0.0 < control < math.inf
        return cls(
            sum(shadow.events for shadow in shadows),
            count,
            sum(shadow.seasoned for shadow in shadows),
            sum(evidence.total for evidence in found) / max(1, count),
            min(sum(evidence.second for evidence in found) / control, _MOST) if finite else 1.0,
            sum(evidence.better for evidence in found) / max(1, len(found)),
            sum(evidence.worse for evidence in found) / max(1, len(found)),
            sum(evidence.lower for evidence in found) / max(1, len(found)),
        )

    @property
    def enough(self) -> bool:
        """Whether there was enough of the stream for a verdict."""
        return self.compared >= ENOUGH and self.whole

    @property
    def whole(self) -> bool:
        """Whether most of what was compared is of series that have seen a whole longest season."""
        return 0 < self.compared <= 2 * self.seasoned


class Trials:
    """Begins and ends trials.

    Args:
        settings: how long, how sure.
        registry: where decisions are read and recorded.
        champion: loads what was promoted or restored.
        metrics: where verdicts are counted.
    """

    def __init__(self, settings: RetrainConfig, registry: Registry, champion: Champion, metrics: Metrics) -> None:
        self._settings, self._registry, self._champion, self._metrics = settings, registry, champion, metrics

    def reconcile(self, partitions: Iterable[Partition]) -> None:
        """Makes the partitions run what the registry says is on trial: after a restart, a decision by hand, a retrain.

        A trial that a crash or a handover cut off begins again where it is noticed.
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
            reason = f"cannot run beside the champion: {error}"
            in_force = partition.forecaster.model.sha256
            verdict = Decision("confirmed", in_force, sha256, reason)
            self._registry.record(verdict if guard else Decision("kept", sha256, in_force, reason))
            self._metrics.models_refused.inc()
            _log.warning("model refused", model=sha256[:12], error=str(error))
            return
        _log.info("trial begun", partition=partition.name, position=partition.position, model=sha256[:12],
                  role="former champion" if guard else "challenger")  # fmt: skip

    def check(self, partition: Partition, partitions: Collection[Partition]) -> None:
        """Looks at the trial, if the partition is at a position where it is to be looked at.

        What is decided depends on the events before this position only; done twice, it does nothing the second time.

        Args:
            partition: stands at a position that is committed.
            partitions: all that this process reads; none of them may be on its way.
        """
        if partition.shadow is None or not partition.at_look:
            return
        sha256, guard = partition.shadow.model.sha256, partition.guard
        standing = self._registry.standing()
        if sha256 != (standing.former if guard else standing.challenger):
            return  # decided already: adopted with the next events, or dropped at the next look
        shadows = [p.shadow for p in partitions if p.shadow and p.guard == guard and p.shadow.model.sha256 == sha256]
        score, bar = TrialScore.of(shadows), 1.0 / self._settings.shadow_alpha
        if score.enough and (score.lower if guard else score.better) >= bar:
            self._end(partition, partitions, score, "restored" if guard else "promoted", "better")
        elif score.enough and score.worse >= bar:
            self._end(partition, partitions, score, "confirmed" if guard else "kept", "worse")
        elif score.events >= self._settings.shadow * (1 if score.whole else PATIENCE):
            self._end(partition, partitions, score, "confirmed" if guard else "kept", "not clearly better")

    def _end(
        self, partition: Partition, partitions: Collection[Partition], score: TrialScore, action: Action, how: str
    ) -> None:
        assert partition.shadow is not None  # noqa: S101 - `check` has looked
        shadow, live = partition.shadow.model.sha256, partition.forecaster.model.sha256
        who = "former champion" if partition.guard else "challenger"
        reason = (
            f"{who} {how} on live events: mean loss {score.ratio - 1.0:+.2%}, gain {score.gain:+.2%} over "
            f"{score.compared} compared, evidence for it {score.lower if partition.guard else score.better:.3g}, "
            f"against {score.worse:.3g}, needed {1.0 / self._settings.shadow_alpha:g}; "
            f"at {partition.name}:{partition.position}"
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
            self._champion.look()
            return
        for one in partitions:
            if one.shadow is not None and one.shadow.model.sha256 == shadow:
                one.shadow = None
