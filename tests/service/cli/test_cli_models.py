"""`forecaster models` on a real registry."""

from __future__ import annotations

import json
from dataclasses import fields
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from forecaster import FitReport, Model, ModelConfig
from forecaster.training.compare import Comparison
from service.cli import main
from service.cli._model_text import FIGURES, network_lines
from service.config.sections import Config
from service.registry.decisions import Decision
from service.registry.models import Registry
from service.trainer.job import figures_of


class FakeClock:
    """A clock that advances by one second with each reading."""

    def __init__(self) -> None:
        self.seconds = 1_700_000_000

    def wall_ms(self) -> int:
        """Epoch milliseconds."""
        self.seconds += 1
        return self.seconds * 1000

    def monotonic(self) -> float:
        """Seconds."""
        return float(self.seconds)

    def sleep(self, seconds: float) -> None:
        """Does not wait."""


@pytest.fixture
def shas(tmp_path: Path) -> list[str]:
    """The names of three models of a registry: the first champion, the promoted and the rejected model."""
    registry = Registry(tmp_path / "models", FakeClock())
    made = [Model.initial(ModelConfig(hidden_size=16, head_size=16, horizon=2, seed=seed)) for seed in range(3)]
    first = registry.add(made[0])
    figures = {"challenger_loss": 0.5, "champion_loss": 0.75, "naive_loss": 1.0, "steps": 7}
    second = registry.add(made[1], first, figures)
    third = registry.add(made[2], second, figures)
    registry.record(Decision("initial", first))
    registry.record(Decision("promoted", second, first, "better by 33 %", figures))
    tried = {"head": "decoder", "layers": 1}
    registry.record(Decision("kept", third, second, "not better", figures, tried=tried))
    return [first, second, third]


@pytest.fixture
def run(tmp_path: Path):
    """Runs the command on that registry."""

    def call(*arguments: str) -> Result:
        return CliRunner().invoke(main, ["models", *arguments, "--data-dir", str(tmp_path)])

    return call


def test_list(run, shas: list[str]) -> None:
    """All models are listed, oldest first, with losses; the champion is marked."""
    lines = run("list").output.splitlines()

    assert [line.split()[0] for line in lines[1:]] == [shas[0][:12], "*", shas[2][:12]]
    assert lines[2].split()[1:] == [shas[1][:12], "2023-11-14T22:13:22Z", shas[0][:12], "0.5000", "0.7500", "1.0000"]


def test_list_json(run, shas: list[str]) -> None:
    """`--json` prints one object per line."""
    found = [json.loads(line) for line in run("list", "--json").output.splitlines()]

    assert [model["model"] for model in found] == shas
    assert [model["champion"] for model in found] == [False, True, False]
    assert found[0]["parent"] is None


def test_show(run, shas: list[str]) -> None:
    """A model is shown with origin, figures, decisions and network; the default is the champion."""
    named, champion = run("show", shas[1][:8]), run("show")

    assert named.exit_code == 0
    assert named.output == champion.output
    assert "promoted: better by 33 %" in named.output
    lines = dict(line.split("  ", 1) for line in named.output.splitlines())
    assert lines["held-out loss"].strip() == "0.5"
    assert lines["model.horizon"].strip() == "2"
    assert lines["model.interval"].strip() == "learnt from each series"


def test_every_figure_has_a_name(run, shas: list[str]) -> None:
    """No key of the registry is shown as it is: every figure of a training and of a trial has a name."""
    verdict = Comparison(**{one.name: 1 for one in fields(Comparison)})
    report = FitReport(**{one.name: 1 for one in fields(FitReport)})

    assert set(figures_of(report, verdict)) == set(FIGURES)
    assert set(run("show", shas[1]).output.split()) & {"challenger_loss", "seed", "network.seed"} == set()


def test_settings_have_the_keys_of_the_configuration() -> None:
    """What a network is made of is shown under the keys with which it is configured."""
    network = ModelConfig(covariates=("a",), future_covariates=("a",), seasons=(1440,), profile_steps=3, layers=2)
    shown, known = dict(network_lines(network.to_dict())), Config().model_dump()

    for key in shown:
        section, _, name = key.partition(".")
        assert name in known[section], key
    assert shown["input.future_covariates"] == "a"
    assert shown["state.bytes_per_series"] == "older values kept as means of 3 steps"


def test_show_json(run, shas: list[str]) -> None:
    """`--json` prints the model as one object."""
    found = json.loads(run("show", shas[2], "--json").output)

    assert found["decisions"][0]["action"] == "kept"
    assert found["decisions"][0]["tried"] == {"head": "decoder", "layers": 1}
    assert "also tried" in run("show", shas[2]).output
    assert found["config"]["seed"] == 2


def test_promote_and_rollback(run, shas: list[str]) -> None:
    """A promoted model is the champion; rollback returns to the previous champion, until none is left."""
    assert run("promote", shas[2][:10]).output == f"{shas[2][:12]} is the champion\n"
    assert run("rollback").output == f"{shas[1][:12]} is the champion again\n"
    assert run("rollback").output == f"{shas[0][:12]} is the champion again\n"

    end = run("rollback")
    assert end.exit_code == 1
    assert "no previous champion" in end.output


@pytest.mark.parametrize("arguments", [["show", "ffffffffffff0"], ["promote", "ffffffffffff0"]])
def test_no_such_model(run, shas: list[str], arguments: list[str]) -> None:
    """A name that matches no model ends with status 1 and one line."""
    result = run(*arguments)

    assert result.exit_code == 1
    assert "expected exactly one" in result.output
    assert result.output.count("\n") == 1


def test_groups(run, shas: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With groups the list names the groups of each model, and a group has its own champion and decisions."""
    monkeypatch.setenv("COLUMNS", "160")
    shop = Registry(tmp_path / "models", FakeClock(), "shop")
    shop.record(Decision("initial", shas[0]))
    shop.record(Decision("promoted", shas[2], shas[0]))
    lines = [line.split() for line in run("list").output.splitlines()]

    assert "groups" in lines[0]
    assert [" ".join(line[line[0] == "*" :][3:-3]) for line in lines[1:]] == [
        "default, shop",
        "default*",
        "default, shop*",
    ]
    found = [json.loads(line) for line in run("list", "--json").output.splitlines()]
    assert [one["groups"] for one in found] == [
        {"default": False, "shop": False}, {"default": True}, {"default": False, "shop": True},
    ]  # fmt: skip
    assert json.loads(run("show", "--group", "shop", "--json").output)["model"] == shas[2]
    assert json.loads(run("show", "--group", "default", "--json").output)["model"] == shas[1]
    assert run("rollback", "--group", "shop").output == f"{shas[0][:12]} is the champion again\n"
    assert run("promote", shas[0], "--group", "shop").exit_code == 0
    assert json.loads(run("show", "--json").output)["model"] == shas[1]
    unknown = run("rollback", "--group", "cpu")
    assert unknown.exit_code == 2
    assert "expected one of default, shop" in unknown.output
    assert not (tmp_path / "models" / "groups" / "cpu").exists()


def test_no_registry(run, tmp_path: Path) -> None:
    """A data directory without models ends with status 2 and is not changed."""
    result = run("list")

    assert result.exit_code == 2
    assert str(tmp_path) in result.output
    assert not (tmp_path / "models").exists()
