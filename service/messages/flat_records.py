"""Which configurations have flat records, and what reads these in compiled code (`forecaster.flat_text`).

A flat record has one event, whose parts are plain fields of the record itself. Whatever the compiled code leaves, and
all records of other configurations, are read by the parsers of this folder, with the same result.
"""

from __future__ import annotations

from collections.abc import Sequence

from forecaster.flat_text import FlatNames, FlatText
from service.config.field_paths import is_plain
from service.config.input import InputConfig
from service.config.series_rule import Outside

_ENVELOPES = frozenset({"auto", "none"})  # under which a record with the fields of an event is no envelope


def _fields(settings: InputConfig) -> list[str] | None:
    """Returns the names of series, time, value and covariates, where records are flat and have nothing else."""
    fields = settings.fields
    if not fields.is_flat or not fields.series or fields.record_time or settings.where or settings.future_covariates:
        return None
    names = [str(fields.series), str(fields.timestamp), fields.value, *settings.covariates]
    outside = any(isinstance(part, Outside) for part in fields.series_parts)
    if outside or len(set(names)) < len(names) or not all(map(is_plain, names)):
        return None
    return names


def flat_json(settings: InputConfig, names: FlatNames | None) -> FlatText | None:
    """Returns what reads flat objects of JSON, None where records are not flat, or nothing compiled is wanted."""
    fields = _fields(settings)
    if names is None or fields is None or settings.envelope not in _ENVELOPES:
        return None
    if any('"' in name or "\\" in name or min(name) < " " for name in fields):  # which JSON escapes
        return None
    return FlatText.of_json(fields, settings.fields.time_unit, names)


def flat_csv(settings: InputConfig, header: Sequence[str], separator: str, names: FlatNames | None) -> FlatText | None:
    """Returns what reads lines of CSV with these columns, None as for `flat_json`.

    Args:
        settings: of the input.
        header: the names of the columns; those that are used are all there, once.
        separator: of the columns.
        names: of series.
    """
    fields, notation = _fields(settings), settings.fields
    if names is None or fields is None or notation.decimal != "." or notation.thousands:
        return None
    role = {name: number for number, name in enumerate(fields)}
    roles = [role.get(name, -1) for name in header]
    return FlatText.of_csv(separator, roles, len(settings.covariates), notation.time_unit, names)
