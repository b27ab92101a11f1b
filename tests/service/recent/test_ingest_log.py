"""Counts of records by what became of them, and bounded examples of rejected ones."""

from __future__ import annotations

from pathlib import Path

from parts import Bench, event

from service.publication import Publication
from service.recent import IngestLog
from service.recent.ingest_log import EXAMPLES, MOST_CHARACTERS
from service.transport.memory import MemoryLog


def test_counts_and_examples(tmp_path: Path) -> None:
    """The counts are those of the units; of every reason the newest records are kept, cut to a bounded length."""
    bad = [b'{"series": "a", "timestamp": 1, "value": "%s"}' % (b"x" * 1000 + str(at).encode()) for at in range(5)]
    script = [event(step, "a") for step in range(20)] + [event(3, "a"), *bad, b"\xff"]
    bench, log, units = Bench(tmp_path, MemoryLog({"0": script})), IngestLog(), list[Publication]()
    whole = bench.on_publication

    def both(publication: Publication) -> None:
        log.on_publication(publication)
        units.append(publication)
        whole(publication)

    bench.on_publication = both  # type: ignore[method-assign] # instead of another listener
    bench.run()
    found = log.counts()
    rejects = [reject for one in units for reject in one.unit.rejects]
    assert sum(found.events.values()) == 21
    assert found.events["late"] == 1
    assert sum(found.rejected.values()) == len(rejects) == 6
    for reason, examples in found.examples.items():
        newest = [reject for reject in rejects if reject.reason == reason][-EXAMPLES:]
        assert [one.position for one in examples] == [reject.position for reject in newest]
        assert all(0 < len(one.detail) <= MOST_CHARACTERS for one in examples)
