"""docs/forms.md: how the example files of tests/data/forms/ are read without any setting, by the program itself."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Final

from service.config.input import InputConfig
from service.discovery.choice import choose, default_choice, has_default_fields, settled
from service.discovery.sample import sample_of_file
from service.discovery.summary import summarise

FORMS: Final = Path(__file__).parent.parent / "tests" / "data" / "forms"
_SHOWN: Final = 150  # characters of a record

TITLES: Final = {
    "plain.csv": "A time and a value, and nothing else: the series is named like the file.",
    "wide.csv": "A column for each series, with missing values.",
    "electricity.csv": "Semicolons, decimal commas, and a first column without a name.",
    "grafana.csv": "A CSV export of Grafana, series joined by time.",
    "long.tsv": "Tabs, and epoch seconds.",
    "keys.csv": "Two columns that name the series together, and epoch milliseconds.",
    "sensor-ids.csv": "Series with numbers for names, and dates with slashes.",
    "unknown.txt": "A suffix that says nothing, and vertical bars.",
    "no-header.csv": "No header: the columns are called by their numbers.",
    "excel.csv": "The list separator that Excel writes, dates with the day first, and decimal commas.",
    "annotated.csv": "InfluxDB's annotated CSV: the series are measurement, tags and field, as for line protocol.",
    "annotated-tables.csv": "Several annotated tables in one file, with other tags; `#default` fills empty cells.",
    "titles.csv": "A table of its own above the header, as Open-Meteo writes it.",
    "date-and-time.csv": "The date, with the day first, and the time of day in two columns.",
    "month-first.csv": "Dates with the month first, and AM and PM.",
    "months.csv": "Months, of which each is its first day.",
    "flat.jsonl": "JSON lines with the default names.",
    "nested.jsonl": "Nested objects, as sensors write them.",
    "wide.jsonl": "Several values in a record, beside a text.",
    "iot.jsonl": "An array of samples in each message.",
    "numbers-as-text.jsonl": "Times and values that are texts.",
    "telegraf.jsonl": "Telegraf's JSON.",
    "telegraf.lp": "InfluxDB line protocol, as Telegraf writes it; the text and the tags are no values.",
    "access.log": "An access log of nginx or Apache, with the time that a request took; `[aggregate]` counts them.",
    "prometheus.json": "The answer of Prometheus to a range query, on one line.",
    "debezium.jsonl": "Debezium's change events, with times in microseconds.",
    "connect.jsonl": "Kafka Connect's JSON with schemas, and decimals in base64.",
    "cloudevents.jsonl": "CloudEvents in structured mode.",
    "columns.json": "An object of parallel arrays, as of Open-Meteo.",
    "document.json": "A JSON document, an array of objects over many lines.",
    "table.parquet": "Parquet, a column for each value (extra `parquet`).",
    "table.avro": "An Avro object file (extra `avro`).",
}

INTRODUCTION: Final = """This page shows how files are read without any setting; each is in `tests/data/forms/`.

`forecaster inspect FILE` shows the same for a file of yours, and `forecaster run --input FILE` forecasts it with \
these settings (see [files](files.md#files-as-they-are)).
On Kafka, `forecaster inspect --topic NAME` writes the settings for a topic; the daemon itself chooses for files only.
"""


def forms_page(note: str) -> str:
    """The page."""
    parts = ["# Forms of input\n", note, INTRODUCTION]
    for name, title in TITLES.items():
        parts.append(f"## {name}\n\n{title}\n\n{_shown(FORMS / name)}\n{_read(FORMS / name)}")
    return "\n".join(parts)


def _shown(path: Path) -> str:
    if path.suffix in {".parquet", ".avro"}:
        sample = sample_of_file(str(path), InputConfig())
        return "Its first row as JSON:\n\n```text\n" + sample.records.values[0].decode() + "\n```\n"
    lines = path.read_text("utf-8").splitlines()[
        : 2 if path.suffix in {".csv", ".tsv", ".txt", ".lp"} else 6 if path.suffix == ".json" else 1
    ]
    cut = [line if len(line) <= _SHOWN else line[:_SHOWN] + " ..." for line in lines]
    return "```text\n" + "\n".join(cut) + "\n```\n"


def _read(path: Path) -> str:
    settings = InputConfig()
    sample = sample_of_file(str(path), settings)
    chosen = (default_choice(sample) if has_default_fields(sample) else choose(sample)).settings
    summary = summarise(sample, settled(sample, settings))
    lines = [f"{key} = {json.dumps(value)}" for key, value in chosen.items()]
    block = "```toml\n" + "\n".join(lines) + "\n```\n" if lines else "It needs no setting.\n"
    names = ", ".join(f"`{name}`" for name in summary.examples[:4])
    return f"{block}\n{summary.events} events of {summary.series} series: {names}.\n"
