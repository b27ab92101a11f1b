"""The allocator: the threads of a command share one arena, and free memory returns to the operating system."""

from __future__ import annotations

import ctypes
import subprocess
import sys

import psutil
import pytest

from service.engine import malloc

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


@pytest.mark.skipif(malloc._glibc_function("malloc_trim") is None, reason="not glibc")
def test_free_memory_is_returned() -> None:
    """Memory of freed buffers below ones in use is returned."""
    process, block = psutil.Process(), 50_000  # below the size from which blocks are mapped separately
    blocks = [bytes(block) for _ in range(4000)]
    kept = blocks[::10]
    del blocks
    before = process.memory_info().rss
    malloc.trim()
    assert before - process.memory_info().rss > 100 * 2**20
    assert len(kept) == 400


def test_another_c_library(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the functions nothing happens; with them, there is one arena and no padding."""
    calls: list[tuple[str, tuple[int, ...]]] = []
    monkeypatch.setattr(malloc.ctypes, "CDLL", lambda _: object())
    malloc._glibc_function.cache_clear()
    malloc.share_arena()
    malloc.trim()
    malloc._glibc_function.cache_clear()
    monkeypatch.setattr(malloc, "_glibc_function", lambda name: lambda *numbers: calls.append((name, numbers)))
    malloc.share_arena()
    malloc.trim()
    assert calls == [("mallopt", (-8, 1)), ("malloc_trim", (0,))]
