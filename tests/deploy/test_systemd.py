"""The systemd unit, read by systemd's own tool, and the daemon under the system calls that it leaves."""

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
    """No unknown key, no bad value; only the path of the program is that of this machine."""
    text = UNIT.read_text()
    unit = tmp_path / UNIT.name
    unit.write_text(text.replace("/opt/forecaster/.venv/bin/forecaster", str(FORECASTER)))
    assert run("systemd-analyze", "verify", "--man=no", unit).strip() == ""


def test_it_is_exposed_to_little(tmp_path: Path) -> None:
    """Systemd's measure, 0 to 10, is below 1.4: the network, and code that is compiled at the start, are left."""
    (tmp_path / UNIT.name).write_text(UNIT.read_text())
    said = run("systemd-analyze", "security", "--offline=yes", "--threshold=14", "--no-pager", tmp_path / UNIT.name)
    assert re.search(r"Overall exposure level .*: 1\.[0-3] OK", said)


def members(name: str) -> set[str]:
    """The system calls of one of systemd's groups, or the one that is named."""
    if not name.startswith("@"):
        return {name}
    lines = [line.split("#")[0].strip() for line in run("systemd-analyze", "syscall-filter", name).splitlines()]
    found = [line for line in lines if line and line != name]
    return set().union(*(members(one) for one in found))


def allowed() -> set[str]:
    """What the unit's SystemCallFilter lines leave, taken in their order."""
    found = members("@default")
    for line in re.findall(r"^SystemCallFilter=(.*)$", UNIT.read_text(), re.MULTILINE):
        calls = set().union(*(members(name) for name in line.removeprefix("~").split()))
        found = found - calls if line.startswith("~") else found | calls
    return found


def test_a_daemon_lives_under_its_system_calls(tmp_path: Path) -> None:
    """With every other call refused, as systemd does it, it forecasts, trains, adopts the model and ends by itself."""
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
    # SQLite gives files to the owner of their folder when root runs it; OpenBLAS asks for near memory. Both do without.
    assert calls <= {"fchown", "mbind"}
