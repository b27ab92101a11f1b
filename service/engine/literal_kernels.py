"""Compiles what makes a daemon faster in a process of its own, while it answers without.

These are the literal kernels of the served networks, instead of general ones, and the code that reads usual records.

    start      a kernel is general, or records are parsed by others: this was never compiled on this machine
    later      after `DELAY_SECONDS`, so that short runs compile nothing: the process begins, at the lowest priority
    ended      the kernels of this process are selected again, between two batches: literal ones are loaded from disk

Both forms give equal bits, so no replay depends on the moment. A process that fails changes nothing.
"""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
from collections.abc import Callable, Collection, Sequence
from typing import Any, Final

import structlog

from forecaster import ModelConfig, kernel_form, use_kernels, used_kernels
from service.ports import Clock

_log = structlog.get_logger()

DELAY_SECONDS: Final = 20.0
_COMMAND: Final = (sys.executable, "-P", "-m", "service.engine.compile_process")


class LiteralKernels:
    """The compiling process of one daemon. All methods are called by the loop's thread.

    Args:
        clock: measures the delay.
        command: of the process.
        delay: seconds from the start until it begins.
        parses: whether records are parsed without compiled code because there is none yet.
    """

    def __init__(
        self,
        clock: Clock,
        command: Sequence[str] = _COMMAND,
        delay: float = DELAY_SECONDS,
        parses: Callable[[], bool] = lambda: False,
    ) -> None:
        self._clock, self._command, self._delay = clock, command, delay
        self._process: subprocess.Popen[bytes] | None = None
        self._wanted: list[ModelConfig] = []
        self._asked: frozenset[ModelConfig] = frozenset()
        self._parses, self._asked_records, self._is_wanted = parses, False, False
        self._due = self._began = 0.0

    @property
    def running(self) -> bool:
        """Whether the process runs."""
        return self._process is not None

    def want(self, networks: Collection[ModelConfig]) -> None:
        """Requests the literal kernels of those networks whose kernel is general now; called again and again.

        A network is requested once. Those that come while the process runs, and those without an event since then,
        whose form is not known, wait for a later call. Also requests, once, the code that reads records.
        """
        if self._process is not None or used_kernels() != "auto":
            return
        self._asked &= frozenset(networks)
        new = [one for one in dict.fromkeys(networks) if one not in self._asked and kernel_form(one) == "general"]
        records = self._parses() and not self._asked_records
        if new or records:
            self._asked |= frozenset(new)
            self._wanted += new
            self._asked_records |= records
            self._is_wanted = True
            self._due = self._clock.monotonic() + self._delay

    def poll(self) -> None:
        """Starts the process when it is due, and selects all kernels again after it has ended."""
        if self._process is not None:
            status = self._process.poll()
            if status is None:
                return
            self._release()
            seconds = round(self._clock.monotonic() - self._began, 1)
            if status:
                _log.warning("compiling for this network failed", status=status, seconds=seconds)
                return
            use_kernels("auto")
            _log.info("compiled for this network", seconds=seconds)
        elif self._is_wanted and self._clock.monotonic() >= self._due:
            self._start()

    def _start(self) -> None:
        networks, self._wanted, self._is_wanted = self._wanted, [], False
        request: dict[str, Any] = {"networks": [network.to_dict() for network in networks]}
        self._began = self._clock.monotonic()
        try:
            self._process = subprocess.Popen(  # noqa: S603 - our own module
                self._command,
                stdin=subprocess.PIPE,  # end of file means that the daemon has ended
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                start_new_session=True,  # Ctrl-C in a terminal reaches the daemon only, which ends the process
            )
            if self._process.stdin is not None:  # as it is a pipe
                self._process.stdin.write(json.dumps(request).encode() + b"\n")
                self._process.stdin.flush()
        except OSError as error:
            _log.warning("process that compiles not started", error=str(error))
            self.close()

    def _release(self) -> None:
        if self._process is not None and self._process.stdin is not None:
            with contextlib.suppress(OSError):  # it has ended before it read its request
                self._process.stdin.close()
        self._process = None

    def close(self) -> None:
        """Kills a running process; what it has not compiled yet is compiled after a later start."""
        self._wanted, self._is_wanted = [], False
        if self._process is not None:
            if self._process.poll() is None:
                self._process.kill()
                self._process.wait()
            self._release()
