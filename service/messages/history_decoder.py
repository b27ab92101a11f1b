"""Decodes a history and the live stream after it, whose records may have other forms."""

from __future__ import annotations

from collections.abc import Mapping

from service.messages.decode import Decoded, Decoder
from service.ports import Records


class HistoryDecoder:
    """`Decoder` of both: chooses by the position of the records.

    Args:
        live: of the live records.
        history: those of the inputs of the history, by the position at which these begin.
    """

    def __init__(self, live: Decoder, history: Mapping[int, Decoder]) -> None:
        self._live, self._history = live, sorted(history.items(), reverse=True)

    def decode(self, records: Records) -> Decoded:
        """Decodes a batch, see `Decoder.decode`."""
        if records.of_history:
            for begin, decoder in self._history:
                if records.next_position > begin:
                    return decoder.decode(records)
        return self._live.decode(records)

    @property
    def waits(self) -> bool:
        """See `Decodes`."""
        return any(one.waits for one in (self._live, *(decoder for _, decoder in self._history)))
