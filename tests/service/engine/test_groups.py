"""Groups of series: each is forecast as by a daemon that has only its series and its settings."""

from __future__ import annotations

import dataclasses
import random
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from parts import MODEL, Bench, config_of, event

from forecaster import Model
from service.config.groups import GroupConfig
from service.errors import SettingsChangedError
from service.partitions.grouping import Grouping
from service.ports import Unit
from service.transport.memory import ABORT_PUBLISH, ABORT_PUBLISHED, MemoryLog, MemoryTransport, Script

SHOP = {
    "name": "shop",
    "match": ["shop.*"],
    "model": {"horizon": 5, "quantiles": [0.25, 0.5, 0.75], "seasons": [7]},
    "anomaly": {"threshold": 0.95, "quiet_events": 2},
    "output": {"every": 2, "limits": [{"series": "shop.*", "greatest": 5.0}]},
}
CPU = {"name": "cpu", "match": ["cpu", "shop.x"], "retrain": {"check_events": 7}}
GROUPS = [SHOP, CPU]
NAMES = ("a", "shop.1", "cpu", "shop.2", "b", "shop.x")
OF = {"": {"a", "b"}, "shop": {"shop.1", "shop.2", "shop.x"}, "cpu": {"cpu"}}


def stream(count: int, seed: int = 1) -> list[bytes]:
    """Returns events of all groups in a random order, some missing, late or far away."""
    rng = random.Random(seed)
    found = []
    for step in range(count):
        name = rng.choice(NAMES)
        kind = rng.random()
        value = float("nan") if kind < 0.03 else 40.0 if kind < 0.06 else (step % 7) + rng.random()
        at = max(0, step - 9) if 0.06 <= kind < 0.1 else step
        found.append(event(at, name, None if value != value else value))  # noqa: PLR0124 - nan differs from itself
    return found


EVENTS = stream(300)


def without_network(group: dict[str, Any]) -> dict[str, Any]:
    """Returns a group with the network of the sections, whose kernels are compiled already."""
    return {name: value for name, value in group.items() if name != "model"}


def own_settings(group: dict[str, Any]) -> dict[str, Any]:
    """Returns the sections that a daemon of one group alone has in place of the group."""
    return {name: dict(group[name]) for name in ("model", "anomaly", "retrain", "output") if name in group}


def run(folder: Path, log: MemoryLog, **sections: Any) -> Bench:
    """Runs an engine over a log to its end."""
    bench = Bench(folder, log, sections)
    bench.run()
    return bench


def forecasts_of(log: MemoryLog, series: set[str]) -> list[bytes]:
    """Returns the published forecasts of some series, in order."""
    return [one for one in log.forecasts("0") if orjson.loads(one)["series"] in series]


def alone(folder: Path, group: str, groups: list[dict[str, Any]], script: list[bytes], **sections: Any) -> list[bytes]:
    """Returns the forecasts of a daemon of one group: the same positions, and records of its series only."""
    own = next((one for one in groups if one["name"] == group), {})
    merged = {name: dict(sections.get(name, {})) for name in {*sections, *own_settings(own)}}
    for name, values in own_settings(own).items():
        merged[name] |= values
    where = f"series in {sorted(OF[group])}"
    merged["input"] = merged.get("input", {}) | {"where": where}
    return run(folder, MemoryLog({"0": script}), **merged).log.forecasts("0")


@pytest.mark.parametrize("trained", [False, True])
def test_each_group_as_alone(tmp_path: Path, *, trained: bool) -> None:
    """The forecasts of a group are those of a daemon of its series and settings, byte for byte, trainings included."""
    script = stream(900, 5) if trained else EVENTS
    groups = [without_network(one) for one in GROUPS] if trained else GROUPS
    sections: dict[str, Any] = {"input": {"max_poll_records": 31}}
    if trained:
        sections["retrain"] = {"first_after_events": 130, "every_events": 0}
        sections["train"] = {"k1": 8, "k2": 12, "batch": 8, "max_steps": 4, "evaluate_every": 4, "margin": -1.0}
    together = run(tmp_path / "all", MemoryLog({"0": script}), group=groups, **sections)
    for group, series in OF.items():
        got = forecasts_of(together.log, series)
        assert got == alone(tmp_path / f"only{group}", group, groups, script, **sections), group
        models = {orjson.loads(one)["model"] for one in got}
        assert len(got) > 20
        if trained:
            decisions = together.registry.of_group(group).decisions()
            assert [one.action for one in decisions] == ["initial", "promoted"], group
            assert len(models) == 2
    made = [orjson.loads(one)["source"]["position"] for one in together.log.forecasts("0")]
    assert made == sorted(made)  # in the order of the records


