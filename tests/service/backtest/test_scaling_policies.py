"""`forecaster backtest --scale`: costs of scaling policies against their definitions."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
from click.testing import CliRunner, Result

from forecaster import Backtest, Forecaster, ModelConfig
from service.backtest.events import EventTable
from service.backtest.scaling import PolicyComparison, compare, table
from service.cli import main
from service.config.scale_rules import ScaleRule

HOUR = 3_600_000
WEEK = 168
SMALL = ModelConfig(
    cell="gru", hidden_size=16, head_size=16, horizon=6, quantiles=(0.1, 0.5, 0.8, 0.95), seasons=(), calendar=False,
    max_gap=6,
)  # fmt: skip
SETTINGS = {
    "model.hidden_size": "16", "model.head_size": "16", "model.horizon": "6", "model.seasons": "24",
    "model.quantiles": "0.1,0.5,0.8,0.95", "model.calendar": "false", "model.max_gap": "6", "retrain.every_events": "0",
}  # fmt: skip


def compared(y: np.ndarray, upper: np.ndarray, **settings: object) -> PolicyComparison:
    """Compares the policies on hourly loads; `upper` (n, 6) is the 0.95 quantile of the forecasts."""
    n = len(y)
    times = 1_600_000_000_000 + np.arange(n) * HOUR
    events = EventTable(["load"], np.zeros(n, np.int64), times, y, None, 0, None)
    quantiles = upper[:, :, None] * np.array([0.7, 0.8, 0.9, 1.0])
    result = Backtest(
        np.arange(n), quantiles, np.full(n, HOUR), np.zeros(n, np.int16), [],
        Forecaster(SMALL, max_series=1, history_events=0),
    )  # fmt: skip
    given = {"name": "web", "series": "load", "lead": "2h", "capacity": 1.0, "hold": "0", **settings}
    return compare(ScaleRule.model_validate(given), events, result)


def future(y: np.ndarray) -> np.ndarray:
    """Returns the values of the six steps after each event, those beyond the end 0."""
    padded = np.append(y, np.zeros(6))
    return np.stack([padded[1 + step : 1 + step + len(y)] for step in range(6)], axis=1)


def day(n: int = 500) -> np.ndarray:
    """Returns hourly loads with a day, none of them a whole number."""
    return np.round(10.0 + 5.0 * np.sin(np.arange(n) * math.pi / 12), 3) + 0.0005


def test_costs_by_definition() -> None:
    """Pod-hours and short events equal a naive replay over all earlier events."""
    random = np.random.RandomState(3)
    y = day(400) + random.normal(0, 1, 400)
    upper = future(y) + random.normal(0, 1, (400, 6))
    found = compared(y, upper, hold="3h")
    wishes = {
        "reactive": y,
        "last week": [max([y[at], *y[max(0, at - WEEK) : max(0, at - WEEK + 3)]]) for at in range(400)],
        "forecast": upper[:, :2].max(axis=1),
    }
    for name, loads in wishes.items():
        needed = [min(100, max(1, math.ceil(load))) for load in loads]
        requests = [max(needed[max(0, at - 2) : at + 1]) for at in range(400)]
        counted = range(120, 400)
        assert found.plain[name].pod_hours == sum(requests[at - 1] for at in counted)
        assert found.plain[name].short == sum(y[at] > min(requests[at - 2 : at]) for at in counted)


def test_equal_risk() -> None:
    """With the factor no policy is short more often than the forecast, and with a little less it is."""
    random = np.random.RandomState(4)
    y = day() + random.normal(0, 0.5, 500)
    found = compared(y, future(y) + random.normal(0.5, 0.5, (500, 6)))
    ours = found.plain["forecast"]
    for name in ("reactive", "last week"):
        equal = found.equal[name]
        assert equal is not None
        assert equal.short <= ours.short < found.plain[name].short
        assert equal.pod_hours > found.plain[name].pod_hours
    assert found.equal["forecast"] == ours


def test_known_loads_cost_least() -> None:
    """A forecast that is exact is never short, and costs less than both others at equal risk."""
    y = day()
    found = compared(y, future(y))
    assert found.plain["forecast"].short == 0
    for name in ("reactive", "last week"):
        equal = found.equal[name]
        assert equal is not None
        assert equal.pod_hours >= found.plain["forecast"].pod_hours
    assert found.equal["reactive"].pod_hours > 1.05 * found.plain["forecast"].pod_hours  # type: ignore[union-attr]
    share = 1 - found.plain["forecast"].pod_hours / found.equal["reactive"].pod_hours  # type: ignore[union-attr]
    assert f"at equal risk: {share:.1%} fewer than reactive, " in table([found])


def test_no_factor_suffices() -> None:
    """A policy that cannot reach the risk has no cost at it."""
    y = np.where(np.arange(500) % 25 == 0, 50.0, 0.0)  # a peak from nothing, which no week before it has in its place
    found = compared(y, future(y), least=0)
    assert found.plain["forecast"].short == 0
    assert found.equal["reactive"] is None
    assert found.to_json()["policies"]["reactive"]["pod_hours_at_equal_risk"] is None
    assert "than reactive" not in table([found])


def run(folder: Path, *options: str) -> Result:
    """Runs the command over two weeks of an hourly load."""
    lines = ["series,timestamp,value"]
    for hour, load in enumerate(day(340).tolist()):
        time = f"2026-01-{1 + hour // 24:02d}T{hour % 24:02d}:00:00Z"
        lines += [f"load,{time},{load + hour * 37 % 11 / 10:.3f}", f"other,{time},1"]
    (folder / "load.csv").write_text("\n".join(lines) + "\n")
    settings = [part for one in SETTINGS.items() for part in ("--set", "=".join(one))]
    command = ["backtest", str(folder / "load.csv"), *settings, "--interval", "1h", *options]
    return CliRunner().invoke(main, command)


def test_command(tmp_path: Path) -> None:
    """The table has a line per policy, and `--json` the same; a load that is not in the file is refused."""
    file = tmp_path / "scale.toml"
    text = '[[scale]]\nname = "web"\nseries = "load"\ncapacity = 1\nlead = "2h"\n'
    file.write_text(text)
    done = run(tmp_path, "--scale", str(file))
    assert done.exit_code == 0, done.output
    lines = done.stdout.splitlines()
    assert lines[0].startswith("web: 238 loads of load every 1h, lead 2h, quantile 0.95, capacity 1")
    assert [line.split("  ")[0] for line in lines[2:5]] == ["reactive", "last week", "forecast"]
    assert lines[5].startswith("pod-hours of the forecast at equal risk: ")
    (one,) = json.loads(run(tmp_path, "--scale", str(file), "--json").stdout)["scales"]
    assert (one["scale"], one["events"], one["interval_ms"]) == ("web", 238, HOUR)
    assert f"{one['policies']['forecast']['pod_hours']:,.1f}" in lines[4]
    assert one["policies"]["forecast"]["factor"] == 1.0

    for changed, expected in (
        (text.replace("series = ", "series = 'x' #"), "scale.series: got 'x', expected one of the 2 series"),
        (text.replace("2h", "8h"), 'scale.lead: got "8h" for web, expected at most "6h" (model.horizon = 6 steps)'),
    ):
        file.write_text(changed)
        refused = run(tmp_path, "--scale", str(file))
        assert refused.exit_code != 0
        assert expected in str(refused.exception) + refused.output
