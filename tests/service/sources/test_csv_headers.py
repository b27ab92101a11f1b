"""Any first line of a CSV file: each line after it is an event or a reject, and short lines cost little."""

from __future__ import annotations

import resource
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.config.input import InputConfig
from service.messages.decode import CSV_HEADER, Decoder
from service.ports import Reject
from service.sources.file_source import FileSource
from service.sources.local import LocalSource

LIMIT = InputConfig().max_record_bytes
LINES = [b"a,1,1", b"x", b"a,2,2,2", b",,", b"\xff,3,3"] * 40
PIECES = st.sampled_from(
    [b"series", b"timestamp", b"value", b",", b'"', b'""', b"\n", b"\r", b"\0", b"\xff", b" ", b"a"]
)


def read(path: Path) -> tuple[list[int], list[Reject], list[int]]:
    """Reads a file; returns the positions of events, the rejects as they are stored, and the positions of records."""
    source, decoder = LocalSource([FileSource(str(path))]), Decoder(InputConfig())
    reader = next(iter(source._readers.values()))
    assert isinstance(reader, FileSource)
    reader.open([], None)
    events: list[int] = []
    rejects: list[Reject] = []
    positions: list[int] = []
    while (records := reader.read(70)) is not None:
        decoded = decoder.decode(records)
        events += decoded.positions
        rejects += source.originals(records.partition, decoded.rejects)
        positions += records.positions
    source.close()
    return events, rejects, positions


@given(st.lists(PIECES | st.binary(max_size=8), max_size=12).map(b"".join))
def test_any_header(tmp_path_factory: pytest.TempPathFactory, header: bytes) -> None:
    """Every record is an event or a reject with a message, exactly once."""
    path = tmp_path_factory.mktemp("any") / "a.csv"
    path.write_bytes(header + b"\n" + b"\n".join(LINES) + b"\n")
    events, rejects, positions = read(path)
    assert sorted(events + [reject.position for reject in rejects]) == positions
    assert all(reject.reason and reject.detail for reject in rejects)


@pytest.mark.parametrize("more", [0, 1, 10_000_000])
def test_a_long_header(tmp_path: Path, more: int) -> None:
    """A header of the maximum length is used; the lines below a longer one are rejects that say so."""
    header = b"series,timestamp,value,"
    header += b"c" * (LIMIT - len(header) + more)
    (tmp_path / "a.csv").write_bytes(header + b"\n" + b"a,1,1,\n" * 3)
    events, rejects, _ = read(tmp_path / "a.csv")
    assert (len(events), len(rejects)) == ((0, 3) if more else (3, 0))
    assert all("max_record_bytes" in reject.detail for reject in rejects)


@pytest.mark.parametrize("name", [b",", b'"",', b'"', b"a,", b'"a\n', b"\0"])
def test_short_lines_below_a_long_header(tmp_path: Path, name: bytes) -> None:
    """A reject has a copy of a short header only, and memory is bounded by the lines."""
    (tmp_path / "a.csv").write_bytes(name * (LIMIT // len(name) - 1) + b"\n" + b"x\n" * 20_000)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    events, rejects, positions = read(tmp_path / "a.csv")
    assert not events
    assert len(rejects) == len(positions) >= 20_000
    stored = sum(len(reject.value) + len(reject.detail) + sum(len(v) for _, v in reject.headers) for reject in rejects)
    assert stored < 500 * len(rejects) + 4 * LIMIT
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100_000, "KiB"


def test_a_usual_header_is_kept(tmp_path: Path) -> None:
    """The rejects of a file have its header, which is needed to correct them."""
    (tmp_path / "a.csv").write_bytes(b"series,timestamp,value\nx\n")
    _, (reject,), _ = read(tmp_path / "a.csv")
    assert list(reject.headers) == [(CSV_HEADER, b"series,timestamp,value")]
