"""Daemon failures: every input is answered exactly once, with the bytes of an undisturbed run."""

from __future__ import annotations

import os
import random
import shutil
import signal
import time

import pytest
from chronicle import LONG, ROUNDS, note, outcome

KILLED = -9
BOTH = pytest.mark.parametrize("crowd", ["kafka-python", "confluent"], indirect=True)


@BOTH
def test_killed_at_every_step(crowd, bootstrap, app, quiet, request):
    """A daemon killed after every numbered step, at an early and at a later pass, leaves a correct output."""
    for step in (1, 2, 3, 4, 5):
        assert crowd.run(kill_at=f"step:{step}:{3 * step - 2}") == KILLED
    fault = time.monotonic()
    assert crowd.finish() == 0, crowd.log()
    client = request.node.callspec.params["crowd"]
    note(f"SIGKILL behind each of the steps 1 to 5 ({client})", outcome(bootstrap, app), quiet[1], fault)


def test_killed_at_random_moments(crowd, bootstrap, app, quiet):
    """A daemon killed repeatedly at random moments leaves a correct output."""
    rng, kills, starts = random.Random(20261123), 0, 0
    while kills < ROUNDS and starts < 2 * ROUNDS:
        # The longer the form, the sooner the kills: the input must last for all of them.
        kills += crowd.run(seconds=rng.uniform(0.2, 0.9) if LONG else rng.uniform(0.3, 2.0)) == KILLED
        starts += 1
    fault = time.monotonic()
    assert crowd.finish() == 0, crowd.log()
    assert kills
    note(f"SIGKILL at {kills} random moments", outcome(bootstrap, app), quiet[1], fault)


def test_zombie(crowd, bootstrap, app, quiet):
    """A daemon suspended beyond its session cannot write after another daemon took over, and restarts."""
    pid = crowd.start("one")
    time.sleep(1.8)
    os.kill(pid, signal.SIGSTOP)
    crowd.start("two")
    time.sleep(6)
    os.kill(pid, signal.SIGCONT)
    fault = time.monotonic()
    assert crowd.supervise("two") == 0, crowd.log("two")
    assert crowd.supervise("one") == 0, crowd.log("one")
    assert crowd.finish("two") == 0, crowd.log("two")
    note("SIGSTOP for twice the session, then SIGCONT (zombie)", outcome(bootstrap, app), quiet[1], fault)


def test_rebalance_storm(crowd, bootstrap, app, quiet):
    """Up to four daemons join and are killed every other second, then one daemon processes the rest."""
    rng = random.Random(20261124)
    names = ["one", "two", "three", "four"] if LONG else ["one", "two", "three"]
    running: set[str] = set()
    turns = min(40, max(5, ROUNDS))
    for _ in range(turns):
        name = rng.choice(names)
        if name in running:
            crowd.wait(name, 0.0)
            running.discard(name)
        else:
            crowd.start(name)
            running.add(name)
        time.sleep(rng.uniform(0.3, 1.5))
    fault = time.monotonic()
    for name in sorted(running):
        assert crowd.supervise(name) == 0, crowd.log(name)
    assert crowd.finish("one") == 0, crowd.log("one")
    note(f"{len(names)} instances come and go ({turns} turns)", outcome(bootstrap, app), quiet[1], fault)


def test_rebalance_during_replay(crowd, bootstrap, app, quiet):
    """A daemon that lost its snapshots replays its input while a second daemon joins and takes a share."""
    assert crowd.run(kill_at="step:4:30") == KILLED
    shutil.rmtree(crowd.data() / "snapshots")
    crowd.start("one")
    time.sleep(0.4)
    crowd.start("two")
    fault = time.monotonic()
    assert crowd.supervise("one") == 0, crowd.log("one")
    assert crowd.supervise("two") == 0, crowd.log("two")
    assert crowd.finish("one") == 0, crowd.log("one")
    note("a second instance joins while the first replays", outcome(bootstrap, app), quiet[1], fault)
