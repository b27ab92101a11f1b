"""Compiles what makes a daemon faster in a process of its own, while it answers without.

These are the faster kernels of the served networks, and other functions: those that read usual records, and those that
no forecast waits for (scores).

    start      a kernel is quick: no network of its cell and head was ever compiled on this machine
               or general: its network never was; or another function runs as Python: that never was
    later      after `DELAY_SECONDS`, so that short runs compile nothing: the process begins, at a low priority
    ended      the kernels of this process are selected again, between two batches: general instead of quick ones, and
               literal instead of general ones are loaded from disk

All forms give equal bits, so no replay depends on the moment. A process that fails changes nothing.
"""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
from collections.abc import Callable, Collection, Mapping, Sequence
from types import MappingProxyType
from typing import Any, Final

import structlog

from forecaster import ModelConfig, kernel_form, use_kernels, used_kernels
from service.ports import Clock

_log = structlog.get_logger()

DELAY_SECONDS: Final = MappingProxyType({"quick": 2.0, "general": 20.0})
_NEXT: Final = MappingProxyType({"quick": "general", "general": "literal"})
_COMMAND: Final = (sys.executable, "-P", "-m", "service.engine.compile_process")


class LiteralKernels:
    """The compiling process of one daemon. All methods are called by the loop's thread.

    Args:
        clock: measures the delay.
        command: of the process.
        delay: seconds until it begins, by the form that a network has; for other functions as for networks that are
            general, but at once after quick code was replaced.
        others_wait: whether another function runs as Python because it is not compiled.
    """

    def __init__(
        self,
        clock: Clock,
        command: Sequence[str] = _COMMAND,
        delay: Mapping[str, float] = DELAY_SECONDS,
        others_wait: Callable[[], bool] = lambda: False,
    ) -> None:
        self._clock, self._command, self._delay = clock, command, delay
        self._process: subprocess.Popen[bytes] | None = None
        self._wanted: list[tuple[str, ModelConfig]] = []
        self._asked: frozenset[tuple[str, ModelConfig]] = frozenset()
        self._others_wait, self._wants_others, self._asked_others = others_wait, False, False
        self._was_quick = False
        self._due = self._began = 0.0

    @property
    def _is_wanted(self) -> bool:
        return bool(self._wanted) or self._wants_others

    @property
    def _replaces_quick_code(self) -> bool:
        """Whether a network that has quick code is requested."""
        return any(form == _NEXT["quick"] for form, _ in self._wanted)

    @property
    def running(self) -> bool:
        """Whether the process runs."""
        return self._process is not None

    def want(self, networks: Collection[ModelConfig]) -> None:
        """Requests the next faster form of the kernels of networks; called again and again.

        A form of a network is requested once. Those that come while the process runs, and those without an event since
        then, whose form is not known, wait for a later call. Also requests the other functions, once, after quick code.
        """
        if self._process is not None or used_kernels() not in {"auto", "quick"}:
            return
        self._asked = frozenset(one for one in self._asked if one[1] in networks)
        others = not self._asked_others and self._others_wait()
        if others and self._was_quick:  # before networks, which take longer
            self._want_others(0.0)
            return
        for network in dict.fromkeys(networks):
            form = kernel_form(network)
            one = _NEXT.get(form, ""), network
            if form not in _NEXT or one in self._asked:
                continue
            self._want_after(self._delay[form])
            self._asked |= {one}
            self._wanted.append(one)
        if others and not self._replaces_quick_code:
            self._want_others(self._delay["general"])

    def _want_others(self, delay: float) -> None:
        self._want_after(delay)
        self._asked_others = self._wants_others = True

    def _want_after(self, delay: float) -> None:
        due = self._clock.monotonic() + delay
        self._due = min(self._due, due) if self._is_wanted else due

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
            use_kernels(used_kernels())
            _log.info("compiled for this network", seconds=seconds)
        elif self._is_wanted and self._clock.monotonic() >= self._due:
            self._start()

    def _start(self) -> None:
        networks = [{"form": form, "network": one.to_dict()} for form, one in self._wanted]
        request: dict[str, Any] = {"networks": networks, "others": self._wants_others}
        self._was_quick |= self._replaces_quick_code
        self._wanted, self._wants_others = [], False
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
        self._wanted, self._wants_others = [], False
        if self._process is not None:
            if self._process.poll() is None:
                self._process.kill()
                self._process.wait()
            self._release()
