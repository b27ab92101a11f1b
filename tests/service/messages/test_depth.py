"""Deeply nested records: rejected at a fixed depth by every reader, whatever the depth of the stack."""

from __future__ import annotations

import json
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from parts import Bench, event

from service.backtest.events import read_events
from service.config.input import InputConfig
from service.errors import ServiceError
from service.messages.decode import Decoded, Decoder
from service.messages.depth import MAX_DEPTH, too_deep
from service.ports import Records
from service.transport.memory import MemoryLog

PLAIN = b'{"series": "a", "timestamp": 1767571200000, "value": 1.5, "x": %s}'
MISSING = b'{"series": "a", "timestamp": 1767571200000, "value": NaN, "x": %s}'
CONTROL = b'{"exclude": {"series": "a", "from": 1, "to": 2}, "x": %s}'


def nested(levels: int, kind: bytes = b"[") -> bytes:
    """Returns a value of this many levels."""
    return b"[" * levels + b"]" * levels if kind == b"[" else b'{"a":' * levels + b"1" + b"}" * levels


def decode(*values: bytes, stack: int = 0, **settings: object) -> Decoded:
    """Decodes one batch, `stack` calls deeper."""
    if stack:
        return decode(*values, stack=stack - 1, **settings)
    records = Records("p", range(len(values)), len(values), values, timestamps_ms=[0] * len(values))
    return Decoder(InputConfig.model_validate({"max_ahead": 0, **settings}), 3).decode(records)


@pytest.mark.parametrize("record", [PLAIN, MISSING, CONTROL])
@pytest.mark.parametrize("kind", [b"[", b"{"])
@pytest.mark.parametrize("levels", [MAX_DEPTH, 1_100, 5_000])
def test_one_deep_record_among_others(record: bytes, kind: bytes, levels: int) -> None:
    """A deep record is rejected with the reason; the events before and after it are decoded."""
    deep = record % nested(levels, kind)
    decoded = decode(PLAIN % b"1", deep, PLAIN % b"2")

    assert decoded.positions == [0, 2]
    assert [(one.position, one.value, one.reason) for one in decoded.rejects] == [(1, deep, "undecodable")]
    assert f"more than {MAX_DEPTH} levels" in decoded.rejects[0].detail


@pytest.mark.parametrize("record", [PLAIN, MISSING])
@pytest.mark.parametrize("stack", [0, 300])
def test_the_verdict_does_not_depend_on_the_stack(record: bytes, stack: int) -> None:
    """The accepted depth does not depend on the stack, which may be deeper in a replay."""
    taken, refused = record % nested(MAX_DEPTH - 1), record % nested(MAX_DEPTH)

    assert len(decode(taken, stack=stack)) == 1
    assert [one.reason for one in decode(refused, stack=stack).rejects] == ["undecodable"]


@pytest.mark.parametrize("field", ["series", "timestamp", "value", "covariate", "future", "written"])
def test_fields_that_are_used(field: str) -> None:
    """Fields that the daemon reads have the same depth limit."""
    names = {"series": "series", "timestamp": "timestamp", "value": "value", "record_time": "written"}
    usual = {b"series": b'"a"', b"timestamp": b"1767571200000", b"value": b"1"} | {field.encode(): nested(3_000)}
    text = b"{" + b",".join(b'"%s":%s' % pair for pair in usual.items()) + b"}"
    decoded = decode(text, fields=names, covariates=["covariate"], future_covariates=["promotion"])

    assert [one.reason for one in decoded.rejects] == ["undecodable"]


@given(
    st.recursive(st.text('[{"\\}]') | st.none(), lambda inner: st.lists(inner) | st.dictionaries(st.text("[{"), inner))
)
def test_brackets_in_texts_do_not_count(value: object) -> None:
    """Brackets within quotes are no nesting: a record with any number of them is accepted."""

    def depth(part: object) -> int:
        inner = part.values() if isinstance(part, dict) else part if isinstance(part, list) else None
        return 0 if inner is None else 1 + max(map(depth, inner), default=0)

    for wrapped, levels in ((["[" * 500, value], 1 + max(0, depth(value))), (value, depth(value))):
        for more in (0, MAX_DEPTH - levels, MAX_DEPTH + 1 - levels):
            text = b"[" * more + json.dumps(wrapped).encode() + b"]" * more
            assert too_deep(text) == (levels + more > MAX_DEPTH)


def naive_depth(text: bytes) -> int:
    """Returns the greatest depth of brackets outside of strings, byte by byte."""
    depth, most, quoted, escaped = 0, 0, False, False
    for at in range(len(text)):
        sign = text[at : at + 1]
        if quoted:
            quoted, escaped = escaped or sign != b'"', not escaped and sign == b"\\"
        elif sign == b'"':
            quoted = True
        elif sign in {b"[", b"{"}:
            depth += 1
            most = max(most, depth)
        elif sign in {b"]", b"}"}:
            depth -= 1
    return most


@given(st.lists(st.sampled_from([b"[", b"{", b"]", b"}", b'"', b"\\", b"x", b"\n", b"[" * 90, b"]" * 40]), max_size=40))
def test_any_bytes_as_a_naive_reader(parts: list[bytes]) -> None:
    """The depth of any bytes is that which a reader of single bytes finds, also in texts that are cut off."""
    text = b"".join([b"[]" * (MAX_DEPTH + 1), *parts])
    assert too_deep(text) == (naive_depth(text) > MAX_DEPTH)


@pytest.mark.parametrize("part", [b"[],", b'"",', b"\\n", b"x"])
def test_memory_of_a_long_record(part: bytes) -> None:
    """A record of a megabyte is checked without a copy, whatever it is made of."""
    text = b'["' * (part in {b"\\n", b"x"}) + part * (1_000_000 // len(part)) + b"[]" * (MAX_DEPTH + 1)
    tracemalloc.start()
    try:
        too_deep(text)
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert most < 100_000


def test_envelopes_stay_closed() -> None:
    """A CloudEvent that is nested too deeply, in its data or elsewhere, is rejected with its original bytes."""
    kind = (("content-type", b"application/cloudevents+json"),)
    for text in (
        b'{"specversion": "1.0", "data": %s}' % (PLAIN % nested(2_000)),
        b'{"specversion": "1.0", "x": %s, "data": %s}' % (nested(2_000), PLAIN % b"1"),
    ):
        decoded = Decoder(InputConfig()).decode(Records("p", [0], 1, [text], headers=[kind]))
        assert [one.value for one in decoded.rejects] == [text]


def test_the_engine_goes_on(tmp_path: Path) -> None:
    """Deep records are rejects of their unit; every event is forecast without a restart."""
    deep: Callable[[int], bytes] = lambda levels: PLAIN % nested(levels)  # noqa: E731
    bench = Bench(tmp_path, MemoryLog({"0": [event(0), deep(1_100), event(1), deep(30_000), event(2)]}))
    bench.run()

    assert len(bench.log.forecasts("0")) == 3
    assert [one.position for unit in bench.log.units for one in unit.rejects] == [1, 3]
    assert bench.sample("restarts_total") == 0


def test_a_backtest_says_what_is_wrong(tmp_path: Path) -> None:
    """A file whose first line is nested too deeply is refused with the reason."""
    path = tmp_path / "a.jsonl"
    path.write_bytes(nested(20_000) + b"\n")
    with pytest.raises(ServiceError, match="cannot be read as"):
        read_events(path, InputConfig())
