"""Reads one field of many Avro payloads at a time, with arrays; Python sees no single value.

A payload whose bytes are not the usual ones is dropped from the walk, and its caller decodes it in another way. So no
byte behind a payload is ever used, and every function may assume the usual case.

A varint has seven bits per byte, the lowest ones first, and a set top bit in all bytes but its last one. Eight bytes
are loaded as one word; the lowest byte without its top bit ends the number, and three shifts join the groups of bits:
words of 2 x 7, 4 x 7, and 8 x 7 bits. Integers are zigzag: n >= 0 as 2 n, n < 0 as -2 n - 1.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from service.messages.frames import Columns, Wanted

Ints = NDArray[np.int64]
Words = NDArray[np.uint64]

_SHORT: Final = 32  # bytes of a string that are looked at as words
_PAD: Final = _SHORT + 8  # bytes behind the last payload that may be loaded, and are not used
_FREE_STEPS: Final = 64
_BYTES_PER_STEP: Final = 32


def _each(byte: int, *, every: int = 1) -> np.uint64:
    """Returns a word with the same byte at every n-th place."""
    return np.uint64(sum(byte << 8 * at for at in range(0, 8, every)))


_TOPS: Final = _each(0x80)
_SEVEN: Final = _each(0x7F)
_LOW_7, _HIGH_7 = _each(0x7F, every=2), np.uint64(0x7F007F007F007F00)
_LOW_14, _HIGH_14 = np.uint64(0x00003FFF00003FFF), np.uint64(0x3FFF00003FFF0000)
_LOW_28, _HIGH_28 = np.uint64(0x000000000FFFFFFF), np.uint64(0x0FFFFFFF00000000)
_FIRST: Final = np.array([(1 << 8 * count) - 1 for count in range(9)], np.uint64)  # so many bytes of a word
_ONE, _TWO, _FOUR, _NINTH = np.uint64(1), np.uint64(2), np.uint64(4), np.uint64(56)


class Strings(NamedTuple):
    """Where strings begin and end in the bytes of a batch, and whether they are not ASCII, shape (n,)."""

    begin: Ints
    end: Ints
    wide: NDArray[np.bool_]

    def part(self, chosen: NDArray[np.bool_] | slice) -> Strings:
        """Returns some of them."""
        return Strings(self.begin[chosen], self.end[chosen], self.wide[chosen])


class TooManyStepsError(Exception):
    """A walk takes too many steps for its number of bytes: another way is faster."""


class BatchDecoder:
    """A decoder of the records of a schema that has another way for many of them. Overridden."""

    def read(self, payloads: Payloads, rows: Ints, wanted: Wanted, into: Columns) -> None:
        """Decodes the usual ones among the records of a batch that have the schema, and marks them.

        Args:
            payloads: of the batch.
            rows: indices of the records, shape (n,).
            wanted: the fields.
            into: the columns of the batch; overwritten in these rows.
        """
        raise NotImplementedError


class Payloads:
    """The bytes of the records of a batch.

    Args:
        values: of the records.
        lengths: of each, shape (n,).

    Attributes:
        begin, end: of every record in the joined bytes, shape (n,).
    """

    def __init__(self, values: Sequence[bytes], lengths: Ints) -> None:
        self.end = np.cumsum(lengths)
        self.begin = self.end - lengths
        self._joined = b"".join([*values, bytes(_PAD)])
        size = len(self._joined)
        self.bytes = np.frombuffer(self._joined, np.uint8)
        # One element for each byte at which it may begin.
        self._words = np.ndarray((size - 7,), "<u8", self._joined, 0, (1,))
        self._doubles = np.ndarray((size - 7,), "<f8", self._joined, 0, (1,))
        self._floats = np.ndarray((size - 3,), "<f4", self._joined, 0, (1,))
        self._steps = _FREE_STEPS + size // _BYTES_PER_STEP

    @cached_property
    def _text(self) -> str:
        return self._joined.decode("latin-1")

    @cached_property
    def _above_ascii(self) -> NDArray[np.int32]:
        """The number of bytes above ASCII before every place, shape (size + 1,)."""
        found = np.zeros(len(self.bytes) + 1, np.int32)
        np.cumsum(self.bytes >= 0x80, dtype=np.int32, out=found[1:])
        return found

    def step(self) -> None:
        """Counts a step.

        A step reads at least a byte of some payload, but costs as much as reading many of them: a payload that is made
        for it would take a step per byte.

        Raises:
            TooManyStepsError: there were too many for the bytes of the batch.
        """
        self._steps -= 1
        if self._steps < 0:
            raise TooManyStepsError

    def schema_ids(self) -> Ints:
        """Returns the id in the header of every record, -1 for a record without, shape (n,)."""
        at = np.minimum(self.begin, len(self.bytes) - _PAD)
        ids = np.ndarray((len(self.bytes) - 7,), ">i8", self._joined, 0, (1,))[at] >> 24  # a zero byte and the id
        framed = (self.end - self.begin >= 5) & (self.bytes[at] == 0)
        return np.where(framed, ids & 0xFFFFFFFF, -1)

    def varints(self, of: Walk) -> Ints:
        """Reads integers of at most nine bytes; drops payloads with others."""
        self.step()
        word = self._words[of.at]
        stops = ~word & _TOPS
        stop = stops & (~stops + _ONE)  # the lowest set bit; 0 without any
        mask = stop | (stop - _ONE)
        size = np.bitwise_count(mask).astype(np.int64) >> 3
        bits = word & mask & _SEVEN
        bits = (bits & _LOW_7) | ((bits & _HIGH_7) >> _ONE)
        bits = (bits & _LOW_14) | ((bits & _HIGH_14) >> _TWO)
        bits = (bits & _LOW_28) | ((bits & _HIGH_28) >> _FOUR)
        fits = np.ones(len(word), np.bool_)
        if not stop.all():
            ninth = self.bytes[of.at + 8].astype(np.uint64)
            is_long = stop == 0
            bits = np.where(is_long, bits | (ninth << _NINTH), bits)
            size += is_long
            fits = ~is_long | (ninth < 0x80)
        found: Ints = (bits >> _ONE).view(np.int64) ^ -(bits & _ONE).view(np.int64)
        of.at = of.at + size
        fits &= of.at <= of.end
        return found[of.keep(fits)]

    def doubles(self, of: Walk) -> NDArray[np.float64]:
        """Reads float64 numbers."""
        return self._doubles[self.skip(of, 8)]

    def floats(self, of: Walk) -> NDArray[np.float64]:
        """Reads float32 numbers."""
        return self._floats[self.skip(of, 4)].astype(np.float64)

    def skip(self, of: Walk, size: int | Ints) -> Ints:
        """Passes bytes; drops payloads that do not have as many. Returns where they begin, shape (n,)."""
        self.step()
        begin = of.at
        fits = (size >= 0) & (size <= of.end - begin)  # before they are added, which may overflow
        of.at = begin + np.where(fits, size, 0)
        return begin[of.keep(fits)]

    def strings(self, of: Walk) -> Strings:
        """Passes strings; drops payloads whose string is not UTF-8."""
        size = self.varints(of)
        begin, fits = of.at, (size >= 0) & (size <= of.end - of.at)
        of.at = begin + np.where(fits, size, 0)
        wide = self._are_wide(begin, of.at)
        for at in np.flatnonzero(wide).tolist():
            fits[at] = fits[at] and _is_utf8(self._joined[begin[at] : of.at[at]])
        end = of.at
        kept = of.keep(fits)
        return Strings(begin[kept], end[kept], wide[kept])

    def _are_wide(self, begin: Ints, end: Ints) -> NDArray[np.bool_]:
        """Returns whether texts have bytes above ASCII, shape (n,)."""
        size = end - begin
        longest = int(size.max(initial=0))
        wide: NDArray[np.bool_]
        if longest > _SHORT:
            wide = self._above_ascii[end] > self._above_ascii[begin]
            return wide
        found: Words = np.zeros(len(size), np.uint64)
        for at in range(0, longest, 8):
            found |= self._words[begin + at] & _FIRST[np.clip(size - at, 0, 8)]
        wide = (found & _TOPS) != 0
        return wide

    def texts(self, of: Strings) -> list[str]:
        """Returns strings that were passed."""
        text = self._text
        found = [text[begin:end] for begin, end in zip(of.begin.tolist(), of.end.tolist(), strict=True)]
        for at in np.flatnonzero(of.wide).tolist():
            found[at] = found[at].encode("latin-1").decode()
        return found


class Walk:
    """How far some of the payloads are read.

    Attributes:
        rows: which ones of the batch, in any order, shape (n,).
        at: the next byte of each, shape (n,).
        end: behind the last byte of each, shape (n,).
    """

    __slots__ = ("at", "end", "rows")

    def __init__(self, rows: Ints, at: Ints, end: Ints) -> None:
        self.rows, self.at, self.end = rows, at, end

    def keep(self, fits: NDArray[np.bool_]) -> NDArray[np.bool_] | slice:
        """Drops payloads; returns the index that does the same with an array of their values."""
        if fits.all():
            return slice(None)
        self.rows, self.at, self.end = self.rows[fits], self.at[fits], self.end[fits]
        return fits

    def part(self, chosen: NDArray[np.bool_]) -> Walk:
        """Returns a walk of some of the payloads."""
        return Walk(self.rows[chosen], self.at[chosen], self.end[chosen])

    @classmethod
    def joined(cls, parts: Sequence[Walk]) -> Walk:
        """Returns a walk of the payloads of at least one other walk."""
        return cls(*(np.concatenate([getattr(part, name) for part in parts]) for name in ("rows", "at", "end")))

    def become(self, other: Walk) -> None:
        """Goes on where another walk has come."""
        self.rows, self.at, self.end = other.rows, other.at, other.end


def _is_utf8(text: bytes) -> bool:
    try:
        text.decode()
    except UnicodeDecodeError:
        return False
    return True
