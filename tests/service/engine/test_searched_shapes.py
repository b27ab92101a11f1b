"""What `retrain.search` leaves to trainings is as in the champion at a start, until its configuration changes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from parts import TurnedClock, config_of

from forecaster import Model, ModelConfig, same_shape, save_model
from service.engine.champion import Champion
from service.kafka.models import RegistryShelf
from service.monitoring.metrics import Metrics
from service.registry.decisions import Decision, configured_of
from service.registry.models import Registry

ALL = ["head", "hidden_size", "calendar", "layers"]
SMALL: dict[str, Any] = {"hidden_size": 16, "head_size": 16, "horizon": 2, "quantiles": [0.5], "pretrained": False}
VALUES: dict[str, list[Any]] = {
    "head": ["direct", "decoder"], "hidden_size": [16, 32], "calendar": [True, False], "layers": [1, 2]
}  # fmt: skip
SETTING = st.sampled_from([(name, value) for name, values in VALUES.items() for value in values])


def start(folder: Path, search: list[str], **model: Any) -> tuple[Champion, Registry]:
    """A start of the daemon, as far as its champion goes."""
    config = config_of(folder, model=SMALL | model, retrain={"search": search})
    registry = Registry(folder / "models", TurnedClock())
    champion = Champion(config, registry, Metrics())
    champion.first()
    return champion, registry


def network(champion: Champion) -> ModelConfig:
    """The network in force."""
    assert champion.model is not None
    return champion.model.config


def promoted(champion: Champion, registry: Registry, **changes: Any) -> bool:
    """Promotes a network that differs in some settings; returns whether it is in force then."""
    model = Model.initial(replace(network(champion), **changes))
    registry.add(model)
    registry.record(Decision("promoted", model.sha256))
    champion.refresh()
    return champion.model is not None and champion.model.sha256 == model.sha256


@settings(max_examples=30, deadline=None)
@given(
    search=st.lists(st.sampled_from(ALL), unique=True),
    steps=st.lists(st.tuples(st.sampled_from(["start", "configure", "train"]), SETTING), max_size=8),
)
def test_the_last_change_of_a_setting_holds(
    tmp_path_factory: pytest.TempPathFactory, search: list[str], steps: list[tuple[str, tuple[str, Any]]]
) -> None:
    """Of a searched setting, the last of a changed configuration and an adoption; of others, the configuration.

    Restarts change nothing, and neither does a repeated configuration.
    """
    folder = tmp_path_factory.mktemp("searched")
    configured: dict[str, Any] = {"head": "direct", "hidden_size": 16, "calendar": True, "layers": 1}
    expected = dict(configured)
    champion, registry = start(folder, search, **configured)
    for action, (name, value) in steps:
        if action == "train":
            taken = promoted(champion, registry, **{name: value})
            assert taken == (name in search or expected[name] == value)
            if taken:
                expected[name] = value
            continue
        if action == "configure":
            if configured[name] != value:
                expected[name] = value
            configured[name] = value
        champion, registry = start(folder, search, **configured)
        assert {one: getattr(network(champion), one) for one in ALL} == expected
        assert configured_of(registry.decisions()) == configured or not search
        before = len(registry.decisions())
        champion, registry = start(folder, search, **configured)
        assert len(registry.decisions()) == before


def test_without_the_search_the_configuration_holds(tmp_path: Path) -> None:
    """A daemon whose search is turned off goes back to the configured shape, and turned on again keeps it."""
    champion, registry = start(tmp_path, ["hidden_size"])
    assert promoted(champion, registry, hidden_size=32)
    assert network(start(tmp_path, ["hidden_size"])[0]).hidden_size == 32
    off, _ = start(tmp_path, [])
    assert network(off).hidden_size == 16
    assert network(start(tmp_path, ["hidden_size"])[0]).hidden_size == 16


def test_a_registry_of_an_earlier_release(tmp_path: Path) -> None:
    """Where no configuration was recorded, the configured one holds, and is recorded by the first start."""
    model = Model.initial(config_of(tmp_path, model=SMALL | {"hidden_size": 32}).library_model())
    registry = Registry(tmp_path / "models", TurnedClock())
    registry.add(model)
    registry.record(Decision("initial", model.sha256))
    champion, registry = start(tmp_path, ["hidden_size"])
    assert network(champion).hidden_size == 16
    assert promoted(champion, registry, hidden_size=48)
    assert network(start(tmp_path, ["hidden_size"])[0]).hidden_size == 48


def test_what_consumers_rely_on_stays_configured(tmp_path: Path) -> None:
    """Horizon, levels and the sizes that are not searched are refused in another shape, with every setting searched."""
    for changes in ({"horizon": 3}, {"quantiles": (0.4, 0.5)}, {"head_size": 32}, {"cell": "lstm"}):
        champion, registry = start(tmp_path, ALL)
        before = network(champion)
        assert not promoted(champion, registry, hidden_size=32, **changes)
        assert same_shape(network(champion), before)


def test_holidays_keep_the_calendar(tmp_path: Path) -> None:
    """Holidays that are configured need the calendar, which a training had left out."""
    champion, registry = start(tmp_path, ALL)
    assert promoted(champion, registry, calendar=False)
    found = network(start(tmp_path, ALL, holidays="DE")[0])
    assert found.calendar
    assert found.holidays == "DE"


def test_the_recorded_configuration_outlives_older_decisions(tmp_path: Path) -> None:
    """The decision that has it is kept when others are dropped."""
    _, registry = start(tmp_path, ALL)
    start(tmp_path, ALL, hidden_size=32)
    for _ in range(300):
        registry.record(Decision("failed", ""))
    assert registry.shorten(100)
    assert configured_of(registry.decisions())["hidden_size"] == 32


def test_champions_of_other_instances(tmp_path: Path) -> None:
    """A network that another instance found is taken over where this one searches the setting too, else refused."""
    found = Model.initial(replace(config_of(tmp_path, model=SMALL).library_model(), head="decoder", layers=2))
    save_model(tmp_path / "sent", found)
    for search in (["layers", "head"], ["layers"]):
        champion, registry = start(tmp_path / str(len(search)), search)
        shelf = RegistryShelf(registry)
        shelf.add(found.sha256, (tmp_path / "sent").read_bytes())
        shelf.promote(found.sha256, "")
        champion.refresh()
        assert same_shape(network(champion), found.config) == ("head" in search)
        restarted = network(start(tmp_path / str(len(search)), search)[0])
        assert (restarted.head, restarted.layers) == (("decoder", 2) if "head" in search else ("direct", 2))
