"""The page of messages: its examples are read and made by the program, and the page is complete."""

from __future__ import annotations

import importlib
import importlib.util
import json
import re
import sqlite3
import sys
from contextlib import closing
from pathlib import Path
from types import ModuleType

from service.config.input import InputConfig
from service.kafka.records import ORIGIN_HEADER, PastRecords
from service.messages.decode import CSV_HEADER, Decoded, Decoder
from service.ports import Adoption, Records

DOCS = Path(__file__).parents[3] / "docs"
STRUCTURED = (("content-type", b"application/cloudevents+json"),)


def load() -> ModuleType:
    """Loads docs/messages_page.py as a module."""
    sys.path.append(str(DOCS))  # the other scripts of the folder
    spec = importlib.util.spec_from_file_location("messages_page", DOCS / "messages_page.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


PAGE = load()
EXAMPLES = importlib.import_module("message_examples")
TEXT = (DOCS / "messages.md").read_text()


def decoded(*lines: str, header: tuple[tuple[str, bytes], ...] | None = None) -> Decoded:
    """Decodes lines as the daemon does."""
    values = [line.encode() for line in lines]
    headers = None if header is None else [header] * len(values)
    found = Records("events-3", range(len(values)), len(values), values, headers=headers)
    return Decoder(InputConfig()).decode(found)


def test_events_are_read() -> None:
    """Every form of an event on the page is decoded to the same series and time."""
    head, *rows = PAGE.CSV.splitlines()
    forms = [
        decoded(*PAGE.EVENTS.values()),
        decoded(*rows, header=((CSV_HEADER, head.encode()),)),
        decoded(PAGE.CLOUD_EVENT, header=STRUCTURED),
    ]
    for text in (*PAGE.EVENTS.values(), PAGE.CSV, PAGE.CLOUD_EVENT):
        assert text in TEXT
    for form in forms:
        assert form.rejects == []
        assert form.series[0] == "cpu.host1"
        assert set(form.timestamp_ms.tolist()) == {1_795_341_600_000}
    assert [len(form) for form in forms] == [3, 2, 1]
    assert [form.missing for form in forms] == [1, 1, 0]


def test_every_field_and_header_is_explained() -> None:
    """The tables name exactly the fields and headers of forecasts, silences and dead letters."""
    forecast, silence = map(json.loads, PAGE.examples())
    assert list(forecast) == list(PAGE.FORECAST_FIELDS)
    assert list(silence) == list(PAGE.SILENCE_FIELDS)
    assert set(json.loads(PAGE.monthly())) == {*PAGE.FORECAST_FIELDS, *PAGE.MONTH_FIELDS}
    of_a_topic = [name for name, _ in PAGE.truncated().headers]
    assert of_a_topic == [name for name in PAGE.HEADERS if name != ORIGIN_HEADER]
    assert ORIGIN_HEADER in PAGE.HEADERS  # of inputs that are no topic
    assert len(json.loads(PAGE.joined().value)) == 2


def test_adoptions_are_read() -> None:
    """The daemon reads the page's record of an adoption."""
    records, message = PastRecords(), PAGE.adoption()
    records.add(message.key, message.value)
    found = records.of(EXAMPLES.SOURCE).adoptions(1)
    assert found == [Adoption(EXAMPLES.POSITION, EXAMPLES.MODEL)]


def test_the_query_of_the_page(tmp_path: Path) -> None:
    """The page's query on the output file returns its result."""
    EXAMPLES.written(tmp_path / "forecasts.sqlite")
    newest, errors = re.findall(r"```sql\n(.*?)```", TEXT, re.DOTALL)
    with closing(sqlite3.connect(tmp_path / "forecasts.sqlite")) as database:
        assert database.execute(newest).fetchall() == [("2026-11-22T10:00:00.000Z", "[0.61,0.72,0.86]")]
        assert database.execute(errors).fetchall() == []  # one event verifies nothing
