"""Types of calls, found once: a fifth of the time of a compilation.

For every call, also of an operator between two numbers, Numba tries all functions that were ever registered under its
name, one after the other, without remembering the one that fits. A kernel has twelve thousand calls of eight hundred
different kinds.

Numba has no public interface for this. The internals used here are `BaseFunction.get_call_type` (numba/core/types/
functions.py) and the flags of a compilation (numba/core/targetconfig.py); tests/forecaster/kernels/test_call_types.py
fails where a release changes them. Only Numba's public names have types.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

from numba.core.compiler_lock import global_compiler_lock
from numba.core.registry import CPUDispatcher
from numba.core.targetconfig import ConfigStack
from numba.core.types.functions import BaseFunction

from forecaster.kernels.quick_steps import quick_steps


@contextlib.contextmanager
def remembered_calls() -> Iterator[None]:
    """Remembers the signature of every kind of call until the end of a compilation; of all threads, under its lock.

    A kind is a function, the types of its arguments, and the options that a compilation has set, which hold for what it
    calls.
    """
    found: dict[Any, tuple[Any, Any, Any]] = {}
    searches: Any = BaseFunction
    get_call_type = searches.get_call_type

    def remembered(function: Any, context: Any, args: Any, kws: Any) -> Any:
        flags = ConfigStack.top_or_none()  # type: ignore[no-untyped-call]  # numba is untyped
        options = None if flags is None else repr(flags._values)  # noqa: SLF001 - see the module
        kind = id(function), args, tuple(sorted(kws.items())), options
        if kind in found:
            signature, key, _ = found[kind]
            function._impl_keys[signature.args] = key  # noqa: SLF001 - as get_call_type does
            return signature
        signature = get_call_type(function, context, args, kws)
        if signature is not None:
            key = function._impl_keys[signature.args]  # noqa: SLF001 - as above
            found[kind] = signature, key, function  # which lives as long as its identity is used
        return signature

    with global_compiler_lock:
        searches.get_call_type = remembered
        try:
            yield
        finally:
            searches.get_call_type = get_call_type


class KernelDispatcher(CPUDispatcher):
    """A function that Python calls."""

    def compile(self, sig: Any) -> Any:
        """Compiles the function for arguments of these types, or loads it from the cache."""
        with remembered_calls(), quick_steps():
            return super().compile(sig)
