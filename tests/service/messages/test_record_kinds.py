"""Every kind of record of docs/kinds.md is decoded as the source hands it over, or its reject says what reads it."""

from __future__ import annotations

from typing import Any

import pytest
from avro_records import Shelf
from kind_records import GROUPS, Group, Kind, events_of, expected, records_of, value_of

from service.config.input import InputConfig
from service.messages.decode import Decoded, Decoder
from service.schemas.codecs import codec_of
from service.schemas.frames import SchemaFrames
from service.schemas.schema import RegisteredSchema

ROWS = [pytest.param(group, kind, id=f"{group.name}: {kind.name}") for group in GROUPS for kind in group.kinds]
KINDS = [kind for group in GROUPS for kind in group.kinds]
REMEDIES = [pytest.param(kind, id=kind.name) for kind in KINDS if kind.remedy]
SCHEMAS = sorted({kind.schema for kind in KINDS if isinstance(kind.schema, tuple)})


def decode(group: Group, kinds: tuple[Kind, ...], **more: Any) -> Decoded:
    """Decodes records in one batch, as the daemon does with the settings of the group."""
    values = [value_of(kind, lambda schema: SCHEMAS.index(schema) + 1) for kind in kinds]
    frames = None
    if group.has_registry:
        shelf = Shelf({number: RegisteredSchema(text, kind) for number, (kind, text) in enumerate(SCHEMAS, 1)})
        frames = SchemaFrames(shelf, codec_of, 100)
        frames.prepare([value for value in values if value is not None])
    settings = InputConfig.model_validate(group.settings | more)
    return Decoder(settings, frames=frames).decode(records_of(kinds, values))


def check(kind: Kind, decoded: Decoded, at: int) -> None:
    """Compares what became of the record at an index with its row of the table."""
    assert events_of(decoded, at) == expected(kind, "events")
    rejects = [reject for reject in decoded.rejects if reject.position == at]
    assert [reject.reason for reject in rejects] == ([kind.reason] if kind.reason else [])
    for reject in rejects:
        assert kind.says in reject.detail
        assert (reject.key, tuple(reject.headers)) == (kind.key, kind.headers)


@pytest.mark.parametrize(("group", "kind"), ROWS)
def test_every_kind(group: Group, kind: Kind) -> None:
    """A record alone has the events of its row, or the reject that says what would read it."""
    check(kind, decode(group, (kind,)), 0)


@pytest.mark.parametrize("group", GROUPS, ids=[group.name for group in GROUPS])
def test_all_together(group: Group) -> None:
    """In one batch with all others of its group every record has the same events and rejects."""
    decoded = decode(group, group.kinds)
    for at, kind in enumerate(group.kinds):
        check(kind, decoded, at)


@pytest.mark.parametrize("kind", REMEDIES)
def test_what_the_reject_says_reads_it(kind: Kind) -> None:
    """With the settings that the table names for a rejected record it has an event of the value in it."""
    decoded = decode(GROUPS[0], (kind,), **kind.remedy)
    assert decoded.rejects == []
    assert set(decoded.value.tolist()) <= {2.5, 1234.5}
    assert len(decoded) == 1


def test_the_table() -> None:
    """Names are unique, every reject says something, and no series of a daemon has two kinds."""
    assert len(KINDS) >= 71
    assert len({kind.name for kind in KINDS}) == len(KINDS)
    assert all(bool(kind.reason) == bool(kind.says) for kind in KINDS)
    for group in GROUPS:
        series = [name for kind in group.kinds for name in {one[0] for one in kind.events}]
        assert len(set(series)) == len(series)