@settings(deadline=None, max_examples=8)
@given(seed=st.integers(0, 1000), batch=st.integers(1, 60), kills=st.lists(st.integers(0, 99), max_size=4))
def test_kills_change_nothing(
    tmp_path_factory: pytest.TempPathFactory, seed: int, batch: int, kills: list[int]
) -> None:
    """However often a daemon with groups is killed, and however it batches, its outputs are the same bytes."""
    events = stream(100, seed)
    groups = [without_network(one) for one in GROUPS]
    sections: dict[str, Any] = {"group": groups, "retrain": {"drift": True, "check_events": 10}}
    expected = run(tmp_path_factory.mktemp("straight"), MemoryLog({"0": events}), **sections).log
    script: list[bytes | Script] = list(events)
    for at in sorted(kills, reverse=True):
        script.insert(at, ABORT_PUBLISH if at % 2 else ABORT_PUBLISHED)
    folder, log = tmp_path_factory.mktemp("killed"), MemoryLog({"0": script})
    for _ in range(len(kills) + 1):
        log.owner = None
        bench = Bench(folder, log, sections | {"input": {"max_poll_records": batch}})
        bench.run()
    assert log.forecasts("0") == expected.forecasts("0")
    assert {(a.group, a.model_sha256) for a in MemoryTransport(log).adoptions("0")} == {
        (a.group, a.model_sha256) for a in MemoryTransport(expected).adoptions("0")
    }


def test_restart_from_snapshots_and_without(tmp_path: Path) -> None:
    """A restart continues from the snapshot of all groups, and a replay without snapshots gives the same bytes."""
    straight = run(tmp_path / "straight", MemoryLog({"0": EVENTS}), group=GROUPS).log
    for keeps in (True, False):
        folder = tmp_path / f"restarted{keeps}"
        log = run(folder, MemoryLog({"0": EVENTS[:150]}), group=GROUPS).log
        if not keeps:
            for path in (folder / "snapshots" / "0").iterdir():
                path.unlink()
        second = run(folder, MemoryLog({"0": EVENTS}, units=log.units), group=GROUPS)
        assert second.sample("replayed_events_total") == (0 if keeps else 150)
        assert second.log.forecasts("0") == straight.forecasts("0")


def test_promotion_in_a_group(tmp_path: Path) -> None:
    """A model promoted in a group is adopted there with its first events, and nowhere else, and replayed."""
    first = run(tmp_path, MemoryLog({"0": EVENTS[:100]}), group=GROUPS)
    registry = first.registry.of_group("shop")
    model = Model.initial(dataclasses.replace(first.config.of_group("shop").library_model(), seed=7))
    registry.promote(registry.add(model))
    second = run(tmp_path, MemoryLog({"0": EVENTS[:200]}, units=first.log.units), group=GROUPS)
    adopted = MemoryTransport(second.log).adoptions("0")
    assert [(one.group, one.model_sha256 == model.sha256) for one in adopted][-1] == ("shop", True)
    assert len(adopted) == 4
    for path in (tmp_path / "snapshots" / "0").iterdir():
        path.unlink()
    units = list(second.log.units)
    third = run(tmp_path, MemoryLog({"0": EVENTS}, units=list(units)), group=GROUPS)
    used = {orjson.loads(one)["model"] for one in forecasts_of(third.log, OF["shop"])}
    assert model.sha256[:12] in used
    assert model.sha256[:12] not in {orjson.loads(one)["model"] for one in forecasts_of(third.log, {"a", "cpu"})}
    fourth = run(tmp_path, MemoryLog({"0": EVENTS[:200]}, units=units), group=GROUPS)
    assert fourth.log.forecasts("0") == second.log.forecasts("0")


