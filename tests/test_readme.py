"""The README's how-tos work as printed: every shell block runs, in order, in an empty folder."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
ONE_COMMAND = "forecaster run --input examples/visitors.csv\n"
TWO_COMMANDS = "make run\nmake test\n"

KAFKA = re.compile(r"^## With Kafka$.*?(?=^## )", re.MULTILINE | re.DOTALL)  # run by tests/broker, with a broker


def blocks() -> list[tuple[str, str]]:
    """Returns the code blocks that need no broker: language and text."""
    return [(found[1], found[2]) for found in BLOCK.finditer(KAFKA.sub("", README))]


def test_one_command() -> None:
    """The page begins with the command that forecasts an unknown file of two columns, which `make run` runs as well."""
    assert README.startswith(f"# forecaster\n\n```sh\n{ONE_COMMAND}```\n")
    assert (ROOT / "examples" / "visitors.csv").read_text().splitlines()[0].count(",") == 1
    shown = subprocess.run(
        ["make", "--no-print-directory", "-n", "run", "INPUT=my file.csv", "ARGS=--port 0"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    assert shown.stdout.splitlines()[-1].endswith("/forecaster run --input 'my file.csv' --port 0")


def test_two_commands() -> None:
    """The second block contains the two commands, and both are targets of the Makefile."""
    assert blocks()[1] == ("sh", TWO_COMMANDS)
    targets = set(re.findall(r"^(\w+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert {"run", "test"} <= targets


def test_every_block_is_run() -> None:
    """Every block is shell, or the output of the previous block; any other block would not be tested."""
    assert {language for language, _ in blocks()} <= {"sh", "text"}


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_how_tos(tmp_path: Path) -> None:
    """The how-tos succeed, one after the other, and print the output that the README shows."""
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    environment = {name: value for name, value in os.environ.items() if not name.startswith("FORECASTER_")}
    environment["PATH"] = f"{Path(sys.executable).parent}:{environment['PATH']}"
    environment["FORECASTER_HTTP__PORT"] = "0"  # the first command names no port, and other tests run meanwhile
    printed = ""

    for language, text in blocks():
        if text == TWO_COMMANDS:
            continue
        if language == "text":
            assert printed == text
            continue
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", text],
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            text=True,
            timeout=400,
            check=False,
        )
        printed = done.stdout
        assert done.returncode == 0, f"{text}\n{printed[-3000:]}\n{done.stderr[-3000:]}"


@pytest.mark.parametrize("link", re.findall(r"\]\((?!https?://)([^)#]+)\)", README))
def test_links(link: str) -> None:
    """Every file that the README links to exists."""
    assert (ROOT / link).exists()
