"""Groups by cadence that are made while the daemon runs: at positions of the stream, with the history of series."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from parts import Bench, config_of

from forecaster import Model
from service.discovery.settle_groups import LateGroups, settle_groups
from service.errors import ConfigurationError
from service.partitions.schedule import Progress
from service.snapshots.writer import SnapshotWriter
from service.transport.memory import ABORT_PUBLISH, ABORT_PUBLISHED, MemoryLog, MemoryTransport, Script

MINUTE, HOUR, DAY = 60_000, 3_600_000, 86_400_000
T0 = 1_699_920_000_000
CHECK = 100
"""Events of the first check in these tests."""

INTERVALS = {"a": MINUTE, "b": MINUTE, "h": HOUR, "d": DAY}
SEASONS = {MINUTE: (60,), HOUR: (24, 168), DAY: (7,)}
"""Of the first network of series of a cadence, unless its events show more."""


@pytest.fixture(autouse=True)
def _early_checks() -> Any:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("service.partitions.partition.FIRST_GROUP_CHECK", CHECK)
        yield


def stream(count: int, names: str = "abh", seed: int = 1) -> list[bytes]:
    """Returns events of series, each with its interval, in a random order, some missing, late or twice."""
    rng, steps, found = random.Random(seed), dict.fromkeys(names, 0), list[bytes]()
    for _ in range(count):
        name = rng.choice(names)
        steps[name] += 1
        at = T0 + steps[name] * INTERVALS[name]
        value = None if (kind := rng.random()) < 0.03 else steps[name] % 7 + rng.random()
        if 0.03 < kind < 0.06:
            at -= INTERVALS[name] * (1 if kind < 0.045 else 3)
        found.append(orjson.dumps({"series": name, "timestamp": at, "value": value}))
    return found


def started(folder: Path, log: MemoryLog, *, keeps: bool = True, **sections: Any) -> tuple[Bench, list[int]]:
    """Runs a daemon to the end of a log, through all its starts; returns the last one and where groups began.

    Args:
        folder, log, sections: see `Bench`.
        keeps: whether groups are kept; if not, it ends where it would start again.
    """
    begun = list[int]()
    while True:
        base = config_of(folder, **sections)
        kept = settle_groups(base)
        groups = [{"name": name, "match": list(one.series)} for name, one in kept.own.items()]
        late = LateGroups(base)
        bench = Bench(folder, log, sections | {"group": [*sections.get("group", []), *groups]}, wants_groups=late)
        bench.engine.begin_with({name: one.seasons for name, one in kept.own.items()})
        log.owner = None
        bench.run()
        if not bench.engine.regrouping.wanted:
            return bench, begun
        begun.append(MemoryTransport(log).committed("0") or 0)
        if not keeps:
            return bench, begun
        late.keep()


def test_series_as_alone(tmp_path: Path) -> None:
    """From its group on, a series is forecast as by a daemon with the series of the group only, from their begin on.

    Series of the first cadence stay in the group of the sections. All networks have the seasons of their cadence.
    """
    events = stream(700, "abhd")
    bench, begun = started(tmp_path / "all", MemoryLog({"0": events}))
    assert begun == [CHECK]
    assert set(bench.engine._config.group_names) == {"", "auto-1h", "auto-1d"}
    together = bench.log.forecasts("0")
    for names in ("ab", "h", "d"):
        where = {"input": {"where": f"series in {list(names)}"}}
        alone = Bench(tmp_path / names, MemoryLog({"0": events}), where)
        alone.engine.begin_with({"": SEASONS[INTERVALS[names[0]]]})
        alone.run()
        own = [one for one in together if orjson.loads(one)["series"] in names]
        expected = alone.log.forecasts("0")
        after = [orjson.loads(one)["source"]["position"] >= CHECK for one in expected]
        assert sum(after) > 100
        got = [one for one, late in zip(own, after, strict=True) if late]
        assert got == [one for one, late in zip(expected, after, strict=True) if late], names


@settings(deadline=None, max_examples=8)
@given(seed=st.integers(0, 1000), batch=st.integers(1, 60), kills=st.lists(st.integers(0, 239), max_size=5))
def test_kills_change_nothing(
    tmp_path_factory: pytest.TempPathFactory, seed: int, batch: int, kills: list[int]
) -> None:
    """However it batches, and wherever it is killed, groups begin at the same event, and all forecasts are the same."""
    events = stream(240, "abhd" if seed % 2 else "ab", seed)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("service.partitions.partition.FIRST_GROUP_CHECK", 40)
        straight, begun = started(tmp_path_factory.mktemp("straight"), MemoryLog({"0": events}))
        script: list[bytes | Script] = list(events)
        for at in sorted(kills, reverse=True):
            script.insert(at, ABORT_PUBLISH if at % 2 else ABORT_PUBLISHED)
        folder, log = tmp_path_factory.mktemp("killed"), MemoryLog({"0": script})
        again = list[int]()
        for _ in range(len(kills) + 1):
            _, found = started(folder, log, input={"max_poll_records": batch})
            again += found
    assert log.forecasts("0") == straight.log.forecasts("0")
    assert again == begun
    assert {(a.group, a.model_sha256) for a in MemoryTransport(log).adoptions("0")} == {
        (a.group, a.model_sha256) for a in MemoryTransport(straight.log).adoptions("0")
    }


def test_killed_before_the_groups_are_kept(tmp_path: Path) -> None:
    """A daemon that is killed when its groups were not kept yet finds them at its next start, before another event."""
    events = stream(300)
    straight, begun = started(tmp_path / "straight", MemoryLog({"0": events}))
    folder, log = tmp_path / "killed", MemoryLog({"0": events})
    for _ in range(3):
        _, again = started(folder, log, keeps=False)
        assert again == begun
        assert MemoryTransport(log).committed("0") == begun[0]
    for path in (folder / "snapshots" / "0").iterdir():
        path.unlink()  # and from a replay
    bench, again = started(folder, log)
    assert again == begun
    assert bench.log.forecasts("0") == straight.log.forecasts("0")


def test_killed_behind_the_beginning(tmp_path: Path) -> None:
    """A replay from the snapshot at which groups began moves the series again."""
    events = stream(300)
    straight, (begin,) = started(tmp_path / "straight", MemoryLog({"0": events}))
    folder = tmp_path / "killed"
    first, _ = started(folder, MemoryLog({"0": events[:250]}))
    for path in (folder / "snapshots" / "0").iterdir():
        if str(begin) not in path.name:
            path.unlink()
    second, _ = started(folder, MemoryLog({"0": events}, units=list(first.log.units)))
    assert second.sample("replayed_events_total") == 250 - begin
    assert second.log.forecasts("0") == straight.log.forecasts("0")


def test_snapshot_not_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Groups do not begin without the snapshot that a replay needs: the start is repeated until it is written."""
    events, failed = stream(300), list[int]()
    straight, begun = started(tmp_path / "straight", MemoryLog({"0": events}))
    written = SnapshotWriter.write_now

    def write_now(writer: SnapshotWriter, snapshots: Any, *rest: Any) -> bool:
        if len(failed) < 2:
            failed.append(1)
            return False
        return written(writer, snapshots, *rest)

    monkeypatch.setattr(SnapshotWriter, "write_now", write_now)
    bench, again = started(tmp_path / "failing", MemoryLog({"0": events}))
    assert failed == [1, 1]
    assert again == begun
    assert bench.log.forecasts("0") == straight.log.forecasts("0")


