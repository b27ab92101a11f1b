"""The examples of docs/raw-events.md: their records become the windows of their tables."""

from __future__ import annotations

import re
from collections import deque
from pathlib import Path

import pytest
from click.testing import CliRunner
from sqlite_outputs import outputs

from service.aggregate.aggregator import Aggregator
from service.cli import main
from service.config.input import InputConfig
from service.config.load import load_config
from service.messages.decode import CSV_HEADER, Decoder
from service.messages.timestamps import parse_time
from service.ports import Records

PAGE = (Path(__file__).parents[3] / "docs" / "raw-events.md").read_text()
EXAMPLE = re.compile(
    r"^## (?P<title>[^\n]+)\n(?:(?!^## ).)*?"
    r"^```(?P<form>json|csv|text)\n(?P<records>[^`]+)^```\n\n```toml\n(?P<settings>[^`]+)^```\n\n"
    r"\| series \| window from \| to \| value \|\n\|---\|---\|---\|---\|\n(?P<table>(?:\|[^\n]+\n)+)",
    re.MULTILINE | re.DOTALL,
)
EXAMPLES = {found["title"]: found for found in EXAMPLE.finditer(PAGE)}


def test_examples_of_the_page() -> None:
    """The page has these examples."""
    assert list(EXAMPLES) == [
        "Orders to counts and sums", "Counters to rates", "Histograms to percentiles", "Users to distinct numbers",
        "Requests to percentiles", "An access log to percentiles",
    ]  # fmt: skip


@pytest.mark.parametrize("title", EXAMPLES)
def test_windows_of_the_page(title: str, tmp_path: Path) -> None:
    """The records of an example become the windows of its table, in this order, and no others."""
    example = EXAMPLES[title]
    (tmp_path / "config.toml").write_text(example["settings"])
    config = load_config(tmp_path / "config.toml")
    lines = [line.encode() for line in example["records"].splitlines()]
    headers = None
    if example["form"] == "csv":
        header, *lines = lines
        headers = [((CSV_HEADER, header),)] * len(lines)
    decoded = Decoder(config.input).decode(Records("0", range(len(lines)), len(lines), lines, headers=headers))
    aggregator = Aggregator.of(config.aggregate, config.state.max_series)
    assert aggregator is not None
    closed, _ = aggregator.take(decoded, 0, deque())

    rows = [[cell.strip(" `") for cell in line.strip("|").split("|")] for line in example["table"].splitlines()]
    assert not decoded.rejects
    assert not closed.refused
    assert list(zip(closed.series, closed.start_ms, closed.end_ms, strict=True)) == [
        (series, parse_time(f"2026-11-22T{start}Z"), parse_time(f"2026-11-22T{end}Z")) for series, start, end, _ in rows
    ]
    assert closed.values == pytest.approx([float(value) for *_, value in rows], abs=1e-4)


@pytest.mark.parametrize("title", EXAMPLES)
def test_forecasts_of_the_page(title: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`forecaster run` forecasts each value of the table, and names the window in the source of the forecast."""
    monkeypatch.chdir(tmp_path)
    example = EXAMPLES[title]
    Path("config.toml").write_text(example["settings"])
    name = (load_config(Path("config.toml")).input.files or (f"raw.{example['form']}",))[0]
    Path(name).write_text(example["records"])
    # The network of tests/service/cli/test_cli_forecast.py, so that it is compiled once.
    small = ["--horizon", "4", "--season", "12", "--set", "model.hidden_size=16", "--set", "model.head_size=16"]
    done = CliRunner().invoke(
        main, ["run", "--config", "config.toml", "--input", name, "--data-dir", "data", "--port", "0", *small]
    )
    assert done.exit_code == 0, done.output
    found = list(outputs(Path("data/forecasts.sqlite")))
    rows = [[cell.strip(" `") for cell in line.strip("|").split("|")] for line in example["table"].splitlines()]
    assert [(one["series"], one["source"]["window"]["start"], one["source"]["window"]["end"]) for one in found] == [
        (series, f"2026-11-22T{start}.000Z", f"2026-11-22T{end}.000Z") for series, start, end, _ in rows
    ]


@pytest.mark.parametrize(
    ("program", "line", "took"),
    [
        (
            "nginx",
            b'10.0.0.7 - - [22/Nov/2026:11:00:01 +0100] "GET /api HTTP/1.1" 200 512 "-" "curl/8.5.0" 0.012',
            0.012,
        ),
        (
            "apache",
            rb'10.0.0.7 - - [22/Nov/2026:10:00:01 +0000] "GET /api HTTP/1.1" 200 512 "-" "a \"b\"" 12345',
            12345.0,
        ),
    ],
)
def test_lines_of_web_servers(program: str, line: bytes, took: float) -> None:
    """A line as nginx and Apache write it with the page's formats is an event with the time of the request."""
    assert f"```{program}\n" in PAGE
    settings = {"format": "access-log", "fields": {"series": "path", "value": "request_time"}}
    decoded = Decoder(InputConfig.model_validate(settings)).decode(Records("0", [0], 1, [line]))

    assert not decoded.rejects
    assert decoded.series == ["/api"]
    assert decoded.timestamp_ms.tolist() == [parse_time("2026-11-22T10:00:01Z")]
    assert decoded.value.tolist() == [took]
