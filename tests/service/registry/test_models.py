"""The registry: decisions are authoritative, the champion file follows, a crash between the two is repaired."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
from parts import MODEL, TurnedClock

from forecaster import CheckpointError, Model, ModelConfig
from service.lifecycle import SystemClock
from service.registry.decisions import Decision
from service.registry.models import Registry, RegistryError


def model(seed: int) -> Model:
    """Returns a model that differs by seed."""
    return Model.initial(ModelConfig(**{**MODEL, "quantiles": (0.1, 0.5, 0.9), "seed": seed}))


@pytest.fixture
def registry(tmp_path: Path) -> Registry:
    """An empty registry."""
    return Registry(tmp_path / "models", TurnedClock())


@pytest.fixture
def three(registry: Registry) -> list[str]:
    """Three models that became champions one after the other."""
    names = [registry.add(model(seed)) for seed in range(3)]
    registry.record(Decision("initial", names[0]))
    registry.record(Decision("promoted", names[1], names[0], figures={"champion_loss": 2.0}))
    registry.promote(names[2])
    return names


class TestModels:
    """Files of models."""

    def test_round_trip(self, registry: Registry) -> None:
        """An added model is loaded with the same bits, and is not champion."""
        added = model(1)
        loaded = registry.load(registry.add(added, "parent", {"loss": 1.5}))

        assert loaded.params.tobytes() == added.params.tobytes()
        assert registry.champion() is None
        assert [(e.parent, e.figures) for e in registry.entries()] == [("parent", {"loss": 1.5})]

    def test_unknown(self, registry: Registry) -> None:
        """An unknown model is refused by name."""
        with pytest.raises(RegistryError, match="has no model abababababab"):
            registry.load("ab" * 32)

    @pytest.mark.parametrize("name", ["", "champion", "../../etc/passwd", "AB" * 32])
    def test_not_a_sha256(self, registry: Registry, name: str) -> None:
        """Only a sha256 becomes a path."""
        with pytest.raises(RegistryError, match="expected a sha256"):
            registry.load(name)

    def test_damaged(self, registry: Registry) -> None:
        """A damaged file is refused, and promoting it leaves the champion."""
        good, bad = (registry.add(model(seed)) for seed in (1, 2))
        registry.promote(good)
        path = registry.folder / f"{bad}.safetensors"
        path.write_bytes(path.read_bytes()[:-4])

        with pytest.raises(CheckpointError):
            registry.promote(bad)
        assert registry.champion() == good

    def test_renamed(self, registry: Registry) -> None:
        """A file with another model than its name states is refused."""
        first, second = (registry.add(model(seed)) for seed in (1, 2))
        (registry.folder / f"{first}.safetensors").replace(registry.folder / f"{second}.safetensors")

        with pytest.raises(RegistryError, match="as in the file name"):
            registry.load(second)

    def test_resolve(self, registry: Registry, three: list[str]) -> None:
        """A prefix of exactly one sha256 resolves to that model; an unknown or empty prefix is refused."""
        assert registry.resolve(three[0][:12]) == three[0]
        assert registry.resolve("champion") == three[2]
        for name in ("zz", ""):
            with pytest.raises(RegistryError, match="none; expected exactly one"):
                registry.resolve(name)


class TestDecisions:
    """Decisions and the champion."""

    def test_line(self, registry: Registry, three: list[str]) -> None:
        """Decisions are kept in order with their figures; kept and failed trainings change no champion."""
        registry.record(Decision("kept", three[0], three[2]))
        registry.record(Decision("failed", "", three[2]))

        assert [d.action for d in registry.decisions()] == ["initial", "promoted", "promote", "kept", "failed"]
        assert registry.decisions()[1].figures == {"champion_loss": 2.0}
        assert registry.champion() == three[2]

    def test_trainings_without_a_model_end_no_trial(self, registry: Registry, three: list[str]) -> None:
        """A challenger on trial stays when a later training fails or has nothing to learn."""
        registry.record(Decision("shadow", three[0], three[2]))
        for action in ("nothing_to_learn", "failed"):
            registry.record(Decision(action, "", three[2]))
            assert registry.standing().challenger == three[0]
            assert registry.champion() == three[2]

    def test_rollback_goes_further_back(self, registry: Registry, three: list[str]) -> None:
        """Each rollback restores the previous champion, down to the first, then refuses."""
        assert [registry.rollback(), registry.rollback()] == [three[1], three[0]]
        assert registry.champion() == three[0]
        with pytest.raises(RegistryError, match="no previous champion"):
            registry.rollback()

    def test_rollback_after_promotion(self, registry: Registry, three: list[str]) -> None:
        """After a rollback and another promotion, a rollback restores the champion in between."""
        registry.rollback()
        fourth = registry.add(model(9))
        registry.promote(fourth)

        assert registry.rollback() == three[1]

    def test_job(self, registry: Registry, three: list[str]) -> None:
        """A decision is found by its job, and an empty or unknown job has none."""
        registry.record(Decision("kept", three[0], three[2], job="j1"))

        found = registry.decision_of("j1")
        assert found is not None
        assert found.action == "kept"
        assert registry.decision_of("") is None
        assert registry.decision_of("j2") is None

    def test_read_when_they_change(self, registry: Registry, three: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
        """The decisions file is read once per change, by any process, however often it is queried."""
        found, read = list[Path](), Path.read_bytes
        monkeypatch.setattr(Path, "read_bytes", lambda path: (found.append(path), read(path))[1])
        other = Registry(registry.folder, SystemClock())
        for turn in range(3):
            registry.record(Decision("kept", three[0], three[2], job=f"j{turn}"))
            found.clear()
            assert [other.decisions()[-1].job for _ in range(5)] == [f"j{turn}"] * 5
            assert len(found) == 1
        other.decisions().clear()
        assert len(other.decisions()) == 6


class TestCrash:
    """Recovery after a crash."""

    def test_between_decision_and_champion(self, registry: Registry, three: list[str]) -> None:
        """The champion file is updated to the last decision."""
        (registry.folder / "champion").write_text(three[0] + "\n")
        registry.recover()

        assert registry.champion() == three[2]

    def test_no_champion_file(self, registry: Registry, three: list[str]) -> None:
        """A lost champion file is restored from the decisions; an empty registry needs no repair."""
        (registry.folder / "champion").unlink()
        registry.recover()
        assert registry.champion() == three[2]

        empty = Registry(registry.folder.parent / "empty", TurnedClock())
        empty.recover()
        assert empty.champion() is None

    def test_torn_champion_file(self, registry: Registry, three: list[str]) -> None:
        """A champion file without a valid sha256 is ignored."""
        (registry.folder / "champion").write_text(three[0][:30])

        assert registry.champion() == three[2]

    @pytest.mark.parametrize("left", [1, 20, 100])
    def test_torn_line(self, registry: Registry, three: list[str], left: int) -> None:
        """A decision cut short by a crash is dropped, and the next one is complete."""
        path = registry.folder / "decisions.jsonl"
        lines = path.read_bytes().splitlines(keepends=True)
        path.write_bytes(b"".join(lines[:2]) + lines[2][:left])
        registry.recover()
        assert registry.champion() == three[1]

        registry.record(dataclasses.replace(registry.decisions()[0], model=three[0], action="promote"))
        assert [d.model for d in registry.decisions()] == [three[0], three[1], three[0]]
