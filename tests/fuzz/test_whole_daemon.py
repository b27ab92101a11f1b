"""Records of any bytes through a whole daemon: an event, a control record or a reject each, with no effect on others.

Whatever bytes a record holds, decoding gives an event or a reject; the neighbours of the record are forecast as they
are without it. `make fuzz` is the long form.
"""

from __future__ import annotations

import sqlite3
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import httpx
import orjson
import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st
from malformed_records import CONTROL, HOW, good, malformed, tell
from targets import CLOUD, EVENT, POINT

from service.cli import main
from service.cli._daemon import Daemon
from service.config.input import InputConfig
from service.config.load import load_config
from service.messages.decode import CSV_HEADER, Decoder
from service.ports import Records

sys.path.insert(0, str(Path(__file__).parents[1] / "service"))
from csv_records import csv_records
from sqlite_outputs import outputs

SMALL = ("--horizon", "2", "--interval", "1m", "--set", "model.hidden_size=16", "--set", "model.head_size=16")
LONGEST = InputConfig().max_record_bytes
HEADER = "series,timestamp,value"
LINE = b"a,1767571200000,1.5"
QUOTED = b'"a",2026-01-05T00:00:00Z,'


def forecasts(database: Path) -> list[dict[str, object]]:
    """Returns the forecasts of the good series, in order, without their source."""
    found = [one for one in outputs(database) if str(one["series"]).startswith("good.")]
    return [{key: value for key, value in one.items() if key != "source"} for one in found]


def rejected(database: Path) -> list[bytes]:
    """Returns the bytes of the rejects, in order."""
    connection = sqlite3.connect(database)
    try:
        return [value for (value,) in connection.execute("SELECT value FROM rejects ORDER BY position")]
    finally:
        connection.close()


def ran(lines: Sequence[bytes], name: str) -> tuple[list[dict[str, object]], list[bytes]]:
    """Returns forecasts and rejects of a daemon that read a file of these lines."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / name
        file.write_bytes(b"".join(line + b"\n" for line in lines))
        where = ("--input", str(file), "--port", "0", "--data-dir", f"{folder}/data")
        done = CliRunner().invoke(main, ["run", *where, *SMALL, "--set", "input.max_poll_records=7"])
        assert done.exit_code == 0, done.output
        database = Path(folder) / "data" / "forecasts.sqlite"
        return forecasts(database), rejected(database)


def refused(lines: Sequence[bytes], header: bytes | None) -> list[bytes]:
    """Returns the lines that the decoder rejects one by one."""
    found = []
    for line in lines:
        headers = None if header is None else [((CSV_HEADER, header),)]
        if line and Decoder(InputConfig()).decode(Records("p", [0], 1, [line], headers=headers)).rejects:
            found.append(line[:LONGEST])
    return found


@pytest.mark.parametrize("name", ["events.jsonl", "events.csv"])
def test_a_file_with_malformed_records(name: str) -> None:
    """Arbitrary records leave the forecasts of good events bit-identical, and each is processed or rejected."""
    if name.endswith("csv"):
        lines = ["{},{},{}".format(*good(step)).encode() for step in range(30)]
        seeds, header = (LINE, QUOTED), HEADER.encode()
    else:
        lines = [orjson.dumps(dict(zip(HEADER.split(","), good(step), strict=True))) for step in range(30)]
        seeds, header = (EVENT, CLOUD, CONTROL, POINT), None
    first = [] if header is None else [header]
    expected, nothing = ran([*first, *lines], name)
    assert (len(expected), nothing) == (30, [])
    tried = 0

    @HOW
    @given(malformed(*seeds, lines=header is None), st.integers(0, 99))
    def attempt(records: list[bytes], salt: int) -> None:
        nonlocal tried
        tried += len(records)
        places = sorted((salt + 7 * at * at) % (len(lines) + 1) for at in range(len(records)))
        mixed = list(lines)
        for at, record in reversed(list(zip(places, records, strict=True))):
            mixed.insert(at, record)
        found, rejects = ran([*first, *mixed], name)
        if header is not None:
            mixed = [value for _, value in csv_records(b"\n".join(mixed), 3, LONGEST)]
        if set(lines) <= set(mixed):  # otherwise a quoted field spans one of the good lines
            assert found == expected
        assert rejects == refused(mixed, header)

    attempt()
    tell(f"whole daemon, {name}", tried)


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[str]:
    """A daemon that accepts pushed events; yields its address."""
    sets = {"model.hidden_size": 16, "model.head_size": 16, "model.horizon": 2, "model.interval": "1m"}
    config = load_config(None, {"input.push": True, "http.port": 0, "state.data_dir": tmp_path / "data", **sets})
    one, stop = Daemon(config), threading.Event()
    thread = threading.Thread(target=one.run, args=(stop,))
    thread.start()
    try:
        until = time.monotonic() + 300
        while one.phase != "running":
            assert thread.is_alive()
            assert time.monotonic() < until
            time.sleep(0.05)
        yield one._http.url
        assert thread.is_alive()
    finally:
        stop.set()
        thread.join(60)


def test_malformed_records_that_are_pushed(daemon: str, tmp_path: Path) -> None:
    """Each body gets 200 or 400, good events after it are accepted, and all accepted events are forecast."""
    steps, tried, taken = iter(range(10**9)), 0, 0
    with httpx.Client(base_url=daemon, trust_env=False, timeout=60) as client:

        def post(line: bytes) -> int:
            kind = {"content-type": "application/x-ndjson"}
            return client.post("/api/v1/events", content=line, headers=kind).status_code

        @HOW
        @given(malformed(EVENT, CLOUD, CONTROL, POINT))
        def attempt(records: list[bytes]) -> None:
            nonlocal tried, taken
            for record in records:
                tried += 1
                wrong = refused([record.strip()], None)
                assert post(record) == (400 if wrong else 200)
            line = orjson.dumps(dict(zip(HEADER.split(","), good(next(steps)), strict=True)))
            assert post(line) == 200
            taken += 1

        attempt()
        until = time.monotonic() + 60
        database = tmp_path / "data" / "forecasts.sqlite"
        while len(forecasts(database)) < taken and time.monotonic() < until:
            time.sleep(0.1)
    assert len(forecasts(database)) == taken
    assert rejected(database) == []
    tell("whole daemon, pushed", tried)
