"""Seasons that are durations are counted in the interval of the first start, whatever later files have."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from service.cli._settled import settled
from service.config.load import load_config
from service.config.sections import Config
from service.discovery.settle_interval import KeptIntervals
from service.errors import ConfigurationError

MINUTE = 60_000
T0 = 1_767_571_200_000


def write(path: Path, interval_ms: int, jitter_ms: int = 0) -> None:
    """Writes a file of one series."""
    rows = [
        {"series": "a", "timestamp": T0 + step * interval_ms + jitter_ms * (step % 2), "value": 1} for step in range(30)
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def started(folder: Path, seasons: list[Any], text: str = "", **flags: Any) -> Config:
    """The configuration of a start, which then reads an event."""
    path = folder / "config.toml"
    path.write_text(text)
    given = {
        "input.files": [str(folder / "in.jsonl")],
        "state.data_dir": str(folder / "data"),
        "model.seasons": seasons,
    }
    config, _, _ = settled(load_config(path, given | flags), path, given | flags)
    (folder / "data" / "settings").mkdir(parents=True, exist_ok=True)
    (folder / "data" / "settings" / "in.json").write_text("[]")
    return config


def test_a_file_of_another_interval(tmp_path: Path) -> None:
    """The seasons stay, the difference is reported at each start, and an interval that is set holds."""
    write(tmp_path / "in.jsonl", 60 * MINUTE)
    assert started(tmp_path, ["1d", "1w"]).library_model().seasons == (24, 168)
    write(tmp_path / "in.jsonl", 30 * MINUTE)
    with capture_logs() as lines:
        assert started(tmp_path, ["1d", "1w"]).library_model().seasons == (24, 168)
        assert started(tmp_path, ["12h"]).library_model().seasons == (12,)
    found = [line for line in lines if line["event"] == "interval of the input differs"]
    assert [(line["kept"], line["found"], line["log_level"]) for line in found] == [("1h", "30m", "warning")] * 2
    assert started(tmp_path, ["1d"], **{"model.interval": "30m"}).library_model().seasons == (48,)


def test_no_difference(tmp_path: Path) -> None:
    """Files without events, and those of about the same interval, are not reported; before an event nothing is kept."""
    config = load_config(None, {"input.files": [str(tmp_path / "in.jsonl")], "state.data_dir": str(tmp_path / "data")})
    write(tmp_path / "in.jsonl", 30 * MINUTE)
    assert KeptIntervals(config).settle() == 30 * MINUTE
    write(tmp_path / "in.jsonl", 60 * MINUTE)
    assert started(tmp_path, ["1d"]).library_model().seasons == (24,)
    with capture_logs() as lines:
        (tmp_path / "in.jsonl").unlink()
        assert KeptIntervals(config).settle() == 60 * MINUTE
        write(tmp_path / "in.jsonl", 61 * MINUTE)
        assert KeptIntervals(config).settle() == 60 * MINUTE
    assert lines == []


def test_unreadable(tmp_path: Path) -> None:
    """A damaged file is reported with what to do."""
    write(tmp_path / "in.jsonl", 60 * MINUTE)
    started(tmp_path, ["1d"])
    for broken in ("{", "[]", '{"": "x"}'):
        (tmp_path / "data" / "interval.json").write_text(broken)
        with pytest.raises(ConfigurationError, match=r"interval\.json: got .*, expected intervals by group"):
            started(tmp_path, ["1d"])


def test_by_group(tmp_path: Path) -> None:
    """Each group keeps the interval of its series."""
    rows = [
        {"series": name, "timestamp": T0 + step * interval, "value": 1}
        for step in range(30)
        for name, interval in (("a", 60 * MINUTE), ("b", 30 * MINUTE))
    ]
    (tmp_path / "in.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    text = '[[group]]\nname = "half"\nmatch = ["b"]\nmodel = {seasons = ["12h"]}\n'
    for _ in range(2):
        config = started(tmp_path, ["1d"], text)
        assert config.library_model().seasons == (24,)
        assert config.of_group("half").library_model().seasons == (24,)
        assert json.loads((tmp_path / "data" / "interval.json").read_text()) == {"": 60 * MINUTE, "half": 30 * MINUTE}
