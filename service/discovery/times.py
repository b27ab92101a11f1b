"""Whether a value of a sample can be the time of an event."""

from __future__ import annotations

import re
from typing import Final

from service.config.input import DateOrder
from service.messages.timestamps import parse_time

_EPOCH: Final = (631_152_000_000, 4_102_444_800_000)  # 1990 to 2100, the range in which a number may be a time
_NUMERAL: Final = re.compile(r"[+-]?[\d.]+")


def is_time(cell: object, order: DateOrder = "ymd") -> bool:
    """Returns whether a value is a time; a number only in the years 1990 to 2100."""
    if isinstance(cell, bool) or not isinstance(cell, int | float | str):
        return False
    time = parse_time(cell, order=order)
    if time is None:
        return False
    numeral = not isinstance(cell, str) or _NUMERAL.fullmatch(cell.strip()) is not None
    return not numeral or _EPOCH[0] <= time < _EPOCH[1]
