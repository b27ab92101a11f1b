"""Arbitrary records that are seldom events, and how many of them the whole daemon gets."""

from __future__ import annotations

import os
import sys
from typing import Final

from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from targets import Broken, broken

EXAMPLES: Final = int(os.environ.get("FUZZ_EXAMPLES", "0"))
HOW: Final = settings(
    max_examples=max(8, EXAMPLES // 50),  # of up to 30 arbitrary records each
    derandomize=not EXAMPLES,
    database=None,
    deadline=None,
    suppress_health_check=list(HealthCheck),
    phases=(Phase.explicit, Phase.generate),  # shrinking a failing input would take a hundred runs of the daemon
)
START: Final = 1_767_571_200_000
CONTROL: Final = b'{"exclude": {"series": "a", "from": 1, "to": 2, "reason": "x"}}'


@st.composite
def nested(draw: st.DrawFn) -> bytes:
    """Draws an event, a control record or another record, with a field nested some levels or many thousands deep."""
    depth = draw(st.sampled_from([1, 60, 127, 128, 129, 400, 900, 1100, 5000, 20_000]))
    opening, closing = draw(st.sampled_from([(b"[", b"]"), (b'{"a":', b"}"), (b'[{"b":', b"}]")]))
    inner = opening * depth + b"1" + (closing * depth if draw(st.booleans()) else b"")
    field = draw(st.sampled_from([b"series", b"timestamp", b"value", b"load", b"future", b"exclude", b"unused"]))
    number = draw(st.sampled_from([b"1.5", b"NaN", b"1e999"]))
    fields = {b"series": b'"a"', b"timestamp": b"1767571200000", b"value": number} | {field: inner}
    text = b"{" + b",".join(b'"%s":%s' % pair for pair in fields.items()) + b"}"
    return draw(st.sampled_from([text, inner]))


def malformed(*seeds: bytes, lines: bool = True) -> st.SearchStrategy[list[bytes]]:
    """Draws records that are seldom events; `lines` says whether each is one line."""
    one = broken(seeds) | nested() | broken((b'"' * 9, b"\xff\xfe", b"," * 9))
    if lines:
        one = one.map(lambda data: Broken(data.replace(b"\n", b" ").replace(b"\r", b" ")))
    return st.lists(one, min_size=1, max_size=30)


def good(step: int) -> tuple[str, int, float]:
    """Returns an event of a series that no arbitrary record has."""
    return f"good.{step % 2}", START + 60_000 * (step // 2), step % 7 + 0.5


def tell(name: str, tried: int) -> None:
    """Prints a line for docs/security.md, in the long form."""
    if EXAMPLES:
        sys.stdout.write(f"\n| {name} | {tried:,} | | | 0 |\n")
