"""Runs a guide of the documentation: its blocks, as printed, in one terminal, with other ports and names."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

ROOT = Path(__file__).parent.parent
_BLOCK = re.compile(r"^```sh\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_SECONDS = 240.0  # on a machine that runs three other jobs


def some_ports(count: int) -> list[str]:
    """Returns ports that were free."""
    sockets = [socket.socket() for _ in range(count)]
    for one in sockets:
        one.bind(("127.0.0.1", 0))
    ports = [str(one.getsockname()[1]) for one in sockets]
    for one in sockets:
        one.close()
    return ports


def run_guide(page: str, folder: Path, replaced: Mapping[str, str]) -> str:
    """Runs the blocks of docs/`page` in a folder; returns what they print.

    Args:
        page: file name. folder: empty, gets a copy of the programs of the guides.
        replaced: text of the page and of its programs -> text of this run; the page must have every one.
    """
    script = "".join(_BLOCK.findall((ROOT / "docs" / page).read_text()))
    programs = {path.name: path.read_text() for path in (ROOT / "examples" / "guides").glob("*.py")}
    for old, new in replaced.items():
        assert old in script, f"{page} has no {old}"
        script = script.replace(old, new)
        programs = {name: text.replace(old, new) for name, text in programs.items()}
    (folder / "examples" / "guides").mkdir(parents=True)
    for name, text in programs.items():
        (folder / "examples" / "guides" / name).write_text(text)
    environment = {name: value for name, value in os.environ.items() if not name.startswith("FORECASTER_")}
    environment["PATH"] = f"{Path(sys.executable).parent}:{environment['PATH']}"
    environment["FORECASTER_KERNELS"] = "general"  # other tests have compiled them
    command = ["bash", "-euo", "pipefail", "-c", script]
    with (folder / "said.log").open("w") as said:
        process = subprocess.Popen(
            command, cwd=folder, env=environment, stdout=said, stderr=said, start_new_session=True
        )
        try:
            status = process.wait(_SECONDS)
        except subprocess.TimeoutExpired:
            status = -1
        finally:
            with contextlib.suppress(ProcessLookupError):  # nothing is left where all blocks succeeded
                os.killpg(process.pid, signal.SIGKILL)
            process.wait(30)
    logs = "".join(f"\n--- {path.name}\n{path.read_text()[-1500:]}" for path in sorted(folder.glob("*.log")))
    assert status == 0, f"status {status}{logs}"
    return (folder / "said.log").read_text()