def test_groups_of_another_configuration(tmp_path: Path) -> None:
    """After a clean stop the groups may change: series take their history along; a replay with others is refused."""
    first = run(tmp_path, MemoryLog({"0": EVENTS[:150]}))
    second = run(tmp_path, MemoryLog({"0": EVENTS}, units=list(first.log.units)), group=[CPU])
    always = run(tmp_path / "always", MemoryLog({"0": EVENTS}), group=[CPU])
    own = {"cpu", "shop.x"}
    before = len(forecasts_of(first.log, own))
    assert forecasts_of(second.log, own)[before:] == forecasts_of(always.log, own)[before:]
    assert len(forecasts_of(second.log, own)) > before + 20
    ahead = [*first.log.units, *second.log.units[len(first.log.units) :]]
    for path in (tmp_path / "snapshots" / "0").glob("*300*"):
        path.unlink()
    with pytest.raises(SettingsChangedError, match="group"):
        run(tmp_path, MemoryLog({"0": EVENTS}, units=ahead))


def test_another_network_of_a_group(tmp_path: Path) -> None:
    """A group whose configured network is another one adopts it; the forecasts of other groups do not change."""
    first = run(tmp_path, MemoryLog({"0": EVENTS[:50]}), group=GROUPS)
    other = [SHOP | {"model": SHOP["model"] | {"horizon": 4}}, CPU]  # type: ignore[operator]
    second = run(tmp_path, MemoryLog({"0": EVENTS}, units=list(first.log.units)), group=other)
    undisturbed = run(tmp_path / "undisturbed", MemoryLog({"0": EVENTS}), group=GROUPS)
    for group in ("", "cpu"):
        assert forecasts_of(second.log, OF[group]) == forecasts_of(undisturbed.log, OF[group])
    steps = [np.shape(orjson.loads(one)["quantiles"])[0] for one in forecasts_of(second.log, OF["shop"])
             if orjson.loads(one)["status"] == "ok"]  # fmt: skip
    assert steps == sorted(steps, reverse=True)
    assert {*steps} == {5, 4}
    adopted = [one.position for one in MemoryTransport(second.log).adoptions("0") if one.group == "shop"]
    assert len(adopted) == 2
    assert adopted[1] >= 50


def test_metrics_have_the_group(tmp_path: Path) -> None:
    """Counters and gauges of groups have its name; their sums are those of all series."""
    bench = run(tmp_path, MemoryLog({"0": EVENTS}), group=GROUPS)
    statuses = ("ok", "missing", "unknown", "late", "duplicate", "broadcast", "repaired")
    counted = {
        group: sum(bench.sample("events_total", status=status, group=group) for status in statuses)
        for group in ("default", "shop", "cpu")
    }
    assert sum(counted.values()) == len(EVENTS)
    assert counted["cpu"] == sum(orjson.loads(one)["series"] == "cpu" for one in EVENTS)
    assert bench.sample("series", partition="0", group="shop") == 3
    assert bench.sample("adoptions_total", group="shop") == 0
    status = bench.engine.status
    assert status["groups"]["shop"]["series"] == 3
    assert status["partitions"]["0"]["series"] == 6


def test_units_are_whole(tmp_path: Path) -> None:
    """A unit has the forecasts of all groups of its records; listeners learn of the share of each."""
    bench = Bench(tmp_path, MemoryLog({"0": EVENTS}), {"group": GROUPS, "input": {"max_poll_records": 50}})
    shares: list[Unit] = []
    bench.on_unit = shares.append
    bench.run()
    assert len(bench.log.units) == 6
    assert sum(len(unit.forecasts) for unit in shares) == len(bench.log.forecasts("0"))
    assert sum(unit.outcomes.events for unit in bench.log.units) == sum(unit.outcomes.events for unit in shares)


@given(names=st.lists(st.text("abs.*", max_size=4), max_size=6))
def test_first_match_holds(names: list[str]) -> None:
    """A series belongs to the first group of which a pattern matches it, as fnmatch decides."""
    from fnmatch import fnmatchcase

    groups = [
        GroupConfig(name="x", match=("a*", "b")), GroupConfig(name="y", match=("*.*",)),
        GroupConfig(name="z", match=("b*",)),
    ]  # fmt: skip
    expected = [
        next((at for at, one in enumerate(groups, 1) if any(fnmatchcase(name, each) for each in one.match)), 0)
        for name in names
    ]
    assert np.array_equal(Grouping(groups).of(names), np.array(expected, np.int64))


