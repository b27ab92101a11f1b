"""The sample of the files that the choice of fields read is the one that the search for seasons uses."""

from __future__ import annotations

from pathlib import Path

import pytest

from service.config.load import load_config
from service.config.sections import Config
from service.discovery.cadence import seasons_of_input
from service.discovery.settle import settle, settle_history

FORMS = Path(__file__).parents[2] / "data" / "forms"
NAMES = sorted(path.name for path in FORMS.iterdir())


@pytest.mark.parametrize("name", NAMES)
def test_same_seasons(name: str) -> None:
    """The sample gives the seasons that reading the file again gives, with the fields that were chosen for it."""
    found = settle(load_config(None, {"input.files": [str(FORMS / name)]}))
    chosen = load_config(None, {"input.files": [str(FORMS / name)], **found.settings})
    assert found.sample is not None
    assert seasons_of_input(chosen, live=found.sample) == seasons_of_input(chosen)


def with_file(path: Path, **flags: object) -> Config:
    """Returns the settings for a file of hourly data, which is written."""
    rows = [f"2026-01-{1 + hour // 24:02d} {hour % 24:02d}:00,{hour % 24}" for hour in range(28 * 24)]
    path.write_text("\n".join(["time,load", *rows]) + "\n")
    return load_config(None, {"state.data_dir": path.parent / "data", **flags})


def test_not_read_again(tmp_path: Path) -> None:
    """The seasons are found without the file; an empty file before it is passed."""
    empty, path = tmp_path / "empty.csv", tmp_path / "load.csv"
    empty.write_text("")
    config = with_file(path, **{"input.files": [str(empty), str(path)]})
    found = settle(config)
    chosen = load_config(None, {"input.files": config.input.files, **found.settings})
    path.unlink()
    assert seasons_of_input(chosen, live=found.sample) == (24, 168)
    assert seasons_of_input(chosen, history=found.sample) == ()  # no file of the history


def test_history_not_read_again(tmp_path: Path) -> None:
    """The same for the files of the history, which decide before those of the live input."""
    path = tmp_path / "load.csv"
    given = {"input.push": True, "bootstrap.files": [str(path)]}
    found = settle_history(with_file(path, **given))
    chosen = load_config(None, {**given, **found.settings})
    path.unlink()
    assert seasons_of_input(chosen, history=found.sample) == (24, 168)
    assert seasons_of_input(chosen, live=found.sample) == ()
