"""The systemd unit, read by systemd's own tool, and the daemon under the unit's system call filter."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import small_run
from shipped import DEPLOY, program, run

UNIT = DEPLOY / "systemd" / "forecaster.service"
FORECASTER = Path(sys.executable).with_name("forecaster")


def test_systemd_understands_every_line(tmp_path: Path) -> None:
    """The unit has no unknown key and no invalid value; only the path of the program is adapted to this machine."""
    text = UNIT.read_text()
    unit = tmp_path / UNIT.name
    unit.write_text(text.replace("/opt/forecaster/.venv/bin/forecaster", str(FORECASTER)))
    assert run("systemd-analyze", "verify", "--man=no", unit).strip() == ""


def test_it_is_exposed_to_little(tmp_path: Path) -> None:
    """Systemd's exposure level (0 to 10) is below 1.4: network and code compiled at the start remain."""
    (tmp_path / UNIT.name).write_text(UNIT.read_text())
    said = run("systemd-analyze", "security", "--offline=yes", "--threshold=14", "--no-pager", tmp_path / UNIT.name)
    assert re.search(r"Overall exposure level .*: 1\.[0-3] OK", said)


def members(name: str) -> set[str]:
    """Returns the system calls of one of systemd's groups, or the one named call."""
    if not name.startswith("@"):
        return {name}
    lines = [line.split("#")[0].strip() for line in run("systemd-analyze", "syscall-filter", name).splitlines()]
    found = [line for line in lines if line and line != name]
    return set().union(*(members(one) for one in found))


def allowed() -> set[str]:
    """Returns the system calls that the unit's SystemCallFilter lines allow, applied in order."""
    found = members("@default")
    for line in re.findall(r"^SystemCallFilter=(.*)$", UNIT.read_text(), re.MULTILINE):
        calls = set().union(*(members(name) for name in line.removeprefix("~").split()))
        found = found - calls if line.startswith("~") else found | calls
    return found


def test_a_daemon_lives_under_its_system_calls(tmp_path: Path) -> None:
    """With every other call refused, as by systemd, the daemon forecasts, trains, adopts the model and ends."""
    small_run.write(tmp_path)
    refused = ",".join(f"?{name}" for name in sorted(members("@known") - allowed()))
    done = subprocess.run(
        [
            program("strace"), "--follow-forks", "--seccomp-bpf", "--quiet=all", "--output=refused.log",
            f"--trace={refused}", f"--inject={refused}:error=EPERM",
            str(FORECASTER), "run", "--config", "config.toml",
        ],
        cwd=tmp_path, capture_output=True, text=True, timeout=280, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    calls = set(re.findall(r"^\d+ +(\w+)\(", (tmp_path / "refused.log").read_text(), re.MULTILINE))
    assert small_run.counts(tmp_path) == {"forecasts": small_run.EVENTS, "rejects": 1, "adoptions": 2}
    # SQLite changes the owner of files when root runs it; OpenBLAS requests near memory. Both work without these calls.
    assert calls <= {"fchown", "mbind"}
