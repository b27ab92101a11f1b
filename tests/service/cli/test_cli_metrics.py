"""`forecaster metrics`: figures for people and for scripts."""

from __future__ import annotations

import json
import math
from io import StringIO

import pytest
from click.testing import CliRunner
from rich.console import Console

from service.cli import main
from service.cli import metrics as command
from service.cli.metrics import as_object, table, values, with_path
from service.http.scrape import Figure, ScrapeError

FIGURES = [
    Figure("forecaster_events_total", "counter", {"partition": "0"}, 12_345.0),
    Figure("forecaster_state_bytes", "gauge", {}, 2_500_000.0),
    Figure("forecaster_batch_seconds", "histogram", {}, 0.0042, 10.0, ((0.5, 0.005), (0.99, math.inf))),
    Figure("forecaster_idle_seconds", "histogram", {}, math.nan, 0.0),
    Figure("python_gc_objects_total", "counter", {}, 5.0),
]


def text(shown: object) -> str:
    """Renders for a terminal of 80 columns."""
    out = StringIO()
    Console(file=out, width=80).print(shown)
    return out.getvalue()


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("127.0.0.1:9464", "http://127.0.0.1:9464/metrics"),
        ("http://host:1/", "http://host:1/metrics"),
        ("https://host/other", "https://host/other"),
    ],
)
def test_with_path(given: str, expected: str) -> None:
    """A host and port suffice; a given path is kept."""
    assert with_path(given) == expected


def test_table() -> None:
    """Counts have thousands separators, bytes and seconds readable units, and names their labels."""
    lines = text(table(FIGURES, {}, 0.0))

    assert "events_total {partition=0}" in lines
    assert "12,345" in lines
    assert "2.5 MB" in lines
    assert "mean 4.2 ms  p50 < 5 ms  p99 < over all" in lines
    assert "none yet" in lines


def test_rates() -> None:
    """The second reading shows the growth rates of counters and histograms."""
    before = values(FIGURES)
    later = [Figure("forecaster_events_total", "counter", {"partition": "0"}, 12_545.0)]

    assert "100.0" in text(table(later, before, 2.0))


def test_as_object() -> None:
    """A bound that is not finite is null in JSON, which cannot represent infinity."""
    shown = json.loads(json.dumps(as_object(FIGURES[2])))

    assert shown["count"] == 10
    assert shown["quantiles"] == {"0.5": 0.005, "0.99": None}
    assert as_object(FIGURES[3])["value"] is None


def test_command_json(monkeypatch) -> None:
    """`--json` prints one object per metric of the daemon, and those of the Python process only with `--all`."""
    monkeypatch.setattr(command, "scrape", lambda url, access: url)
    monkeypatch.setattr(command, "figures", lambda _: FIGURES)

    few = CliRunner().invoke(main, ["metrics", "--json"])
    every = CliRunner().invoke(main, ["metrics", "--json", "--all", "--match", "_total"])

    assert few.exit_code == every.exit_code == 0
    assert [json.loads(line)["name"] for line in few.output.splitlines()] == [f.name for f in FIGURES[:4]]
    assert [json.loads(line)["name"] for line in every.output.splitlines()] == [
        FIGURES[0].name,
        FIGURES[4].name,
    ]


def test_no_metric_has_the_text(monkeypatch) -> None:
    """A text that no name has is said on standard error."""
    monkeypatch.setattr(command, "scrape", lambda url, access: url)
    monkeypatch.setattr(command, "figures", lambda _: FIGURES)
    result = CliRunner().invoke(main, ["metrics", "--json", "--match", "scale|replicas"])
    assert result.exit_code == 0
    assert result.stdout == ""
    assert result.stderr == "no metric has 'scale|replicas' in its name\n"


def test_command_without_daemon(monkeypatch) -> None:
    """Without a responding daemon the command ends with status 1 and one line."""

    def refused(url: str, access: object) -> None:
        msg = f"no answer from {url}"
        raise ScrapeError(msg)

    monkeypatch.setattr(command, "scrape", refused)
    result = CliRunner().invoke(main, ["metrics", "localhost:1"])

    assert result.exit_code == 1
    assert result.output == "Error: no answer from http://localhost:1/metrics\n"
