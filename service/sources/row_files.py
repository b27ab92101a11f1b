"""Opens files of rows by their format; the packages that a format needs are imported when its first file is opened."""

from __future__ import annotations

import importlib.util
from typing import Final

from forecaster import install_command
from service.errors import ConfigurationError
from service.sources.byte_source import GzipBytes, PlainBytes, WatchedFile
from service.sources.row_bytes import RowBytes, RowReader

_PACKAGES: Final = {"parquet": "pyarrow", "avro": "fastavro"}  # also the names of the extras


def check_installed(form: str) -> None:
    """Checks that the package of a format is installed.

    Raises:
        ConfigurationError: it is not.
    """
    package = _PACKAGES.get(form)
    if package is not None and importlib.util.find_spec(package) is None:
        msg = (
            f"input.format: {form} needs {package}, which is not installed; expected the extra: {install_command(form)}"
        )
        raise ConfigurationError(msg)


def open_rows(file: WatchedFile, offset: int, form: str, *, compressed: bool) -> RowBytes:
    """Returns the lines of a file of rows, from an offset on.

    Args:
        file: owned by the result from then on.
        offset: in bytes of the lines.
        form: one of `ROW_FORMS`.
        compressed: whether the file is gzip, as JSON documents and annotated CSV may be.

    Raises:
        SourceGoneError: the file holds less than `offset`.
        ConfigurationError: a package is not installed.
    """
    return RowBytes(_reader(file, form, compressed=compressed), file.name, offset)


def _reader(file: WatchedFile, form: str, *, compressed: bool) -> RowReader:
    check_installed(form)
    if form == "json":
        from service.sources.json_document import JsonDocument  # noqa: PLC0415 - as the module says

        return JsonDocument((GzipBytes if compressed else PlainBytes)(file, 0), file)
    if form == "annotated-csv":
        from service.sources.annotated_csv import AnnotatedTables  # noqa: PLC0415 - as the module says

        return AnnotatedTables((GzipBytes if compressed else PlainBytes)(file, 0), file)
    if form == "parquet":
        from service.sources.parquet_file import ParquetRows  # noqa: PLC0415 - as the module says

        return ParquetRows(file)
    from service.sources.avro_file import AvroRows  # noqa: PLC0415 - as the module says

    return AvroRows(file)
