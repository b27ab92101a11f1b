"""The forms of a kernel: one source, compiled for any sizes or for those of one network.

    general     sizes are data (sizes.py): one compiled kernel serves all horizons, seasons, levels, covariates, ...
    literal     sizes are numbers in the code: about a fifth fewer instructions, and compiled for each set of sizes
    quick       the general one, hardly optimised (quick_code.py), compiled in a fraction of the time

    forms = Forms(build, sizes)                 build(sizes) returns the kernel; `forms.numbers` is an argument of it
    kernel = forms.select(arguments)

The bits of all results are equal, so the form may differ from process to process and change between two calls. `AUTO`
takes the literal form where its machine code is in memory or in the cache on disk, and otherwise the general one, which
compiles nothing where any network of the same cell and head has run before. `QUICK` is for the first start of all.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Generic, TypeVar

from numba.core.compiler_lock import global_compiler_lock
from numba.core.dispatcher import Dispatcher

from forecaster.kernels.jit import quick_kernel
from forecaster.kernels.setting import AUTO, GENERAL, LITERAL, QUICK, changes, takes_compiled, used_kernels
from forecaster.kernels.sizes import split

S = TypeVar("S", bound=tuple[Any, ...])


class Forms(Generic[S]):
    """A kernel of one network in its forms.

    Args:
        build: returns the kernel for sizes, or for their variant without data; the same object for equal ones.
        sizes: of the network.

    Attributes:
        numbers: the data of the general form, an argument of both.
    """

    def __init__(self, build: Callable[[S], Callable[..., None]], sizes: S) -> None:
        variant, self.numbers = split(sizes)
        self._build, self._variant, self._sizes = build, variant, sizes
        self._selected: Callable[..., None] | None = None
        self._form, self._changes = "", -1

    @property
    def general(self) -> Callable[..., None]:
        """The general form."""
        return self._build(self._variant)

    @property
    def literal(self) -> Callable[..., None]:
        """The literal form."""
        return self._build(self._sizes)

    @property
    def quick(self) -> Callable[..., None]:
        """The general form, quickly compiled."""
        kernel: Callable[..., None] = quick_kernel(self.general)
        return kernel

    @property
    def form(self) -> str:
        """The form selected last, one of these three; "" before the first call, and after `use_kernels`."""
        return self._form if self._changes == changes() else ""

    def select(self, arguments: tuple[Any, ...]) -> Callable[..., None]:
        """Returns the kernel for calls with arguments of these types."""
        if self._selected is None or self._changes != changes():
            self._form, self._changes = self._best(arguments), changes()
            found = {LITERAL: lambda: self.literal, GENERAL: lambda: self.general, QUICK: lambda: self.quick}
            self._selected = found[self._form]()
        return self._selected

    def _best(self, arguments: tuple[Any, ...]) -> str:
        """Returns the form to select."""
        wanted = used_kernels()
        if takes_compiled() and is_compiled(self.literal, arguments):
            return LITERAL
        if wanted == QUICK and is_compiled(self.general, arguments):
            return GENERAL
        return GENERAL if wanted == AUTO else wanted


def is_compiled(kernel: Any, arguments: tuple[Any, ...]) -> bool:
    """Returns whether a kernel has machine code for arguments of these types; it is loaded from disk where it is there.

    Numba has no public interface for this: `Dispatcher.compile` compiles what is not cached. Its steps before that are
    repeated here, and tests/forecaster/kernels/test_forms.py fails where a release changes them.
    """
    if not isinstance(kernel, Dispatcher):  # where NUMBA_DISABLE_JIT is set
        return False
    dispatcher: Any = kernel
    types = tuple(dispatcher.typeof_pyval(argument) for argument in arguments)
    with global_compiler_lock:
        if types in dispatcher.overloads:
            return True
        found = dispatcher._cache.load_overload(types, dispatcher.targetctx)  # noqa: SLF001 - see above
        if found is None:
            return False
        dispatcher.targetctx.insert_user_function(found.entry_point, found.fndesc, [found.library])
        dispatcher.add_overload(found)
    return True
