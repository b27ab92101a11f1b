"""Access logs as files and streams: recognised by their first line, with the fields and windows that fit them."""

from __future__ import annotations

import gzip
import json
import os
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from click.testing import CliRunner

from service.cli import main
from service.config.input import InputConfig
from service.config.load import load_config
from service.discovery.choice import settled
from service.discovery.sample import of_topic, sample_of_file
from service.discovery.settle import settle
from service.messages.decode import Decoder
from service.ports import Records
from service.sources.manifest import sniff_format
from service.sources.stdin_spool import Spool

EXAMPLE = Path(__file__).parents[3] / "examples" / "access.log.gz"
LINES = gzip.decompress(EXAMPLE.read_bytes()).splitlines()
# The network of tests/e2e/test_kill.py, so that it is compiled once.
SMALL = ["--horizon", "4", "--set", "model.seasons=12", "--set", "model.hidden_size=16", "--set", "model.head_size=16"]


def write(path: Path, lines: list[bytes]) -> Path:
    """Writes lines, compressed where the name says so."""
    text = b"\n".join(lines) + b"\n"
    path.write_bytes(gzip.compress(text) if path.suffix == ".gz" else text)
    return path


@pytest.mark.parametrize("name", ["access.log", "access.log.1", "access.log.2.gz", "access"])
def test_recognised(tmp_path: Path, name: str) -> None:
    """A log of any name, also rotated and compressed, needs no setting; what is chosen is kept."""
    path = write(tmp_path / name, LINES[:50])
    config = load_config(None, {"input.files": [str(path)], "state.data_dir": str(tmp_path / "data")})
    found = settle(config).settings
    assert found == {
        "input.format": "access-log", "input.fields.timestamp": "time", "input.fields.series": "{file}",
        "input.fields.value": "request_time",
    }  # fmt: skip


def test_what_is_configured_is_used(tmp_path: Path) -> None:
    """Fields that the configuration names are used as it says; without times of requests the value is their size."""
    path = write(tmp_path / "access.log", [line.rpartition(b" ")[0] for line in LINES[:50]])
    given = InputConfig.model_validate({"fields": {"series": "path"}})
    sample = sample_of_file(str(path), given)
    chosen = settled(sample, given)
    assert (chosen.fields.series, chosen.fields.value) == ("path", "bytes")
    decoded = Decoder(chosen).decode(sample.records)
    assert (len(decoded), decoded.rejects) == (50, [])
    assert {"/", "/cart"} <= set(decoded.series)


def test_first_bytes() -> None:
    """Lines of other logs are no access logs."""
    assert sniff_format(b"\n\xef\xbb\xbf"[1:] + LINES[0]) == "access-log"
    assert sniff_format(b"2026/11/22 10:00:01 [error] 7#7: failed\n") is None
    assert sniff_format(b"Nov 22 10:00:01 host sshd[7]: ok\n") is None


def test_another_file(tmp_path: Path) -> None:
    """A file that is none, and is said to be one, is refused with what is expected."""
    path = write(tmp_path / "error.log", [b"2026/11/22 10:00:01 [error] 7#7: connect() failed"])
    done = CliRunner().invoke(main, ["inspect", str(path), "--format", "access-log"])
    assert done.exit_code == 1
    assert "expected lines in the Common or the Combined Log Format" in done.output


def test_topic() -> None:
    """A sample of a topic is an access log where most of its records are, and its format is then to be set."""
    records = Records("t-0", range(3), 3, [*LINES[:2], b"{}"], timestamps_ms=[0] * 3)
    sample = of_topic("t", records, InputConfig())
    assert (sample.format, sample.guessed, len(sample.rows)) == ("access-log", True, 2)
    assert of_topic("t", records, InputConfig(format="jsonl")).format == "jsonl"


def test_standard_input(tmp_path: Path) -> None:
    """A stream whose first line is an entry is stored as an access log."""
    reading, writing = os.pipe()
    os.write(writing, b"\n".join(LINES[:3]) + b"\n")
    os.close(writing)
    spool = Spool(tmp_path / "spool", descriptor=reading)
    spool.start()
    while spool.growing():
        pass
    assert [path.suffix for path in spool.segments()] == [".access-log"]


def test_example(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The log of the example is inspected, and forecast with the configuration that this writes: counts and p95."""
    monkeypatch.chdir(tmp_path)
    done = CliRunner().invoke(main, ["inspect", str(EXAMPLE), "--write", "access.toml"])
    assert done.exit_code == 0, done.output
    assert 'functions = ["count", "p95"]' in Path("access.toml").read_text()
    done = CliRunner().invoke(main, ["run", "--config", "access.toml", "--data-dir", "data", "--port", "0", *SMALL])
    assert done.exit_code == 0, done.output
    with closing(sqlite3.connect("data/forecasts.sqlite")) as database:
        counts = dict(database.execute("SELECT series, count(*) FROM forecasts GROUP BY 1").fetchall())
        (newest,) = database.execute(
            "SELECT quantiles FROM forecasts WHERE series = 'access.p95' ORDER BY origin DESC LIMIT 1"
        ).fetchone()
    assert counts.keys() == {"access.count", "access.p95"}
    assert min(counts.values()) > 110
    assert 0.02 < json.loads(newest)[0][3] < 0.5  # seconds that 95 % of the requests take
