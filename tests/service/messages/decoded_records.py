"""Records and what the decoder makes of them."""

from __future__ import annotations

import json

from service.config.input import InputConfig
from service.messages.decode import CSV_HEADER, REASONS, Decoded, Decoder
from service.ports import Records

HEADER = b"series,timestamp,value"


NOON = 1_767_268_800_000  # 2026-01-01T12:00:00Z


def settings(**values: object) -> InputConfig:
    """Returns input settings with these values."""
    return InputConfig.model_validate(values)


def records(*values: bytes, header: bytes | None = None, times: list[int] | None = None) -> Records:
    """Returns a batch of records at the positions 0, 10, 20, ..."""
    headers = None if header is None else [((CSV_HEADER, header),)] * len(values)
    return Records(
        "p",
        [10 * i for i in range(len(values))],
        10 * len(values),
        values,
        headers=headers,
        timestamps_ms=times,
    )


def decode(*values: bytes, header: bytes | None = None, times: list[int] | None = None, **config) -> Decoded:
    """Decodes one batch by the given input settings."""
    return Decoder(settings(**config)).decode(records(*values, header=header, times=times))


def reason(*values: bytes, **how) -> str:
    """Returns the reason for which the only record is rejected."""
    decoded = decode(*values, **how)
    assert len(decoded) == 0
    (reject,) = decoded.rejects
    assert reject.value == values[0]
    assert reject.detail
    assert reject.reason in REASONS
    return reject.reason


def event(**changes: object) -> bytes:
    """Returns a good event with some fields changed; `...` as a change removes the field."""
    fields = {"series": "s", "timestamp": "2026-01-01T12:00:00Z", "value": 1.5} | changes
    return json.dumps({key: value for key, value in fields.items() if value is not ...}).encode()
