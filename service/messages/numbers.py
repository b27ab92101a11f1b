"""Converts the values of single fields to numbers."""

from __future__ import annotations

import hashlib
import math
from typing import Final, NamedTuple

ABSENT: Final = frozenset({"", "null", "na", "none"})
"""Texts for a missing number, in lower case."""

_TRUTH: Final = {"true": 1.0, "false": 0.0}
_UNION: Final = frozenset({"double", "float", "int", "long", "string", "boolean", "null"})


class PlainText(str):
    """A text that is no number in its format, whatever it looks like."""

    __slots__ = ()


class MalformedNumber(PlainText):
    """What stands in place of a number: a bad value, and not the text of a field that has none."""

    __slots__ = ()


class Notation(NamedTuple):
    """The separators of numbers that are texts, see `input.fields.decimal` and `thousands`."""

    decimal: str = "."
    thousands: str = ""


PLAIN: Final = Notation()


def number(raw: object, notation: Notation = PLAIN) -> float | None:
    """Returns the number of a field: nan where it is missing, None where it is no number.

    Texts of numbers are numbers, true is 1 and false is 0; integers outside of float64 are infinite.
    """
    if raw is None:
        return math.nan
    if isinstance(raw, str):
        return None if isinstance(raw, PlainText) else number_of(raw, notation)
    if isinstance(raw, int | float):
        try:
            return float(raw)
        except OverflowError:
            return math.inf
    return None


def number_of(text: str, notation: Notation = PLAIN) -> float | None:
    """Returns the number of a text, as `number` does."""
    plain = text.strip()
    if notation.thousands:
        plain = plain.replace(notation.thousands, "")
    if notation.decimal != ".":
        if "." in plain:
            return None
        plain = plain.replace(notation.decimal, ".")
    try:
        return None if "_" in plain else float(plain)  # Python would accept 1_000
    except ValueError:
        lower = plain.lower()
        return math.nan if lower in ABSENT else _TRUTH.get(lower)


def number_of_identifier(raw: object) -> float | None:
    """Returns a number for an identifier, equal for equal ones: nan where it is missing, None where it is none.

    Texts and whole numbers are identifiers, and 12 is the same one as "12". The number has 53 bits of a hash: two of a
    million different identifiers have the same one with a probability of 1 in 18,000.
    """
    if raw is None:
        return math.nan
    if isinstance(raw, float) and raw.is_integer():
        raw = int(raw)
    if isinstance(raw, MalformedNumber) or not isinstance(raw, int | str) or isinstance(raw, bool):
        return None
    text = str(raw).strip()
    if text.lower() in ABSENT:
        return math.nan
    digest = hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest()
    return float(int.from_bytes(digest, "big") >> 11)


def out_of_union(raw: object) -> object:
    """Returns the value of a union in Avro's JSON encoding, such as {"double": 2.5}; anything else as it is."""
    if isinstance(raw, dict) and len(raw) == 1:
        ((kind, value),) = raw.items()
        return value if kind in _UNION else raw
    return raw
