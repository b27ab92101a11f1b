"""Groups of the push log: their marks, and recovery of intact lines where bytes have changed.

    {"series": ...}          lines
    {"series": ...}
    #=1f0a77c3               four digits of the checksum of each of the lines
    #5a7e01bc 231            checksum and length of everything above

The last line verifies the whole group. If it does not match, the line before verifies each line: a byte that a disk
changed costs the line that contains it, and no later line.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Iterator, Sequence
from typing import Final, NamedTuple

_MARK: Final = re.compile(rb"^#([0-9a-f]{8}) (\d{1,12})\n", re.MULTILINE)
_DIGIT: Final = re.compile(rb"[0-9a-f]")
_LIKE_A_MARK: Final = re.compile(rb".[0-9a-f]{8} \d{1,12}")


class LineSpan(NamedTuple):
    """A line of a segment.

    Attributes:
        start, stop: of its bytes, without line end. good: whether the bytes are unchanged since they were written.
    """

    start: int
    stop: int
    good: bool


class Inspection(NamedTuple):
    """The result of checking a segment.

    Attributes:
        end: offset after its last group; bytes from there on were never acknowledged.
        lines: all lines, if some bytes have changed; else None: the segment can be read without checks.
    """

    end: int
    lines: list[LineSpan] | None


def sealed(lines: bytes) -> bytes:
    """Returns a group of lines with checksums and mark; every line in `lines` has its line end."""
    sums = b"".join(_sum(line) for line in lines.split(b"\n")[:-1])
    group = lines + b"#=" + sums + b"\n"
    return group + _mark_of(group)


def _mark_of(group: bytes) -> bytes:
    return b"#%08x %d\n" % (zlib.crc32(group), len(group))


def _sum(line: bytes) -> bytes:
    return b"%04x" % (zlib.crc32(line) & 0xFFFF)


def inspect(data: bytes) -> Inspection:
    """Checks the groups of a segment."""
    spans, at, end = list[tuple[int, int, bool]](), 0, 0
    for mark in _MARK.finditer(data):
        start = mark.start() - int(mark[2])
        end = mark.end()
        if start < at or zlib.crc32(data[start : mark.start()]) != int(mark[1], 16):
            continue
        spans += [(at, start, False)] * (start > at) + [(start, end, True)]
        at = end
    end = max(at, end, at + _nearly_whole(data[at:]))
    if end > at:  # a mark exists, so the group was written to its end
        spans.append((at, end, False))
    if all(good for _, _, good in spans):
        return Inspection(end, None)
    lines = list[LineSpan]()
    for start, stop, good in spans:
        lines += _good(data, start, stop) if good else _suspect(data, start, stop)
    return Inspection(end, lines)


def _body(size: int) -> int:
    """Returns the bytes before the mark in a group of `size` bytes; 0: no group has this size."""
    for digits in range(1, 13):
        body = size - 11 - digits  # the mark is "#", eight digits, a blank, the number and a line end
        if body > 0 and len(str(body)) == digits:
            return body
    return 0


def _nearly_whole(data: bytes) -> int:
    """Returns the length of a segment's last group if it was written completely and one byte has changed; else 0.

    A crash leaves a shorter group, or zeros at its end.
    """
    body = _body(len(data))
    there, mark = data[body:], _mark_of(data[:body])
    changed = [have for have, wanted in zip(there, mark, strict=False) if have != wanted]
    own = _MARK.fullmatch(there)
    whole = (own is not None and int(own[2]) == body) or (len(changed) == 1 and changed[0])
    return len(data) if body and whole else 0


def _one_group(data: bytes, start: int, stop: int) -> list[LineSpan] | None:
    """Returns the lines of a span that is one group except for one changed byte, None if it is not."""
    size = _body(stop - start)
    body, best = data[start : start + size], None
    ends = body.count(b"\n")
    for count in (ends - 1, ends, ends - 2):  # number of lines, if no line end, or one, was added or lost
        at = size - 3 - 4 * count  # of the checksums
        if count < 1 or at < 2:
            continue
        sums = body[at + 2 : -1]
        frame = zip(body[at - 1 : at + 2] + body[-1:], b"\n#=\n", strict=True)
        if sum(have != wanted for have, wanted in frame) + len(sums) - len(_DIGIT.findall(sums)) > 1:
            continue
        lines = [*_pieces(data, start, start + at - 1)]
        if (
            sealed(body[: at - 1] + b"\n")
            == body[: at - 1] + b"\n#=" + _sums(data, lines) + b"\n" + data[start + size : stop]
        ):
            return lines  # only checksums, or the separator before them, have changed
        found = _compared(data, lines, sums)
        if best is None or sum(one.good for one in found) > sum(one.good for one in best):
            best = found
    return best


def _sums(data: bytes, lines: Sequence[LineSpan]) -> bytes:
    return b"".join(_sum(data[one.start : one.stop]) for one in lines)


def _pieces(data: bytes, start: int, stop: int) -> Iterator[LineSpan]:
    while start < stop:
        end = data.find(b"\n", start, stop)
        end = stop if end < 0 else end
        yield LineSpan(start, end, good=True)
        start = end + 1


def _good(data: bytes, start: int, stop: int) -> list[LineSpan]:
    return [one for one in _pieces(data, start, stop) if data[one.start : one.start + 1] != b"#"]


def _suspect(data: bytes, start: int, stop: int) -> list[LineSpan]:
    """Returns the lines of groups whose mark does not match, each verified by its own checksum."""
    if (one_group := _one_group(data, start, stop)) is not None:
        return one_group
    found, group = list[LineSpan](), list[LineSpan]()
    for one in _pieces(data, start, stop):
        text = data[one.start : one.stop]
        if _is_sums(text, len(group)):
            if group and _mark_fits(data, group[0].start, one):
                found += group  # only the checksums have changed
            else:
                found += _compared(data, group, text[2:])
            group = []
        elif not text.startswith(b"#") and not (not group and _LIKE_A_MARK.fullmatch(text)):
            group.append(one)
    return found + [one._replace(good=False) for one in group]  # their checksums are lost


def _mark_fits(data: bytes, start: int, sums: LineSpan) -> bool:
    """Returns whether the mark after a line of checksums matches the present lines before it."""
    whole = sealed(data[start : sums.start])
    mark = whole[whole.rindex(b"\n", 0, -1) + 1 :]
    return data.startswith(mark, sums.stop + 1)


def _is_sums(text: bytes, lines: int) -> bool:
    """Returns whether a line holds checksums; one of its bytes may have changed."""
    if text.startswith(b"#="):
        return True
    return lines > 0 and len(text) == 2 + 4 * lines and (text[:1] == b"#" or text[1:2] == b"=")


def _compared(data: bytes, group: Sequence[LineSpan], text: bytes) -> list[LineSpan]:
    """Returns the lines of a group, good if their checksum matches; from both ends if a line end was added or lost."""
    sums = [text[at : at + 4] for at in range(0, len(text), 4)]
    fit = [_sum(data[one.start : one.stop]) for one in group]
    if len(sums) == len(fit):
        return [one._replace(good=mine == theirs) for one, mine, theirs in zip(group, fit, sums, strict=True)]
    room = len(fit) - (1 if len(fit) < len(sums) else 2)  # merged or split lines are never good
    head = min(_equal(fit, sums), room)
    tail = min(_equal(fit[head:][::-1], sums[head:][::-1]), room - head)
    return [one._replace(good=at < head or at >= len(group) - tail) for at, one in enumerate(group)]


def _equal(left: Sequence[bytes], right: Sequence[bytes]) -> int:
    """Returns the length of the common prefix."""
    return next((at for at, (a, b) in enumerate(zip(left, right, strict=False)) if a != b), min(len(left), len(right)))
