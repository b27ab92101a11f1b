"""Kernels that read flat records to columns: objects of JSON, and lines of CSV; what is unusual is left to the caller.

A field of interest is a series (field 0), a time (1), a value (2) or a covariate (from 3 on). A record is read where
each of the first three stands in it once, the others at most once, and all of it is plain:

    JSON    no nested values; names and texts without escapes; the series is a text, the time a text or a number,
            the others are numbers or null
    CSV     as many cells as columns, no quotes, no control characters, no blanks around the series, ASCII outside
            of it; numbers as in JSON, or nothing

Whatever is read is what a complete parser reads, bit for bit. Bytes of names are not checked to be UTF-8: the caller
does that once for each name.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from forecaster.flat_text.layout import SERIES, TIME, VALUE, FlatEvents, NameTable, Powers
from forecaster.flat_text.name_table import entry_of
from forecaster.flat_text.number_text import BAD, INTEGER, number_at
from forecaster.flat_text.time_text import number_time, text_time
from forecaster.kernels.jit import inlined, kernel

_REQUIRED: Final = 7  # the bits of the first three fields
_QUOTE: Final = 34


@inlined
def _after_blanks(text: Any, at: int, end: int) -> int:
    while at < end and (text[at] == 32 or text[at] == 10 or text[at] == 13 or text[at] == 9):
        at += 1
    return at


@inlined
def _end_of_text(text: Any, at: int, end: int) -> int:
    """Returns the index of the quote that ends a text without escapes, or `end`."""
    while at < end and text[at] != _QUOTE:
        if text[at] < 32 or text[at] == 92:
            return end
        at += 1
    return at


@inlined
def _is_word(text: Any, at: int, end: int, word: Any) -> bool:
    if at + len(word) > end:
        return False
    same = True
    for i in range(len(word)):
        same = same and text[at + i] == word[i]
    return same


@inlined
def _field(text: Any, at: int, end: int, names: Any, ends: Any) -> int:
    """Returns the number of the field whose name is text[at:end], -1 where it is none."""
    begin = 0
    for which in range(len(ends)):
        size = ends[which] - begin
        if size == end - at:
            same = True
            for i in range(size):
                if names[begin + i] != text[at + i]:
                    same = False
                    break
            if same:
                return which
        begin = ends[which]
    return -1


@kernel
def json_kernel(text: Any, ends: Any, names: Any, name_ends: Any, unit: int, powers: Any, table: Any, out: Any) -> None:
    """Reads records that are objects of JSON.

    Groups are passed as plain tuples, see kernels/operands.py.

    Args:
        text: (N,) uint8, the bytes of all records one after the other. ends: (n,) int64, index behind each of them.
        names, name_ends: the same of the names of fields, in UTF-8.
        unit: of numeric times, see layout.py.
        powers: `Powers`. table: `NameTable`, overwritten.
        out: `FlatEvents`, overwritten.
    """
    constants, known, found = Powers(*powers), NameTable(*table), FlatEvents(*out)
    null, true, false = (110, 117, 108, 108), (116, 114, 117, 101), (102, 97, 108, 115, 101)
    begin = 0
    for i in range(len(ends)):
        at, end = begin, ends[i]
        begin = end
        found.good[i] = 0
        found.numbers[i, :] = np.nan
        seen, first, last, is_complete, sizes = 0, 0, 0, False, 0
        at = _after_blanks(text, at, end)
        is_open = at < end and text[at] == 123
        while is_open:
            is_open = False
            at = _after_blanks(text, at + 1, end)
            close = _end_of_text(text, at + 1, end) if at < end and text[at] == _QUOTE else end
            if close == end:
                break
            which = _field(text, at + 1, close, names, name_ends)
            at = _after_blanks(text, close + 1, end)
            if at >= end or text[at] != 58:
                break
            at = _after_blanks(text, at + 1, end)
            if at >= end:
                break
            if which >= 0:
                if seen >> which & 1:
                    break
                seen |= 1 << which
            if text[at] == _QUOTE:
                first_of, close = at + 1, _end_of_text(text, at + 1, end)
                if close == end or which > TIME or (which == SERIES and close == first_of):
                    break
                if which == SERIES:
                    first, last = first_of, close
                elif which == TIME:
                    good, ms = text_time(text, first_of, close)
                    if not good:
                        break
                    found.time_ms[i] = ms
                at = close + 1
            elif text[at] == 45 or 48 <= text[at] <= 57:
                kind, at, value, whole = number_at(text, at, end, constants)
                if kind == BAD or which == SERIES:
                    break
                if which == TIME:
                    good, ms, band = number_time(kind, value, whole, unit)
                    if not good:
                        break
                    found.time_ms[i] = ms
                    sizes |= band
                elif which >= VALUE:
                    found.numbers[i, which - VALUE] = value
            elif (_is_word(text, at, end, null) and which not in (SERIES, TIME)) or (
                which < 0 and _is_word(text, at, end, true)
            ):
                at += 4
            elif which < 0 and _is_word(text, at, end, false):
                at += 5
            else:
                break
            at = _after_blanks(text, at, end)
            if at < end and text[at] == 44:
                is_open = True
            elif at < end and text[at] == 125:
                is_complete = _after_blanks(text, at + 1, end) == end
        if is_complete and seen & _REQUIRED == _REQUIRED:
            found.entry[i] = entry_of(known, text, first, last)
            if found.entry[i] >= 0:
                found.good[i] = 1
                found.sizes[0] |= sizes


@kernel
def csv_kernel(text: Any, ends: Any, separator: int, roles: Any, unit: int, powers: Any, table: Any, out: Any) -> None:
    """Reads records that are lines of CSV.

    Args:
        text, ends, unit, powers, table, out: as of `json_kernel`; `sizes` stays, as all times are texts.
        separator: of the cells, a byte.
        roles: (columns,) int64, the field of each column, -1 for others; each field stands in it once.
    """
    constants, known, found = Powers(*powers), NameTable(*table), FlatEvents(*out)
    begin = 0
    for i in range(len(ends)):
        at, end = begin, ends[i]
        begin = end
        found.good[i] = 0
        found.numbers[i, :] = np.nan
        first, last, column, good = 0, 0, 0, True
        while good:
            which = roles[column] if column < len(roles) else -1
            from_ = at
            while at < end and text[at] != separator:
                byte = text[at]
                if byte < 32 or byte == _QUOTE or (byte > 126 and which != SERIES):
                    good = False
                at += 1
            if not good:
                break
            if which == SERIES:
                blank = at > from_ and (text[from_] == 32 or text[at - 1] == 32)
                first, last, good = from_, at, at > from_ and not blank
            elif which == TIME:
                good, ms = text_time(text, from_, at)
                if not good:
                    kind, behind, value, whole = number_at(text, from_, at, constants)
                    if kind == INTEGER and behind == at and at - from_ <= 18:
                        good, ms, _ = number_time(kind, value, whole, unit)
                found.time_ms[i] = ms
            elif which >= VALUE and at > from_:
                kind, behind, value, whole = number_at(text, from_, at, constants)
                good = kind != BAD and behind == at
                found.numbers[i, which - VALUE] = value
            column += 1
            if at >= end:
                break
            at += 1
            if at == end and column < len(roles):  # the last cell is empty
                which = roles[column]
                good = good and which not in (SERIES, TIME)
                column += 1
                break
        if good and column == len(roles):
            found.entry[i] = entry_of(known, text, first, last)
            if found.entry[i] >= 0:
                found.good[i] = 1
