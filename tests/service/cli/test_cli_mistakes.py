"""User mistakes by command: the status, one line with the value and what to do, no traceback."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
from click.testing import CliRunner, Result
from kafka.errors import KafkaTimeoutError

from service.cli import COMMANDS, main
from service.kafka import construct as kafka_clients
from service.kafka.tools import topics as kafka_admin

NOWHERE = ("--set", "kafka.bootstrap=127.0.0.1:9")
TOPIC = (*NOWHERE, "--set", "kafka.topics=t")
NAME = "a" * 64


class Mistake(NamedTuple):
    """A command line, its status, and the parts that its message contains."""

    line: str
    status: int
    expected: tuple[str, ...]


ALONE = ("127.0.0.1:9: KafkaTimeoutError: Unable", "check kafka.bootstrap")
MISTAKES = [
    Mistake("run", 2, ("got none", "--input events.csv")),
    Mistake("run --input no.csv --port 0", 2, ('got "no.csv", which is no file', "expected a name or glob")),
    Mistake("run --input folder", 2, ('got "folder", which is a folder', "expected a file, or a glob of files")),
    Mistake("run --input events.csv --port {busy}", 1, (":{busy}", "already in use", "set http.host and http.port")),
    Mistake("run --input events.csv --host 192.0.2.1 --port 0", 1, ("192.0.2.1:0", "set http.host")),
    Mistake("run --input events.csv --data-dir file", 1, ("file", "Not a directory", "expected")),
    Mistake("run --input events.csv --format xml", 2, ("got 'xml'", "'csv', 'jsonl', 'json', 'parquet'")),
    Mistake("run --input events.csv --format protobuf", 2, ('got "protobuf"', "read from kafka.topics")),
    Mistake("run --input events.csv --sink paper", 2, ("got 'paper'", "'parquet', 'kafka' or 'postgres'")),
    Mistake("run --input events.csv --web-config no.yml", 2, ("no.yml", "expected a web configuration file")),
    Mistake("run --input events.csv --web-config torn.yml", 2, ("torn.yml", "line 1")),
    Mistake("run --input events.csv --data-dir damaged --port 0", 1, (f"{NAME}.safetensors", "restore the file")),
    Mistake("run --input events.csv --set nonsense", 2, ("got 'nonsense'", "section.key=value")),
    Mistake("run --input events.csv --set model.hiden_size=3", 2, ("model.hiden_size", "did you mean hidden_size?")),
    Mistake("run --input events.csv --horizon many", 2, ("model.horizon", "got 'many'", "expected integer")),
    Mistake("run --input events.csv --season fortnight", 2, ("seasons", "got 'fortnight'", "expected a duration")),
    Mistake("config check --config no.toml", 2, ("no.toml", "No such file", "expected a TOML file")),
    Mistake("config check --push --set kafka.topics=t", 2, ("got input.push and kafka.topics", "expected one of them")),
    Mistake("config check --config torn.toml", 2, ("torn.toml", "not TOML", "line 1")),
    Mistake("config check --config unknown.toml", 2, ("unknown.toml", "model.hiden_size", "did you mean hidden_size?")),
    Mistake("config check --config group.toml", 2, ("group.toml", "group.0.model.horizn", "did you mean horizon?")),
    Mistake("config check --set group.shop.model.horizon=3", 2, ("group.shop", "got the groups: none")),
    Mistake("config check --config binary.toml", 2, ("binary.toml", "not UTF-8", "expected a TOML file")),
    Mistake("config check --config folder", 2, ("folder", "is a directory")),
    Mistake("config show --config torn.toml", 2, ("torn.toml", "not TOML")),
    Mistake("config schema more", 2, ("unexpected extra argument (more)",)),
    Mistake("retrain --data-dir nowhere", 2, ("nowhere", "expected the data directory of a daemon")),
    Mistake("retrain --data-dir damaged", 1, (f"{NAME}.safetensors", "restore the file")),
    Mistake("forecast", 2, ("Missing argument 'DATA'",)),
    Mistake("forecasts --data-dir nowhere", 1, ("forecasts.sqlite: cannot be read", "expected the SQLite output")),
    Mistake("explain a --input events.csv --data-dir nowhere", 1, ("has no forecast of series 'a' up to that time",)),
    Mistake("explain a --at noon", 2, ("--at", "got 'noon'", "expected a time like 2026-11-22T10:00:00Z")),
    Mistake("forecasts --as parquet", 2, ("--as parquet without --to", "expected a file to write")),
    Mistake("forecasts --at noon", 2, ("--at", "got 'noon'", "expected a time like 2026-11-22T10:00:00Z")),
    Mistake("forecasts --last 0", 2, ("--last", "0 is not in the range")),
    Mistake("forecasts --data-dir nowhere --sink parquet", 1, ("forecasts: cannot be read", "output.sink = parquet")),
    Mistake("tail --data-dir nowhere --sink stdout", 2, ('got "stdout"', "whose forecasts nothing keeps")),
    Mistake("forecasts --set output.sink=kafka", 2, ('got "kafka"', "`forecaster tail` reads the topic")),
    Mistake("forecast no.csv", 2, ("'no.csv' does not exist",)),
    Mistake("forecast empty.csv", 1, ("empty.csv", "which has no records", "expected at least one")),
    Mistake("forecast events.csv --as xml", 2, ("--as", "'xml' is not one of 'table', 'csv', 'json'")),
    Mistake("backtest", 2, ("Missing argument 'DATA'",)),
    Mistake("backtest no.csv", 2, ("'no.csv' does not exist",)),
    Mistake("backtest empty.csv", 1, ("empty.csv", "which has no records", "expected at least one")),
    Mistake("backtest other.csv", 2, ("other.csv", "no field with times among x, y", "input.fields.timestamp=NAME")),
    Mistake("inspect", 2, ("got no input", "expected a SOURCE or --topic")),
    Mistake("inspect no.csv", 1, ("no.csv", "expected a name or glob of files")),
    Mistake("inspect other.csv", 2, ("other.csv", "no field with times among x, y", "input.fields.timestamp=NAME")),
    Mistake("backtest events.csv --out nowhere/x.npz", 2, ("--out", "got 'nowhere/x.npz'", "create it")),
    Mistake("backtest events.csv --report nowhere/x.html", 2, ("--report", "got 'nowhere/x.html'", "create it")),
    Mistake("backtest events.csv --report x.pdf", 2, ("--report", "got 'x.pdf'", "expected a name in .html")),
    Mistake("backtest events.csv --out x.csv", 2, ("--out", "got 'x.csv'", "expected a name in .npz")),
    Mistake("backtest events.csv --scale empty.csv", 2, ("empty.csv", "got no [[scale]]", "name, series and capacity")),
    Mistake("backtest events.csv --scale empty.csv --out x.npz", 2, ("got --scale with", "expected it without these")),
    Mistake("backtest events.csv --freeze-after 2", 2, ("2.0 is not in the range",)),
    Mistake("tune no.csv", 2, ("'no.csv' does not exist",)),
    Mistake("tune events.csv", 1, ("got 1 events of 1 series", "too few")),
    Mistake("tune events.csv --search model.colour", 2, ("got model.colour", "expected some of model.cell")),
    Mistake("tune events.csv --timeout soon", 2, ("--timeout", "got 'soon'", "expected a duration")),
    Mistake("exclude --data-dir empty", 2, ("expected --series, --from and --to; or --list; or --remove",)),
    Mistake("exclude --data-dir empty --series a --from then --to now", 2, ("--from", "got 'then'", "a time like")),
    Mistake("exclude --data-dir empty --series a --from 2026-01-02 --to 2026-01-01", 2,
            ("--to", "got 2026-01-01", "expected a later time")),
    Mistake("exclude --data-dir empty --remove 7", 1, ("got number 7", "there is none")),
    Mistake("exclude --list --data-dir nowhere", 2, ("nowhere", "expected the data directory of a daemon")),
    Mistake("anomalies mute a --data-dir nowhere", 2, ("nowhere", "the data directory of a daemon that has run")),
    Mistake("anomalies mute --data-dir damaged", 2, ("Missing argument 'SERIES'",)),
    Mistake("models list --data-dir nowhere", 2, ("nowhere", "expected the data directory of a daemon")),
    Mistake("models show champion --data-dir damaged", 1, (f"{NAME}.safetensors", "restore the file")),
    Mistake("models rollback --group shop --data-dir damaged", 2, ("--group: got 'shop'", "expected one of default")),
    Mistake("retrain --group shop --data-dir damaged", 2, ("--group: got 'shop'", "expected one of default")),
    Mistake("models show deadbeef --data-dir damaged", 1, ("'deadbeef': none", "expected exactly one")),
    Mistake("models promote aaaa --data-dir damaged", 1, (f"{NAME}.safetensors", "restore the file")),
    Mistake("models promote --data-dir damaged", 2, ("Missing argument 'MODEL'",)),
    Mistake("models rollback --data-dir damaged", 1, ("no previous champion", "models list")),
    Mistake("metrics 127.0.0.1:9", 1, ("http://127.0.0.1:9/metrics", "refused", "check that a daemon is running")),
    Mistake("metrics ftp://x", 1, ("got the URL 'ftp://x/metrics'", "expected one that begins with http://")),
    Mistake("metrics http://[::1", 1, ("got the URL 'http://[::1'", "expected one like http://127.0.0.1:9464")),
    Mistake("metrics --ca no.pem", 2, ("'no.pem' does not exist",)),
    Mistake("replay no.csv --topic t", 2, ("'no.csv' does not exist",)),
    Mistake("replay events.csv", 2, ("Missing option '--topic'",)),
    Mistake("replay events.csv --topic t --speed fast", 2, ("got 'fast'", "expected a factor")),
    Mistake("replay events.csv --topic t {nowhere}", 1, ALONE),
    Mistake("tail --sink kafka {nowhere}", 1, ALONE),
    Mistake("tail --count 0", 2, ("0 is not in the range",)),
    Mistake("topics create", 2, ("kafka.topics: got none", "expected at least one")),
    Mistake("topics create {topic}", 1, ALONE),
    Mistake("topics create --retention soon {topic}", 2, ("--retention", "got 'soon'", "expected a duration")),
    Mistake("doctor --config torn.toml", 2, ("torn.toml", "not TOML")),
    Mistake("plan", 2, ("Missing option '--series'",)),
    Mistake("plan --series 1 --rate 1 --measured torn.toml", 2, ("--measured", "torn.toml: got", "bench --save")),
    Mistake("plan --series 1 --rate 1 --set model.hidden_size=-1", 2, ("got -1", "a whole number from 16 to 1024")),
    Mistake("warmup file/inside", 1, ("file/inside", "Not a directory", "expected")),
    Mistake("bench --events 1", 2, ("1 is not in the range",)),
    Mistake("bench --save nowhere/x.json", 2, ("--save", "got 'nowhere/x.json'", "create it")),
    Mistake("completion tcsh", 2, ("'tcsh' is not one of 'bash', 'zsh', 'fish'",)),
    Mistake("demo --for soon", 2, ("--for", "got 'soon'", "expected a duration")),
    Mistake("demo --port 99999", 2, ("99999 is not in the range",)),
]  # fmt: skip


@pytest.fixture(scope="module")
def busy() -> Iterator[int]:
    """Yields a port in use."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen()
        yield listening.getsockname()[1]


