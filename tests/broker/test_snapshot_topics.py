"""Snapshots through topics are restored completely or not at all: the newest one or the previous one."""

from __future__ import annotations

import pytest
from kafka_tools import settings
from prometheus_client import CollectorRegistry

from service.errors import SourceGoneError
from service.kafka import snapshots as kafka_snapshots
from service.kafka.snapshots import KafkaSnapshots
from service.lifecycle import SystemClock
from service.monitoring.metrics import Metrics
from service.snapshots.sharing import SharedSnapshots


@pytest.fixture
def exchange(bootstrap, admin, app):
    """An exchange with topics of its own."""
    names = (f"{app}.snapshots", f"{app}.snapshot-chunks")
    one = {"num_partitions": 1, "replication_factor": 1}
    admin.create_topics(dict.fromkeys(names, one))
    admin.wait_for_topics(names)
    return KafkaSnapshots(settings(bootstrap, app, max_request_bytes=20_000))


def test_the_newest_comes_back(exchange, tmp_path):
    """The last offered snapshot is restored byte for byte, whatever its length; other partitions have their own."""
    path = tmp_path / "one.snapshot"
    assert exchange.fetch("in-0") is None
    for position, size in ((10, 100_000), (20, 3), (30, 55_555)):
        path.write_bytes(bytes(range(256)) * (size // 256) + b"x" * (size % 256))
        exchange.offer("in-0", position, path)
        assert exchange.newest("in-0") == position
        assert exchange.fetch("in-0") == path.read_bytes()
    assert exchange.newest("in-1") is None


def test_a_writer_that_dies_half_way(exchange, tmp_path, monkeypatch):
    """Pieces without their manifest change nothing: the previous snapshot stays the newest one, and complete."""
    path = tmp_path / "one.snapshot"
    path.write_bytes(b"a" * 50_000)
    exchange.offer("in-0", 10, path)
    (tmp_path / "two").write_bytes(b"b" * 50_000)
    found = exchange._manifest("in-0")
    with monkeypatch.context() as patch:
        patch.setattr(kafka_snapshots, "_Manifest", None)  # fails between the last piece and the manifest
        patch.setattr(exchange, "_manifest", lambda _: found)
        with pytest.raises(TypeError):
            exchange.offer("in-0", 20, tmp_path / "two")
    assert exchange.newest("in-0") == 10
    assert exchange.fetch("in-0") == b"a" * 50_000


def test_pieces_that_are_not_what_the_manifest_says(exchange, tmp_path, monkeypatch):
    """A snapshot whose checksum differs from its manifest is refused, and the restoring process does without it."""
    path = tmp_path / "one.snapshot"
    path.write_bytes(b"a" * 50_000)
    exchange.offer("in-0", 10, path)
    found = exchange._manifest("in-0")
    monkeypatch.setattr(exchange, "_manifest", lambda _: type(found)(10, "0" * 64, *_fields(found)[2:]))
    with pytest.raises(SourceGoneError, match="another checksum"):
        exchange.fetch("in-0")
    metrics = Metrics(CollectorRegistry())
    shared = SharedSnapshots(exchange, 1.0, metrics, SystemClock())
    assert shared.bring("in-0", -1, 100, tmp_path / "in-0"), "asking again does not help"
    assert not (tmp_path / "in-0").exists()
    assert metrics.snapshot_share_failures._value.get() == 1


def _fields(manifest):
    return tuple(getattr(manifest, name) for name in manifest.__struct_fields__)


@pytest.mark.parametrize(("here", "committed"), [(10, 20), (15, 20), (-1, 9)])
def test_only_what_helps_is_taken(exchange, tmp_path, here, committed):
    """A snapshot is not restored if it is not newer than the local one, or if it is ahead of the committed position."""
    path = tmp_path / "one.snapshot"
    path.write_bytes(b"a")
    exchange.offer("in-0", 10, path)
    shared = SharedSnapshots(exchange, 1.0, Metrics(CollectorRegistry()), SystemClock())
    shared.bring("in-0", here, committed, tmp_path / "in-0")
    assert not (tmp_path / "in-0").exists()
