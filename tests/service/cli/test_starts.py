"""The daemon is started again where series get other groups by cadence, unless its configuration has changed."""

from __future__ import annotations

import json
import threading
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest

from forecaster import History
from service.cli import _starts
from service.cli._starts import Starts
from service.config.load import load_config

HOUR, DAY = 3_600_000, 86_400_000


class Ended:
    """Stands for a daemon that ends where its history shows another cadence, at once."""

    made: ClassVar[list[Ended]] = []
    at_start: ClassVar[Any] = None

    def __init__(self, config: Any, **parts: Any) -> None:
        self.config, self.parts, self.regroups, self.summary = config, parts, False, object()
        self.made.append(self)

    def run(self, _: threading.Event) -> None:
        """Asks whether series need another group."""
        if len(self.made) == 1:
            (Path(self.config.state.data_dir) / "settings").mkdir(parents=True)
            (Path(self.config.state.data_dir) / "settings" / "push.json").write_text("[]")
            self.at_start()
        series = np.repeat([0, 1], 10)
        times = np.concatenate([np.arange(10) * HOUR, np.arange(10) * DAY])
        history = History(series, times, times % 7.0, np.zeros((20, 0), np.float32), names={0: "h", 1: "d"})
        wants = self.parts["wants_groups"]
        self.regroups = len(self.made) == 1 and wants is not None and wants(history)


@pytest.fixture
def config_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A configuration of pushed events."""
    path = tmp_path / "config.toml"
    path.write_text(f'[input]\npush = true\n[state]\ndata_dir = "{tmp_path / "data"}"\n')
    monkeypatch.setattr(_starts, "Daemon", Ended)
    monkeypatch.setattr(Ended, "made", [])
    monkeypatch.setattr(Ended, "at_start", staticmethod(lambda: None))
    return path


def test_started_with_the_groups(config_file: Path, tmp_path: Path) -> None:
    """The second start has the groups, and goes on counting; what may change while it runs is taken over."""
    Ended.at_start = staticmethod(lambda: config_file.write_text(config_file.read_text() + '[log]\nlevel = "error"\n'))
    starts = Starts(load_config(config_file), config_file, {})
    starts.run(threading.Event())
    first, second = Ended.made
    assert (first.config.group_names, second.config.group_names) == (("",), ("", "auto-1d"))
    assert second.config.of_group("auto-1d").model.seasons == "auto"
    assert second.parts["seasons"]["auto-1d"] == (7,)
    assert second.config.log.level == "error"
    assert second.parts["summary"] is first.summary
    kept = json.loads((tmp_path / "data" / "cadences.json").read_text())["groups"]
    assert {name: one["series"] for name, one in kept.items()} == {"": [], "auto-1d": ["d"]}


@pytest.mark.parametrize("text", ["[model\n", "[model]\nhorizon = 3\n"])
def test_changed_configuration(config_file: Path, tmp_path: Path, text: str) -> None:
    """A configuration that is broken, or would need a restart, does not come into force by the way."""
    Ended.at_start = staticmethod(lambda: config_file.write_text(config_file.read_text() + text))
    starts = Starts(load_config(config_file), config_file, {})
    starts.run(threading.Event())
    first, second = Ended.made
    assert second.config is first.config
    assert second.parts["wants_groups"] is None
    assert not (tmp_path / "data" / "cadences.json").exists()


def test_topics(config_file: Path) -> None:
    """Members of a consumer group are not asked, nor is a daemon whose seasons are configured."""
    for settings in ({"kafka.topics": ["t"], "input.push": False}, {"model.seasons": [24]}):
        Starts(load_config(config_file, settings), config_file, settings)
        assert Ended.made[-1].parts["wants_groups"] is None
