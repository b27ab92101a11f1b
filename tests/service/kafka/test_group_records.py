"""Adoptions and champions of groups of series on Kafka."""

from __future__ import annotations

from types import SimpleNamespace

from model_shelves import Shelf

from service.kafka.models import CHAMPION_KEY, ModelsTopic
from service.kafka.records import Origin, PastRecords, adoption_message
from service.ports import Adoption

SOURCE = Origin("events", 3)
FIRST, SECOND = "a" * 64, "b" * 64


def test_adoptions_of_groups() -> None:
    """Adoptions of groups at one position have keys of their own, and are read in order; others are as without groups.

    The key and the value of an adoption without a group are those of a daemon that knows no groups.
    """
    adoptions = [Adoption(5, FIRST), Adoption(5, SECOND, "shop"), Adoption(9, FIRST, "shop")]
    messages = [adoption_message(one, SOURCE, "adoptions", 8) for one in adoptions]
    assert len({message.key for message in messages}) == 3
    assert b"group" not in (messages[0].value or b"")
    records = PastRecords()
    for message in messages:
        records.add(message.key or b"", message.value)
    past = records.of(SOURCE)
    assert past.adoptions(1) == adoptions
    assert past.reach == 9


def test_champions_of_groups() -> None:
    """Each group has its own champion in the models topic; that of a group that is not configured is ignored."""
    shelf = Shelf()
    topic = ModelsTopic(shelf, "models")
    records = [
        SimpleNamespace(key=CHAMPION_KEY, value=FIRST.encode()),
        SimpleNamespace(key=CHAMPION_KEY + b"/shop", value=SECOND.encode()),
        SimpleNamespace(key=CHAMPION_KEY + b"/../other", value=SECOND.encode()),
    ]
    topic.apply_records(records)
    topic.apply()
    assert shelf.champions == {"": FIRST, "shop": SECOND}
    assert [message.key for message in topic.messages(SECOND, "shop")] == [SECOND.encode()]
    written = topic.messages(FIRST, "shop")
    assert [message.key for message in written] == [FIRST.encode(), CHAMPION_KEY + b"/shop"]
    topic.written(written)
    assert topic.messages(FIRST, "shop") == []
    assert shelf.seen("shop") == FIRST
    assert shelf.seen("") == FIRST
