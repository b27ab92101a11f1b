"""The number of distinct values of a window, by HyperLogLog: P. Flajolet and others, AofA 2007.

The sketch is that of Apache DataSketches with 2^12 registers of a byte, and the HIP estimator. Up to some 380 distinct
values it holds their hashes of 26 bits, and the number is exact but for equal hashes; beyond, its standard error is
1.3 %. Its hashes have a fixed seed, and the saved form holds all of its state, so that restarts change no number.
"""

from __future__ import annotations

from functools import cache
from typing import Any, Final

LOG_REGISTERS: Final = 12

STANDARD_ERROR: Final = 0.013
"""Of the number, where it is beyond `EXACT`."""

EXACT: Final = 380
"""Distinct values up to which the number is exact but for equal hashes."""

MOST_BYTES: Final = 4136
"""Bytes of a saved sketch at most."""


@cache
def _library() -> Any:
    import datasketches  # noqa: PLC0415 - of the extra `distinct`, imported where windows count distinct values

    return datasketches


class DistinctValues:
    """The distinct values of one window."""

    __slots__ = ("_sketch", "add")

    def __init__(self, sketch: Any = None) -> None:
        library = _library()
        self._sketch = library.hll_sketch(LOG_REGISTERS, library.tgt_hll_type.HLL_8) if sketch is None else sketch
        self.add = self._sketch.update  # called once per event: adds a float

    def number(self) -> float:
        """Returns the estimated number of distinct values, a whole number."""
        return float(round(self._sketch.get_estimate()))

    def to_bytes(self) -> bytes:
        """Returns the state."""
        return bytes(self._sketch.serialize_updatable())

    @classmethod
    def from_bytes(cls, state: bytes) -> DistinctValues:
        """Converts what `to_bytes` returned.

        Raises:
            ValueError: the bytes are not such a state.
        """
        library = _library()
        try:
            sketch = library.hll_sketch.deserialize(state)
        except (ValueError, IndexError, RuntimeError) as error:
            msg = f"got {len(state)} bytes, expected a sketch of distinct values ({error})"
            raise ValueError(msg) from error
        if (sketch.lg_config_k, sketch.tgt_type) != (LOG_REGISTERS, library.tgt_hll_type.HLL_8):
            msg = f"got a sketch with 2^{sketch.lg_config_k} registers, expected 2^{LOG_REGISTERS} of a byte"
            raise ValueError(msg)
        return cls(sketch)