@pytest.mark.parametrize("names", ["ab", "h", "d"])
def test_one_cadence(tmp_path: Path, names: str) -> None:
    """Where all series have one cadence, nothing ends and nothing is kept, and the network gets its seasons.

    From the first check on, all forecasts are those of a network that has had them from the first event on.
    """
    events = stream(400, names)
    bench, begun = started(tmp_path / "asked", MemoryLog({"0": events}))
    told = Bench(tmp_path / "told", MemoryLog({"0": events}))
    told.engine.begin_with({"": SEASONS[INTERVALS[names[0]]]})
    told.run()
    assert begun == []
    assert not (tmp_path / "asked" / "cadences.json").exists()
    adopted = [one.position for one in MemoryTransport(bench.log).adoptions("0")]
    assert adopted == [0, CHECK]
    found, expected = bench.log.forecasts("0"), told.log.forecasts("0")
    for one, other in zip(found, expected, strict=True):
        assert (one == other) == (orjson.loads(one)["source"]["position"] >= CHECK)


def test_no_seasons_beside_a_training(tmp_path: Path) -> None:
    """A network that has learnt, has seasons, or has those of the configuration, keeps what it has."""
    log = MemoryLog({"0": stream(CHECK - 1, "h")})
    bench, _ = started(tmp_path, log)
    champion = bench.engine._groups[""].champion
    assert champion.awaits_seasons
    first = champion.model
    assert first is not None
    champion.model = Model(first.config, first.params * np.float32(1.5))
    assert not champion.awaits_seasons
    champion.model = first
    champion.begin_with((24,))
    assert champion.model.config.seasons == (24,)
    assert not champion.awaits_seasons
    assert bench.registry.champion() == champion.model.sha256
    bench.registry.rollback()
    champion.refresh()
    assert champion.model.config.seasons == ()
    assert not champion.awaits_seasons
    configured, _ = started(tmp_path / "configured", MemoryLog({"0": stream(200, "h")}), model={"seasons": []})
    assert not configured.engine._groups[""].champion.awaits_seasons
    assert len(MemoryTransport(configured.log).adoptions("0")) == 1


