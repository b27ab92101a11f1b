"""`forecaster plan` and `forecaster bench`."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from forecaster import Forecaster, ModelConfig
from service.capacity.bench import Measured
from service.capacity.plan import SHIPPED, Load, forecast_bytes, load_measured, make_plan
from service.cli import main
from service.config.sections import Config

# The pooled network of tests/reference/cases.py: its kernel is compiled for other tests anyway.
SMALL = [f"--set=model.{setting}" for setting in (
    "hidden_size=16", "head_size=16", "horizon=6", "quantiles=[0.1,0.5,0.8,0.95]", "seasons=[5]", "calendar=false",
    "interval=60s", "max_gap=6", "seed=1",
)]  # fmt: skip


def planned(*arguments: str) -> dict[str, float]:
    """Runs `plan` and returns its JSON."""
    done = CliRunner().invoke(main, ["plan", "--json", *arguments])
    assert done.exit_code == 0, done.output
    return dict(json.loads(done.stdout))


def test_defaults_are_those_measured() -> None:
    """The shipped measurements are of the default network of the daemon."""
    assert ModelConfig.from_dict(SHIPPED.model) == Config.model_validate({}).library_model()


def test_bytes_are_those_of_the_library() -> None:
    """State bytes follow from the size of the library's arrays and the number of series."""
    config = ModelConfig(hidden_size=64, seasons=(48, 336), interval_ms=1_800_000)
    plan = planned("--series", "1000", "--rate", "10", "--season=1d", "--season=7d", "--interval=30m",
                   "--set=model.hidden_size=64")  # fmt: skip

    real = Forecaster(config, max_series=1, history_events=0).bytes_per_series
    assert plan["bytes_per_series"] == real + 200
    assert plan["state_bytes"] == 1000 * plan["bytes_per_series"]
    assert plan["output_bytes_per_day"] == 864_000 * forecast_bytes(config)


def test_more_work_takes_more() -> None:
    """Cores grow with the rate, time per event with the network, disk with the horizon."""
    little, much = planned("--series=10", "--rate=100"), planned("--series=10", "--rate=1000000")
    wide = planned("--series=10", "--rate=100", "--horizon=96", "--set=model.hidden_size=128")

    assert little["cores"] == 2
    assert much["cores"] > 10
    assert much["partitions"] == much["cores"] - 1
    assert wide["microseconds_per_event"] > 2 * little["microseconds_per_event"]
    assert wide["output_bytes_per_day"] > 3 * little["output_bytes_per_day"]


def test_own_measurements(tmp_path: Path) -> None:
    """Measurements of another machine change the times, and the plan names the machine."""
    model = ModelConfig()
    twice = Measured("mine", model.to_dict(), SHIPPED.operations, 1, 1, 1, 2 * SHIPPED.observe_us, 0, 1,
                     2 * SHIPPED.pipeline_us)  # fmt: skip
    (tmp_path / "machine.json").write_bytes(twice.to_json())
    load = Load(10, 100.0, model, 1000, 3, 100)

    plan = make_plan(load, load_measured((tmp_path / "machine.json").read_bytes()))

    assert plan.measured_on == "mine"
    assert plan.microseconds_per_event == pytest.approx(2 * make_plan(load, SHIPPED).microseconds_per_event)


def test_mistakes(tmp_path: Path) -> None:
    """A file that is no measurement is refused with what is expected, and a load of zero is refused."""
    (tmp_path / "other.json").write_text("{}")
    done = CliRunner().invoke(main, ["plan", "--series=1", "--rate=1", f"--measured={tmp_path / 'other.json'}"])
    assert (done.exit_code, "bench --save" in done.output) == (2, True)
    assert CliRunner().invoke(main, ["plan", "--series=0", "--rate=1"]).exit_code == 2
    assert CliRunner().invoke(main, ["plan", "--series=1", "--rate=0"]).exit_code == 2


def test_series_limit_is_noticed() -> None:
    """A number of series above state.max_series is reported."""
    done = CliRunner().invoke(main, ["plan", "--series=200000", "--rate=1"])
    assert "state.max_series is 100,000" in done.stderr


@pytest.mark.slow
def test_bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every figure is measured and positive, and `plan` accepts the file."""
    monkeypatch.setattr("service.capacity.bench.pin", lambda: None)  # the other tests of this process keep their cores
    file = tmp_path / "machine.json"
    done = CliRunner().invoke(main, ["bench", "--seconds=0.01", "--events=3000", f"--save={file}", *SMALL])

    assert done.exit_code == 0, done.output
    assert "events/s" in done.stdout
    found = load_measured(file.read_bytes())
    for name in ("peak_gflops", "step_ns", "step_share", "observe_us", "single_us", "pipeline_us"):
        assert getattr(found, name) > 0, name
    assert planned("--series=5", "--rate=1", f"--measured={file}", *SMALL)["microseconds_per_event"] > 0
