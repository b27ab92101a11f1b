"""A progress bar on standard error."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn


@contextlib.contextmanager
def events_bar(*, show: bool) -> Iterator[Callable[[int, int, str], None] | None]:
    """Shows a progress bar and yields its update function; None where there is no terminal.

    The function takes the number of finished events, of all events, and the present activity.
    """
    if not show:
        yield None
        return
    columns = (TextColumn("{task.description:<11}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("compiling", total=None)

        def advance(done: int, total: int, doing: str) -> None:
            bar.update(task, total=total, completed=done, description=doing)

        yield advance
