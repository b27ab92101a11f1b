"""The fields of a sample, with what can be said of their values."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

from service.config.input import DateOrder
from service.discovery.sample import InputSample, Row
from service.discovery.times import is_time
from service.errors import ConfigurationError
from service.messages.numbers import ABSENT, Notation, number

Kind = Literal["time", "number", "truth", "text", "empty"]

_SHARE: Final = 0.95  # of the values must be of a kind
_NUMERIC: Final = 0.8  # of a number; the rest may be texts such as "unavailable"
_EXAMPLES: Final = 3
_MOST_CELLS, _FEWEST_ROWS = 100_000, 50  # that are looked at
_COMMA: Final = re.compile(r"[+-]?(\d{1,3}(\.\d{3})+|\d+),\d+")
_UNCLEAR: Final = re.compile(r"[+-]?[1-9]\d{0,2}(,\d{3})+")


@dataclass(frozen=True, slots=True)
class Column:
    """One field.

    Attributes:
        path: of the field.
        kind: what its values are: times that are texts, numbers, booleans, other texts, or nothing.
        present: rows that have a value there.
        distinct: number of different values.
        examples: the first different values.
        may_be_time: whether its values can be event times; also for numbers.
        orders: the orders of day, month and year in which all its texts are times, the usual one first.
        name: the name of a column, or the last name of a path, in lower case.
    """

    path: str
    kind: Kind
    present: int
    distinct: int
    examples: Sequence[object]
    may_be_time: bool
    orders: tuple[DateOrder, ...]
    name: str


def notation_of(sample: InputSample, given: Mapping[str, Any]) -> Notation:
    """Returns the separators of the numbers of a sample, by the texts that look like numbers with a decimal comma.

    Args:
        sample: the first records.
        given: what the configuration says, which is not looked for.

    Raises:
        ConfigurationError: the commas may separate decimals or thousands.
    """
    if {"decimal", "thousands"} & given.keys():
        return Notation(**{name: given[name] for name in ("decimal", "thousands") if name in given})
    texts = [cell for row in sample.rows for cell in row.values() if isinstance(cell, str)]
    with_comma = [text for text in texts if _COMMA.fullmatch(text.strip())]
    if sample.format != "csv" or sample.separator == "," or not with_comma:
        return Notation()
    if all(_UNCLEAR.fullmatch(text.strip()) for text in with_comma):
        msg = (
            f"{sample.source}: got numbers such as {with_comma[0]!r}, whose comma may separate decimals or thousands; "
            f"set it: --set {sample.section}.fields.decimal=, or {sample.section}.fields.thousands=,"
        )
        raise ConfigurationError(msg)
    return Notation(",", "." if any("." in text for text in with_comma) else "")


def columns_of(sample: InputSample, notation: Notation, order: DateOrder | None = None) -> list[Column]:
    """Returns the columns of a sample, in the order of their first appearance.

    Args:
        sample: the first records. notation: of their numbers.
        order: of day, month and year, where it is known.
    """
    orders: Sequence[DateOrder] = ("ymd", "dmy", "mdy") if order is None else (order,)
    paths = sample.paths
    rows = sample.rows[: max(_FEWEST_ROWS, _MOST_CELLS // max(1, len(paths)))]
    is_table = sample.format == "csv"
    names = [path.lower() if is_table else re.split(r"[./\]]", path.rstrip("]"))[-1].lower() for path in paths]
    return [_column(path, name, rows, notation, orders) for path, name in zip(paths, names, strict=True)]


def _column(path: str, name: str, rows: Sequence[Row], notation: Notation, orders: Sequence[DateOrder]) -> Column:
    cells = [cell for row in rows for cell in [row.get(path)] if not _is_absent(cell)]
    different = list(dict.fromkeys(cells))
    able = _orders_of(different, orders)
    times = sum(is_time(cell, (able or orders)[0]) for cell in cells)
    numbers = sum(_is_number(cell, notation) for cell in cells)
    truths = sum(isinstance(cell, bool) or str(cell).lower() in {"true", "false"} for cell in cells)
    kind: Kind = "text"
    if not cells:
        kind = "empty"
    elif truths >= _SHARE * len(cells):
        kind = "truth"
    elif numbers >= _NUMERIC * len(cells):
        kind = "number"
    elif times >= _SHARE * len(cells):
        kind = "time"
    return Column(
        path, kind, len(cells), len(different), different[:_EXAMPLES],
        bool(cells) and kind in {"time", "number"} and times >= _SHARE * len(cells), able, name,
    )  # fmt: skip


def _is_absent(cell: object) -> bool:
    return cell is None or (isinstance(cell, str) and cell.strip().lower() in ABSENT | {"nan"})


def _is_number(cell: object, notation: Notation) -> bool:
    if isinstance(cell, bool):
        return False
    value = number(cell, notation)
    return value is not None and not math.isnan(value)


def _orders_of(cells: Sequence[object], orders: Sequence[DateOrder]) -> tuple[DateOrder, ...]:
    """Returns the orders in which the most texts are times; dates with dots have the day before the month."""
    texts = [cell for cell in cells if isinstance(cell, str)]
    counts = {orders[0]: sum(is_time(text, orders[0]) for text in texts)}
    if counts[orders[0]] < _SHARE * len(texts):
        counts |= {order: sum(is_time(text, order) for text in texts) for order in orders[1:]}
    most = max(counts.values())
    able = tuple(order for order, count in counts.items() if count == most and most)
    dotted = able == ("dmy", "mdy") and all("." in text.split()[0] for text in texts if text.strip())
    return ("dmy",) if dotted else able
