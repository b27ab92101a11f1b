"""Groups of series by cadence: which there are, and that they stay."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.config.load import load_config
from service.config.sections import Config
from service.discovery import series_scan
from service.discovery.cadence import FirstEvents, first_seasons
from service.discovery.cadence_groups import (
    MOST_CADENCES,
    CadenceGroup,
    cadence_groups,
    cadences_of,
    is_cadence,
)
from service.discovery.settle_groups import SettledGroups, keep_groups, kept_groups, settle_groups
from service.errors import ConfigurationError
from service.messages.series_patterns import SeriesPatterns

SECOND, MINUTE, HOUR, DAY = 1000, 60_000, 3_600_000, 86_400_000
T0 = 1_767_571_200_000
NAMES = {SECOND: "1s", MINUTE: "1m", 5 * MINUTE: "5m", HOUR: "1h", DAY: "1d", 7 * DAY: "7d"}


def events_of(times: Sequence[Sequence[int]], seed: int | None = None) -> FirstEvents:
    """Returns events of noise, of series with these times; a seed interleaves the series at random."""
    order = np.concatenate([np.full(len(own), number) for number, own in enumerate(times)])
    if seed is not None:
        np.random.default_rng(seed).shuffle(order)
    own = [iter(each) for each in times]
    at = np.array([next(own[number]) for number in order.tolist()], np.int64)
    return FirstEvents(order.astype(np.int64), at, np.random.default_rng(0).normal(size=len(at)))


def regular(interval_ms: int, steps: int = 40) -> list[int]:
    """Returns the times of a series."""
    return [T0 + step * interval_ms for step in range(steps)]


@given(
    times=st.lists(
        st.lists(st.sampled_from([0, 1, 9, 10, 11, 20, 300, 27 * 86_400, 30 * 86_400, 31 * 86_400]), max_size=20),
        min_size=1,
        max_size=6,
    ),
    fewest=st.integers(1, 9),
)
def test_cadences_of_single_series(times: list[list[int]], fewest: int) -> None:
    """A series has a cadence as the definition says, whichever others there are: a naive twin."""
    seconds = [np.cumsum([T0, *(1000 * gap for gap in gaps)]).tolist() for gaps in times]
    for number, own in enumerate(seconds):
        gaps = np.diff(np.unique(own))
        usual = sorted(gaps)[(len(gaps) - 1) // 2] if len(gaps) else 0
        equal = sum(is_cadence(int(gap), int(usual)) for gap in gaps)
        expected = len(gaps) >= fewest and 2 * equal >= len(gaps) and equal >= min(len(gaps), 8)
        found = [interval for interval, series in cadences_of(events_of(seconds, 3), fewest) if number in series]
        assert bool(found) == expected
        alone = [interval for interval, _ in cadences_of(events_of([own]), fewest)]
        assert alone == ([int(usual)] if expected else [])


def by_name(found: Sequence[CadenceGroup]) -> dict[str, list[int]]:
    """Returns the series of each group."""
    return {group.name: group.series.tolist() for group in found}


@settings(deadline=None)
@given(
    intervals=st.lists(st.sampled_from(list(NAMES)), min_size=1, max_size=12),
    steps=st.integers(4, 60),
    seed=st.integers(0, 99),
)
def test_every_cadence_has_a_group(intervals: list[int], steps: int, seed: int) -> None:
    """Series of equal intervals are together, whatever the order; seasons are those of a file of these series only."""
    times = [regular(interval, steps) for interval in intervals]
    events = events_of(times, seed)
    found = cadence_groups(events)
    kinds = {interval: [at for at, one in enumerate(intervals) if one == interval] for interval in intervals}
    if len(kinds) == 1:
        assert found == []
        return
    assert sorted(group.series.tolist() for group in found) == sorted(kinds.values())
    for group in found:
        assert kinds[group.interval_ms] == group.series.tolist()
        assert group.name in {"", f"auto-{NAMES[group.interval_ms]}"}
        mine = np.isin(events.series, group.series)
        order = np.argsort(events.timestamp_ms[mine], kind="stable")
        alone = FirstEvents(*(column[mine][order] for column in events[:3]))
        assert group.seasons == first_seasons(alone)
    assert len(found[0].series) == max(map(len, kinds.values()))
    assert [group.name for group in found].count("") == 1


def test_jitter_and_gaps_make_no_group() -> None:
    """Times a little off, missing events, events at random times and few events are no cadence of their own."""
    rng = np.random.default_rng(3)
    usual = regular(MINUTE, 200)
    late = [time + int(rng.integers(-3000, 3000)) for time in usual]
    gaps = [time for time in usual if rng.random() > 0.4]
    at_random = (T0 + np.cumsum(rng.exponential(HOUR, 200))).astype(int).tolist()
    few = regular(DAY, 3)
    assert cadence_groups(events_of([usual, late, gaps, at_random, few])) == []
    found = cadence_groups(events_of([usual, late, gaps, at_random, few, regular(HOUR)]))
    assert by_name(found) == {"": [0, 1, 2], "auto-1h": [5]}


@settings(deadline=None)
@given(
    intervals=st.lists(st.sampled_from([SECOND, MINUTE, 5 * MINUTE, HOUR, DAY]), min_size=1, max_size=4, unique=True),
    size=st.integers(2, 40),
    steps=st.integers(9, 80),
    jitter=st.floats(0.0, 0.25),
    missing=st.floats(0.0, 0.2),
    seed=st.integers(0, 1000),
)
def test_jitter_divides_no_population(
    intervals: list[int], size: int, steps: int, jitter: float, missing: float, seed: int
) -> None:
    """Series of one interval are in one class, however far their times are off, up to a quarter of it each way.

    Where they are too irregular to show a cadence they may be in none.
    """
    rng = np.random.default_rng(seed)
    times = []
    for interval in intervals:
        for _ in range(size):
            kept = np.flatnonzero(rng.random(2 * steps) >= missing)[:steps]
            times.append((T0 + (kept + rng.uniform(-jitter, jitter, len(kept))) * interval).astype(np.int64).tolist())
    found = cadences_of(events_of(times, seed))
    classes = [{int(number) // size for number in series} for _, series in found]
    assert all(len(one) == 1 for one in classes), classes
    assert len({population for one in classes for population in one}) == len(classes), found
    for (interval_ms, _), (population,) in zip(found, classes, strict=True):
        assert abs(interval_ms - intervals[population]) < 0.2 * intervals[population]


@pytest.mark.parametrize("count", [4, 5, 6, 8, 10])
def test_few_events_make_no_group_by_chance(count: int) -> None:
    """Of many series with few events, at random times or with some missing, hardly any has a cadence of its own."""
    rng = np.random.default_rng(count)
    minutes = [np.flatnonzero(rng.random(6 * count) < 0.6)[:count] * MINUTE for _ in range(100)]
    at_random = [np.cumsum(rng.exponential(MINUTE, count)) for _ in range(200)]
    usual = [regular(MINUTE, count)] * 200
    found = cadence_groups(events_of([*usual, *((T0 + one).astype(int).tolist() for one in (*minutes, *at_random))]))
    assert sum(len(group.series) for group in found if group.name) <= 6, by_name(found)


def test_months_are_one_cadence() -> None:
    """Months have 28 to 31 days; a name that a configured group has is not used again."""
    months = [int(np.datetime64(f"2026-{month:02}-01", "ms").astype(np.int64)) for month in range(1, 13)]
    shifted = [int(np.datetime64(f"2025-{month:02}-15", "ms").astype(np.int64)) for month in range(2, 7)]
    found = cadence_groups(events_of([regular(HOUR), regular(HOUR), regular(HOUR), months, shifted]))
    assert by_name(found) == {"": [0, 1, 2], "auto-1mo": [3, 4]}
    found = cadence_groups(events_of([regular(HOUR), months]), ("", "auto-1mo"))
    assert [group.name for group in found] == ["", "auto-1mo-2"]


def test_rare_cadences_have_none() -> None:
    """There are eight groups at most; the commonest cadences have them."""
    intervals = [SECOND * 2**power for power in range(12)]
    times = [regular(interval, 20) for at, interval in enumerate(intervals) for _ in range(12 - at)]
    found = cadence_groups(events_of(times))
    assert [group.interval_ms for group in found] == intervals[:MOST_CADENCES]


def write(path: Path, series: Mapping[str, int], steps: int = 30) -> Path:
    """Writes events of series with these intervals, in the order of their times."""
    rows = sorted((T0 + step * interval, name) for name, interval in series.items() for step in range(steps))
    path.write_text("".join(json.dumps({"series": name, "timestamp": time, "value": 1}) + "\n" for time, name in rows))
    return path


def config_for(folder: Path, file: Path, text: str = "", **flags: object) -> Config:
    """Returns a configuration with a data folder and a file."""
    path = folder / "config.toml"
    path.write_text(text)
    given = {key.replace("__", "."): value for key, value in flags.items()}
    return load_config(path, {"input.files": [str(file)], "state.data_dir": str(folder / "data"), **given})


def series_of(found: SettledGroups) -> dict[str, tuple[str, ...]]:
    """Returns the series of each group."""
    return {name: group.series for name, group in found.own.items()}


MIXED = {"a": HOUR, "b": HOUR, "c[*]?": DAY, "c": MINUTE}


def test_settled_once(tmp_path: Path) -> None:
    """Groups are found until the first event was read, and kept from then on, whatever the file has by then."""
    file = write(tmp_path / "in.jsonl", MIXED)
    config = config_for(tmp_path, file)
    found = settle_groups(config)
    assert series_of(found) == {"auto-1m": ("c",), "auto-1d": ("c[*]?",)}
    assert {name: group.seasons for name, group in found.groups.items()} == {
        "": (24,), "auto-1m": (60,), "auto-1d": (7,)
    }  # fmt: skip
    keep_groups(config, found)
    chosen = config_for(tmp_path, file, **found.settings)
    assert chosen.group_names == ("", "auto-1m", "auto-1d")
    write(file, {"a": HOUR})
    assert settle_groups(config).groups == {}
    (tmp_path / "data" / "settings").mkdir()
    (tmp_path / "data" / "settings" / "in.json").write_text("[]")
    again = settle_groups(config)
    assert (again.groups, again.is_new) == (found.groups, False)
    taken = config_for(tmp_path, file, '[[group]]\nname = "auto-1m"\nmatch = ["a"]\n')
    assert series_of(settle_groups(taken)) == {"auto-1d": ("c[*]?",)}
    assert kept_groups(config) == found.settings
    for broken in ('{"groups": {"x": []}}', "{", "[]"):
        (tmp_path / "data" / "cadences.json").write_text(broken)
        with pytest.raises(ConfigurationError, match=r"cadences\.json: got .*, expected the groups"):
            settle_groups(config)
    (tmp_path / "data" / "cadences.json").unlink()  # of a daemon without groups
    assert settle_groups(config).groups == {}


def test_found_anew_before_the_first_event(tmp_path: Path) -> None:
    """A start without groups removes those that a killed start has left, and writes nothing otherwise."""
    file = write(tmp_path / "in.jsonl", MIXED)
    config = config_for(tmp_path, file)
    keep_groups(config, settle_groups(config))
    assert (tmp_path / "data" / "cadences.json").exists()
    write(file, {"a": HOUR})
    keep_groups(config, settle_groups(config))
    assert list((tmp_path / "data").iterdir()) == []


@pytest.mark.parametrize(
    "flags",
    [
        {"model.interval": "1h"}, {"model.seasons": [24]}, {"model.seasons": []}, {"aggregate.interval": "1h"},
        {"input.broadcast": "weather", "input.covariates": ["x"]},
    ],
)  # fmt: skip
def test_settings_switch_them_off(tmp_path: Path, flags: dict[str, object]) -> None:
    """Who says what the cadence, the windows or the seasons are gets one network."""
    config = config_for(tmp_path, write(tmp_path / "in.jsonl", MIXED), **flags)
    assert settle_groups(config) == SettledGroups()


def test_rules_come_first(tmp_path: Path) -> None:
    """Series of a configured group stay there, and do not count."""
    file = write(tmp_path / "in.jsonl", MIXED | {"c.2": DAY, "c.3": DAY, "c.4": DAY})
    config = config_for(tmp_path, file, '[[group]]\nname = "auto-1m"\nmatch = ["c.*", "c"]\n')
    found = settle_groups(config)
    assert series_of(found) == {"auto-1d": ("c[*]?",)}
    assert config_for(tmp_path, file, (tmp_path / "config.toml").read_text(), **found.settings).group_names == (
        "", "auto-1m", "auto-1d"
    )  # fmt: skip


def test_several_files_and_a_rare_series(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """All inputs are read, and in each one as far as it has series whose cadence is not known."""
    monkeypatch.setattr(series_scan, "_READ", 10)
    monkeypatch.setattr(series_scan, "_ALWAYS", 50)
    first = write(tmp_path / "first.jsonl", {"a": MINUTE, "b": MINUTE}, 300)
    second = write(tmp_path / "second.jsonl", {"c": SECOND}, 4000)
    with second.open("a") as file:
        for step in range(4):
            file.write(json.dumps({"series": "d", "timestamp": T0 + step * HOUR, "value": 1}) + "\n")
    config = config_for(tmp_path, first, input__files=[str(first), str(second), str(tmp_path / "none.jsonl")])
    assert series_of(settle_groups(config)) == {"auto-1s": ("c",)}  # the last one is beyond what is read
    write(second, {"c": SECOND, "d": HOUR}, 4)
    with second.open("a") as file:
        for step in range(4000):
            file.write(json.dumps({"series": "c", "timestamp": T0 + step * SECOND, "value": 1}) + "\n")
    assert series_of(settle_groups(config)) == {"auto-1s": ("c",), "auto-1h": ("d",)}


def test_no_event_among_many_records(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Records that are all rejected or filtered show no series."""
    for name, value in (("_READ", 10), ("_ALWAYS", 20)):
        monkeypatch.setattr(series_scan, name, value)
    file = write(tmp_path / "in.jsonl", MIXED)
    config = config_for(tmp_path, file, input__where='series == "none"')
    assert settle_groups(config).groups == {}


def test_a_name_for_each_record(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where every record has a series of its own, little is read ahead."""
    for name, value in (("_READ", 10), ("_ALWAYS", 10), ("_MOST_SERIES", 25)):
        monkeypatch.setattr(series_scan, name, value)
    file = write(tmp_path / "in.jsonl", {f"s{number}": MINUTE for number in range(400)}, 1)
    config = config_for(tmp_path, file)
    scan = series_scan.SeriesScan([(str(file), config.input, None)])
    assert len(scan.names) == 30
    assert not scan.events.complete


@given(
    patterns=st.lists(st.text("ab*?[]!", min_size=1, max_size=4), max_size=6),
    names=st.lists(st.text("ab*?[]!", max_size=4)),
)
def test_patterns_that_are_names(patterns: list[str], names: list[str]) -> None:
    """Patterns that stand for one name are looked up, and the first pattern that fits still holds."""
    import glob

    patterns = [glob.escape(one) if at % 2 else one for at, one in enumerate(patterns)]
    expected = [next((at for at, one in enumerate(patterns, 1) if fnmatchcase(name, one)), 0) for name in names]
    assert SeriesPatterns(patterns).first(names).tolist() == expected
