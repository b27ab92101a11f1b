"""The name of a series of Prometheus."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

NAME: Final = "__name__"
"""The label with the name of the metric."""

_UNESCAPED: Final = {r"\\": "\\", r"\"": '"', r"\n": "\n"}
_METRIC: Final = re.compile(r"[a-zA-Z_:][a-zA-Z0-9_:]*")
_PAIR: Final = re.compile(r'([a-zA-Z_][a-zA-Z0-9_]*)="((?:[^"\\]|\\[\\"n])*)"(,|$)')
_ESCAPE: Final = re.compile(r'\\[\\"n]')
_ESCAPED: Final = str.maketrans({"\\": r"\\", '"': r"\"", "\n": r"\n"})


def series_id(labels: Sequence[tuple[str, str]]) -> str:
    r"""Formats the identifier of a series: `name{label="value",...}`, labels sorted, values escaped like Prometheus."""
    name = next((value for key, value in labels if key == NAME), "")
    inner = ",".join(f'{key}="{value.translate(_ESCAPED)}"' for key, value in sorted(labels) if key != NAME)
    return f"{name}{{{inner}}}" if inner or not name else name


def labels_of(series: str) -> list[tuple[str, str]] | None:
    r"""Returns the labels of a series that `series_id` has named, with the name of the metric first if it has one.

    Returns:
        Names and values; None where the text has no `{...}` with labels, as the names of other series.
    """
    name, brace, inner = series.partition("{")
    if not brace or not inner.endswith("}") or (name and not _METRIC.fullmatch(name)):
        return None
    inner, found, at = inner[:-1], [(NAME, name)] if name else [], 0
    while at < len(inner):
        pair = _PAIR.match(inner, at)
        if pair is None:
            return None
        found.append((pair[1], _ESCAPE.sub(lambda one: _UNESCAPED[one[0]], pair[2])))
        at = pair.end()
    if len({key for key, _ in found}) < len(found) or inner.endswith(","):
        return None
    return found
