"""One training, from snapshots to a recorded decision; used by the training process and `forecaster retrain`.

    newest snapshots -> histories merged -> check the seasons -> fit from the champion, or another shape (candidates.py)
                     -> compare on the newer half of the held-out slice -> registry

Only one training runs at a time: it holds a lock on the file `train.lock` of the registry, which the system releases in
any case.
"""

from __future__ import annotations

import contextlib
import fcntl
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from forecaster import (
    Comparison,
    ConfigError,
    FitReport,
    History,
    NothingToLearnError,
    TrainingError,
    challenge,
    fit_from,
    same_shape,
)
from service.errors import ServiceError
from service.registry import exclusions
from service.registry.decisions import Action, Decision, searchable
from service.registry.models import Registry
from service.snapshots.store import SnapshotStore
from service.trainer.candidates import better_of, next_neighbour, other_seasons, time_guard
from service.trainer.compile import compile_kernels
from service.trainer.season_check import Seasons, check_seasons

if TYPE_CHECKING:
    from forecaster import FitProgress
    from service.config.sections import Config


class TrainingBusyError(ServiceError):
    """Another training is running on the same data folder."""


@dataclass(frozen=True, slots=True)
class Result:
    """The result of a training.

    Attributes:
        outcome: "promoted", "shadow" (good enough for a trial as a shadow model), "kept" (the champion stays),
            "nothing_to_learn" (all series are constant or missing so far; the champion stays) or "failed".
        model: sha256 of the candidate, "" without one.
        reason: as text.
        figures: losses and counts; finite numbers only.
        seasons: comparison of the history's seasons with the network's; empty without a training.
        tried: the other shape that `retrain.search` tried, see `Decision.tried`; empty without one.
    """

    outcome: str
    model: str
    reason: str
    figures: dict[str, float] = field(default_factory=dict)
    seasons: Seasons = field(default_factory=Seasons)
    tried: dict[str, Any] = field(default_factory=dict)


def retrain(
    config: Config,
    registry: Registry,
    store: SnapshotStore,
    *,
    champion: str | None = None,
    job: str = "",
    start: str = "",
    wait: bool = False,
    progress: Callable[[FitProgress], None] | None = None,
) -> Result:
    """Trains once and records the decision; promotes only a model that is better by `train.margin`.

    With `retrain.shadow` nothing is promoted here: a better model is recorded as the challenger of a trial.

    The result is a function of the snapshots, the champion and the configuration. If the registry has a decision for
    the `job`, the training is not repeated, and that decision is returned.

    Args:
        config: network, training, limits, of the group of the registry.
        registry: of a group; has its champion, and gets the candidate.
        store: has the histories.
        champion: sha256 to start from and compare with; None: the registry's, or that of a first start.
        job: identity of the training, "" for none.
        start: the initial weights, see `forecaster.fit_from`; "": as configured. The comparison uses the champion in
            any case.
        wait: wait for a running training instead of failing.
        progress: see `forecaster.fit`.

    Returns:
        The result. A history that is too short has the outcome "failed", not an exception; one without changes has the
        outcome "nothing_to_learn" and is not a failure.

    Raises:
        TrainingBusyError: another training is running.
        RegistryError, CheckpointError: the champion cannot be loaded.
    """
    with _only_one(registry, wait=wait):
        began = registry.clock.monotonic()
        if job and (before := registry.decision_of(job)):
            compared = Seasons.of(before.seasons)
            return Result(before.action, before.model, before.reason, before.figures, compared, before.tried)
        sha256 = champion or registry.champion()
        incumbent = registry.load(sha256) if sha256 else registry.begin(config.library_model())
        try:
            history = own_history(config, registry, store)
            train, seasons = config.library_train(), check_seasons(history, incumbent.config)
            report = fit_from(history, incumbent, start or config.retrain.start, train, progress)
            if shape := other_seasons(config, registry, incumbent.config, seasons):
                report = better_of(report, shape, incumbent, history, train)
            has_time, check = time_guard(lambda: registry.clock.monotonic() - began, config.retrain.deadline)
            search = config.retrain.search if has_time else ()
            if neighbour := next_neighbour(search, incumbent.config, registry.decisions()):
                report = better_of(report, neighbour, incumbent, history, train, check)
            challenger, verdict = challenge(incumbent, report, history, train)
        except (TrainingError, ConfigError) as error:  # ConfigError: weights that are not finite
            without: Action = "nothing_to_learn" if isinstance(error, NothingToLearnError) else "failed"
            registry.record(Decision(without, "", incumbent.sha256, str(error), job=job))
            return Result(without, "", str(error))
        figures = figures_of(report, verdict)
        registry.add(challenger, incumbent.sha256, figures)
        action: Action = "kept"
        if verdict.promote:
            action = "shadow" if config.retrain.shadow else "promoted"
        if verdict.promote and not same_shape(challenger.config, incumbent.config):
            compile_kernels(challenger, repairs=config.input.late_within > 0)
        if action == "promoted":
            seasons = replace(seasons, network=challenger.config.seasons)
        sha256, reason, found = challenger.sha256, verdict.reason, seasons.to_dict()
        tried = searchable(neighbour) if neighbour else {}
        registry.record(Decision(action, sha256, incumbent.sha256, reason, figures, job, seasons=found, tried=tried))
        return Result(action, sha256, reason, figures, seasons, tried)


def own_history(config: Config, registry: Registry, store: SnapshotStore) -> History:
    """Merges the histories of the group of the registry in the newest intact snapshots of all partitions.

    Excluded windows are left out.

    The rows of the series stay on disk, so that memory depends on the number of events, not of series.

    Raises:
        TrainingError: there is no snapshot.
    """
    limit = config.state.history_events
    parts = [
        History.of_state(one.arrays, one.library, limit) for one in store.newest_of_all(History.needs, registry.group)
    ]
    if not parts:
        msg = f"no snapshot in {store.root}; let the daemon run for at least state.snapshot_every, then retry"
        raise TrainingError(msg)
    return exclusions.masked(History.merged(parts), exclusions.read(registry.folder))


def figures_of(report: FitReport, verdict: Comparison) -> dict[str, float]:
    """Returns the figures of a training by name, for the registry, the log and the metrics."""
    figures = {
        "steps": report.steps,
        "best_step": report.best_step,
        "clipped_steps": report.clipped_steps,
        "gradient_norm": report.gradient_norm,
        "loss": report.loss,
        "validation_loss": report.validation_loss,
        "champion_loss": verdict.champion_loss,
        "challenger_loss": verdict.challenger_loss,
        "naive_loss": verdict.naive_loss,
        "margin": verdict.margin,
        "standard_error": verdict.standard_error,
        "blocks": verdict.blocks,
        "targets": verdict.targets,
        "training_steps": report.training_steps,
        "series": report.series,
    }
    return {name: value for name, value in figures.items() if math.isfinite(value)}


@contextlib.contextmanager
def _only_one(registry: Registry, *, wait: bool) -> Iterator[None]:
    path = registry.folder / "train.lock"
    with path.open("a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except BlockingIOError as error:
            msg = f"{path}: another training is running; retry after it has ended"
            raise TrainingBusyError(msg) from error
        yield
