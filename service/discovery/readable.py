"""Whether a sample could be read, and its format in words."""

from __future__ import annotations

from typing import Final

from service.discovery.sample import InputSample
from service.errors import ServiceError

_SEPARATORS: Final = {",": "commas", ";": "semicolons", "tab": "tabs", "|": "vertical bars"}
_FORMATS: Final = {
    "jsonl": "JSON lines", "json": "a JSON document", "parquet": "Parquet", "avro": "Avro",
    "influx": "InfluxDB line protocol", "annotated-csv": "annotated CSV of InfluxDB",
    "access-log": "an access log",
}  # fmt: skip
_START_SHOWN: Final = 60  # characters of an unreadable record


def check_readable(sample: InputSample) -> None:
    """Checks that some record of a sample could be read.

    Raises:
        ServiceError: none can; the message says why.
    """
    if sample.rows:
        return
    problems = set(sample.records.problems.values())
    start = sample.records.values[0][:_START_SHOWN].decode("utf-8", "backslashreplace")
    why = (
        "they are longer than input.max_record_bytes" if "too_large" in problems
        else f"the first one begins with {start!a}"
    )  # fmt: skip
    expected = "objects, or lines below a header"
    if sample.format == "access-log":
        expected = "lines in the Common or the Combined Log Format"
    msg = (
        f"{sample.source}: got {len(sample.records)} records that cannot be read as {format_text(sample)} ({why}); "
        f"expected {expected}. Another format: --format"
    )
    raise ServiceError(msg)


def format_text(sample: InputSample) -> str:
    """Returns the format of a sample in words."""
    if sample.format == "csv":
        start = sample.csv
        more = "" if start.has_header else ", without a header"
        if start.skip_lines:
            more += ", below another line" if start.skip_lines == 1 else f", below {start.skip_lines} other lines"
        return f"CSV with {_SEPARATORS[sample.separator]}{more}"
    return _FORMATS[sample.format] + (f" in envelopes of {sample.envelope}" if sample.envelope else "")
