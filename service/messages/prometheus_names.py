"""The name of a series of Prometheus."""

from __future__ import annotations

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
