"""Resource and machine faults of a daemon: no output is lost or duplicated.

The table in docs/operations.md is the result of these tests: `FAULTS_TABLE=table.md pytest tests/soak/test_faults.py`.
"""

from __future__ import annotations

import contextlib
import os
import resource
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest
from daemon import DaemonProcess
from faults import Stage, note

pytestmark = pytest.mark.slow

UNHARMED = {"lost": 0, "doubled": 0, "different": 0}
NO_LIMIT = (resource.RLIM_INFINITY, resource.RLIM_INFINITY)


def until(what: Callable[[], object], patience: float = 240.0) -> None:
    """Waits for a condition."""
    ends = time.monotonic() + patience
    while not what():
        assert time.monotonic() < ends, "it did not come about"
        time.sleep(0.02)


def finish(stage: Stage, daemon: DaemonProcess) -> dict[str, int]:
    """Ends the daemon as systemd does, and compares the outputs."""
    assert daemon.end(signal.SIGTERM) == 0
    found = stage.compare()
    assert {name: found[name] for name in UNHARMED} == UNHARMED
    return found


def mounts() -> bool:
    """Whether this user may mount a file system."""
    command = ["unshare", "-rm", "mount", "-t", "tmpfs", "none", "/mnt"]
    return bool(shutil.which("unshare")) and subprocess.run(command, capture_output=True, check=False).returncode == 0


def test_the_disk_is_full(tmp_path: Path) -> None:
    """With a full disk the sink is down and the daemon waits, healthy but not ready; free space ends the wait."""
    if not mounts():
        pytest.skip("no file system may be mounted here; the limit on files below takes the other way of running out")
    stage = Stage(tmp_path)
    (tmp_path / "soaked").mkdir()
    mount = 'mount -t tmpfs -o size=4m none soaked && exec "$0" "$@"'
    daemon = stage.start(through=["unshare", "-rm", "sh", "-c", mount])
    inside = Path(f"/proc/{daemon.pid}/root{tmp_path}/soaked")
    with contextlib.suppress(OSError), (inside / "ballast").open("wb", buffering=0) as ballast:
        while ballast.write(bytes(4096)):
            pass
    stage.feed()
    found = daemon.wait_for('forecaster_condition{reason="sink_down"}', 1)
    assert (found["forecaster_ready"], found["forecaster_healthy"]) == (0, 1)
    assert found['forecaster_condition{reason="disk_nearly_full"}'] == 1
    began = time.monotonic()
    (inside / "ballast").unlink()
    seconds = stage.recover(daemon, began)
    assert daemon.wait_for("forecaster_ready", 1)["forecaster_sink_retries_total"] > 0
    shutil.copytree(inside, tmp_path / "kept")
    assert daemon.end(signal.SIGTERM) == 0
    (tmp_path / "soaked").rmdir()
    (tmp_path / "kept").rename(tmp_path / "soaked")
    result = stage.compare()
    assert {name: result[name] for name in UNHARMED} == UNHARMED
    note(
        "disk full",
        "a 4 MB tmpfs filled to the last byte",
        "sink down: reads no more, not ready, tries again",
        result,
        seconds,
    )


def test_files_may_not_grow(tmp_path: Path) -> None:
    """A write error other than "disk full" restarts the transport until the write succeeds."""
    stage = Stage(tmp_path)
    daemon = stage.start()
    resource.prlimit(daemon.pid, resource.RLIMIT_FSIZE, (4096, resource.RLIM_INFINITY))
    stage.feed()
    daemon.wait_for("forecaster_restarts_total", 2)
    began = time.monotonic()
    resource.prlimit(daemon.pid, resource.RLIMIT_FSIZE, NO_LIMIT)
    seconds = stage.recover(daemon, began)
    note("I/O errors", "RLIMIT_FSIZE of 4 KiB", "starts again from the committed state, with growing pauses",
         finish(stage, daemon), seconds)  # fmt: skip


