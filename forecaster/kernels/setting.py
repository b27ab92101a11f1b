"""Which form compiled functions take in this process; see forms.py."""

from __future__ import annotations

from typing import Final

AUTO: Final = "auto"
GENERAL: Final = "general"
LITERAL: Final = "literal"
QUICK: Final = "quick"
FORMS: Final = (AUTO, GENERAL, LITERAL, QUICK)


class _Setting:
    """The form of all kernels that are selected from now on."""

    form = AUTO
    changes = 0  # each of them makes earlier selections void


def use_kernels(form: str) -> None:
    """Sets which form compiled functions take in this process, from their next call on.

    Results are equal bit for bit; a form differs in the number of its instructions and in what it compiles for.

    Args:
        form: `"general"`: compiled once for a cell and head, then used for every horizon, season list, ...;
            `"literal"`: compiled for each configuration, about a fifth fewer instructions; `"auto"`, the default:
            literal where that is compiled already, in this process or in the cache on disk, else general; `"quick"`: as
            `"auto"`, and where the general one is not compiled either, quickly made code with several times its
            instructions, until then. Calling it again with the same one of these two makes every function look for what
            has been compiled meanwhile.

    Raises:
        ValueError: it is none of these.
    """
    if form not in FORMS:
        msg = f"form of kernels: got {form!r}, expected one of {', '.join(FORMS)}"
        raise ValueError(msg)
    _Setting.form = form
    _Setting.changes += 1


def used_kernels() -> str:
    """Returns what `use_kernels` has set."""
    return _Setting.form


def takes_compiled() -> bool:
    """Returns whether a function takes what is compiled already, as opposed to a form that was chosen."""
    return _Setting.form in {AUTO, QUICK}


def changes() -> int:
    """Returns how often `use_kernels` was called."""
    return _Setting.changes
