"""Laws of compilations that several processes need at the same time."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

from compile_once import lock_of

# Compiles a small kernel, if no other process has; prints whether it did, and the result.
PROGRAM = """
import sys
import numpy as np
from compile_once import compile_once
from forecaster.kernels.jit import kernel

compile_once()

@kernel
def twice(x):
    x[0] *= 2

x = np.ones(1)
print("ready", flush=True)
sys.stdin.read()
twice(x)
print(sum(twice.stats.cache_misses.values()), sum(twice.stats.cache_hits.values()), x[0])
"""


def test_one_of_many_compiles(tmp_path: Path) -> None:
    """Of processes that need a kernel at the same time one compiles it; the others load it and have its result."""
    program = tmp_path / "program.py"
    program.write_text(PROGRAM)
    paths = [Path(__file__).parents[1], Path(__file__).parent]
    environment = os.environ | {"PYTHONPATH": ":".join(map(str, paths)), "NUMBA_CACHE_DIR": str(tmp_path / "cache")}
    command = [sys.executable, str(program)]
    processes = [
        subprocess.Popen(command, env=environment, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        for _ in range(3)
    ]
    for one in processes:
        assert one.stdout is not None
        assert one.stdout.readline() == "ready\n"
    for one in processes:
        assert one.stdin is not None
        one.stdin.close()
        one.stdin = None  # for `communicate`
    printed = sorted(one.communicate(timeout=240)[0].split() for one in processes)
    assert printed == [["0", "1", "2.0"], ["0", "1", "2.0"], ["1", "0", "2.0"]]


def test_a_stopped_process_stops_no_other(tmp_path: Path) -> None:
    """A lock that is held for too long is not waited for."""
    began = time.monotonic()
    with lock_of(tmp_path / "lock"), lock_of(tmp_path / "lock", 0.2):
        assert time.monotonic() - began >= 0.2
