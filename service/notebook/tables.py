"""Tables in memory as files: frames and Arrow tables become a Parquet file, which is read as any other one."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from forecaster import BatchError, MissingExtraError, install_command

_ARROW: Final = b"ARROW1"  # the first bytes of an Arrow file
_NAME: Final = "table"  # of the file, and so of a series that has no other name


def kind_of_frame(source: Any) -> str:
    """Returns "pandas" or "polars" for their frames and series, else ""."""
    module = type(source).__module__.partition(".")[0]
    return module if module in {"pandas", "polars"} else ""


@contextlib.contextmanager
def as_files(source: Any) -> Iterator[tuple[str, Any]]:
    """Yields the path or glob of a source, and its Arrow table where it is one in memory, else None.

    Raises:
        BatchError: it is no table, or has columns of mixed types.
        MissingExtraError: pyarrow is missing.
    """
    if isinstance(source, str | Path) and not _is_arrow(Path(source)):
        yield str(source), None
        return
    try:
        import pyarrow as pa  # noqa: PLC0415 - an extra
        from pyarrow import feather, parquet  # noqa: PLC0415 - as above
    except ImportError as error:
        msg = f"pyarrow is not installed ({error}); frames and Arrow tables need it: {install_command('parquet')}"
        raise MissingExtraError(msg) from error
    try:
        table = feather.read_table(source) if isinstance(source, str | Path) else _table(pa, source)
    except (pa.ArrowException, TypeError, ValueError) as error:
        msg = f"got a {type(source).__name__} that is no table: {error}; expected a path, a frame or an Arrow table"
        raise BatchError(msg) from error
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"{_NAME}.parquet"
        parquet.write_table(table, path)
        yield str(path), table


def _is_arrow(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            return file.read(len(_ARROW)) == _ARROW
    except (OSError, ValueError):
        return False  # a glob, or a file that the reader reports


def _table(pa: Any, source: Any) -> Any:
    """Returns a table in memory as an Arrow table; an index of pandas other than row numbers is a column."""
    kind = kind_of_frame(source)
    if kind == "polars":
        source = source.collect() if hasattr(source, "collect") else source
        source = source.to_frame() if hasattr(source, "to_frame") else source
        return source.to_arrow()
    if kind == "pandas":
        source = source.to_frame() if hasattr(source, "to_frame") and not hasattr(source, "columns") else source
        names = [name for name in source.index.names if name is not None]
        numbered = type(source.index).__name__ == "RangeIndex" or (not names and source.index.dtype.kind in "iu")
        source = source if numbered else source.reset_index()
        source = source.rename(columns=str)
        return pa.Table.from_pandas(source, preserve_index=False)
    return source if isinstance(source, pa.Table) else pa.table(source)
