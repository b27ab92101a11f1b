"""Signals, deadlines, kill points."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator

import pytest

from service.lifecycle import KILL_VARIABLE, KillPoints, Lifecycle, close_in_order


@pytest.fixture
def exits() -> list[int]:
    """The statuses with which the process would have exited."""
    return []


@pytest.fixture
def life(exits: list[int]) -> Iterator[Lifecycle]:
    """An installed lifecycle that records exit statuses instead of exiting."""
    asked: list[int] = []
    found = Lifecycle(lambda: asked.append(1), deadline_seconds=60, exit_now=exits.append)
    found.install()
    yield found
    found.uninstall()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_first_and_second_signal(life: Lifecycle, exits: list[int], number: signal.Signals) -> None:
    """The first signal starts an orderly stop, the second exits at once with the shell's status for the signal."""
    os.kill(os.getpid(), number)
    assert life.stop.is_set()
    assert not exits

    os.kill(os.getpid(), number)
    assert exits == [128 + number]


def test_retrain_signal() -> None:
    """SIGUSR1 requests a training and stops nothing."""
    asked: list[int] = []
    life = Lifecycle(lambda: asked.append(1))
    life.install()
    os.kill(os.getpid(), signal.SIGUSR1)
    life.uninstall()

    assert asked == [1]
    assert not life.stop.is_set()


def test_deadline() -> None:
    """An orderly stop beyond the deadline becomes an immediate exit with status 1."""
    ended = threading.Event()
    statuses: list[int] = []

    def end(status: int) -> None:
        statuses.append(status)
        ended.set()

    life = Lifecycle(deadline_seconds=0.01, exit_now=end)
    life.install()
    os.kill(os.getpid(), signal.SIGTERM)
    assert ended.wait(10)
    life.uninstall()

    assert statuses == [1]


def test_handlers_are_put_back() -> None:
    """Uninstalling restores the previous signal handlers."""
    before = signal.getsignal(signal.SIGTERM)
    life = Lifecycle()
    life.install()
    life.uninstall()

    assert signal.getsignal(signal.SIGTERM) is before


def test_close_in_order() -> None:
    """All parts are closed in order, also after one that fails."""
    closed: list[str] = []

    def fail() -> None:
        closed.append("second")
        msg = "stuck"
        raise OSError(msg)

    close_in_order([("a", lambda: closed.append("first")), ("b", fail), ("c", lambda: closed.append("third"))])

    assert closed == ["first", "second", "third"]


@pytest.mark.parametrize("spec", ["3", "step:", "step:x", "stop:3", "step:3:x"])
def test_bad_kill_point(spec: str) -> None:
    """An invalid kill point is refused with the expected forms."""
    with pytest.raises(ValueError, match="expected step:N or step:N:K"):
        KillPoints(spec)


def test_kill_point() -> None:
    """The process is killed by SIGKILL at the n-th passage of the given step, and not before."""
    script = (
        "from service.lifecycle import KillPoints\n"
        "points = KillPoints.from_environment()\n"
        "for number in range(5):\n"
        "    points.passed(2)\n"
        "    points.passed(3)\n"
        "    print(number, flush=True)\n"
    )
    got = subprocess.run(
        [sys.executable, "-c", script],
        env=os.environ | {KILL_VARIABLE: "step:3:3"},
        capture_output=True,
        text=True,
        check=False,
    )

    assert (got.returncode, got.stdout) == (-signal.SIGKILL, "0\n1\n")
