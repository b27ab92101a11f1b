"""Files around the code: the two commands, the CI script, the deployment files."""

from __future__ import annotations

import configparser
import os
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A copy of the files that `make` reads, without an environment."""
    shutil.copy(ROOT / "Makefile", tmp_path)
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    shutil.copytree(ROOT / "requirements", tmp_path / "requirements")
    return tmp_path


def plan_of(project: Path, *arguments: str) -> str:
    """Returns the commands that `make` would run."""
    command = ["make", "--dry-run", *arguments]
    outer = ("MAKEFLAGS", "MAKELEVEL", "MFLAGS")  # set if `make test` runs this test; make would report on them
    environment = {name: value for name, value in os.environ.items() if name not in outer}
    return subprocess.run(command, cwd=project, env=environment, capture_output=True, text=True, check=True).stdout


def test_run_needs_only_the_run_requirements(project: Path) -> None:
    """`make run` sets up an environment from the run requirements alone, checked by hash."""
    plan = plan_of(project, "run", "ARGS=--for 60s")

    assert "--require-hashes -r requirements/run.txt" in plan
    assert "requirements/test.txt" not in plan
    assert plan.rstrip().endswith("forecaster demo --for 60s")


def test_nothing_is_reinstalled(project: Path) -> None:
    """With a finished environment `make test` installs nothing, until a requirement changes."""
    (project / ".venv").mkdir()
    for stamp in (".made", ".run-installed", ".test-installed"):
        (project / ".venv" / stamp).touch()
    assert "pip install" not in plan_of(project, "test")

    os.utime(project / "requirements" / "test.txt", (4e9, 4e9))
    assert "--require-hashes -r requirements/test.txt" in plan_of(project, "test")


def test_no_python(tmp_path: Path) -> None:
    """Without a usable Python, `make` reports the required version and the variable that selects another one."""
    tools = tmp_path / "tools"
    tools.mkdir()
    for tool in ("bash", "make", "touch"):
        (tools / tool).symlink_to(shutil.which(tool) or tool)
    shutil.copy(ROOT / "Makefile", tmp_path)
    (tools / "python3").write_text("#!/bin/bash\nexit 1\n")  # too old, or without venv
    (tools / "python3").chmod(0o755)

    failed = subprocess.run(
        ["make", ".venv/.made"],
        cwd=tmp_path,
        env={"PATH": str(tools)},
        capture_output=True,
        text=True,
        check=False,
    )

    assert failed.returncode == 2
    assert "3.11.5 or newer" in failed.stderr
    assert "make PYTHON=" in failed.stderr


def test_ci_runs_the_readmes_test_command() -> None:
    """The CI script is executable, valid bash, and runs the README's test command, and failed tests once more.

    The linters run beside the tests; a failure of either is that of the script.
    """
    script = ROOT / ".ci" / "run"
    steps = ["make system &", "make install", "make test || again || outcome=$?"]

    assert os.access(script, os.X_OK)
    subprocess.run(["bash", "-n", script], check=True)
    assert re.findall(r"^step (.*)$", script.read_text(), re.MULTILINE) == steps
    assert '(step nice -n 5 make check) >"$said" 2>&1 &' in script.read_text()
    assert 'wait "$checks" || outcome=$?' in script.read_text()
    assert re.findall(r"^  step (.*)$", script.read_text(), re.MULTILINE) == [
        'make test ARGS="--numprocesses 0 --last-failed --last-failed-no-failures none"'
    ]


def test_requirements_are_pinned_by_hash() -> None:
    """Every requirement has an exact version and a hash, and the test list includes the run list."""
    pins = {}
    for name in ("run", "test"):
        text = (ROOT / "requirements" / f"{name}.txt").read_text().replace("\\\n", " ")
        lines = [line for line in text.splitlines() if line.strip() and not line.lstrip().startswith("#")]
        assert all("==" in line and "--hash=sha256:" in line for line in lines), name
        pins[name] = {line.split()[0] for line in lines}

    assert pins["run"] <= pins["test"]


def test_the_wheel_brings_the_pretrained_weights(tmp_path: Path) -> None:
    """The wheel contains all four files of the repository: a default network could not start without them."""
    source = tmp_path / "source"
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        source.mkdir(exist_ok=True)
        shutil.copy(ROOT / name, source)
    for name in ("forecaster", "service"):
        shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)]
    subprocess.run(command, cwd=source, capture_output=True, check=True)
    (wheel,) = tmp_path.glob("*.whl")

    with zipfile.ZipFile(wheel) as held:
        brought = {name: held.read(name) for name in held.namelist() if name.endswith(".safetensors")}

    folder = ROOT / "forecaster" / "pretrained"
    assert brought == {f"forecaster/pretrained/{path.name}": path.read_bytes() for path in folder.glob("*.safetensors")}
    assert len(brought) == 4


class TestSystemdUnit:
    """Restart policy and hardening of deploy/systemd/forecaster.service."""

    @pytest.fixture
    def service(self) -> configparser.SectionProxy:
        """The unit's [Service] section; of repeated keys the last."""
        unit = configparser.RawConfigParser(strict=False)
        unit.optionxform = str  # type: ignore[assignment,method-assign]
        unit.read(ROOT / "deploy" / "systemd" / "forecaster.service")
        return unit["Service"]

    def test_restarts(self, service: configparser.SectionProxy) -> None:
        """A crash leads to a restart, an invalid configuration (status 2) does not."""
        assert service["Restart"] == "on-failure"
        assert service["RestartPreventExitStatus"] == "2"

    def test_hardened(self, service: configparser.SectionProxy) -> None:
        """The daemon has no privileges, a read-only system, and no way to gain privileges."""
        for key, value in {
            "DynamicUser": "yes",
            "NoNewPrivileges": "yes",
            "ProtectSystem": "strict",
            "CapabilityBoundingSet": "",
        }.items():
            assert service[key] == value
