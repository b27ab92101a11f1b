"""Pipes, /dev/stdin and other special files as input: spooled, or refused with one clear error."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from click.testing import CliRunner

from service.cli import main
from service.config.load import load_config
from service.config.sections import Config
from service.errors import ConfigurationError
from service.transport.build import build_local

LINES = b"".join(b'{"series": "a", "timestamp": %d, "value": %d}\n' % (60_000 * n, n) for n in range(5))


def config(folder: Path, *files: object, **more: object) -> Config:
    """Returns a configuration over these inputs."""
    return load_config(None, {"input.files": [str(f) for f in files], "state.data_dir": folder / "data", **more})


def fed(pipe: Path, *bodies: bytes) -> threading.Thread:
    """Starts a writer that opens a pipe once per body."""

    def write() -> None:
        for body in bodies:
            with pipe.open("wb") as file:
                file.write(body)

    thread = threading.Thread(target=write, daemon=True)
    thread.start()
    return thread


def read(settings: Config, count: int) -> list[bytes]:
    """Returns the values of `count` records, and closes the transport."""
    transport = build_local(settings)
    transport.start()
    values: list[bytes] = []
    for _ in range(200):
        if (records := transport.poll(100, 0.1)) is not None:
            values += records.values
        if len(values) >= count or transport.finished():
            break
    transport.close()
    return values


def test_a_named_pipe(tmp_path: Path) -> None:
    """A named pipe is read to its end, and again after a crash, from the spool."""
    os.mkfifo(tmp_path / "in")
    fed(tmp_path / "in", LINES)
    settings = config(tmp_path, tmp_path / "in")
    assert read(settings, 5) == LINES.splitlines()
    assert read(settings, 5) == LINES.splitlines()  # nothing was committed


def test_a_named_pipe_that_is_followed(tmp_path: Path) -> None:
    """A followed pipe is read from one writer after the other, each with a header of its own."""
    os.mkfifo(tmp_path / "in.csv")
    fed(tmp_path / "in.csv", b"series,timestamp,value\na,1,1\n")
    transport = build_local(config(tmp_path, tmp_path / "in.csv", **{"input.follow": True}))
    transport.start()
    found = []
    for n in range(200):
        if n == 20:
            fed(tmp_path / "in.csv", b"value,series,timestamp\n2,a,2\n")
        if (records := transport.poll(100, 0.1)) is not None:
            found += list(zip(records.values, (headers[0][1] for headers in records.headers or ()), strict=True))
        if len(found) == 2:
            break
    transport.close()
    assert found == [(b"a,1,1", b"series,timestamp,value"), (b"2,a,2", b"value,series,timestamp")]


@pytest.mark.parametrize("entry", ["-", "/dev/stdin", "/dev/fd/0", "SUBSTITUTED"])
def test_streams_of_a_process(tmp_path: Path, entry: str) -> None:
    """Standard input by any name, and a process substitution, are read, whatever the name of the data folder."""
    reading, writing = os.pipe()
    os.write(writing, LINES)
    os.close(writing)
    name, how = (
        (f"/dev/fd/{reading}", {"pass_fds": (reading,)}) if entry == "SUBSTITUTED" else (entry, {"stdin": reading})
    )
    script = (
        "import sys; from pathlib import Path; sys.path.insert(0, sys.argv[3]);"
        "from test_pipes import config, read; print(len(read(config(Path(sys.argv[1]), sys.argv[2]), 5)))"
    )
    place = tmp_path / "odd [1] *?"
    place.mkdir()
    command = [sys.executable, "-c", script, str(place), name, str(Path(__file__).parent)]
    done = subprocess.run(command, **how, capture_output=True, timeout=120, check=False)  # type: ignore[call-overload]
    os.close(reading)
    assert done.stdout == b"5\n", done.stderr


def test_what_cannot_be_read(tmp_path: Path) -> None:
    """A folder, a device or a duplicate input is one line of error and status 2, and no data folder is created."""
    (tmp_path / "events").mkdir()
    for entries, expected in (
        ([str(tmp_path / "events")], "events/*.csv"),
        (["/dev/null"], "a device"),
        (["-", "/dev/stdin"], '"-" more than once'),
    ):
        inputs = [part for entry in entries for part in ("--input", entry)]
        done = CliRunner().invoke(main, ["run", *inputs, "--data-dir", str(tmp_path / "data"), "--port", "0"])
        assert done.exit_code == 2, done.output
        assert expected in done.stderr
        assert len(done.stderr.splitlines()) == 1
        assert not (tmp_path / "data").exists()


def test_the_dry_run_takes_nothing(tmp_path: Path) -> None:
    """A dry run reports a pipe instead of reading it, which would consume its content."""
    os.mkfifo(tmp_path / "in")
    done = CliRunner().invoke(
        main, ["config", "check", "--online", "--input", str(tmp_path / "in"), "--data-dir", str(tmp_path)]
    )
    assert "a pipe is read when the daemon runs" in done.output


def test_a_pipe_needs_no_format_in_its_name(tmp_path: Path) -> None:
    """A pipe's format is read from its first bytes; a file needs a suffix."""
    os.mkfifo(tmp_path / "in")
    build_local(config(tmp_path, tmp_path / "in"))
    with pytest.raises(ConfigurationError, match="whose suffix determines no format"):
        build_local(config(tmp_path, tmp_path / "other"))