def test_a_default_model_for_the_rest(tmp_path: Path) -> None:
    """Series of no group have the settings of the sections."""
    bench = run(tmp_path, MemoryLog({"0": EVENTS}), group=GROUPS)
    widths = {orjson.loads(one)["series"]: len(orjson.loads(one)["quantiles"] or [0] * 9)
              for one in bench.log.forecasts("0")}  # fmt: skip
    assert widths["a"] == MODEL["horizon"]
    assert widths["shop.1"] == 5


def test_windows_of_groups(tmp_path: Path) -> None:
    """Values of windows go to the group of their name; kills change nothing, and a series is forecast as alone."""
    sections: dict[str, Any] = {
        "aggregate": {"interval": "3m", "functions": ["mean"], "grace": "2m"},
        "group": [{"name": "cpu", "match": ["cpu*"], "retrain": {"check_events": 7}}],
        "retrain": {"drift": True, "check_events": 5},
    }
    straight = run(tmp_path / "straight", MemoryLog({"0": EVENTS}), **sections).log
    script: list[bytes | Script] = [*EVENTS[:90], ABORT_PUBLISHED, *EVENTS[90:170], ABORT_PUBLISH, *EVENTS[170:]]
    log = MemoryLog({"0": script})
    for _ in range(3):
        log.owner = None
        run(tmp_path / "killed", log, **sections, input={"max_poll_records": 11})
    assert log.forecasts("0") == straight.forecasts("0")
    series = {orjson.loads(one)["series"] for one in straight.forecasts("0")}
    own = {name for name in series if name.startswith("cpu")}
    assert own
    assert len(series - own) == 5
    status = run(tmp_path / "straight", MemoryLog({"0": EVENTS}, units=straight.units), **sections).engine.status
    assert status["groups"]["cpu"]["series"] == 1


def test_known_future_values_of_groups(tmp_path: Path) -> None:
    """Known future values are decoded for the longest horizon; a group with a shorter one uses the first of them."""

    def promoted(step: int, name: str) -> bytes:
        ahead = [float((step + ahead) % 5 == 0) for ahead in range(1, 6)]
        return orjson.dumps(orjson.loads(event(step, name)) | {"future": {"promotion": ahead}})

    script = [promoted(step, name) for step in range(30) for name in ("a", "shop.1")]
    sections: dict[str, Any] = {"input": {"future_covariates": ["promotion"]}}
    longer = [{"name": "shop", "match": ["shop.*"], "model": {"horizon": 5}}]
    together = run(tmp_path / "together", MemoryLog({"0": script}), group=longer, **sections).log
    where = {"input": sections["input"] | {"where": "series == 'a'"}}
    only = run(tmp_path / "only", MemoryLog({"0": script}), **where).log
    assert forecasts_of(together, {"a"}) == only.forecasts("0")
    assert len(orjson.loads(together.forecasts("0")[-1])["quantiles"]) == 5


def test_rules_of_a_group_change_while_running(tmp_path: Path) -> None:
    """Rules for anomalies that a group inherits change while the daemon runs; those of its own stay."""
    groups = [{"name": "cpu", "match": ["cpu"]}, {"name": "shop", "match": ["shop.*"], "anomaly": {"threshold": 0.96}}]
    bench = Bench(tmp_path, MemoryLog({"0": EVENTS}), {"group": groups, "input": {"max_poll_records": 50}})
    other = config_of(tmp_path, group=groups, anomaly={"threshold": 0.97}, input={"max_poll_records": 50})

    def change(unit: Unit) -> None:
        if unit.position == 100:
            bench.engine.configure(other)

    bench.on_unit = change
    bench.run()
    (found,) = bench.store.newest_of_all(lambda _: False, "cpu")
    assert found.library["anomaly"]["threshold"] == 0.97
    (found,) = bench.store.newest_of_all(lambda _: False, "shop")
    assert found.library["anomaly"]["threshold"] == 0.96
