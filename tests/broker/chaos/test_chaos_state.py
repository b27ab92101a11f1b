"""Damaged state and unusable input: no output is lost, duplicated or different."""

from __future__ import annotations

import os
import random
import re
import shutil
import signal
import time

import pytest
from chronicle import LONG, ROUNDS, note, outcome
from daemons import Daemons, events
from kafka.structs import TopicPartition
from kafka_tools import make_topics, produce, settings

from service.kafka.snapshots import KafkaSnapshots

KILLED = -9

RETRAIN = {
    "train": {"k1": 8, "k2": 16, "batch": 8, "max_steps": 20, "evaluate_every": 10, "margin": -1.0},
    "retrain": {"every_events": 500, "first_after_events": 400, "wait": "true"},
}


def tear(paths):
    """Truncates the newest snapshot to its first half."""
    paths[-1].write_bytes(paths[-1].read_bytes()[: paths[-1].stat().st_size // 2])


def flip(paths):
    """Flips one bit of the newest snapshot."""
    data = bytearray(paths[-1].read_bytes())
    data[len(data) // 2] ^= 16
    paths[-1].write_bytes(data)


def ahead(paths):
    """Adds a snapshot of a position that was never committed."""
    shutil.copy(paths[-1], paths[-1].with_name(f"{10**9:020d}.snapshot"))


def all_damaged(paths):
    """Truncates all snapshots."""
    for path in paths:
        path.write_bytes(path.read_bytes()[:1000])


def test_damaged_snapshots(bootstrap, admin, app, quiet, tmp_path):
    """Snapshots that are torn, damaged or ahead are refused; older snapshots or a replay of the input replace them."""
    make_topics(admin, app)
    # The smallest interval: a fast machine may process all batches of a run within any usual interval.
    with Daemons(tmp_path, bootstrap, app, quiet[0], {"state": {"snapshot_every": "1ms"}}) as daemons:
        fault = 0.0
        for damage in (tear, flip, ahead, all_damaged):
            assert daemons.run(kill_at="step:5:12") == KILLED
            folders = (daemons.data() / "snapshots").glob("*/")
            # A partition that is killed while writing its first snapshot has a folder and no snapshot yet.
            kept = [paths for folder in folders if (paths := sorted(folder.glob("*.snapshot")))]
            assert kept, "no partition has a snapshot after 12 batches"
            for paths in kept:
                damage(paths)
            fault = time.monotonic()
        assert daemons.finish() == 0, daemons.log()
        refused = daemons.log()
    assert {"damaged", "ahead"} <= set(re.findall(r"snapshot refused.*reason=(\w+)", refused)), refused
    note("SIGKILL; snapshots torn, bit-flipped, ahead, all damaged", outcome(bootstrap, app), quiet[1], fault)


@pytest.fixture
def own(bootstrap, admin, app):
    """Makes an input of one partition with the given records, and the topics of two applications."""

    def make(records):
        admin.create_topics({f"{app}.in": {"num_partitions": 1, "replication_factor": 1}})
        produce(bootstrap, f"{app}.in", records)
        for name in (f"{app}quiet", app):
            make_topics(admin, name, 1)
        return f"{app}.in"

    return make


def test_snapshot_older_than_the_source(own, bootstrap, admin, app, tmp_path, capfd):
    """A restart stops with SourceGoneError if the input lacks part of the replay range, or starts cold if set."""
    topic = own(events(600, bad=False))
    with Daemons(tmp_path, bootstrap, app, topic) as daemons:
        assert daemons.run(kill_at="step:4:10") == KILLED
        shutil.rmtree(daemons.data() / "snapshots", ignore_errors=True)
        before = outcome(bootstrap, app)
        admin.delete_records({TopicPartition(topic, 0): 200})
        assert daemons.run() == 1
        assert "SourceGoneError" in capfd.readouterr().err
        assert outcome(bootstrap, app) == before
    with Daemons(tmp_path, bootstrap, app, topic, {"state": {"on_source_gone": "cold"}}) as daemons:
        assert daemons.finish() == 0, daemons.log()
        assert "starting with empty state" in daemons.log()
    found = outcome(bootstrap, app)[0]
    assert sum(map(len, found.values())) == 600


@pytest.mark.parametrize("batch", [37, 8] if LONG else [8])
def test_poison_at_every_position(own, bootstrap, app, tmp_path, batch):
    """An unusable record is rejected at every position of a batch; kills during the first batches change nothing."""
    good = events(batch * batch, bad=False)
    bad = (
        b"",
        b"{",
        b"\xff\xfe",
        b'{"series": "a"}',
        b"null",
        b"[" * 10_000,
        b'{"series": "a", "timestamp": 1e999}',
    )
    for at in range(batch):
        good[at * batch + at] = bad[at % len(bad)]
    topic = own(good)
    limit = {"input": {"max_poll_records": batch}}
    with Daemons(tmp_path / "quiet", bootstrap, f"{app}quiet", topic, limit) as daemons:
        assert daemons.finish() == 0, daemons.log()
    with Daemons(tmp_path / "killed", bootstrap, app, topic, limit) as daemons:
        for _ in range(batch - 1 if LONG else 3):
            assert daemons.run(kill_at="step:3:2") == KILLED
        fault = time.monotonic()
        assert daemons.finish() == 0, daemons.log()
    found, quiet = outcome(bootstrap, app), outcome(bootstrap, f"{app}quiet")
    assert [position for _, position, _ in found[1]] == [at * batch + at for at in range(batch)]
    note(f"poison at each of {batch} positions of a batch, SIGKILL among them", found, quiet, fault)


def test_killed_while_retraining(own, bootstrap, app, tmp_path):
    """A daemon killed before, in and after trainings and promotions uses the same models from the same offsets on."""
    topic = own(events(1500))
    with Daemons(tmp_path / "quiet", bootstrap, f"{app}quiet", topic, RETRAIN) as daemons:
        assert daemons.finish() == 0, daemons.log()
        assert daemons.log().count("model adopted") == 3
    rng = random.Random(20261125)
    with Daemons(tmp_path / "killed", bootstrap, app, topic, RETRAIN) as daemons:
        for step in (6, 7, 4, 6):
            assert daemons.run(kill_at=f"step:{step}") == KILLED
        kills = 4
        for _ in range(min(60, ROUNDS)):
            if daemons.run(seconds=rng.uniform(0.3, 3.0)) != KILLED:
                break
            kills += 1
        fault = time.monotonic()
        assert daemons.finish() == 0, daemons.log()
    quiet = outcome(bootstrap, f"{app}quiet")
    note(f"{kills} SIGKILLs around three trainings and promotions", outcome(bootstrap, app), quiet, fault)


def test_another_machine_takes_over(own, bootstrap, admin, app, tmp_path):
    """A daemon on another machine continues from the shared snapshot when disk and old input of the first are gone."""
    topic = own(events(1500))
    one = {"num_partitions": 1, "replication_factor": 1}
    admin.create_topics({f"{app}.snapshots": one, f"{app}.snapshot-chunks": one})
    with Daemons(tmp_path / "quiet", bootstrap, f"{app}quiet", topic) as daemons:
        assert daemons.finish() == 0, daemons.log()
    sharing = {"share_snapshots": "0.3s", "max_request_bytes": 50_000}  # in several chunks
    exchange = KafkaSnapshots(settings(bootstrap, app))
    with Daemons(tmp_path / "gone", bootstrap, app, topic, stop_at_end=False, **sharing) as daemons:
        pid = daemons.start()
        deadline = time.monotonic() + 120
        while not (shared := exchange.newest(f"{topic}-0")) and time.monotonic() < deadline:
            time.sleep(0.02)
        os.kill(pid, signal.SIGKILL)
        assert daemons.wait() == KILLED
    assert shared
    with Daemons(tmp_path / "other", bootstrap, app, topic, **sharing) as daemons:
        admin.delete_records({TopicPartition(topic, 0): shared})
        fault = time.monotonic()
        assert daemons.finish("two") == 0, daemons.log("two")
        assert "shared snapshot of another machine used" in daemons.log("two")
    quiet = outcome(bootstrap, f"{app}quiet")
    note("machine and disk gone; another takes the shared snapshot", outcome(bootstrap, app), quiet, fault)
