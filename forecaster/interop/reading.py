"""`forecaster.read`: any table as series of observations, understood as by `forecaster inspect`.

The library itself reads no files and guesses no columns: it takes arrays. Files are read, and their fields chosen, by
the same code that reads them for the daemon. So that the library does not import the daemon, which is built on it, this
is a port: an entry point of the group `forecaster.readers`, which the distribution names in its metadata.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib.metadata import entry_points
from typing import Any, Final

from forecaster.errors import MissingExtraError

Progress = Callable[[int, int, str], None]
_GROUP: Final = "forecaster.readers"


def read(source: Any, *, progress: bool | Progress = False, **fields: Any) -> Any:
    """Reads a table as the daemon would, chooses its time, series and values, and returns the observations.

        read("demand.csv.gz").forecast(24)
        read(frame, series=["store", "item"], value="sold").plot()

    Args:
        source: path or glob of files in any form that `forecaster inspect` understands, or of Arrow; a frame of pandas
            or polars, a lazy one too; an Arrow table, or any object that exports one (`__arrow_c_stream__`).
        progress: True shows a bar; a function is called with the finished events, all of them (0: not known), and the
            present activity.
        fields: what is not to be chosen: keys of `[input.fields]` (`series`, `timestamp`, `value`, `values`,
            `timezone`, ...), and `format`.

    Returns:
        `service.notebook.observations.Observations`.

    Raises:
        BatchError: the table cannot be read, it is ambiguous which fields make the events, or rows lack the name of
            their series.
        MissingExtraError: the distribution is not installed, or an extra for the form is missing.
    """
    readers = list(entry_points(group=_GROUP))
    if not readers:
        msg = (
            f"got no entry point of the group {_GROUP}, which the distribution forecaster-daemon has; "
            "install it (in a clone: pip install -e .)"
        )
        raise MissingExtraError(msg)
    return readers[0].load()(source, progress=progress, **fields)
