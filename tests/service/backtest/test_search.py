"""`forecaster tune`: proposals, the held-out part, and the printed result."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result

from forecaster import Batch, Forecaster, Model
from service.backtest import search as searching
from service.backtest.events import events_of, read_events
from service.backtest.search import sampled, search, toml_lines, with_settings
from service.cli import main
from service.config.load import load_config
from service.config.sections import Config
from service.partitions.schedule import Progress
from service.snapshots.file import take, write

# The sizes of tests/reference/cases.py (GRU), compiled once for all tests; a training of a few steps.
SETTINGS = {
    "model.hidden_size": "16", "model.head_size": "16", "model.quantiles": "0.1,0.5,0.8,0.95", "model.seasons": "5",
    "model.calendar": "false", "model.max_gap": "6", "model.seed": "1", "model.interval": "60", "model.horizon": "6",
    "train.max_steps": "6", "train.evaluate_every": "3", "train.warmup_steps": "2", "train.batch": "8",
}  # fmt: skip
OPTIONS = [part for pair in SETTINGS.items() for part in ("--set", "=".join(pair))]
RATE = ["--search", "train.learning_rate", "--trials", "3"]
STEPS = 700


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Two series with a season of five steps, as CSV."""
    rng = np.random.default_rng(0)
    lines = [
        f"{name},{1_600_000_000_000 + step * 60_000},{10 * i + 3 * np.sin(step * 2 * np.pi / 5) + rng.normal():.3f}"
        for step in range(STEPS)
        for i, name in enumerate("ab")
    ]
    path = tmp_path / "events.csv"
    path.write_text("series,timestamp,value\n" + "\n".join(lines) + "\n")
    return path


def tune(*options: str) -> Result:
    """Runs the command in this process."""
    return CliRunner().invoke(main, ["tune", *options, *OPTIONS], catch_exceptions=False)


def config_of(**settings: str) -> Config:
    """Returns the present settings, some changed."""
    return load_config(None, SETTINGS | settings)


def test_search(data: Path) -> None:
    """The present settings are tried first, equal seeds give equal results, and the output contains TOML."""
    found = [json.loads(tune(str(data), *RATE, "--json").stdout) for _ in range(2)]
    for one in found:
        del one["seconds"]
        for trial in (one["present"], one["best"], *one["tried"]):
            del trial["seconds"]
    facts = found[0]

    assert found[1] == facts
    assert facts["trials"] == 3
    assert facts["tried"][0]["settings"] == {"train.learning_rate": 0.003}
    assert len({trial["settings"]["train.learning_rate"] for trial in facts["tried"]}) == 3
    assert facts["best"]["scrps"] == min(trial["scrps"] for trial in facts["tried"])
    assert facts["present"]["kept_back"] > 0
    said = tune(str(data), *RATE).stdout
    assert "3 trials on 1400 events of 2 series" in said
    assert facts["toml"] in said


def test_only_what_holds_is_recommended(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A trial that wins the comparison of trials and loses on the held-out part is not recommended."""
    events, config = read_events(data, config_of().input), config_of()

    def lucky(one: Config, events: Any, wanted: Any, train_at: int) -> float:
        changed = one.train.learning_rate != config.train.learning_rate
        return 1.0 - changed * 0.5 if train_at < 0.7 * STEPS * 2 else 1.0 + changed * 0.1

    monkeypatch.setattr(searching, "score", lucky)
    found = search(config, events, ["train.learning_rate"], trials=2)
    assert found.best.score < found.present.score
    assert found.best.checked > found.present.checked
    assert found.changes == {}

    monkeypatch.setattr(searching, "score", lambda one, *_: 1.0 - one.train.learning_rate)
    found = search(config, events, ["train.learning_rate", "train.k2"], trials=6)
    assert found.changes["train.learning_rate"] > 0.003
    assert Config.model_validate(with_settings(config, found.changes).model_dump(mode="json"))


def test_no_trial_sees_what_is_kept_back(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Trials use only the first 82.5 % of the events, and train before the scored events."""
    events, seen = read_events(data, config_of().input), []

    def note(config: Config, events: Any, wanted: Any, train_at: int) -> float:
        seen.append((len(events), train_at, int(np.flatnonzero(wanted)[0]) >= train_at))
        return 1.0

    monkeypatch.setattr(searching, "score", note)
    search(config_of(), events, ["train.learning_rate"], trials=3)
    assert seen == [*[(1155, 910, True)] * 3, (1400, 1155, True)]


def test_own_history(tmp_path: Path) -> None:
    """Without a file, the events in the newest snapshots of the data directory are used."""
    config = config_of(**{"state.data_dir": str(tmp_path)})
    model = Model.initial(config.library_model())
    forecaster = Forecaster(model)
    steps = np.repeat(np.arange(STEPS), 2)
    forecaster.observe(Batch(["b", "a"] * STEPS, 1_700_000_000_000 + steps * 60_000, np.sin(steps) + steps % 5))
    write(tmp_path / "snapshots", take("0", 9, forecaster, Progress()), 3)

    (tmp_path / "models").mkdir()

    facts = json.loads(tune("--data-dir", str(tmp_path), *RATE, "--json").stdout)
    assert (facts["events"], facts["series"]) == (2 * STEPS, 2)
    events = events_of(forecaster.history())
    assert events.names == ["a", "b"]
    alone = sampled(events, 1, seed=0)
    assert len(alone) == STEPS
    assert set(alone.series_names) == set(alone.names)
    assert np.isin(alone.value, forecaster.history().value).all()


def test_mistakes(tmp_path: Path, data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A missing or short history, an unknown key and a missing optuna are reported with the reason."""
    nothing = tune("--data-dir", str(tmp_path / "none"), *RATE)
    assert (nothing.exit_code, "expected the data directory of a daemon" in nothing.stderr) == (2, True)
    (tmp_path / "models").mkdir()
    young = tune("--data-dir", str(tmp_path), *RATE)
    assert (young.exit_code, "no snapshot" in young.stderr) == (1, True)
    unknown = tune(str(data), "--search", "model.horizon")
    assert (unknown.exit_code, "expected some of model.cell" in unknown.stderr) == (2, True)
    short = tmp_path / "short.csv"
    short.write_text("\n".join(data.read_text().splitlines()[:60]))
    little = tune(str(short), *RATE)
    assert (little.exit_code, "the training on the first" in little.stderr) == (1, True)
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    absent = tune(str(data), *RATE)
    assert (absent.exit_code, "pip install 'forecaster-daemon[tune]'" in absent.stderr) == (2, True)


def test_toml_lines() -> None:
    """Settings are grouped by section, with texts in quotes."""
    text = toml_lines({"model.cell": "lstm", "train.k2": 24, "model.layers": 2, "train.k1": 16})
    assert text == '[model]\ncell = "lstm"\nlayers = 2\n[train]\nk2 = 24\nk1 = 16'
