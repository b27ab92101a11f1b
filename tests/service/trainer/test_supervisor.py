"""The training process as the daemon supervises it: no behaviour of the process stops the daemon."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from parts import TurnedClock, config_of
from prometheus_client import CollectorRegistry
from structlog.testing import capture_logs

from service.monitoring.metrics import Metrics
from service.trainer.supervisor import Outcome, Trainer

RESULT = {"outcome": "promoted", "model": "ab" * 32, "reason": "better", "figures": {"loss": 0.5, "steps": 7}}
WRITES_RESULT = f"""
import pathlib, sys
pathlib.Path(sys.argv[1]).with_suffix(".result").write_text({json.dumps(RESULT)!r})
"""


def trainer_that(folder: Path, script: str) -> Trainer:
    """Returns a trainer whose process runs a script."""
    config = config_of(folder, retrain={"deadline": "100s"})
    return Trainer(config, Metrics(CollectorRegistry()), TurnedClock(), (sys.executable, "-c", script))


def ended(trainer: Trainer) -> Outcome:
    """Waits for the end of the process."""
    while (outcome := trainer.poll()) is None:
        time.sleep(0.01)
    return outcome


def runs(trainer: Trainer, outcome: str) -> float | None:
    """Returns the counter of an outcome."""
    return trainer._metrics.registry.get_sample_value("forecaster_training_runs_total", {"outcome": outcome})


def test_result(tmp_path: Path) -> None:
    """The result of a process is reported once, with its figures in the metrics."""
    trainer = trainer_that(tmp_path, WRITES_RESULT)
    assert trainer.start()
    outcome = ended(trainer)

    assert (outcome.outcome, outcome.model, outcome.figures) == ("promoted", "ab" * 32, {"loss": 0.5, "steps": 7})
    assert trainer.poll() is None
    assert (trainer.trainings.ended, trainer.trainings.promoted, trainer.trainings.running) == (1, 1, False)
    sample = trainer._metrics.registry.get_sample_value
    assert sample("forecaster_training_loss", {"data": "train"}) == 0.5
    assert sample("forecaster_training_steps_total") == 7


def test_never_twice_at_once(tmp_path: Path) -> None:
    """While a process runs no other is started."""
    trainer = trainer_that(tmp_path, "import time; time.sleep(60)")
    assert trainer.start()

    assert not trainer.start()
    assert trainer.trainings.running
    trainer.close()
    assert not trainer.running


@pytest.mark.parametrize(
    ("script", "reason"),
    [
        ("raise SystemExit('out of luck')", "status 1: out of luck"),
        ("import os; os.kill(os.getpid(), 11)", "signal SIGSEGV"),
        ("raise ValueError('the last line of the traceback')", "the last line of the traceback"),
        ("pass", "no readable result"),
        ("import pathlib, sys; pathlib.Path(sys.argv[1]).with_suffix('.result').write_text('{')", "no readable"),
        ("import pathlib, sys; pathlib.Path(sys.argv[1]).with_suffix('.result').write_text('[]')", "no readable"),
    ],
)
def test_failures(tmp_path: Path, script: str, reason: str) -> None:
    """Any failure of a process is counted, with its last output as the reason, and another can be started."""
    trainer = trainer_that(tmp_path, script)
    trainer.start()
    outcome = ended(trainer)

    assert outcome.outcome == "failed"
    assert reason in outcome.reason
    assert runs(trainer, "failed") == 1
    assert trainer.start()
    ended(trainer)


def test_nothing_to_learn_is_no_failure(tmp_path: Path) -> None:
    """A run with nothing to learn has its own count, ends a row of failures, and is logged as information."""
    trainer = trainer_that(tmp_path, "raise SystemExit('out of luck')")
    trainer.start()
    ended(trainer)
    assert trainer.trainings.failed_in_a_row == 1
    result = {"outcome": "nothing_to_learn", "model": "", "reason": "nothing to learn: flat", "figures": {}}
    trainer._command = (sys.executable, "-c", WRITES_RESULT.replace(json.dumps(RESULT), json.dumps(result)))
    with capture_logs() as said:
        trainer.start()
        assert ended(trainer).outcome == "nothing_to_learn"

    assert trainer.trainings.failed_in_a_row == 0
    assert (runs(trainer, "nothing_to_learn"), runs(trainer, "failed")) == (1, 1)
    assert [line["log_level"] for line in said if line["event"] == "training ended"] == ["info"]


def test_result_of_the_last_run_is_not_taken(tmp_path: Path) -> None:
    """A process without a result does not get the result of the one before."""
    trainer = trainer_that(tmp_path, WRITES_RESULT)
    trainer.start()
    ended(trainer)
    trainer._command = (sys.executable, "-c", "pass")
    trainer.start()

    assert ended(trainer).outcome == "failed"


def test_cannot_be_started(tmp_path: Path) -> None:
    """A command that does not exist counts as failed at once."""
    trainer = trainer_that(tmp_path, "")
    trainer._command = ("/no/such/program",)

    assert trainer.start()
    assert not trainer.running
    assert runs(trainer, "failed") == 1


def test_deadline(tmp_path: Path) -> None:
    """A process beyond its deadline is killed, with its children, and counted as killed."""
    child = tmp_path / "child"
    script = (
        "import pathlib, subprocess, time\n"
        "p = subprocess.Popen(['sleep', '60'])\n"
        f"pathlib.Path({str(child)!r}).write_text(str(p.pid))\n"
        "time.sleep(60)"
    )
    trainer = trainer_that(tmp_path, script)
    trainer.start()
    while not (child.exists() and child.read_text()):
        time.sleep(0.01)
    assert trainer.poll() is None
    clock = trainer._clock
    assert isinstance(clock, TurnedClock)
    clock.now += 101
    outcome = trainer.poll()

    assert outcome is not None
    assert outcome.outcome == "killed"
    assert "the deadline is 100 s" in outcome.reason
    assert runs(trainer, "killed") == 1
    assert not _alive(int(child.read_text()))


def test_rests_after_a_training(tmp_path: Path) -> None:
    """After a training it rests until that took no more than its share of the time."""
    trainer = trainer_that(tmp_path, "")
    assert not trainer.rests()
    trainer.start()
    trainer._clock.now += 10
    ended(trainer)
    assert trainer.rests()
    trainer._clock.now += 29.9  # with the usual share of a quarter
    assert trainer.rests()
    trainer._clock.now += 0.2
    assert not trainer.rests()


def test_requests(tmp_path: Path) -> None:
    """Several requests start one training."""
    trainer = trainer_that(tmp_path, "")
    trainer.request()
    trainer.request()

    assert [trainer.take_request(), trainer.take_request()] == [True, False]


def test_dies_with_the_daemon(tmp_path: Path) -> None:
    """The training process exits when its standard input ends, as it does when the daemon is killed."""
    fifo = tmp_path / "train.request"
    os.mkfifo(fifo)  # reading the pipe blocks, so the process would wait for ever
    process = subprocess.Popen(
        [sys.executable, "-m", "service.trainer.process", str(fifo)], stdin=subprocess.PIPE, stderr=subprocess.DEVNULL
    )
    assert process.poll() is None
    process.communicate(timeout=60)

    assert process.returncode == 1


def _alive(pid: int) -> bool:
    """Returns whether a process runs; a zombie does not."""
    for _ in range(500):
        try:
            if Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] == "Z":
                return False
        except FileNotFoundError:
            return False
        time.sleep(0.01)
    return True
