"""The threads of a command share one arena of the allocator."""

from __future__ import annotations

import ctypes
import subprocess
import sys

import pytest

from service.cli import _arena

SCRIPT = """
import threading
from service.cli import main
if {shared}:
    main.get_command(None, "run")
ready = threading.Barrier(13)

def allocate():
    held = [bytearray(2000) for _ in range(3000)]
    ready.wait()

for _ in range(12):
    threading.Thread(target=allocate).start()
ready.wait()
# The heap of an arena begins at a multiple of 64 MiB (HEAP_MAX_SIZE in glibc's malloc/arena.c), and what it does not
# use of them follows without permissions. A map of something else may begin there by chance.
maps = [line.split() for line in open("/proc/self/maps")]
spans = [[int(end, 16) for end in found[0].split("-")] for found in maps]
print(sum(
    start % (64 << 20) == 0 and begin == end and last == start + (64 << 20) and rest[1] == "---p"
    for (start, end), (begin, last), rest in zip(spans, spans[1:], maps[1:])
))
"""


@pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "mallopt"), reason="the C library has no mallopt")
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
@pytest.mark.parametrize("shared", [True, False])
def test_threads_of_a_command(shared: bool) -> None:
    """Twelve threads add no arena once a command is loaded; they do without the limit."""
    script = SCRIPT.format(shared=shared)
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=120)
    arenas = int(done.stdout)
    assert arenas == 0 if shared else arenas > 4


def test_another_c_library(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without `mallopt` nothing happens."""
    monkeypatch.setattr(_arena.ctypes, "CDLL", lambda _: object())
    _arena.share_arena()
