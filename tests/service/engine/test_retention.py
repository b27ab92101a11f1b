"""Retention of models, decisions and spools."""

from __future__ import annotations

import os
import threading
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from parts import MODEL, Bench, TurnedClock, event

from forecaster import Model, ModelConfig
from service.ports import Adoption, models_from
from service.registry.decisions import Decision, line_of, shortened, standing_of
from service.registry.models import Registry
from service.sources.stdin_spool import Spool
from service.transport.build import build_local
from service.transport.memory import MemoryLog

SECTIONS: dict[str, dict[str, Any]] = {"input": {"max_poll_records": 10}, "state": {"models_kept": 2}}
EVENTS = [event(step, series) for step in range(40) for series in "ab"]
ACTIONS = ("initial", "shadow", "promoted", "kept", "nothing_to_learn", "failed", "confirmed", "restored", "promote",
           "rollback")  # fmt: skip


def model(seed: int) -> Model:
    """Returns a model that depends on the seed."""
    settings: dict[str, Any] = {**MODEL, "quantiles": (0.1, 0.5, 0.9), "seed": seed}
    return Model.initial(ModelConfig(**settings))


@pytest.fixture
def registry(tmp_path: Path) -> Registry:
    """An empty registry."""
    return Registry(tmp_path / "models", TurnedClock())


def filled(registry: Registry, count: int) -> list[str]:
    """Adds this many models, each later than the previous one."""
    found = []
    for seed in range(count):
        registry.clock.sleep(1.0)
        found.append(registry.add(model(seed)))
    return found


def there(registry: Registry) -> set[str]:
    """Returns the models in the folder."""
    return {path.stem for path in registry.folder.glob("*.safetensors")}


class TestModels:
    """Files of models."""

    def test_the_newest_and_the_needed(self, registry: Registry) -> None:
        """The oldest models and their facts are deleted, except for models in use."""
        names = filled(registry, 8)
        gone = registry.prune({names[1]}, 3)

        assert gone == [names[0], names[2], names[3], names[4]]
        assert there(registry) == {names[1], *names[5:]}
        assert {path.stem for path in registry.folder.glob("*.json")} == there(registry)
        assert registry.prune({names[1]}, 3) == []

    def test_champions(self, registry: Registry) -> None:
        """The champion and the rollback target are kept, however old."""
        names = filled(registry, 8)
        registry.record(Decision("initial", names[0]))
        for name in names[1:3]:
            registry.promote(name)
        registry.prune((), 2)

        assert there(registry) == {*names[1:3], *names[6:]}
        assert registry.rollback() == names[1]

    def test_what_is_on_trial(self, registry: Registry) -> None:
        """Challenger and former champion are kept."""
        names = filled(registry, 8)
        registry.record(Decision("initial", names[5]))
        registry.record(Decision("shadow", names[0], names[5]))
        registry.prune((), 2)
        assert names[0] in there(registry)

        registry.record(Decision("promoted", names[0], names[5]))
        registry.record(Decision("kept", names[6], names[0]))
        registry.prune((), 2)
        assert {names[0], names[5]} <= there(registry)

    def test_half_written(self, registry: Registry, tmp_path: Path) -> None:
        """Partial files of a killed process are deleted after an hour; newer ones are kept."""
        filled(registry, 1)
        old, new = registry.folder / "x.7.received", registry.folder / "y.safetensors.tmp"
        for path, age in ((old, 2 * 3600), (new, 60)):
            path.write_bytes(b"half")
            at = registry.clock.wall_ms() / 1000 - age
            os.utime(path, (at, at))
        registry.prune((), 5)

        assert not old.exists()
        assert new.exists()


class TestDecisions:
    """decisions.jsonl."""

    def test_shortened(self, registry: Registry) -> None:
        """The newest decisions stay in the file, and champion, rollback and trial do not change."""
        names = filled(registry, 4)
        registry.record(Decision("initial", names[0]))
        registry.promote(names[1])
        registry.record(Decision("shadow", names[2], names[1], job="early"))
        for number in range(300):
            registry.record(Decision("kept", f"{number:064d}", names[1], job=str(number)))
        before = registry.standing()

        assert registry.shorten(100) == 200
        assert len(registry.decisions()) == 103
        assert registry.standing() == before
        assert registry.champion() == names[1]
        assert registry.decision_of("early") is not None
        assert registry.decision_of("299") is not None
        assert registry.decision_of("100") is None
        assert registry.shorten(100) == 0
        assert registry.rollback() == names[0]

    def test_a_tenth_more(self, registry: Registry) -> None:
        """The file is rewritten only when more than a tenth too long."""
        for number in range(110):
            registry.record(Decision("failed", "", job=str(number)))

        assert registry.shorten(100) == 0
        registry.record(Decision("failed", ""))
        assert registry.shorten(100) == 11

    @given(
        st.lists(st.tuples(st.sampled_from(ACTIONS), st.sampled_from("abcd"), st.sampled_from("abcd")), max_size=40),
        st.integers(0, 40),
        st.integers(0, 20),
    )
    def test_it_says_the_same(self, facts: list[tuple[Any, str, str]], most: int, later: int) -> None:
        """Dropping older decisions changes neither champion, line nor trial, also after further decisions."""
        decisions = [Decision(action, model, parent) for action, model, parent in facts]
        cut = max(0, len(decisions) - later)
        short = shortened(decisions[:cut], most)

        for more in range(cut, len(decisions) + 1):
            whole, part = decisions[:more], [*short, *decisions[cut:more]]
            assert [part[at].model for at in line_of(part)] == [whole[at].model for at in line_of(whole)]
            assert standing_of(part) == standing_of(whole)
        again = shortened(short, most)
        assert [again[at].model for at in line_of(again)] == [short[at].model for at in line_of(short)]
        assert standing_of(again) == standing_of(short)


