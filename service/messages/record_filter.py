"""Evaluates the condition of `input.where` for a record. Pure; the same for a record in every form."""

from __future__ import annotations

import math
import operator
import re
from collections.abc import Callable, Mapping
from typing import Any, Final

from service.config.field_paths import FieldPath
from service.config.where import Combination, Condition, Constant, FieldTest, Negation
from service.messages.keys import text_of_field
from service.messages.numbers import PLAIN, Notation, number

Get = Callable[[FieldPath], object]
"""Returns the value of a field, None where it is not there."""

_Test = Callable[[Get], bool]
_INTEGER: Final = re.compile(r"[+-]?\d{1,40}", re.ASCII)
_ORDERS: Final[Mapping[str, Callable[[Any, Any], bool]]] = {
    "<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge,
}  # fmt: skip


class RecordFilter:
    """Decides whether a record meets a condition.

    Args:
        condition: as parsed by `service.config.where.parse_condition`.
        notation: the separators of numbers that are texts.
    """

    def __init__(self, condition: Condition, notation: Notation = PLAIN) -> None:
        self._test = _made(condition, notation)

    def meets(self, get: Get) -> bool:
        """Returns whether the record whose fields `get` returns meets the condition."""
        return self._test(get)


def _made(condition: Condition, notation: Notation) -> _Test:
    """Returns the function of a condition; made once, so that a record costs the calls only."""
    if isinstance(condition, FieldTest):
        return _field_test(condition, notation)
    if isinstance(condition, Negation):
        inner = _made(condition.of, notation)
        return lambda get: not inner(get)
    return _combination(condition, notation)


def _combination(condition: Combination, notation: Notation) -> _Test:
    parts = [_made(one, notation) for one in condition.of]
    if condition.word == "and":
        return lambda get: all(part(get) for part in parts)
    return lambda get: any(part(get) for part in parts)


def _field_test(test: FieldTest, notation: Notation) -> _Test:
    path, sign = test.path, test.operator
    if sign in {"is null", "is not null"}:
        wanted = sign == "is null"
        return lambda get: _is_null(get(path)) is wanted
    if sign in _ORDERS:
        (constant,) = test.constants
        return _order(path, _ORDERS[sign], constant, notation)
    texts = frozenset(one for one in test.constants if isinstance(one, str))
    numbers = frozenset(one for one in test.constants if not isinstance(one, str))
    wanted = sign in {"==", "in"}

    def is_one(get: Get) -> bool:
        raw = get(path)
        found = bool(texts) and not _is_null(raw) and _text(raw) in texts
        return (found or (bool(numbers) and _number(raw, notation) in numbers)) is wanted

    return is_one


def _order(path: FieldPath, compare: Callable[[Any, Any], bool], constant: Constant, notation: Notation) -> _Test:
    if isinstance(constant, str):

        def by_text(get: Get) -> bool:
            raw = get(path)
            text = None if _is_null(raw) else _text(raw)
            return text is not None and compare(text, constant)

        return by_text

    def by_number(get: Get) -> bool:
        value = _number(get(path), notation)
        return value is not None and compare(value, constant)

    return by_number


def _is_null(raw: object) -> bool:
    return raw is None or (isinstance(raw, str) and not raw.strip())


def _text(raw: object) -> str | None:
    """Returns the text of a field, as it would be in the name of a series; None for objects and arrays."""
    text = text_of_field(raw)
    return str(raw) if text is None and isinstance(raw, int | float) else text


def _number(raw: object, notation: Notation) -> int | float | None:
    """Returns the number of a field, exactly where it is an integer; None where it is missing or no number."""
    if type(raw) is int:
        return raw
    if isinstance(raw, str) and _INTEGER.fullmatch(raw.strip()):
        return int(raw)
    value = number(raw, notation)
    return None if value is None or math.isnan(value) else value