def test_later_series_join(tmp_path: Path) -> None:
    """A later series of a known cadence joins its group at the next check, and one that changes its cadence stays."""
    events = stream(150, "abh")
    names = dict.fromkeys("abhg", 0)
    for at in range(300):
        name = "abgh"[at % 4]
        names[name] += 1
        gap = HOUR if name == "g" else MINUTE  # h has another cadence from here on
        stamp = T0 + 400 * DAY + names[name] * gap
        events.append(orjson.dumps({"series": name, "timestamp": stamp, "value": at % 5}))
    bench, begun = started(tmp_path, MemoryLog({"0": events}))
    assert len(begun) == 2
    kept = settle_groups(config_of(tmp_path)).own
    assert {name: set(one.series) for name, one in kept.items()} == {"auto-1h": {"h", "g"}}
    assert bench.engine.status["groups"]["auto-1h"]["series"] == 2


@pytest.mark.parametrize("first", ["h", "a", "d"])
def test_the_first_cadence_keeps_its_network(tmp_path: Path, first: str) -> None:
    """Where a commoner cadence joins later, the series that were there first stay with the network trained on them."""
    later = "".join(one for one in "abhd" if INTERVALS[one] != INTERVALS[first])
    events = [*stream(120, first), *stream(90, later, seed=2)]
    _, begun = started(tmp_path, MemoryLog({"0": events}))
    assert CHECK < begun[0] <= 2 * CHECK
    kept = settle_groups(config_of(tmp_path)).groups
    assert kept[""].interval_ms == INTERVALS[first]
    assert kept[""].seasons == SEASONS[INTERVALS[first]]
    assert first not in {name for one in kept.values() for name in one.series}


def test_rules_and_no_room(tmp_path: Path) -> None:
    """Series of a configured group are not asked for; where there are no names left, series stay."""
    events = stream(300, "abh")
    _, begun = started(tmp_path / "rule", MemoryLog({"0": events}), group=[{"name": "own", "match": ["h"]}])
    assert begun == []
    rules = [{"name": f"g{number}", "match": [f"none{number}"]} for number in range(20)]
    _, begun = started(tmp_path / "full", MemoryLog({"0": events}), group=rules)
    assert begun == []


def test_unreadable(tmp_path: Path) -> None:
    """Groups that cannot be read are reported."""
    started(tmp_path, MemoryLog({"0": stream(300)}))
    (tmp_path / "cadences.json").write_text('{"groups": {"auto-1h": {"interval_ms": 1, "seasons": [], "series": []}}}')
    with pytest.raises(ConfigurationError, match=r"cadences\.json: got other series of the group 'auto-1h'"):
        settle_groups(config_of(tmp_path))


@given(quarter=st.integers(1, 20), events=st.integers(0, 2000), last=st.integers(1, 60))
def test_checks_as_the_stream_grows(quarter: int, events: int, last: int) -> None:
    """Checks are at a first number of events, and whenever they have grown by a quarter of its last doubling."""
    number = 4 * quarter
    at = [(quarter << power) * part for power in range(12) for part in (4, 5, 6, 7)]
    progress = Progress(events=events, of_last_record=min(last, events))
    assert progress.until_growth_from(number) == min(one for one in at if one > events) - events
    assert progress.reached_growth_from(number) == any(events - min(last, events) < one <= events for one in at)


def test_several_partitions(tmp_path: Path) -> None:
    """With several partitions and threads, every event has one forecast, and all series are in their groups."""
    scripts = {"0": stream(400, "abh", 3), "1": stream(400, "abd", 4)}
    for workers in (1, 2):
        folder = tmp_path / str(workers)
        settings = {"workers": workers, "max_poll_records": 23}
        bench, begun = started(folder, MemoryLog(scripts), input=settings)
        assert len(begun) >= 1
        kept = settle_groups(config_of(folder, input=settings)).own
        assert {name: set(one.series) for name, one in kept.items()} == {"auto-1h": {"h"}, "auto-1d": {"d"}}
        for partition in scripts:
            own = [unit for unit in bench.log.units if unit.partition == partition]
            assert [unit.next_position for unit in own[:-1]] == [unit.position for unit in own[1:]]
            assert sum(unit.outcomes.events + unit.outcomes.late + unit.outcomes.duplicates for unit in own) == 400
