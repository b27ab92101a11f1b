"""Starts and watches the training process: one at a time, lower priority, killed after a deadline.

The engine does not depend on the process; a failure is reported by metrics and log.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import IO, Any, Final

import structlog

from service.config.groups import shown_group
from service.config.sections import Config
from service.monitoring.metrics import Metrics
from service.ports import Clock
from service.registry.decisions import shape_text
from service.trainer.process import RESULT_SUFFIX
from service.trainer.season_check import Seasons

_log = structlog.get_logger()

# -P: run the installed program, not a module of that name in the current folder.
_COMMAND: Final = (sys.executable, "-P", "-m", "service.trainer.process")
# Bytes of the process's output that are used for the log: enough for the end of a traceback.
_TAIL_BYTES: Final = 2000


@dataclass(frozen=True, slots=True)
class Outcome:
    """The result of a training process.

    Attributes:
        outcome: "promoted", "shadow", "kept", "nothing_to_learn", "failed" or "killed" (at its deadline).
        model: sha256 of the candidate, "" without one.
        reason: as text.
        figures: see `service.trainer.job.figures_of`.
        seconds: wall time.
        seasons: comparison of the history's seasons with the network's; empty without a training.
        tried: the other shape that was tried, see `Decision.tried`; empty without one.
    """

    outcome: str
    model: str
    reason: str
    figures: dict[str, float]
    seconds: float
    seasons: Seasons = field(default_factory=Seasons)
    tried: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Trainings:
    """Counts of the trainings since the start of the process.

    `failed_in_a_row`: number of consecutive failed trainings up to now.
    """

    ended: int = 0
    promoted: int = 0
    running: bool = False
    last_reason: str = ""
    failed_in_a_row: int = 0


class Trainer:
    """The training process for the engine. `request` may be called from any thread and from a signal handler.

    Args:
        config: passed to the process.
        metrics: the metrics to update.
        clock: measures the deadline.
        command: the command to start, replaced in tests; the path of the request file is appended.
    """

    def __init__(self, config: Config, metrics: Metrics, clock: Clock, command: Sequence[str] = _COMMAND) -> None:
        self._config, self._metrics, self._clock, self._command = config, metrics, clock, tuple(command)
        self._folder = config.state.data_dir / "models"
        self._process: subprocess.Popen[bytes] | None = None
        self._log_file: IO[bytes] | None = None
        self._started, self._rests_until = 0.0, dict[str, float]()  # the latter by group
        self._group, self._of_group = "", config  # of the running training
        self._wanted = threading.Event()
        self._trainings = Trainings()
        self._reported_seasons: dict[str, tuple[int, ...]] = {}  # by group, seasons that were last reported to differ

    def configure(self, config: Config) -> None:
        """Replaces the settings: of the next training, and of the deadline at once."""
        self._config = config
        if self._group in config.group_names:
            self._of_group = config.of_group(self._group)

    @property
    def running(self) -> bool:
        """Whether a process was started whose end `poll` has not reported yet."""
        return self._process is not None

    @property
    def running_group(self) -> str | None:
        """The group of series whose training is running, None without one."""
        return None if self._process is None else self._group

    def rests(self, group: str = "") -> bool:
        """Returns whether the last training of a group took more than its `retrain.cpu_share` of the time since."""
        return self._clock.monotonic() < self._rests_until.get(group, 0.0)

    @property
    def trainings(self) -> Trainings:
        """The counts so far; a consistent value for any thread."""
        return self._trainings

    def request(self) -> None:
        """Requests a training as soon as possible (SIGUSR1)."""
        self._wanted.set()

    def take_request(self) -> bool:
        """Returns whether a training was requested since the last call."""
        wanted = self._wanted.is_set()
        self._wanted.clear()
        return wanted

    def skip(self, why: str, group: str = "") -> None:
        """Counts a training that was due and not started."""
        self._metrics.of_group(group).training_runs.labels("skipped").inc()
        _log.info("training skipped", reason=why, **self._named(group))

    def _named(self, group: str) -> dict[str, str]:
        """Returns the field of a log line that names a group; none without groups."""
        return {"group": shown_group(group)} if self._config.group else {}

    def start(
        self,
        config: Config | None = None,
        group: str = "",
        *,
        champion: str | None = None,
        job: str = "",
        start: str = "",
    ) -> bool:
        """Starts a training on the newest snapshots.

        Args:
            config: the settings of the group; None: those in force.
            group: the group of series whose network is trained.
            champion: sha256 to start from, None for the registry's champion.
            start: the initial weights, see `retrain`.
            job: its identity; a training with a decision in the registry is not repeated.

        Returns:
            False, without effect, while one is running. A process that cannot be started counts as failed.
        """
        if self._process is not None:
            return False
        self._folder.mkdir(parents=True, exist_ok=True)
        self._group, self._of_group = group, config or self._config.of_group(group)
        request = {
            "config": self._of_group.model_dump(mode="json"),
            "group": group,
            "champion": champion,
            "job": job,
            "start": start,
            "nice": self._of_group.retrain.nice,
        }
        self._result_path.unlink(missing_ok=True)
        self._started = self._clock.monotonic()
        try:
            self._request_path.write_text(json.dumps(request), encoding="utf-8")
            self._log_file = (self._folder / "train.log").open("wb")
            self._process = subprocess.Popen(  # noqa: S603 - our own module
                [*self._command, str(self._request_path)],
                stdin=subprocess.PIPE,  # end of file means that the daemon has ended
                stdout=self._log_file,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # Ctrl-C in a terminal reaches the daemon only, which ends the process
            )
        except OSError as error:
            self._end(Outcome("failed", "", f"the training process could not be started: {error}", {}, 0.0))
            return True
        self._metrics.training_running.set(1)
        self._trainings = replace(self._trainings, running=True, last_reason="")
        _log.info("training started", pid=self._process.pid, **self._named(group))
        return True

    @property
    def _request_path(self) -> Path:
        return self._folder / "train.request"

    @property
    def _result_path(self) -> Path:
        return self._request_path.with_suffix(RESULT_SUFFIX)

    def poll(self) -> Outcome | None:
        """Returns the outcome of a training once, after it has ended; kills it after its deadline."""
        if self._process is None:
            return None
        seconds = self._clock.monotonic() - self._started
        status = self._process.poll()
        if status is None:
            deadline = self._of_group.retrain.deadline
            if seconds <= deadline:
                return None
            self._kill()
            reason = f"killed after {seconds:.0f} s, the deadline is {deadline:.0f} s (retrain.deadline)"
            return self._end(Outcome("killed", "", reason, {}, seconds))
        return self._end(self._read_result(status, seconds))

    def _read_result(self, status: int, seconds: float) -> Outcome:
        if status == 0:
            try:
                result = json.loads(self._result_path.read_text("utf-8"))
                return Outcome(
                    str(result["outcome"]),
                    str(result["model"]),
                    str(result["reason"]),
                    {str(name): float(value) for name, value in result["figures"].items()},
                    seconds,
                    Seasons.of(result.get("seasons")),
                    dict(result.get("tried") or {}),
                )
            except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
                return Outcome("failed", "", f"the training process wrote no readable result: {error!r}", {}, seconds)
        lines = self._last_output().strip().splitlines() or ["no output"]
        how = f"signal {signal.Signals(-status).name}" if status < 0 else f"status {status}"
        return Outcome("failed", "", f"the training process ended with {how}: {lines[-1]}", {}, seconds)

    def _last_output(self) -> str:
        try:
            with (self._folder / "train.log").open("rb") as file:
                size = file.seek(0, os.SEEK_END)
                file.seek(max(0, size - _TAIL_BYTES))
                return file.read().decode("utf-8", "replace")
        except OSError:
            return ""

    def _end(self, outcome: Outcome) -> Outcome:
        self._release()
        group, metrics = self._group, self._metrics.of_group(self._group)
        self._rests_until[group] = self._started + outcome.seconds / self._of_group.retrain.cpu_share
        metrics.training_ended(outcome.outcome, outcome.seconds, outcome.figures, self._clock.wall_ms() / 1000)
        promoted = self._trainings.promoted + (outcome.outcome == "promoted")
        failed = self._trainings.failed_in_a_row + 1 if outcome.outcome in {"failed", "killed"} else 0
        self._trainings = Trainings(
            self._trainings.ended + 1, promoted, last_reason=outcome.reason, failed_in_a_row=failed
        )
        log = _log.warning if outcome.outcome in {"failed", "killed"} else _log.info
        tried = {"tried": shape_text(outcome.tried)} if outcome.tried else {}
        log("training ended", outcome=outcome.outcome, model=outcome.model[:12], reason=outcome.reason,
            seconds=round(outcome.seconds, 1), **tried, **self._named(group))  # fmt: skip
        if outcome.outcome not in {"failed", "killed", "nothing_to_learn"}:
            self._report_seasons(outcome.seasons, group)
        return outcome

    def _report_seasons(self, seasons: Seasons, group: str) -> None:
        """Logs once when the network's seasons differ from those of the history, and once when they agree again."""
        self._metrics.of_group(group).seasons_differ.set(len(seasons.differ))
        if seasons.differ != self._reported_seasons.get(group, ()):
            self._reported_seasons[group] = seasons.differ
            log = _log.warning if seasons.differ else _log.info
            log("seasons checked", reason=seasons.description(), **self._named(group))

    def _kill(self) -> None:
        if self._process is not None and self._process.poll() is None:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()

    def _release(self) -> None:
        if self._process is not None and self._process.stdin is not None:
            self._process.stdin.close()
        if self._log_file is not None:
            self._log_file.close()
        self._process, self._log_file = None, None

    def close(self) -> None:
        """Kills a running training; only its unrecorded result is lost."""
        if self._process is not None:
            self._kill()
            self._release()
            self._metrics.training_running.set(0)
            self._trainings = replace(self._trainings, running=False, last_reason="")
