"""The open windows of a partition as arrays of a snapshot, and back.

names, name_ends     the series, UTF-8 one after the other, and where each name ends
series               (s, 4) int64: number of open windows, number of values, whether a window closed, its end
values               of the last closed windows, one after the other
windows              the open windows of one series after the other, as msgspec encodes them
watermark            int64: whether there is one, the watermark, `behind`, `row`, length and times of the tail
voters, voter_ends   series that have passed the target or rest, like `names`: those of refused events have no windows
votes                (v, 5) int64: whether it has passed, its newest time, how long it has gone on; whether it rests,
                     the end of its last window
kept                 the closed windows that are kept, like `windows`, see `kept_windows`
revisions            (s, 3) int64: number of kept windows, begin of the first closed window, end up to which none is
                     revised
late_within          int64: for how many intervals windows are kept
marked               int64: whether there was a time mark, position and time of the last one, the greatest time of all
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice, pairwise
from typing import Any, Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from forecaster.state import Streamed, checked
from service.aggregate.number_arrays import from_bytes
from service.aggregate.open_window import ENCODER, OpenWindow, WindowParts
from service.aggregate.watermark import AGREEING, Watermark
from service.aggregate.window_rules import WindowRules
from service.aggregate.window_table import SeriesWindows, WindowTable
from service.ports import TimeMark

_WHERE: Final = "the state of open windows"
_LIST: Final = struct.Struct(">BI")  # the begin of a list of msgpack: its kind and length
_LIST_KIND: Final = 0xDD
_BLOCK: Final = 256  # windows that are copied at once, some kilobytes each at most
_DECODER: Final = msgspec.msgpack.Decoder(list[OpenWindow], dec_hook=from_bytes)
Arrays = dict[str, NDArray[Any]]


def arrays_of(table: WindowTable, watermark: Watermark) -> Arrays:
    """Returns the state of all windows of a partition."""
    names, voters = _encoded(table.series), sorted({*watermark.passed, *watermark.resting})
    voter_names, tail = _encoded(voters), watermark.tail
    held = list(table.series.values())
    series = (
        [len(one.open) for one in held],
        [len(one.values) for one in held],
        [one.closed_ms is not None for one in held],
        [one.closed_ms or 0 for one in held],
    )
    return {
        "names": np.frombuffer(b"".join(names), np.uint8),
        "name_ends": _ends(names),
        "series": np.stack([np.fromiter(column, np.int64, len(held)) for column in series], axis=1),
        "values": np.array([value for one in held for value in one.values], np.float64),
        "windows": np.frombuffer(ENCODER.encode([window for one in held for window in one.open.values()]), np.uint8),
        "watermark": np.array(
            [
                watermark.ms is not None, watermark.ms or 0, watermark.behind, watermark.row, len(tail), *tail,
                *[0] * (AGREEING - len(tail)),
            ],
            np.int64,
        ),
        "voters": np.frombuffer(b"".join(voter_names), np.uint8),
        "voter_ends": _ends(voter_names),
        "votes": np.array([_vote(watermark, name) for name in voters], np.int64).reshape(-1, 5),
    }  # fmt: skip


def _vote(watermark: Watermark, name: str) -> tuple[bool, int, int, bool, int]:
    passed, rests = watermark.passed.get(name), watermark.resting.get(name)
    return passed is not None, passed or 0, watermark.gone_on.get(name, 0), rests is not None, rests or 0


def _encoded(names: Iterable[str]) -> list[bytes]:
    return [name.encode("utf-8", "surrogatepass") for name in names]


def _ends(parts: Sequence[bytes]) -> NDArray[np.int64]:
    return np.cumsum(np.fromiter(map(len, parts), np.int64, len(parts)))


def _names(arrays: Arrays, name: str, ends: str) -> Iterator[str]:
    """Yields the names of an array.

    Raises:
        ValueError: the ends are not those of names.
    """
    whole, last = _flat(arrays, name, np.uint8).tobytes(), [0, *_flat(arrays, ends, np.int64).tolist()]
    if last[-1] != len(whole) or last != sorted(last):
        msg = f"got {name} of {len(whole)} bytes, expected names that end at {last[-1]}"
        raise ValueError(msg)
    for start, end in pairwise(last):
        yield whole[start:end].decode("utf-8", "surrogatepass")


def _flat(arrays: Arrays, name: str, kind: type[np.generic]) -> NDArray[Any]:
    whole = arrays[name]
    if whole.dtype != kind or whole.ndim != 1:
        msg = f"got {name} of shape {whole.shape}, {whole.dtype}, expected one of {kind.__name__}"
        raise ValueError(msg)
    return whole


def table_from(arrays: Arrays, rules: WindowRules) -> dict[str, SeriesWindows]:
    """Returns the series of a state.

    Raises:
        CheckpointError: the arrays are not such a state.
    """
    with checked(_WHERE):
        names = list(_names(arrays, "names", "name_ends"))
        series, values = arrays["series"], _flat(arrays, "values", np.float64).tolist()
        if series.dtype != np.int64 or series.shape != (len(names), 4):
            msg = f"got series of shape {series.shape}, {series.dtype}, expected ({len(names)}, 4)"
            raise ValueError(msg)
        decoded = _DECODER.decode(_flat(arrays, "windows", np.uint8).tobytes())
        windows, found, used = iter(decoded), dict[str, SeriesWindows](), 0
        for name, (count, held, has_closed, closed_ms) in zip(names, series.tolist(), strict=True):
            one = found[name] = SeriesWindows(rules.of(name))
            one.closed_ms = closed_ms if has_closed else None
            one.values, used = values[used : used + held], used + held
            if len(one.values) != (len(one.rule.functions) if has_closed else 0):
                msg = f"got {len(one.values)} values of {name!r}, expected one per function"
                raise ValueError(msg)
            one.open = {window.end: window for window in islice(windows, count)}
            if len(one.open) != count:
                msg = f"got {len(one.open)} windows of {name!r}, expected {count} with different ends"
                raise ValueError(msg)
            _check(one.open.values(), one.rule.parts())
        if len(found) != len(names) or used != len(values) or next(windows, None) is not None:
            msg = f"got {len(values)} values and {len(decoded)} windows, expected those of {len(found)} series"
            raise ValueError(msg)
        return found


def _check(windows: Iterable[OpenWindow], parts: WindowParts | None) -> None:
    """Checks the restored windows of a series.

    Args:
        windows: restored.
        parts: of a window without events.

    Raises:
        ValueError: one is no window, or has other parts.
    """
    kinds = None if parts is None else parts.kinds()
    for window in windows:
        if not (window.start < window.end and 0 <= window.missing <= window.events and window.events):
            msg = f"got a window from {window.start} to {window.end} with {window.events} events"
            raise ValueError(msg)
        if (None if window.parts is None else window.parts.kinds()) != kinds:
            msg = f"got a window from {window.start} to {window.end} with parts of other functions"
            raise ValueError(msg)
        if window.parts is not None:
            window.parts.check()


def kept_arrays(table: WindowTable, late_within: int) -> Arrays:
    """Returns what is known of the closed windows that are kept, in the order of `table`; `kept_windows` has these."""
    numbers = [(len(one.kept), one.begun_ms, one.floor_ms) for one in table.series.values()]
    return {
        "revisions": np.array(numbers, np.int64).reshape(-1, 3),
        "late_within": np.array([late_within], np.int64),
    }


def kept_windows(table: WindowTable) -> Streamed:
    """Returns the array `kept` as blocks; they stay the same when the windows change, so that others may write them."""
    kept = [window for one in table.series.values() for window in one.kept.values()]
    kept.insert(0, _LIST.pack(_LIST_KIND, len(kept)))

    def blocks() -> Iterator[NDArray[Any]]:
        for at in range(0, len(kept), _BLOCK):
            yield np.frombuffer(b"".join(kept[at : at + _BLOCK]), np.uint8)

    return Streamed((sum(map(len, kept)),), np.dtype(np.uint8), blocks)


def kept_from(arrays: Arrays, series: dict[str, SeriesWindows], late_within: int) -> None:
    """Restores the closed windows that are kept. Where these are of another number of intervals, none is revised.

    Raises:
        CheckpointError: the arrays are not such a state.
    """
    with checked(_WHERE):
        numbers, (before,) = arrays["revisions"], _flat(arrays, "late_within", np.int64).tolist()
        if numbers.dtype != np.int64 or numbers.shape != (len(series), 3):
            msg = f"got revisions of shape {numbers.shape}, {numbers.dtype}, expected ({len(series)}, 3)"
            raise ValueError(msg)
        decoded = _DECODER.decode(_flat(arrays, "kept", np.uint8).tobytes())
        windows = iter(decoded)
        for one, (count, begun_ms, floor_ms) in zip(series.values(), numbers.tolist(), strict=True):
            one.begun_ms, one.floor_ms = begun_ms, floor_ms
            kept = {window.end: window for window in islice(windows, count)}
            if len(kept) != count or [*kept] != sorted(kept) or (kept and max(kept) != one.closed_ms):
                msg = f"got kept windows that end at {[*kept][:10]}, expected {count} up to the last closed one"
                raise ValueError(msg)
            _check(kept.values(), one.rule.parts())
            if before == late_within:
                one.kept = {end: ENCODER.encode(window) for end, window in kept.items()}
            elif one.closed_ms is not None:
                one.floor_ms = one.closed_ms
        if next(windows, None) is not None:
            msg = f"got {len(decoded)} kept windows, expected {int(numbers[:, 0].sum())}"
            raise ValueError(msg)


def watermark_from(arrays: Arrays, watermark: Watermark) -> None:
    """Restores the watermark of a state.

    Raises:
        CheckpointError: the arrays are not such a state.
    """
    with checked(_WHERE):
        has_begun, ms, behind, row, length, *tail = _flat(arrays, "watermark", np.int64).tolist()
        names, votes = list(_names(arrays, "voters", "voter_ends")), arrays["votes"]
        if votes.dtype != np.int64 or votes.ndim != 2 or votes.shape[1] != 5:
            msg = f"got votes of shape {votes.shape}, {votes.dtype}, expected (n, 5) of int64"
            raise ValueError(msg)
        if not (0 <= length <= len(tail) == AGREEING and min(behind, row) >= 0 and len(votes) == len(names)):
            msg = f"got a watermark with {behind} and {length} events and {len(votes)} votes of {len(names)} series"
            raise ValueError(msg)
        watermark.ms = ms if has_begun else None
        watermark.behind, watermark.row, watermark.tail = behind, row, tail[:length]
        pairs = list(zip(names, votes.tolist(), strict=True))
        watermark.passed = {name: vote[1] for name, vote in pairs if vote[0]}
        watermark.gone_on = {name: vote[2] for name, vote in pairs if vote[2]}
        watermark.longest = max(watermark.gone_on.values(), default=0)
        watermark.resting = {name: vote[4] for name, vote in pairs if vote[3]}


def marked_arrays(mark: TimeMark | None, marked_ms: int) -> Arrays:
    """Returns the last time mark, and the greatest time of all, as an array."""
    return {"marked": np.array([mark is not None, *(mark or (0, 0)), marked_ms], np.int64)}


def marked_from(arrays: Arrays) -> tuple[TimeMark | None, int]:
    """Returns the last time mark of a state, and the greatest time of all.

    Raises:
        CheckpointError: the array is not such a mark.
    """
    with checked(_WHERE):
        is_marked, position, time_ms, marked_ms = _flat(arrays, "marked", np.int64).tolist()
        return TimeMark(position, time_ms) if is_marked else None, marked_ms
