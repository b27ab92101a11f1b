"""What the parsers of single formats return: columns of raw event fields, or the reason for a reject."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol, Self

from forecaster.flat_text import FlatText
from service.messages.controls import Exclude
from service.messages.timestamps import Time


class Problem(NamedTuple):
    """The reason for a reject: a code of `messages.decode.REASONS`, and a text for people."""

    reason: str
    detail: str


class RejectedError(Exception):
    """A part of a record cannot be used; `problem` is the reason."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(detail)
        self.problem = Problem(reason, detail)


@dataclass(slots=True)
class Parsed:
    """Columns that the parsers append to; `covariates`, `record_times` and `future` stay empty if not configured.

    A row of `future` has one list per name, which may be empty or None, with at most `horizon` numbers. `controls` has
    the control records; their positions are indices of records. A record with several events has a row for each.
    `partial` has the problems of records of which something is rejected and the rest has rows, by index of the record.
    `filtered` counts what does not meet `input.where`, by index of the record: the record, or elements of its arrays.
    """

    index: list[int]
    series: list[str]
    times: list[Time]
    values: list[float]
    covariates: list[Sequence[float]]
    record_times: list[Time | None]
    future: list[Sequence[Sequence[float | None] | None]]
    controls: list[Exclude]
    partial: dict[int, Problem]
    filtered: dict[int, int]

    @classmethod
    def empty(cls) -> Self:
        """Creates empty columns."""
        return cls([], [], [], [], [], [], [], [], {}, {})


class Around(NamedTuple):
    """What the source says about the records, by index; None where it says nothing.

    Attributes:
        keys: replace a missing series. timestamps_ms: replace a missing event time. headers: of the records.
        topic: of all records; the name of the partition where the source has no topics.
    """

    keys: Sequence[bytes | None] | None = None
    timestamps_ms: Sequence[int] | None = None
    headers: Sequence[Sequence[tuple[str, bytes]]] | None = None
    topic: str = ""


NOTHING_AROUND = Around()


class Parser(Protocol):
    """Parses records to rows of `Parsed`.

    Attributes:
        flat: reads the usual ones in compiled code; None where there is no such code for them.
    """

    @property
    def flat(self) -> FlatText | None:
        """See above."""

    def parse(
        self,
        values: Sequence[bytes],
        indices: Sequence[int],
        into: Parsed,
        problems: dict[int, Problem],
        around: Around = NOTHING_AROUND,
    ) -> None:
        """Appends a row to `into`, or sets a problem, for each of the `indices`, in order."""