def test_no_file_descriptor_is_left(tmp_path: Path) -> None:
    """A daemon whose descriptors are used up by connections restarts its transport until some are free."""
    stage = Stage(tmp_path)
    daemon = stage.start()
    process = psutil.Process(daemon.pid)
    limit = process.num_fds() + 5
    resource.prlimit(daemon.pid, resource.RLIMIT_NOFILE, (limit, limit))
    host, port = daemon.url().removeprefix("http://").split(":")
    with contextlib.ExitStack() as held:
        for _ in range(30):
            held.enter_context(socket.create_connection((host, int(port)), timeout=60)).sendall(b"GET /metr")
        until(lambda: "transport failed, restarting" in (tmp_path / "soaked.log").read_text())
        stage.feed()
    began = time.monotonic()
    seconds = stage.recover(daemon, began)
    note("no file descriptor left", "RLIMIT_NOFILE, and connections that hold them all",
         "starts again until it gets them", finish(stage, daemon), seconds)  # fmt: skip


def test_no_memory_is_left(tmp_path: Path) -> None:
    """After a failed allocation, whether the process ends or not, the next start resumes at the committed position."""
    stage = Stage(tmp_path, newcomers=8000)
    text = (tmp_path / "config.toml").read_text().replace("max_poll_records = 25", "max_poll_records = 1000")
    (tmp_path / "config.toml").write_text(text.replace("max_series = 64", "max_series = 10000"))
    daemon = stage.start()
    vms = psutil.Process(daemon.pid).memory_info().vms
    resource.prlimit(daemon.pid, resource.RLIMIT_AS, (vms, resource.RLIM_INFINITY))
    stage.feed()
    until(lambda: not daemon.alive() or "transport failed, restarting" in (tmp_path / "soaked.log").read_text())
    daemon.end(signal.SIGKILL)
    began = time.monotonic()
    daemon = DaemonProcess(tmp_path, "soaked", follow=True)
    seconds = stage.recover(daemon, began)
    note("no memory left", "RLIMIT_AS at what it has, then 8,000 new series",
         "ends or starts again; systemd or Kubernetes start it", finish(stage, daemon), seconds)  # fmt: skip


def test_the_clock_jumps(tmp_path: Path) -> None:
    """The wall clock does not affect forecasts: jumps by days at every read do not change a byte."""
    stage = Stage(tmp_path)
    daemon = stage.start(through=[sys.executable, str(Path(__file__).with_name("jumping_clock.py"))])
    began = time.monotonic()
    stage.feed()
    seconds = stage.recover(daemon, began)
    note("clock jumps", "up to 30 days, to and fro, at every look", "nothing", finish(stage, daemon), seconds)


def test_the_disk_is_slow(tmp_path: Path) -> None:
    """A delay of 0.1 s per sync slows the daemon down; it stays healthy, and its output is unchanged."""
    if not shutil.which("strace"):
        assert not os.environ.get("CI"), "got no strace under CI, expected the Debian package: run `make system`"
        pytest.skip("no strace here: `make system` installs it")
    syncs = ["--trace=fsync,fdatasync", "--inject=fsync,fdatasync:delay_exit=100000"]
    stage = Stage(tmp_path)
    daemon = stage.start(through=["strace", "-D", "-f", "--seccomp-bpf", "-qqq", "-o", "/dev/null", *syncs])
    began = time.monotonic()
    stage.feed()
    seconds = stage.recover(daemon, began)
    assert daemon.metrics()["forecaster_healthy"] == 1
    note(
        "slow disk",
        "0.1 s more for every sync",
        "waits for each commit; lag grows meanwhile",
        finish(stage, daemon),
        seconds,
    )


def test_the_trainer_is_killed(tmp_path: Path) -> None:
    """After a kill of the trainer, as by the OOM killer, the model stays in use and the next training succeeds."""
    stage = Stage(tmp_path, '[retrain]\nevery_events = 1300\nwait = "true"\n', steps=3200)
    daemon = DaemonProcess(tmp_path, "soaked", follow=True)
    until(lambda: psutil.Process(daemon.pid).children())
    began = time.monotonic()
    for child in psutil.Process(daemon.pid).children():
        child.kill()
    stage.feed()
    seconds = stage.recover(daemon, began)
    found = daemon.metrics()
    runs = {
        outcome: found[f'forecaster_training_runs_total{{outcome="{outcome}"}}'] for outcome in ("failed", "promoted")
    }
    assert runs == {"failed": 1, "promoted": 1}
    assert daemon.end(signal.SIGTERM) == 0
    result = stage.compare()
    assert (result["lost"], result["doubled"]) == (0, 0)  # one model is missing, so bytes differ
    note(
        "trainer killed",
        "SIGKILL, as when memory runs out",
        "keeps the model; the next training is as usual",
        result,
        seconds,
    )
