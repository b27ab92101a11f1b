"""Version and reachability of the broker."""

from __future__ import annotations

from kafka_tools import produce, read_topic, values


def test_round_trip(bootstrap, topics):
    """Written records are read back, in order."""
    topic = topics()
    assert produce(bootstrap, topic, [b"a", b"b", b"c"]) == [0, 1, 2]
    assert values(read_topic(bootstrap, topic)) == [b"a", b"b", b"c"]
