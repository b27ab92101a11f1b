"""The contract over files and the Parquet sink, whose files are lines here; and what its settings refuse."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from contract import RECORDS, TransportContract, World
from test_pair_local import config

from service.errors import ConfigurationError
from service.sinks.parquet_files import path_of
from service.sinks.parquet_pending import ParquetFile, units
from service.sinks.parquet_sink import FileBounds, ParquetSink
from service.sinks.sqlite_sink import SqliteSink
from service.sources.local import local_source
from service.transport.build import build_local, check_transport, data_lock
from service.transport.pair import Pair


def as_lines(folder: Path, database: Path, file: ParquetFile) -> dict[str, int]:
    """Writes the records of a file as lines: those of the contract have no columns."""
    path = path_of(folder, "forecasts", file)
    path.parent.mkdir(parents=True, exist_ok=True)
    with closing(sqlite3.connect(database)) as connection:
        path.write_bytes(b"".join(lines(connection, file.first, file.next)))
    return {"forecasts": path.stat().st_size, "silences": 0}


def lines(database: sqlite3.Connection, first: int, end: int) -> list[bytes]:
    """Returns stored records with numbers in [first, end) as lines."""
    found = []
    for unit in units(database, first, end):
        ends = unit.sizes.cumsum().tolist()
        starts = [0, *ends[:-1]]
        found += [unit.records[start:stop] + b"\n" for start, stop in zip(starts, ends, strict=True)]
    return found


class TestParquetContract(TransportContract):
    """The contract from files to a folder of files, with many small files and with none before the end."""

    @pytest.fixture(params=[100, 1 << 20])
    def world(self, request, tmp_path: Path) -> World:
        """The records of the contract in a file."""
        entry, folder = tmp_path / "events.jsonl", tmp_path / "out"
        entry.write_bytes(b"\n".join(RECORDS) + b"\n")
        settings, database = config(tmp_path, entry), folder / "positions.sqlite"

        def transport() -> Pair:
            bounds = FileBounds(3_600_000, request.param, 0, 0, lambda: 1_700_000_000_000)
            sink = ParquetSink(folder, SqliteSink(database), bounds, as_lines)
            return Pair(local_source(settings), sink, lock=data_lock(settings))

        def crash(pair: Pair) -> None:
            if pair.sink._writing is not None:
                pair.sink._writing.exception()  # a thread cannot be killed
            pair.sink._thread = None  # nothing more is written
            pair.close()

        def forecasts() -> list[bytes]:
            if not database.exists():
                return []
            with closing(sqlite3.connect(database)) as connection:
                query = "SELECT * FROM parquet_files WHERE state = 1 ORDER BY number"
                files = [ParquetFile(*row) for row in connection.execute(query)]
                waiting = lines(connection, files[-1].next if files else 0, 1 << 60)
            written = [path_of(folder, "forecasts", file).read_bytes().splitlines(keepends=True) for file in files]
            return [line for part in [*written, waiting] for line in part]

        return World(transport, crash, forecasts)


def test_its_settings(tmp_path):
    """The folder and its database are where the settings say; a format of forecasts is refused."""
    found = config(tmp_path, tmp_path / "f.csv", **{"output.sink": "parquet"})
    assert found.output_path == tmp_path / "data" / "forecasts"
    assert found.positions_path == tmp_path / "data" / "forecasts" / "positions.sqlite"
    assert isinstance(build_local(found).sink, ParquetSink)
    named = config(tmp_path, tmp_path / "f.csv", **{"output.sink": "parquet", "output.path": "lake"})
    assert named.output_path == tmp_path / "data" / "lake"
    wrong = config(tmp_path, tmp_path / "f.csv", **{"output.sink": "parquet", "output.format": "compact"})
    with pytest.raises(ConfigurationError, match=r'got "compact" with output\.sink = "parquet"'):
        check_transport(wrong)


def test_without_its_extra(tmp_path, monkeypatch):
    """Without pyarrow the start ends with what to install."""
    import importlib.util

    found = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "pyarrow" else found(name))
    settings = config(tmp_path, tmp_path / "f.csv", **{"output.sink": "parquet"})
    with pytest.raises(ConfigurationError, match=r"pyarrow is not installed; expected the extra: .*parquet"):
        check_transport(settings)
