"""The Kafka commands, and the how-to of the README as printed."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest
from click.testing import CliRunner
from kafka_tools import produce, read_topic

from service.cli import main
from service.kafka.tools import doctor as kafka_doctor
from service.kafka.tools.topics import TopicPlan

ROOT = Path(__file__).parents[2]
BLOCK = re.compile(r"^```sh\n(.*?)^```$", re.MULTILINE | re.DOTALL)


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_how_to(bootstrap, app, tmp_path):
    """The how-to's commands succeed in order; every event of the file is answered once and shown by `tail`."""
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    environment = {name: value for name, value in os.environ.items() if not name.startswith("FORECASTER_")}
    environment["PATH"] = f"{Path(sys.executable).parent}:{environment['PATH']}"
    environment["FORECASTER_KAFKA__BOOTSTRAP"] = bootstrap
    # One broker serves the whole test run: the names of the README are replaced by names of this test.
    readme = (ROOT / "README.md").read_text()
    text = "".join(BLOCK.findall(readme[readme.index("## With Kafka") : readme.index("## Run it for good")]))
    text = text.replace('"demand"', f'"{app}.in"').replace("--topic demand", f"--topic {app}.in").replace("shop", app)
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", text],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        timeout=400,
        check=False,
    )
    assert done.returncode == 0, f"{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
    shown = done.stdout.strip().splitlines()[-3:]
    assert all(" north  next " in line for line in shown)
    forecasts = [json.loads(record.value) for record in read_topic(bootstrap, f"{app}.forecasts")]
    places = {(f["source"]["partition"], f["source"]["position"]) for f in forecasts}
    assert len(places) == len(forecasts) == len(read_topic(bootstrap, f"{app}.in"))


def invoke(bootstrap, app, *arguments):
    """Runs a command against the broker."""
    sets = (f"kafka.bootstrap={bootstrap}", f"kafka.app={app}", f"kafka.topics={app}.in", "http.port=0")
    return CliRunner().invoke(main, [*arguments, *(word for text in sets for word in ("--set", text))])


def test_doctor_finds_what_is_missing(bootstrap, app):
    """`doctor` reports missing topics as errors with the command that creates them; after creation all checks pass."""
    before = invoke(bootstrap, app, "doctor")
    assert before.exit_code == 1
    assert before.output.count("topics create") >= 5
    made = invoke(bootstrap, app, "topics", "create", "--partitions", "2")
    assert made.exit_code == 0, made.output
    again = invoke(bootstrap, app, "topics", "create", "--partitions", "2")
    assert again.output.count(": exists (") == 5
    after = invoke(bootstrap, app, "doctor", "--json")
    assert after.exit_code == 0, after.output
    assert {json.loads(line)["verdict"] for line in after.output.splitlines()} == {"ok"}


def test_what_a_pair_needs(bootstrap, app, tmp_path):
    """A pair from files to Kafka needs a topic of positions; a pair from topics to SQLite needs only the input."""
    (tmp_path / "e.jsonl").write_text('{"series":"a","timestamp":1,"value":1}\n')
    common = (f"kafka.bootstrap={bootstrap}", f"kafka.app={app}", f"state.data_dir={tmp_path}")
    files = (f"input.files={tmp_path / 'e.jsonl'}", "output.sink=kafka")
    topics = (f"kafka.topics={app}.in", "output.sink=sqlite", "kafka.membership=alone")

    def command(*arguments, sets):
        words = [word for text in (*common, *sets) for word in ("--set", text)]
        return CliRunner().invoke(main, [*arguments, *words])

    missing = command("doctor", sets=files)
    assert f"topic {app}.positions: does not exist (positions of the inputs)" in missing.output
    assert f"{app}.in" not in missing.output
    made = command("topics", "create", "--partitions", "1", sets=files)
    assert made.exit_code == 0, made.output
    assert made.output.count(": created (") == 5
    for look in (("doctor",), ("config", "check", "--online", "--port", "0")):
        found = command(*look, sets=files)
        assert found.exit_code == 0, found.output
        assert f"{app}.positions" in found.output
    assert "the first 1 events can be read" in found.output
    assert "forecasts.sqlite" not in found.output
    made = command("topics", "create", "--partitions", "1", sets=topics)
    assert made.output.startswith(f"{app}.in: created (input events)\n")
    assert made.output.count("\n") == 1
    found = command("config", "check", "--online", "--port", "0", sets=topics)
    assert found.exit_code == 0, found.output
    assert "forecasts.sqlite: will be created" in found.output
    assert f"{app}.forecasts" not in found.output


def test_doctor_compares_clocks(bootstrap, app):
    """`doctor` reports record times ahead of the local clock, and shows the age of old records."""
    invoke(bootstrap, app, "topics", "create", "--partitions", "1")
    produce(bootstrap, f"{app}.in", [b"{}"], timestamp_ms=int(time.time() * 1000) - 60_000)
    assert "s old" in invoke(bootstrap, app, "doctor").output
    produce(bootstrap, f"{app}.in", [b"{}"], timestamp_ms=int(time.time() * 1000) + 600_000)
    found = invoke(bootstrap, app, "doctor")
    assert "ahead of this machine" in found.output
    assert found.exit_code == 0


def test_doctor_names_missing_rights():
    """`doctor` reports a missing right as an error with the command that grants it."""
    wanted = [TopicPlan("t", 1, {}, "models", ("READ", "WRITE")), TopicPlan("u", 1, {}, "input events", ("READ",))]

    class Client:
        def list_topics(self):
            return ["t", "u"]

        def describe_topics(self, names):
            return [{"name": name, "authorized_operations": ["READ", "DESCRIBE"]} for name in names]

    findings = list(kafka_doctor._examine_rights(Client(), wanted))
    assert [finding.verdict for finding in findings] == ["error"]
    assert "kafka-acls --add" in findings[0].text
    assert "--operation WRITE --topic t" in findings[0].text


def test_doctor_without_a_broker(app):
    """`doctor` reports an unreachable broker quickly."""
    done = invoke("127.0.0.1:1", app, "doctor")
    assert done.exit_code == 1
    assert "127.0.0.1:1" in done.output


def test_replay_keeps_bytes(bootstrap, app, tmp_path):
    """`replay` writes JSON lines unchanged and CSV as JSON, keyed by series; retention counts from now on."""
    before = int(time.time() * 1000)
    invoke(bootstrap, app, "topics", "create", "--partitions", "1")
    lines = [
        b'{"series":"a","timestamp":1000,"value":1.5}',
        b"not an event",
        b'{"series":"b","timestamp":2000,"value":2}',
    ]
    (tmp_path / "e.jsonl").write_bytes(b"\n".join(lines) + b"\n")
    (tmp_path / "e.csv").write_text("series,timestamp,value\nc,1970-01-01T00:00:03Z,\n")
    for name in ("e.jsonl", "e.csv"):
        done = invoke(bootstrap, app, "replay", str(tmp_path / name), "--topic", f"{app}.in", "--speed", "1000x")
        assert done.exit_code == 0, done.output
    records = read_topic(bootstrap, f"{app}.in")
    assert [record.value for record in records[:3]] == lines
    assert [record.key for record in records] == [b"a", None, b"b", b"c"]
    assert all(before <= record.timestamp <= time.time() * 1000 for record in records)
    assert json.loads(records[3].value)["value"] is None