def test_models_from() -> None:
    """`models_from` returns the models in force at a position or after it."""
    adoptions = [Adoption(10, "a"), Adoption(20, "b"), Adoption(30, "c")]

    assert models_from(adoptions, 0) == {"a", "b", "c"}
    assert models_from(adoptions, 19) == {"a", "b", "c"}
    assert models_from(adoptions, 20) == {"b", "c"}
    assert models_from(adoptions, 99) == {"c"}
    assert models_from([], 0) == set()


class TestEngine:
    """A daemon that promotes models."""

    def promoting(self, folder: Path, earliest: int) -> tuple[Bench, list[str]]:
        """Runs a daemon to 50 that adopts four models, among losing challengers."""
        bench = Bench(folder, MemoryLog({"0": EVENTS[:50]}, earliest={"0": earliest}), SECTIONS)
        adopted: list[str] = []

        def promote(unit: Any) -> None:
            bench.engine._writer.wait()  # else a busy machine skips a snapshot, and an older one needs its model
            if unit.adoption:
                adopted.append(unit.adoption.model_sha256)
            if len(adopted) < 4:
                bench.registry.add(model(100 + unit.position))  # a losing challenger
                bench.clock.now += 1.0
                bench.registry.promote(bench.registry.add(model(unit.position)))
            bench.clock.now += 4000.0

        bench.on_unit = promote
        bench.run()
        return bench, adopted

    def test_a_replay_from_the_first_event(self, tmp_path: Path) -> None:
        """As long as the source holds the events, all models that made their forecasts are kept."""
        bench, adopted = self.promoting(tmp_path, 0)
        for path in (tmp_path / "snapshots" / "0").iterdir():
            path.unlink()
        again = Bench(tmp_path, MemoryLog({"0": EVENTS}, units=bench.log.units), SECTIONS)
        again.run()

        assert len(adopted) >= 4
        assert set(adopted) <= there(bench.registry)
        assert len(there(bench.registry)) < len(adopted) + 4  # most losing challengers are deleted
        assert again.sample("replayed_events_total") == 50

    def test_what_the_source_forgot(self, tmp_path: Path) -> None:
        """Models of events that cannot be replayed are deleted; a restart from a snapshot finds its models."""
        bench, adopted = self.promoting(tmp_path, 0)
        log = MemoryLog({"0": EVENTS}, units=bench.log.units, earliest={"0": 50})
        second = Bench(tmp_path, log, SECTIONS)
        second.run()
        gone = set(adopted) - there(second.registry)
        third = Bench(tmp_path, log, SECTIONS)
        third.run()

        assert adopted[0] in gone
        assert adopted[-1] not in gone
        assert second.store.models() <= there(second.registry)
        assert third.sample("replayed_events_total") == 0


def test_many_short_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The spool of a pipe keeps what the snapshots need, and not a piece of every earlier run."""
    pipe, count = tmp_path / "pipe", []
    os.mkfifo(pipe)
    for number in range(9):
        monkeypatch.setattr(Spool, "_of_process", {})  # another process
        bench = Bench(tmp_path / "data", MemoryLog({}), {"input": {"files": [str(pipe)]}})
        bench.engine._connect = lambda bench=bench: build_local(bench.config)  # type: ignore[misc]
        lines = b"".join(one + b"\n" for one in EVENTS[8 * number : 8 * number + 8])
        writer = threading.Thread(target=pipe.write_bytes, args=(lines,))
        writer.start()
        bench.run()
        writer.join()
        count.append(len(list((tmp_path / "data" / "spool").glob("*/*.jsonl"))))

    assert bench.sample("position", partition=str(pipe)) > 0
    assert max(count) <= 5
    assert count[-1] == count[-2]
