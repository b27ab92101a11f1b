"""The name of a series of Prometheus."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

NAME: Final = "__name__"
"""The label with the name of the metric."""

_ESCAPED: Final = str.maketrans({"\\": r"\\", '"': r"\"", "\n": r"\n"})


def series_id(labels: Sequence[tuple[str, str]]) -> str:
    r"""Formats the identifier of a series: `name{label="value",...}`, labels sorted, values escaped like Prometheus."""
    name = next((value for key, value in labels if key == NAME), "")
    inner = ",".join(f'{key}="{value.translate(_ESCAPED)}"' for key, value in sorted(labels) if key != NAME)
    return f"{name}{{{inner}}}" if inner or not name else name


_LABEL: Final = re.compile(r'([^=,{}"\\]+)="((?:[^"\\]|\\.)*)"(,|$)', re.DOTALL)
_UNESCAPED: Final = {r"\\": "\\", r"\"": '"', r"\n": "\n"}


def labels_of(series: str) -> dict[str, str] | None:
    """Returns the labels in the name of a series as `series_id` makes it, with that of the metric; None: it has none.

    A name such as `cpu` is no metric without labels, as it may come from anywhere.
    """
    name, brace, inner = series.partition("{")
    if not brace or not inner.endswith("}"):
        return None
    inner, at = inner[:-1], 0
    found = {NAME: name} if name else {}
    while at < len(inner):
        one = _LABEL.match(inner, at)
        if one is None or (one[3] == "," and one.end() == len(inner)):
            return None
        found[one[1]] = re.sub(r"\\.", lambda escape: _UNESCAPED.get(escape[0], escape[0]), one[2], flags=re.DOTALL)
        at = one.end()
    return found
