"""`forecaster config check --online`: a dry run against the actual inputs and outputs."""

from __future__ import annotations

import json
import socket
import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from service.cli import main

EVENT = '{"series": "a", "timestamp": 1700000000000, "value": 1}\n'
Check = Callable[..., Result]


@pytest.fixture
def check(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Check:
    """Runs the check in a folder of its own."""
    monkeypatch.chdir(tmp_path)

    def checking(*options: str) -> Result:
        return CliRunner().invoke(main, ["config", "check", "--online", "--port", "0", *options])

    return checking


def test_all_is_well(check: Check, tmp_path: Path) -> None:
    """Events are decoded, folder, output and address are checked, and nothing is created."""
    Path("a.jsonl").write_text(EVENT * 3)
    found = check("--input", "a.jsonl")

    assert found.exit_code == 0, found.output
    assert "the first 3 events can be read" in found.output
    assert "forecasts.sqlite: will be created" in found.output
    assert ": is free" in found.output
    assert [entry.name for entry in tmp_path.iterdir()] == ["a.jsonl"]


def test_fields_are_chosen(check: Check) -> None:
    """The events of a file are decoded with the fields that a start would choose."""
    Path("visits.csv").write_text("time,visitors\n2026-01-01T00:00:00Z,5\n2026-01-01T01:00:00Z,6\n")
    found = check("--input", "visits.csv")

    assert found.exit_code == 0, found.output
    assert "the first 2 events can be read" in found.output
    assert not Path("forecaster-data").exists()


@pytest.mark.usefixtures("check")
def test_doctor() -> None:
    """`doctor` makes the same checks without Kafka; a daemon with nothing to read is an error."""
    Path("a.jsonl").write_text(EVENT)
    asked = ["doctor", "--port", "0", "--json"]
    well, nothing = (CliRunner().invoke(main, [*asked, *more]) for more in (["--input", "a.jsonl"], []))

    assert well.exit_code == 0, well.output
    assert {json.loads(line)["subject"] for line in well.output.splitlines()} >= {"a.jsonl", "127.0.0.1:0"}
    assert nothing.exit_code == 1
    first = json.loads(nothing.output.splitlines()[0])
    assert (first["verdict"], first["subject"]) == ("error", "input.files")
    assert "--input events.csv" in first["text"]


def test_inputs(check: Check) -> None:
    """A missing and an undecodable file are errors with the reason; a partly bad or empty file is a warning."""
    Path("rubbish.jsonl").write_text("nonsense\n" * 3)
    Path("some.jsonl").write_text("nonsense\n" + EVENT)
    Path("empty.jsonl").write_text("")
    found = check("--input", "gone.csv", "--input", "rubbish.jsonl", "--input", "some.jsonl", "--input", "empty.jsonl")

    assert found.exit_code == 1
    assert "ERROR  gone.csv: " in found.output
    assert "ERROR  rubbish.jsonl: 3 of the first 3 records would be rejected: undecodable" in found.output
    assert "warning  some.jsonl: 1 of the first 2" in found.output
    assert "warning  empty.jsonl: contains no event" in found.output


def test_an_output_of_somebody_else(check: Check) -> None:
    """An output file that is no SQLite file, or another program's, is refused."""
    Path("a.jsonl").write_text(EVENT)
    folder = Path("forecaster-data")
    folder.mkdir()
    with sqlite3.connect(folder / "forecasts.sqlite") as database:
        database.execute("CREATE TABLE t (x)")
    database.close()
    assert "of another program" in check("--input", "a.jsonl").output
    (folder / "forecasts.sqlite").write_bytes(b"x" * 5000)
    found = check("--input", "a.jsonl")

    assert found.exit_code == 1
    assert "expected a SQLite file" in found.output


def test_a_taken_address_and_a_file_in_the_way(check: Check) -> None:
    """A port in use is a warning (the daemon itself may hold it), a file in place of the data folder an error."""
    Path("a.jsonl").write_text(EVENT)
    Path("file").write_text("")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        found = check("--input", "a.jsonl", "--port", str(taken.getsockname()[1]), "--data-dir", "file/data")

    assert found.exit_code == 1
    assert "expected if the daemon is running" in found.output
    assert "cannot be written" in found.output


def test_a_bad_web_configuration(check: Check) -> None:
    """A bad web configuration ends with status 2 before the online checks."""
    Path("web.yml").write_text("tls_server_config: {cert_file: a.crt, key_file: a.key}")
    found = check("--web-config", "web.yml", "--input", "a.jsonl")

    assert found.exit_code == 2
    assert "a.crt" in found.output


def test_a_broker_that_is_not_there(check: Check) -> None:
    """An unreachable broker is reported as an error with its address."""
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{closed.getsockname()[1]}"
        found = check("--set", "kafka.topics=events", "--set", f"kafka.bootstrap={address}")

    assert found.exit_code == 1
    assert f"ERROR  broker {address}" in found.output
