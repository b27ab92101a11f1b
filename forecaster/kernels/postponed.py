"""Kernels that a first start does not wait for: they run as Python until their machine code is there.

    score = Postponed(score_kernel)             score(*arguments) runs the one or the other, with equal bits

Only with `use_kernels("quick")`, for kernels without vectors whose results no forecast depends on. A daemon compiles
them in the background (service/engine/literal_kernels.py) and then calls `use_kernels` again.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from forecaster.kernels.setting import QUICK, changes, used_kernels


class _Postponed:
    """All of this process."""

    kernels: tuple[Postponed, ...] = ()


class Postponed:
    """A kernel that need not be compiled yet. Created once, at the import of its module.

    Args:
        kernel: the compiled function.
    """

    def __init__(self, kernel: Callable[..., None]) -> None:
        self._kernel, self._is_python, self._changes = kernel, False, -1
        _Postponed.kernels += (self,)

    def __call__(self, *arguments: Any) -> None:
        """Runs the kernel."""
        if self._changes != changes():
            from forecaster.kernels.forms import is_compiled  # noqa: PLC0415 - loads the compiler

            self._is_python = used_kernels() == QUICK and not is_compiled(self._kernel, arguments)
            self._changes = changes()
        if not self._is_python:
            self._kernel(*arguments)
            return
        function: Callable[..., None] = getattr(self._kernel, "py_func", self._kernel)
        with np.errstate(all="ignore"):  # as compiled code
            function(*arguments)

    @property
    def waits(self) -> bool:
        """Whether the last call ran as Python because there is no machine code."""
        return self._is_python and self._changes == changes()


def kernels_wait() -> bool:
    """Returns whether a kernel of this process runs as Python because it is not compiled."""
    return any(one.waits for one in _Postponed.kernels)
