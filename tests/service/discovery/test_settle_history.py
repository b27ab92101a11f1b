"""The fields and seasons of a history, which may differ from those of the live input."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from service.config.load import load_config
from service.config.sections import Config
from service.discovery.cadence import seasons_of_input
from service.discovery.settle import keep, settle, settle_history
from service.errors import ConfigurationError
from service.transport.history import history_files


def hourly(path: Path, head: str = "time;sensor;temp") -> Path:
    """Writes four weeks of hourly data with a day."""
    rows = [
        f"2026-01-{1 + hour // 24:02d}T{hour % 24:02d}:00:00Z;a;{20 + 5 * math.sin(hour / 24 * 6.28):.3f}"
        for hour in range(28 * 24)
    ]
    path.write_text("\n".join([head, *rows]) + "\n")
    return path


def config_of(folder: Path, **flags: object) -> Config:
    """Returns the settings of pushed events with a history."""
    given = {name.replace("__", "."): value for name, value in flags.items()}
    return load_config(None, {"state.data_dir": folder / "data", "input.push": True, **given})


def test_fields_are_found(tmp_path: Path) -> None:
    """What a history does not name is found in it, kept, and leaves the live input as it is."""
    config = config_of(tmp_path, bootstrap__files=[str(hourly(tmp_path / "h.csv"))])
    found = settle_history(config)
    assert found.is_new
    assert found.settings["bootstrap.fields"] == {"timestamp": "time", "series": "sensor", "value": "temp"}
    keep(config, found)
    chosen = load_config(None, {**found.settings, "input.push": True, "bootstrap.files": config.bootstrap.files})
    assert history_files(chosen).fields.value == "temp"
    assert chosen.input.fields.value == "value"
    assert not settle(chosen).settings
    assert not settle_history(chosen).settings
    (tmp_path / "data" / "settings").mkdir()
    (tmp_path / "data" / "settings" / "push.json").write_text("[]")  # events were read
    (tmp_path / "h.csv").unlink()
    again = settle_history(config)
    assert (again.settings, again.is_new) == (found.settings, False)


def test_default_fields_beside_others(tmp_path: Path) -> None:
    """Default fields of a history are set as such; what the live input names holds for both."""
    path = hourly(tmp_path / "h.csv", "timestamp;series;value")
    found = settle_history(config_of(tmp_path, bootstrap__files=[str(path)]))
    assert found.settings == {"bootstrap.fields": {}}
    with pytest.raises(ConfigurationError, match="expected v as well"):
        settle_history(config_of(tmp_path, bootstrap__files=[str(path)], input__fields__value="v"))


def test_named(tmp_path: Path) -> None:
    """Nothing is chosen where the configuration names the fields."""
    names = {"timestamp": "time", "series": "sensor", "value": "temp"}
    config = config_of(tmp_path, bootstrap__files=[str(hourly(tmp_path / "h.csv"))], bootstrap__fields=names)
    assert not settle_history(config).settings
    assert history_files(config).fields.series == "sensor"


def test_ambiguous(tmp_path: Path) -> None:
    """A message names the keys of the history."""
    path = tmp_path / "h.csv"
    path.write_text("x,y\nfoo,bar\nfoo,baz\n")
    with pytest.raises(ConfigurationError, match=r"bootstrap\.fields"):
        settle_history(config_of(tmp_path, bootstrap__files=[str(path)]))


def test_seasons(tmp_path: Path) -> None:
    """The seasons of a first start are those of the history, whatever the live input is."""
    config = config_of(tmp_path, bootstrap__files=[str(hourly(tmp_path / "h.csv"))])
    chosen = load_config(
        None, {**settle_history(config).settings, "input.push": True, "bootstrap.files": config.bootstrap.files}
    )
    assert 24 in (seasons_of_input(chosen) or ())
