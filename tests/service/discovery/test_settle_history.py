"""The fields and seasons of a history, which may differ from those of the live input."""

from __future__ import annotations

import gzip
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
    with pytest.raises(ConfigurationError, match=r"expected v as well.*for these files alone, see bootstrap\.fields"):
        settle_history(config_of(tmp_path, bootstrap__files=[str(path)], input__fields__value="v"))


def test_named(tmp_path: Path) -> None:
    """Nothing is chosen where the configuration names the fields."""
    names = {"timestamp": "time", "series": "sensor", "value": "temp"}
    config = config_of(tmp_path, bootstrap__files=[str(hourly(tmp_path / "h.csv"))], bootstrap__fields=names)
    assert not settle_history(config).settings
    assert history_files(config).fields.series == "sensor"


UNCLEAR = {
    "no times": "x,y\nfoo,bar\nfoo,baz\n",
    "two times": "begin,end,v\n2026-01-01T00:00:00Z,2026-01-02T00:00:00Z,1\n",
    "day or month": "time,v\n01/02/2026 10:00,1\n02/03/2026 10:00,2\n",
    "digits": "timestamp,v\n20260101,1.5\n20260102,2.5\n",
    "two clocks": "date,at,until,v\n2026-01-01,10:00,11:00,1.5\n2026-01-02,12:00,13:00,2.5\n",
    "no numbers": "time,v\n2026-01-01T00:00:00Z,foo\n2026-01-02T00:00:00Z,bar\n",
    "a comma": "time;v\n2026-01-01T00:00:00Z;1,234\n2026-01-02T00:00:00Z;5,678\n",
    "repeated": "time,v\n" + "2026-01-01T00:00:00Z,1.5\n2026-01-01T00:00:00Z,2.5\n" * 20,
}


def refused(folder: Path, paths: list[Path], *, history: bool) -> str:
    """Returns the message for files that are the input, or the history."""
    key, settled = ("bootstrap.files", settle_history) if history else ("input.files", settle)
    config = load_config(None, {"state.data_dir": folder / "data", key: [str(path) for path in paths]})
    with pytest.raises(ConfigurationError) as error:
        settled(config)
    return str(error.value)


@pytest.mark.parametrize("name", UNCLEAR)
def test_unclear(tmp_path: Path, name: str) -> None:
    """The messages for the files of a history are those for an input, with the keys of the history."""
    path = tmp_path / "h.csv"
    path.write_text(UNCLEAR[name])
    message = refused(tmp_path, [path], history=False)
    assert "input." in message
    assert refused(tmp_path, [path], history=True) == message.replace("input.", "bootstrap.")


def test_unlike_files(tmp_path: Path) -> None:
    """The same for files of several kinds, for one that cannot be compressed, and for a damaged choice."""
    paths = [hourly(tmp_path / "a.csv"), hourly(tmp_path / "b.csv", "time,other,load")]
    message = refused(tmp_path, paths, history=True)
    assert message == refused(tmp_path, paths, history=False).replace("input.f", "bootstrap.f")
    packed = tmp_path / "a.parquet.gz"
    packed.write_bytes(gzip.compress(b"PAR1"))
    assert refused(tmp_path, [packed], history=True).startswith("bootstrap.files: got")
    (tmp_path / "data" / "settings").mkdir(parents=True)
    (tmp_path / "data" / "settings" / "push.json").write_text("[]")  # events were read
    (tmp_path / "data" / "history.json").write_text("{}")
    assert refused(tmp_path, paths, history=True).endswith("or set bootstrap.fields")


def test_seasons(tmp_path: Path) -> None:
    """The seasons of a first start are those of the history, whatever the live input is."""
    config = config_of(tmp_path, bootstrap__files=[str(hourly(tmp_path / "h.csv"))])
    chosen = load_config(
        None, {**settle_history(config).settings, "input.push": True, "bootstrap.files": config.bootstrap.files}
    )
    assert 24 in (seasons_of_input(chosen) or ())
