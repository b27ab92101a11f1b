"""One process compiles a kernel, and the others that need it at the same time wait and load it.

The workers of a run and the launchers of daemons start with an empty cache on a fresh machine, and most need the same
few kernels in their first minute: each is seconds of one core. Numba itself lets every process compile its own.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from forecaster.kernels.call_types import KernelDispatcher

PATIENCE: Final = 120.0  # seconds: who compiles may be a daemon that a test has stopped
_compile = KernelDispatcher.compile
_inside = threading.local()


def compile_once() -> None:
    """Makes compilations of this process, and of those that it forks, exclusive among processes by kernel."""
    KernelDispatcher.compile = _alone  # type: ignore[method-assign]


def _alone(kernel: KernelDispatcher, sig: Any) -> Any:
    """Compiles or loads a kernel while no other process does."""
    cache: Any = kernel._cache  # numba has no public access to it
    folder, key = Path(cache.cache_path), repr(cache._index_key(sig, kernel.targetctx.codegen()))
    if getattr(_inside, "busy", False):  # a kernel that calls another one: never two locks at once
        return _compile(kernel, sig)
    _inside.busy = True
    try:
        with lock_of(folder / f"{hashlib.sha256(key.encode()).hexdigest()[:20]}.compiling"):
            return _compile(kernel, sig)
    finally:
        _inside.busy = False


@contextlib.contextmanager
def lock_of(path: Path, patience: float = PATIENCE) -> Iterator[None]:
    """Holds the lock of a file, which is made; goes on without it after `patience` seconds."""
    ends = time.monotonic() + patience
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as file:
        while time.monotonic() < ends:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                time.sleep(0.05)
        yield
