"""Reads input files ahead of the daemon, to see all their series and how often these have events.

The first records of a file do not show that: an hourly series among many of a second has its third event far behind.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

import numpy as np

from service.config.input import InputConfig
from service.discovery.cadence import FirstEvents
from service.discovery.sample import InputSample, sample_of_file
from service.errors import ServiceError
from service.messages.decode import Decoder
from service.ports import Records
from service.sources.file_source import FileSource

_READ: Final = 65_536  # records at once
_ALWAYS: Final = 500_000  # records that are read in any case: about a second
_MOST: Final = 4_000_000  # records that are read at most
_ENOUGH: Final = 4  # events of a series that show its cadence
_MOST_SERIES: Final = 200_000  # beyond which nothing more is read: such names are rather those of events


class SeriesScan:
    """The events of inputs, as far as they were read.

    Attributes:
        names: of the series, in the order of their numbers.
        events: in the order of the inputs.
    """

    def __init__(self, inputs: Iterable[tuple[str, InputConfig, InputSample | None]]) -> None:
        """Reads the inputs.

        Args:
            inputs: of each, the file or glob, how it is read, and its sample where it was read already. One that cannot
                be read is left out: the daemon waits for it, or reports it.
        """
        self._numbers: dict[str, int] = {}
        self._series, self._times, self._values = [np.zeros(0, np.int64)], [np.zeros(0, np.int64)], [np.zeros(0)]
        self._left, complete = _MOST, True
        for entry, settings, sample in inputs:
            try:
                found = sample if sample is not None and sample.source == entry else sample_of_file(entry, settings)
                complete &= self._read(entry, settings, found)
            except ServiceError:
                continue
        self.names = list(self._numbers)
        self.events = FirstEvents(
            np.concatenate(self._series), np.concatenate(self._times), np.concatenate(self._values), complete
        )

    def _read(self, entry: str, settings: InputConfig, sample: InputSample) -> bool:
        """Reads one input; returns whether to its end."""
        decoder, last_new, taken = Decoder(settings, frames=sample.frames), 0, 0
        source = FileSource(
            entry, sample.format, max_record_bytes=settings.max_record_bytes, named=True, csv=sample.csv
        )
        try:
            source.open([], None)
            while (records := source.read(_READ)) is not None:
                before = len(self._numbers)
                self._add(decoder, records)
                taken += len(records)
                if len(self._numbers) > before:
                    last_new = taken
                self._left -= len(records)
                shown = taken >= _ALWAYS and taken >= 2 * last_new and self._all_shown()
                if shown or self._left <= 0 or len(self._numbers) >= _MOST_SERIES:
                    return source.lag() == 0
        finally:
            source.close()
        return True

    def _add(self, decoder: Decoder, records: Records) -> None:
        decoded, numbers = decoder.decode(records), self._numbers
        if not len(decoded):
            return
        of = (numbers.setdefault(name, len(numbers)) for name in decoded.series)
        self._series.append(np.fromiter(of, np.int64, len(decoded)))
        self._times.append(decoded.timestamp_ms)
        self._values.append(decoded.value)

    def _all_shown(self) -> bool:
        """Returns whether all series have events enough to show their cadence."""
        return bool((np.bincount(np.concatenate(self._series)) >= _ENOUGH).all())  # also where there are none