@pytest.fixture
def mistaken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory with faulty files; connections to brokers fail at once."""
    files = {
        "torn.toml": b"[model\nhidden = 3",
        "unknown.toml": b"[model]\nhiden_size = 3\n",
        "group.toml": b'[[group]]\nname = "shop"\nmatch = ["shop.*"]\nmodel = {horizn = 3}\n',
        "binary.toml": b"\xff\xfe\x00\x01",
        "torn.yml": b"tls_server_config: [",
        "events.csv": b"series,timestamp,value\na,2026-01-05T00:00:00Z,1\n",
        "other.csv": b"x,y\n1,2\n",
        "empty.csv": b"",
        "file": b"",
        "damaged/models/champion": NAME.encode(),
        f"damaged/models/{NAME}.safetensors": b"no model",
    }
    for folder in ("folder", "empty/models", "damaged/models"):
        (tmp_path / folder).mkdir(parents=True)
    for name, data in files.items():
        (tmp_path / name).write_bytes(data)

    def unreachable(*_: object, **__: object) -> None:
        message = "Unable to bootstrap"
        raise KafkaTimeoutError(message)

    for module in (kafka_clients, kafka_admin):
        monkeypatch.setattr(module, "construct", unreachable)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("mistake", MISTAKES, ids=lambda mistake: mistake.line)
def test_a_mistake_is_reported(mistake: Mistake, mistaken: Path, busy: int) -> None:
    """A mistake ends with its status and one error line with value and expectation, without a traceback."""
    line = mistake.line.format(busy=busy, nowhere=" ".join(NOWHERE), topic=" ".join(TOPIC))

    done: Result = CliRunner().invoke(main, line.split())

    assert isinstance(done.exception, SystemExit), done.exception
    assert done.exit_code == mistake.status
    for part in mistake.expected:
        assert part.format(busy=busy).lower() in done.stderr.lower()
    assert "Traceback" not in done.stderr
    assert "Errno" not in done.stderr.replace("[Errno 111] Connection refused", "")
    expected = [one for one in done.stderr.splitlines() if one.startswith("Error: ")]
    assert len(expected) == 1


def test_every_command_is_mistaken() -> None:
    """Every command has a mistake in the table."""
    assert {mistake.line.split()[0] for mistake in MISTAKES} == set(COMMANDS)
