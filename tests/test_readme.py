"""The README's how-tos work as they are printed: every shell block runs, in order, in an empty folder."""

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
TWO_COMMANDS = "make run\nmake test\n"


def blocks() -> list[tuple[str, str]]:
    """The code blocks: language and text."""
    return [(found[1], found[2]) for found in BLOCK.finditer(README)]


def test_two_commands() -> None:
    """The first block is the two commands, and the Makefile has both."""
    assert blocks()[0] == ("sh", TWO_COMMANDS)
    targets = set(re.findall(r"^(\w+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert {"run", "test"} <= targets


def test_every_block_is_run() -> None:
    """A block is shell, or output of the one before; anything else would not be tested."""
    assert {language for language, _ in blocks()} <= {"sh", "text"}


@pytest.mark.slow
def test_how_tos(tmp_path: Path) -> None:
    """Every shell block of the how-tos ends well when they are typed one after the other."""
    script = "\n".join(text for language, text in blocks() if language == "sh" and text != TWO_COMMANDS)
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    environment = {name: value for name, value in os.environ.items() if not name.startswith("FORECASTER_")}
    environment["PATH"] = f"{Path(sys.executable).parent}:{environment['PATH']}"

    done = subprocess.run(
        ["bash", "-euxo", "pipefail", "-c", script],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
    )

    assert done.returncode == 0, f"{done.stdout[-3000:]}\n{done.stderr[-3000:]}"


@pytest.mark.parametrize("link", re.findall(r"\]\((?!https?://)([^)#]+)\)", README))
def test_links(link: str) -> None:
    """Every file that the README points to exists."""
    assert (ROOT / link).exists()
