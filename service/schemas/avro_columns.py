"""Decodes the wanted fields of many Avro payloads of one schema to columns: a program derived from the schema.

It decodes what most topics have: numbers, strings and times, also optional ones and in nested records, among fields of
any type, which are passed. Whatever is unusual, in the schema or in the bytes, is left to
`service.schemas.avro`: the columns of a payload that is not left are those of its decoded record, bit for bit.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

import numpy as np

from service.messages.frames import Columns, Wanted
from service.messages.timestamps import Milliseconds
from service.schemas.avro_walk import Ints, Payloads, TooManyStepsError, Walk
from service.schemas.logical import DECIMAL, FACTORS, MAX_DECIMAL_BYTES

Program = Callable[[Payloads, Walk, Columns], None]
"""Reads a type of all payloads of a walk, and drops those that are left to the other decoder."""

_Skip = Callable[[Payloads, Walk], None]
_Tree = dict[str, Any]  # of wanted fields by name: a tree for a record, a leaf for a value

_FIXED: Final = {"boolean": 1, "float": 4, "double": 8}
_TIME: Final = -1  # the slot of times among the objects of columns
_LARGEST_DAYS: Final = 10**11  # in milliseconds an int64
_TIME_PREFIX: Final = "forecaster-"


class _UnsupportedError(Exception):
    """The schema has something that is decoded in another way."""


@dataclass(frozen=True, slots=True)
class _Leaf:
    """A wanted value: "text", "time" or "number", and its column among those of this kind."""

    kind: str
    slot: int


def program_of(schema: Any, named: Mapping[str, Any], wanted: Wanted) -> Program | None:
    """Returns the program of a schema, or None where all its payloads are decoded in another way.

    Args:
        schema: as the library parses it, and accepted by `service.schemas.bounds`.
        named: the named types that it refers to.
        wanted: the fields.
    """
    try:
        return _Compiler(named, wanted).compile(schema)
    except _UnsupportedError:
        return None


def run(program: Program, payloads: Payloads, rows: Ints, header: int, into: Columns) -> None:
    """Decodes payloads, and marks those that are decoded as `usual`.

    Args:
        program: of their schema.
        payloads: of the batch.
        rows: those with this schema, shape (n,).
        header: number of bytes in front of the payload of each.
        into: the columns of the batch; overwritten in these rows.
    """
    walk = Walk(rows, payloads.begin[rows] + header, payloads.end[rows])
    try:
        program(payloads, walk, into)
    except TooManyStepsError:
        return
    into.usual[walk.rows[walk.at == walk.end]] = True


class _Compiler:
    """Makes the program of one schema."""

    def __init__(self, named: Mapping[str, Any], wanted: Wanted) -> None:
        self._named, self._wanted = named, wanted
        self._skips = dict[str, _Skip]()

    def compile(self, schema: Any) -> Program:
        """Returns the program of a record."""
        tree, wanted = _Tree(), self._wanted
        leaves = [(keys, _Leaf("text", slot)) for slot, keys in enumerate(wanted.texts)]
        leaves += [(keys, _Leaf("number", slot)) for slot, keys in enumerate(wanted.numbers)]
        for keys, leaf in [*leaves, (wanted.time, _Leaf("time", 0))]:
            node = tree
            for key in keys[:-1]:
                node = node.setdefault(key, {})
            node[keys[-1]] = leaf
        return self._of(schema, tree, is_root=True)

    def _resolved(self, schema: Any) -> Any:
        """Returns a named type for its name, and the name for a type without attributes."""
        while True:
            if isinstance(schema, str):
                return self._named.get(schema, schema)
            if isinstance(schema, dict) and not isinstance(schema["type"], str):
                schema = schema["type"]
                continue
            return schema

    def _of(self, schema: Any, wanted: _Tree | _Leaf, *, is_root: bool = False) -> Program:
        """Returns the program of a type with something wanted in it."""
        schema = self._resolved(schema)
        if isinstance(schema, list):
            return self._union(schema, wanted, is_root=is_root)
        if isinstance(wanted, _Leaf):
            return self._leaf(schema, wanted)
        if not isinstance(schema, dict) or schema["type"] not in {"record", "error"}:
            raise _UnsupportedError
        fields = {field["name"]: field["type"] for field in schema["fields"]}
        if len(fields) < len(schema["fields"]) or wanted.keys() - fields.keys():
            raise _UnsupportedError
        if is_root and not fields.keys().isdisjoint(self._wanted.without):
            raise _UnsupportedError
        return partial(
            _read_record,
            [
                self._of(kind, wanted[name]) if name in wanted else _skipping(self._skip(kind))
                for name, kind in fields.items()
            ],
        )

    def _union(self, branches: list[Any], wanted: _Tree | _Leaf, *, is_root: bool) -> Program:
        programs = list[Program]()
        for branch in branches:
            if self._resolved(branch) == "null" and isinstance(wanted, _Leaf) and wanted.kind == "number":
                programs.append(_read_null)
                continue
            try:
                programs.append(self._of(branch, wanted, is_root=is_root))
            except _UnsupportedError:
                programs.append(_drop)
        if all(program is _drop for program in programs):
            raise _UnsupportedError
        return partial(_read_union, programs)

    def _leaf(self, schema: Any, leaf: _Leaf) -> Program:
        kind = schema if isinstance(schema, str) else schema["type"]
        logical = schema.get("logicalType") if isinstance(schema, dict) else None
        if leaf.kind == "number" and logical is None and kind in {"int", "long", "float", "double"}:
            return partial(_read_number, kind, leaf.slot)
        if leaf.kind == "text" and kind == "string":
            return partial(_read_text, leaf.slot)
        if leaf.kind == "text" and kind == "enum":
            return partial(_read_symbol, np.array(schema["symbols"], object), leaf.slot)
        if leaf.kind == "time" and kind in {"int", "long", "float", "double"}:
            unit = None if logical is None else FACTORS[logical.removeprefix(_TIME_PREFIX)]
            return partial(_read_time, kind, unit, self._wanted.plain)
        raise _UnsupportedError

    def _skip(self, schema: Any) -> _Skip:
        """Returns the function that passes a type. Of a named type it is made once."""
        schema = self._resolved(schema)
        name = schema.get("name") if isinstance(schema, dict) else None
        if name is None:
            return self._skip_of(schema)
        if name not in self._skips:
            self._skips[name] = self._skip_of(schema)
        return self._skips[name]

    def _skip_of(self, schema: Any) -> _Skip:
        if isinstance(schema, list):
            return partial(_skip_union, [self._skip(branch) for branch in schema])
        kind = schema if isinstance(schema, str) else schema["type"]
        if isinstance(schema, dict) and schema.get("logicalType") == DECIMAL:
            return partial(_skip_decimal, schema.get("size"))
        if kind in {"record", "error"}:
            return partial(_skip_record, [self._skip(field["type"]) for field in schema["fields"]])
        if kind == "enum":
            return partial(_skip_enum, len(schema["symbols"]))
        if kind == "array":
            return partial(_skip_blocks, self._skip(schema["items"]))
        if kind == "map":
            return partial(_skip_blocks, partial(_skip_record, [_skip_string, self._skip(schema["values"])]))
        if kind == "fixed" or kind in _FIXED:
            return partial(_skip_fixed, _FIXED.get(kind) or schema["size"])
        simple = {"null": _skip_null, "int": _skip_int, "long": _skip_int, "bytes": _skip_bytes, "string": _skip_string}
        if kind not in simple:
            raise _UnsupportedError
        return simple[kind]


def _skipping(skip: _Skip) -> Program:
    return lambda payloads, walk, _: skip(payloads, walk)


def _read_record(fields: Sequence[Program], payloads: Payloads, walk: Walk, into: Columns) -> None:
    payloads.step()
    for read in fields:
        read(payloads, walk, into)


def _read_union(branches: Sequence[Program], payloads: Payloads, walk: Walk, into: Columns) -> None:
    _in_branches(branches, payloads, walk, into)


def _read_null(_payloads: Payloads, walk: Walk, into: Columns) -> None:
    """A missing number is nan, as which the column begins."""


def _drop(_payloads: Payloads, walk: Walk, into: Columns) -> None:  # noqa: ARG001 - the signature of programs
    walk.keep(np.zeros(len(walk.at), np.bool_))


def _read_number(kind: str, slot: int, payloads: Payloads, walk: Walk, into: Columns) -> None:
    found = _numbers(kind, payloads, walk)
    into.numbers[slot, walk.rows] = found


def _read_text(slot: int, payloads: Payloads, walk: Walk, into: Columns) -> None:
    found = payloads.strings(walk)
    kept = walk.keep(found.end > found.begin)  # an empty name is rejected
    texts = payloads.texts(found.part(kept))
    into.put(slot, walk.rows, texts)


def _read_symbol(symbols: Any, slot: int, payloads: Payloads, walk: Walk, into: Columns) -> None:
    found = payloads.varints(walk)
    kept = walk.keep((found >= 0) & (found < len(symbols)))
    into.put(slot, walk.rows, symbols[found[kept]])


def _read_time(
    kind: str, unit: tuple[int, int] | None, plain: tuple[int, int], payloads: Payloads, walk: Walk, into: Columns
) -> None:
    """Reads times.

    Args:
        unit: factor and divisor to milliseconds; None: the numbers remain.
        plain: see `Wanted`.
    """
    found = _numbers(kind, payloads, walk)
    if unit is None:
        into.put(_TIME, walk.rows, found.tolist())
        return
    first, last = plain
    factor, divisor = unit
    if factor > 1:
        found = found[walk.keep(np.abs(found) <= _LARGEST_DAYS)]
    found = found * factor // divisor
    times = found.tolist()
    if len(found) and not (first <= found.min() and found.max() <= last):
        # Of a list, numpy would ask each of these objects whether it is an array.
        into.put(_TIME, walk.rows, np.fromiter(map(Milliseconds, times), object, len(times)))
    else:
        into.put(_TIME, walk.rows, times)


def _numbers(kind: str, payloads: Payloads, walk: Walk) -> Any:
    """Reads numbers: int64, or float64."""
    if kind == "double":
        return payloads.doubles(walk)
    return payloads.floats(walk) if kind == "float" else payloads.varints(walk)


def _in_branches(branches: Sequence[Callable[..., None]], payloads: Payloads, walk: Walk, *into: Columns) -> None:
    """Reads unions: the number of a type, and its value."""
    chosen = payloads.varints(walk)
    if len(chosen) and 0 <= chosen[0] < len(branches) and (chosen == chosen[0]).all():
        branches[chosen[0]](payloads, walk, *into)
        return
    parts = [walk.part(chosen == number) for number in range(len(branches))]
    for read, part in zip(branches, parts, strict=True):
        if len(part.rows):
            read(payloads, part, *into)
    if parts:
        walk.become(Walk.joined(parts))


def _skip_record(fields: Sequence[_Skip], payloads: Payloads, walk: Walk) -> None:
    payloads.step()
    for skip in fields:
        skip(payloads, walk)


def _skip_union(branches: Sequence[_Skip], payloads: Payloads, walk: Walk) -> None:
    _in_branches(branches, payloads, walk)


def _skip_null(_payloads: Payloads, _walk: Walk) -> None:
    """It has no bytes."""


def _skip_int(payloads: Payloads, walk: Walk) -> None:
    payloads.varints(walk)


def _skip_string(payloads: Payloads, walk: Walk) -> None:
    payloads.strings(walk)


def _skip_bytes(payloads: Payloads, walk: Walk) -> None:
    size = payloads.varints(walk)
    payloads.skip(walk, size)


def _skip_fixed(size: int, payloads: Payloads, walk: Walk) -> None:
    payloads.skip(walk, size)


def _skip_decimal(size: int | None, payloads: Payloads, walk: Walk) -> None:
    """Passes a decimal, unless it is too long to be converted.

    Args:
        size: the number of its bytes; None: they are counted in front of it.
    """
    found = payloads.varints(walk) if size is None else np.full(len(walk.at), size, np.int64)
    payloads.skip(walk, found[walk.keep(found <= MAX_DECIMAL_BYTES)])


def _skip_enum(symbols: int, payloads: Payloads, walk: Walk) -> None:
    found = payloads.varints(walk)
    walk.keep((found >= 0) & (found < symbols))


def _skip_blocks(skip: _Skip, payloads: Payloads, walk: Walk) -> None:
    """Passes arrays or maps: blocks of elements, each with their number, until one has none.

    A negative number is followed by the bytes of the block.
    """
    left, done, waiting = np.zeros(len(payloads.begin), np.int64), [], walk
    while len(waiting.rows):
        count = payloads.varints(waiting)
        left[waiting.rows] = np.abs(count)
        sized, ended = waiting.part(count < 0), list[Walk]()
        payloads.varints(sized)
        done.append(waiting.part(count == 0))
        inner = Walk.joined([waiting.part(count > 0), sized])
        while len(inner.rows):
            payloads.step()
            skip(payloads, inner)
            left[inner.rows] -= 1
            more = left[inner.rows] > 0
            ended.append(inner.part(~more))
            inner = inner.part(more)
        waiting = Walk.joined([inner, *ended])
    walk.become(Walk.joined([waiting, *done]))
