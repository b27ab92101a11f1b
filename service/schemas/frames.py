"""Looks the schemas of batches up, before they are decoded, and decodes with those that were looked up.

prepare   asks the registry for the schemas of a batch that are not known yet; the only call that waits
decode    pure: uses what `prepare` has found

The registry never changes the schema of an id, so a replay decodes the same values.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable, Collection, Sequence
from typing import Final, Literal, Protocol

import numpy as np

from service.config.schema_registry import SchemaRegistryConfig
from service.errors import SchemaRegistryError
from service.messages.frames import Columns, FrameError, Wanted, schema_id, schema_ids
from service.messages.parsed import Problem
from service.schemas.avro_walk import BatchDecoder, Payloads
from service.schemas.schema import RegisteredSchema, SchemaError

Result = Literal["found", "unknown", "failed"]

# Junk that looks like the wire format asks for any id; one that is registered later is found after this time.
_UNKNOWN_SECONDS: Final = 30.0

_FEWEST: Final = 32
"""Smallest number of records that are decoded in columns; of fewer, single records take less time."""
_MOST_BYTES: Final = 1 << 24
"""Largest number of bytes of them, for which arrays of seven times their size are made."""


class Lookup(Protocol):
    """Has schemas; in a daemon a registry."""

    def schema(self, number: int) -> RegisteredSchema:
        """Returns the schema of an id.

        Raises:
            SchemaError: it is unknown.
            SchemaRegistryError: the registry does not answer.
        """

    def close(self) -> None:
        """Closes connections; a further lookup opens new ones."""


class SchemaFrames:
    """Decodes records in the wire format. Used in one thread.

    Args:
        lookup: has the schemas.
        make: makes the decoder of a schema; raises SchemaError.
        most: largest number of schemas kept between batches.
        counted: called with the result of every lookup.
        monotonic: seconds that never decrease.
    """

    def __init__(
        self,
        lookup: Lookup,
        make: Callable[[RegisteredSchema], Callable[[bytes], object]],
        most: int,
        counted: Callable[[Result], object] = lambda _: None,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._lookup, self._make, self._most = lookup, make, most
        self._counted, self._monotonic = counted, monotonic
        self._known: OrderedDict[int, Callable[[bytes], object] | Problem] = OrderedDict()
        self._until: dict[int, float] = {}  # when an unknown id is asked for again

    def __len__(self) -> int:
        """The number of schemas kept."""
        return len(self._known)

    def holds(self, values: Collection[bytes]) -> bool:
        """Returns whether the batch can be decoded without a lookup."""
        return not self._missing(schema_ids(values))

    def prepare(self, values: Collection[bytes], stopped: Callable[[], bool] = lambda: False) -> None:
        """Looks the schemas of a batch up; what was found before an error is kept, within the bound.

        Args:
            values: the records of the batch, in any format.
            stopped: asked before every lookup; where it returns True, no further one is made.

        Raises:
            SchemaRegistryError: the registry does not answer, or the lookups were stopped; call it again later.
        """
        wanted = schema_ids(values)
        try:
            for number in self._missing(wanted):
                if stopped():
                    msg = "the lookups of schemas were stopped; look them up again after the next start"
                    raise SchemaRegistryError(msg)
                self._known[number] = self._found(number)
        finally:
            for number in sorted(wanted & self._known.keys()):
                self._known.move_to_end(number)
            while len(self._known) > max(self._most, len(wanted)):
                number, _ = self._known.popitem(last=False)
                self._until.pop(number, None)

    def _missing(self, wanted: set[int]) -> list[int]:
        now = self._monotonic()
        return sorted(n for n in wanted if n not in self._known or self._until.get(n, now) < now)

    def _found(self, number: int) -> Callable[[bytes], object] | Problem:
        result: Result = "failed"
        try:
            try:
                schema = self._lookup.schema(number)
            except SchemaError as error:
                result = "unknown"
                self._until[number] = self._monotonic() + _UNKNOWN_SECONDS
                return Problem("unknown_schema", f"schema {number}: {error}")
            result = "found"
            self._until.pop(number, None)
            try:
                return self._make(schema)
            except SchemaError as error:
                return Problem("unknown_schema", f"schema {number}: {error}")
        finally:
            self._counted(result)

    def decode(self, value: bytes) -> object:
        """See `service.messages.frames.Frames`; `prepare` was called with the batch of the record."""
        number = schema_id(value)
        codec = self._known.get(-1 if number is None else number)
        if codec is None:
            msg = f"schema {number} was not looked up before its record was decoded"
            raise LookupError(msg)
        if isinstance(codec, Problem):
            raise FrameError(*codec)
        return codec(value)

    def columns(self, values: Sequence[bytes], wanted: Wanted) -> Columns | None:
        """See `service.messages.frames.Frames`."""
        if len(values) < _FEWEST or not any(isinstance(codec, BatchDecoder) for codec in self._known.values()):
            return None
        lengths = np.fromiter(map(len, values), np.int64, len(values))
        if lengths.sum() > _MOST_BYTES:
            return None
        payloads, found = Payloads(values, lengths), Columns(wanted, len(values))
        ids = payloads.schema_ids()
        groups = [found.rows]
        if (ids != ids[0]).any():
            order = np.argsort(ids, kind="stable")
            groups = np.split(order, np.flatnonzero(np.diff(ids[order])) + 1)
        for rows in groups:
            codec = self._known.get(int(ids[rows[0]]))
            if isinstance(codec, BatchDecoder) and len(rows) >= _FEWEST:
                codec.read(payloads, rows, wanted, found)
        return found

    def close(self) -> None:
        """Closes the connections to the registry."""
        self._lookup.close()


def frames_of(
    settings: SchemaRegistryConfig, counted: Callable[[Result], object] = lambda _: None, wanted: str = "auto"
) -> SchemaFrames | None:
    """Returns the frames of the configured registry, or None without one. Connects to nothing yet.

    Args:
        settings: of the registry; the extra is installed.
        wanted: `input.format`.
        counted: see `SchemaFrames`.
    """
    if not settings.url:
        return None
    from service.schemas.codecs import codec_for  # noqa: PLC0415 - an extra
    from service.schemas.registry import SchemaRegistry  # noqa: PLC0415 - an extra

    return SchemaFrames(SchemaRegistry(settings), codec_for(wanted), settings.cache, counted)
