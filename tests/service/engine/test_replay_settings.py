"""Settings that a replay depends on: a role for every key, refused after a crash, accepted after a clean stop."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from parts import Bench, event
from pydantic import BaseModel

from forecaster.features.calendar import calendar_table as plain
from forecaster.state.checkpoint import read_checkpoint, write_checkpoint
from service.config.sections import Config
from service.engine.replay_settings import (
    ROLES,
    Role,
    SettingsNote,
    SettingsNotes,
    check_replay,
    computed_with,
    replay_settings,
)
from service.errors import SettingsChangedError
from service.reload import is_live
from service.transport.memory import MemoryLog

EVENTS = [event(step, series) for step in range(40) for series in "ab"]
CLASSIFIED = ("aggregate", "input", "model", "anomaly", "state", "output", "bootstrap", "remote_write")
Sections = dict[str, dict[str, Any]]

# Another valid value of every key that a replay depends on.
OTHERS: dict[str, object] = {
    "input.format": "csv",
    "input.fields.time_unit": "ms",
    "input.broadcast": "nobody",
    "input.series": ["a", "b"],
    "input.tombstone": "forget",
    "input.max_record_bytes": 1000,
    "input.max_series_bytes": 100,
    "input.max_ahead": "2d",
    "input.late_within": 4,
    "input.fields.series": "name",
    "input.fields.timestamp": "time",
    "input.fields.value": "number",
    "input.fields.record_time": "written",
    "input.fields.future": "ahead",
    "input.fields.values": ["a", "b"],
    "input.fields.identifiers": ["value"],
    "input.fields.timezone": "Europe/Berlin",
    "input.fields.decimal": ",",
    "input.fields.thousands": " ",
    "input.separator": ";",
    "input.envelope": "none",
    "input.partial": "reject",
    "input.where": "value >= 0",
    "input.header": False,
    "input.skip_lines": 1,
    "input.fields.date_order": "dmy",
    "input.units": [{"series": "*", "factor": 10}],
    "state.max_series": 1000,
    "state.history_events": 10,
    "input.covariates": ["a"],
    "input.future_covariates": ["b"],
    "aggregate.interval": "1m",
    "aggregate.functions": ["count"],
    "aggregate.grace": "20s",
    "aggregate.empty": "last",
    "aggregate.counters": "increase",
    "aggregate.timezone": "Europe/Berlin",
    "aggregate.rules": [{"series": "a"}],
    "bootstrap.format": "csv",
    "bootstrap.fields": {"value": "number"},
    "bootstrap.separator": ";",
    "bootstrap.header": False,
    "bootstrap.skip_lines": 1,
    "bootstrap.envelope": "none",
    "bootstrap.partitioner": "crc32",
}
# Further keys that a key needs.
NEEDED: dict[str, Sections] = {
    "aggregate.rules": {"aggregate": {"interval": "1m"}},
    "input.late_within": {"input": {"late": "repair"}},
}
# Durations by key, as messages show them.
SHOWN = {"input.max_ahead": '"1d"', "aggregate.interval": '"0s"', "aggregate.grace": '"10s"'}
# Of these, keys that have no effect here, without windows and behind the end of a history.
IDLE = [
    key
    for key in OTHERS
    if key.startswith("bootstrap.")
    or (key.startswith("aggregate.") and key.partition(".")[2] not in {"interval", "rules"})
]
# Another value of every key that no replay depends on, where this test can change the key.
FREE: dict[str, object] = {
    "input.late": "dead-letter",
    "input.max_poll_records": 7,
    "input.workers": 2,
    "input.push_body": 1 << 20,
    "model.pretrained": False,
    "model.seed": 3,
    "state.snapshot_every": "1h",
    "state.snapshots_kept": 5,
    "state.on_source_gone": "cold",
}


def sections_of(key: str, value: object) -> Sections:
    """Returns a configuration with one key."""
    section, *names = key.split(".")
    for name in reversed(names):
        value = {name: value}
    needed = NEEDED.get(key, {}).get(section, {})
    return {section: needed | value}  # type: ignore[operator]


def keys_of(model: type[BaseModel], before: str) -> list[str]:
    """Returns all keys of a section, nested sections included."""
    found = []
    for name, field in model.model_fields.items():
        inner = field.annotation
        nested = isinstance(inner, type) and issubclass(inner, BaseModel)
        found += keys_of(inner, f"{before}.{name}") if nested else [f"{before}.{name}"]  # type: ignore[arg-type]
    return found


class Folders:
    """Creates folders in which 50 events are committed, as copies of one original.

    Args:
        root: folder of the original.
    """

    def __init__(self, root: Path) -> None:
        first = Bench(root, MemoryLog({"0": EVENTS[:20]}))
        first.run()
        second = Bench(root, MemoryLog({"0": EVENTS[:50]}, units=first.log.units))
        second.run()
        self._root, self._units = root, second.log.units

    def stopped(self, folder: Path) -> MemoryLog:
        """Returns the log, with snapshots at 20 and at 50 in the folder."""
        shutil.copytree(self._root, folder, dirs_exist_ok=True)
        return MemoryLog({"0": EVENTS}, units=list(self._units))

    def crashed(self, folder: Path) -> MemoryLog:
        """Returns the log, with only the snapshot at 20."""
        log = self.stopped(folder)
        max((folder / "snapshots" / "0").iterdir()).unlink()
        return log


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Folders:
    """Folders in which 50 events are committed."""
    return Folders(tmp_path_factory.mktemp("folders"))


@pytest.fixture(scope="module")
def straight(tmp_path_factory: pytest.TempPathFactory) -> list[bytes]:
    """The forecasts of an undisturbed engine."""
    bench = Bench(tmp_path_factory.mktemp("straight"), MemoryLog({"0": EVENTS}))
    bench.run()
    return bench.log.forecasts("0")


class TestRoles:
    """The role of every key in a replay."""

    def test_every_key(self) -> None:
        """Every key has a role, and every role belongs to an existing key."""
        keys = [key for name in CLASSIFIED for key in keys_of(type(getattr(Config(), name)), name)]

        assert sorted(keys) == sorted(ROLES)

    def test_keys_of_the_network(self) -> None:
        """Exactly the keys of the network have its role."""
        config = Config()
        mine = set(config.model.model_dump()) - {"pretrained", "seed"}

        expected = {f"model.{name}" for name in mine} | {"state.bytes_per_series"}
        assert {key for key, role in ROLES.items() if role is Role.MODEL} == expected

    def test_none_changes_while_it_runs(self) -> None:
        """No key of a replay or network can be reloaded, because the notes record settings per start."""
        assert not [key for key, role in ROLES.items() if is_live(key) and role in {Role.REPLAY, Role.MODEL}]

    def test_all_are_tried(self) -> None:
        """The following tests cover every replay key."""
        assert sorted(OTHERS) == sorted(key for key, role in ROLES.items() if role is Role.REPLAY)


@pytest.mark.parametrize("key", sorted({*OTHERS} - {*IDLE}))
def test_changed_behind_a_crash(tmp_path: Path, folders: Folders, key: str) -> None:
    """A key changed after a crash is refused by name and values before any output; its old value is accepted."""
    log = folders.crashed(tmp_path)
    before = list(log.units)
    with pytest.raises(SettingsChangedError, match=rf"{key}: got .*, expected .*Restore the settings") as caught:
        Bench(tmp_path, log, sections_of(key, OTHERS[key])).run()
    assert log.units == before
    then = replay_settings(Config())[key]
    same = Bench(tmp_path, log)
    same.run()

    shown = SHOWN.get(key, json.dumps(then))
    assert f"expected {shown}" in str(caught.value)
    assert same.sample("replayed_events_total") == 30


@pytest.mark.parametrize("key", IDLE)
def test_without_effect(tmp_path: Path, folders: Folders, straight: list[bytes], key: str) -> None:
    """A key that has no effect may change after a crash: the replay repeats the same bytes."""
    bench = Bench(tmp_path, folders.crashed(tmp_path), sections_of(key, OTHERS[key]))
    bench.run()

    assert bench.sample("replayed_events_total") == 30
    assert bench.log.forecasts("0") == straight


@pytest.mark.parametrize("key", IDLE)
def test_with_an_effect(key: str) -> None:
    """The same keys are refused where there are windows, now or then, or where the replay begins in the history."""
    then = replay_settings(Config())
    now = then | {key: "other"}
    check_replay("0", [SettingsNote(0, then)], 9, now)
    if key.startswith("bootstrap."):
        cases = [(-5, then, now)]
    else:
        windows = {"aggregate.interval": 60.0}
        cases = [(0, then | windows, now | windows), (0, then, now | windows), (0, then | windows, now)]
    for position, before, after in cases:
        with pytest.raises(SettingsChangedError, match=key):
            check_replay("0", [SettingsNote(position, before)], 9, after)


@pytest.mark.parametrize("key", sorted({*OTHERS} - {*IDLE}))
def test_changed_behind_a_clean_stop(tmp_path: Path, folders: Folders, key: str) -> None:
    """A key changed after a clean stop is accepted; after a later crash only the new value is accepted."""
    log = folders.stopped(tmp_path)
    sections = sections_of(key, OTHERS[key])
    Bench(tmp_path, log, sections).run()
    snapshots = sorted((tmp_path / "snapshots" / "0").iterdir())
    snapshots[-1].unlink()  # as if it had been killed

    with pytest.raises(SettingsChangedError, match=key):
        Bench(tmp_path, log).run()
    again = Bench(tmp_path, log, sections)
    again.run()
    assert again.sample("restarts_total") == 0


@pytest.mark.parametrize("key", FREE)
def test_what_makes_no_difference(tmp_path: Path, folders: Folders, straight: list[bytes], key: str) -> None:
    """A key without influence may change after a crash, and no output byte changes."""
    bench = Bench(tmp_path, folders.crashed(tmp_path), sections_of(key, FREE[key]))
    bench.run()

    assert bench.sample("replayed_events_total") == 30
    assert bench.log.forecasts("0") == straight


def test_without_a_snapshot(tmp_path: Path, folders: Folders) -> None:
    """Without a snapshot, the settings are known from the first event on."""
    log = folders.crashed(tmp_path)
    shutil.rmtree(tmp_path / "snapshots")

    with pytest.raises(SettingsChangedError, match="events from 0 to 50"):
        Bench(tmp_path, log, sections_of("input.max_ahead", 5)).run()


def test_to_and_fro(tmp_path: Path, folders: Folders) -> None:
    """Without the snapshot at a change, old and new settings are refused, and the message names the snapshot."""
    log = folders.stopped(tmp_path)
    log.script = {"0": EVENTS[:60]}
    other = sections_of("input.max_ahead", "2d")
    Bench(tmp_path, log, other).run()
    log.script = {"0": EVENTS}
    newest, *_ = sorted((tmp_path / "snapshots" / "0").iterdir(), reverse=True)
    at_change = tmp_path / "snapshots" / "0" / f"{50:020d}.snapshot"
    newest.unlink()
    at_change.unlink()

    for sections in (other, {}):
        with pytest.raises(
            SettingsChangedError, match=r"changed at position 50, whose snapshot .* restore that snapshot"
        ):
            Bench(tmp_path, log, sections).run()


def test_cold(tmp_path: Path, folders: Folders) -> None:
    """With `cold` the engine continues with empty state, once."""
    log = folders.crashed(tmp_path)
    sections = sections_of("input.max_ahead", "2d") | {"state": {"on_source_gone": "cold"}}
    bench = Bench(tmp_path, log, sections)
    bench.run()
    second = Bench(tmp_path, log, sections)
    second.run()

    assert bench.sample("cold_starts_total") == 1
    assert second.sample("cold_starts_total") == 0
    assert len(log.forecasts("0")) == len(EVENTS)


def test_only_rejects_so_far(tmp_path: Path) -> None:
    """Field names that matched no event may change after a crash, because no state depends on these names."""
    log = MemoryLog({"0": EVENTS[:20]})
    Bench(tmp_path, log, sections_of("input.fields.value", "wrong")).run()
    shutil.rmtree(tmp_path / "snapshots", ignore_errors=True)
    log.script = {"0": EVENTS}
    Bench(tmp_path, log).run()

    assert len(log.forecasts("0")) == 60


@pytest.mark.parametrize("what", ["time zone data", "package holidays"])
def test_data_of_the_calendar(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, what: str) -> None:
    """Changed time zone or holiday data of the installed package are refused by name."""
    network = {"timezone": "Europe/Berlin"}
    log = MemoryLog({"0": EVENTS[:20]})
    Bench(tmp_path, log, {"model": network}).run()
    log.script = {"0": EVENTS}
    Bench(tmp_path, log, {"model": network}).run()
    max((tmp_path / "snapshots" / "0").iterdir()).unlink()
    zone = what == "time zone data"

    def news(timezone: str, holidays: str) -> Any:
        found = plain(timezone, holidays)
        mine = timezone == "Europe/Berlin" if zone else timezone == "UTC"
        return np.append(found, 1) if mine else found

    monkeypatch.setattr("service.engine.replay_settings.calendar_table", news)
    with pytest.raises(SettingsChangedError, match=rf"{what} .*: got .*, expected"):
        Bench(tmp_path, log, {"model": network}).run()
    monkeypatch.setattr("service.engine.replay_settings.calendar_table", plain)
    Bench(tmp_path, log, {"model": network}).run()


def test_of_an_older_release(tmp_path: Path, folders: Folders) -> None:
    """A replay without recorded settings uses the present settings, which are then recorded."""
    log = folders.crashed(tmp_path)
    shutil.rmtree(tmp_path / "settings")
    for path in (tmp_path / "snapshots" / "0").iterdir():
        arrays, header = read_checkpoint(path, "snapshot")
        del header["settings"]
        write_checkpoint(path, arrays, header, "snapshot")
    bench = Bench(tmp_path, log, sections_of("input.max_ahead", "2d"))
    bench.run()

    assert bench.sample("replayed_events_total") == 30
    assert [note.position for note in SettingsNotes(tmp_path / "settings").of("0")] == [50]


def test_long_values_are_checksums() -> None:
    """A list of thousands of series is recorded as a checksum."""
    names = [f"series {i}" for i in range(5000)]
    one, other = (replay_settings(Config.model_validate({"input": {"series": part}})) for part in (names, names[1:]))

    assert len(json.dumps(one)) < 2000
    assert one["input.series"] != other["input.series"]


@given(
    st.lists(st.tuples(st.integers(1, 9), st.integers(0, 2), st.booleans()), min_size=1, max_size=12),
    st.data(),
)
def test_the_notes_are_what_was(tmp_path_factory: pytest.TempPathFactory, runs: list[Any], data: st.DataObject) -> None:
    """After any runs, each with its own settings, the notes and any snapshot give the settings of every position.

    A run is refused where the positions to replay were not all computed with the settings of this run.
    """
    notes = SettingsNotes(tmp_path_factory.mktemp("notes"))
    truth: list[int] = []  # settings that computed each position
    snapshots: dict[int, dict[str, int]] = {}
    for length, number, clean in runs:
        committed, now = len(truth), {"x": number}
        usable = [position for position in snapshots if position <= committed]
        start = data.draw(st.sampled_from([0, *usable])) if usable else 0
        kept = snapshots.get(start)
        parts = computed_with(notes.of("p"), start, committed, kept)
        said = [next(p.settings["x"] for p in reversed(parts) if p.position <= at) for at in range(start, committed)]
        assert said == truth[start:committed]
        if any(one != number for one in said):
            continue  # refused
        notes.note("p", committed, start, kept, now)
        truth += [number] * length
        if clean:
            snapshots[len(truth)] = now


def test_damaged_notes(tmp_path: Path) -> None:
    """Notes that cannot be read count as absent and are rewritten."""
    notes = SettingsNotes(tmp_path)
    notes.note("p", 3, 3, None, {"x": 1})
    path = next(tmp_path.iterdir())
    for text in ("", "{}", "[7]", '[{"position": "?", "settings": {}}]'):
        path.write_text(text)
        assert notes.of("p") == []
    notes.note("p", 5, 5, None, {"x": 1})
    assert notes.of("p") == [SettingsNote(5, {"x": 1})]
