"""Monthly, quarterly, yearly and month-end data through the daemon: forecasts are joined with their actuals."""

from __future__ import annotations

import csv
import sqlite3
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pandas as pd
import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st
from parts import MODEL as SETTINGS

from forecaster import Batch, Forecaster, ModelConfig, Status, calendar_months
from forecaster.config import MONTH_MS
from service.backtest.events import read_events
from service.backtest.grids import grids
from service.backtest.run import model_config
from service.cli import main
from service.config.durations import MONTH_SECONDS, format_months, parse_months
from service.config.input import InputConfig
from service.config.load import load_config
from service.config.monitoring import Threshold
from service.config.sections import Config
from service.errors import ConfigurationError
from service.http import views
from service.messages.decode import Decoder
from service.messages.encode import encode
from service.monitoring.exported_series import Shown, breach
from service.ports import Records
from service.recent import RecentStore
from service.trainer.season_check import check_seasons

KINDS = {"month": "MS", "month end": "ME", "quarter": "QS", "quarter end": "QE", "year": "YS", "year end": "YE"}
STEPS, HORIZON = 30, 3
MODEL = SETTINGS | {"quantiles": (0.1, 0.5, 0.9)}
SMALL = ["--horizon", str(HORIZON), "--set", "model.hidden_size=16", "--set", "model.head_size=16",
         "--set", "model.quantiles=0.1,0.5,0.9"]  # fmt: skip


def dates(kind: str, count: int = STEPS) -> list[str]:
    """Returns the dates of a series."""
    return [time.strftime("%Y-%m-%d") for time in pd.date_range("1995-01-01", periods=count, freq=KINDS[kind])]


def write(path: Path, kinds: list[str]) -> None:
    """Writes a file of these series in time order."""
    rows = sorted((date, kind, i % 12 + 0.5 * (i % 5)) for kind in kinds for i, date in enumerate(dates(kind)))
    path.write_text("series,timestamp,value\n" + "".join(f"{kind},{date},{y}\n" for date, kind, y in rows))


@pytest.mark.parametrize(("interval", "kinds"), [("auto", list(KINDS)), ("1mo", ["month", "month end"])])
def test_joins_are_complete(tmp_path: Path, interval: str, kinds: list[str]) -> None:
    """In the output file every forecast step whose actual is in the input has the time of this actual.

    Only the first forecast of a series has no target times, where the interval is learnt.
    """
    write(tmp_path / "events.csv", kinds)
    command = ["run", "--port", "0", "--data-dir", str(tmp_path / "data"), "--input", str(tmp_path / "events.csv")]
    result = CliRunner().invoke(main, [*command, *SMALL, "--interval", interval])
    assert result.exit_code == 0, result.output

    database = sqlite3.connect(tmp_path / "data" / "forecasts.sqlite")
    database.execute("CREATE TEMP TABLE actuals (series TEXT, target TEXT, value REAL)")
    with (tmp_path / "events.csv").open() as file:
        actuals = [(row["series"], row["timestamp"] + "T00:00:00.000Z", row["value"]) for row in csv.DictReader(file)]
    database.executemany("INSERT INTO actuals VALUES (?, ?, ?)", actuals)
    query = "SELECT series, step, count(*) FROM steps JOIN actuals USING (series, target) GROUP BY 1, 2 ORDER BY 1, 2"
    joined = database.execute(query).fetchall()
    unknown = interval == "auto"
    assert joined == [(kind, k, STEPS - k - unknown) for kind in sorted(kinds) for k in range(1, HORIZON + 1)]
    database.close()


def monthly(kind: str = "month end", timezone: str = "UTC", **model: Any) -> tuple[Forecaster, Any, Any]:
    """Returns a forecaster, decoded events and their forecasts."""
    lines = [
        orjson.dumps({"series": kind, "timestamp": date + "T00:00:00Z", "value": i % 12})
        for i, date in enumerate(dates(kind))
    ]
    decoded = Decoder(InputConfig()).decode(Records("p", range(len(lines)), len(lines), lines))
    forecaster = Forecaster(ModelConfig(**(MODEL | {"timezone": timezone} | model)), max_series=2, history_events=99)
    return forecaster, decoded, forecaster.observe(decoded.batch)


def test_forecasts_name_their_targets() -> None:
    """A forecast by months has its interval and target times; one without a known interval has neither field."""
    _, decoded, forecasts = monthly("quarter end")
    out = encode(decoded, forecasts, partition="p", levels=(0.1, 0.5, 0.9), model_sha256="ab" * 32).forecasts
    found = [orjson.loads(one) for one in out]

    assert "interval" not in found[0]
    assert found[5]["interval"] == "3mo"
    assert found[5]["targets"] == [f"{date}T00:00:00.000Z" for date in dates("quarter end")[6:9]]
    assert list(found[5])[:5] == ["series", "origin", "interval_ms", "interval", "targets"]


def test_the_interface_names_the_targets() -> None:
    """The newest forecast of the API has the time of each step, for months and for fixed intervals."""
    forecaster, decoded, forecasts = monthly()
    live = RecentStore(4, 16)
    live.serve({"p": {"": forecaster}})
    live.record("p", decoded, forecasts, forecaster)
    found = views.forecast(live, "month end", "p").forecast
    assert found is not None
    assert found.interval == "1mo"
    ahead = pd.DatetimeIndex(dates("month end", STEPS + HORIZON)[STEPS:]).to_numpy().astype("M8[ms]").astype(np.int64)
    assert found.targets_ms == ahead.tolist()

    assert views.steps_ahead(1000, 10, 0, 3, "UTC") == {"interval": None, "targets_ms": [1010, 1020, 1030]}
    assert views.steps_ahead(1000, 0, 0, 3, "UTC") == {"interval": None, "targets_ms": []}


def test_thresholds_count_days_of_months() -> None:
    """A threshold crossed two steps after the end of January is crossed within 59 days, and not within 58."""
    quantiles = np.array([[-1.0, 0.0, 1.0], [9.0, 10.0, 11.0]], np.float32)
    _, _, forecasts = monthly()
    origin, code = int(forecasts.origin_ms[24]), int(forecasts.calendar[24])
    assert pd.Timestamp(origin, unit="ms") == pd.Timestamp("1997-01-31")
    row = Shown("p", "a", origin, 0.0, 0.0, 31 * 86_400_000, quantiles, (0.1, 0.5, 0.9), code)
    within = {days: breach(row, Threshold(series="a", above=5.0, within=days * 86_400)) for days in (58, 59)}
    assert within[58][0] < 0.01
    assert within[59][0] > 0.99
    assert within[59][1] == pytest.approx(59 * 86_400, rel=0.01)


class TestConfiguration:
    """The setting `model.interval`."""

    @pytest.mark.parametrize(
        ("text", "months", "shown"),
        [("1mo", 1, "1mo"), ("1q", 3, "3mo"), ("3mo", 3, "3mo"), ("12mo", 12, "1y"), ("1y", 12, "1y")],
    )  # fmt: skip
    def test_months(self, text: str, months: int, shown: str) -> None:
        """Months, quarters and years are accepted; the interval in milliseconds counts mean months."""
        config = load_config(None, {"model.interval": text})
        assert config.model.interval == shown
        library = config.library_model()
        assert (library.interval_months, library.interval_ms) == (months, months * MONTH_MS)
        assert Config.model_validate(config.model_dump(mode="json")) == config

    @pytest.mark.parametrize("text", ["0mo", "13mo", "2y", "1 month", "1mon", "1M", "1.5mo"])
    def test_others(self, text: str) -> None:
        """Any other calendar step is refused with a valid example."""
        with pytest.raises(ConfigurationError, match=r'model\.interval: got .*"1mo"'):
            load_config(None, {"model.interval": text})

    def test_minutes_are_not_months(self) -> None:
        """The unit `m` means minutes."""
        assert load_config(None, {"model.interval": "1m"}).library_model().interval_ms == 60_000
        assert load_config(None, {"model.interval": "1m"}).library_model().interval_months == 0

    def test_seasons(self) -> None:
        """A season may be a year where steps are months."""
        seasons = {text: load_config(None, {"model.interval": text, "model.seasons": "1y"}).library_model().seasons
                   for text in ("1mo", "1q")}  # fmt: skip
        assert seasons == {"1mo": (12,), "1q": (4,)}
        with pytest.raises(ConfigurationError, match=r'"1q" is not a whole number of intervals of 2mo'):
            load_config(None, {"model.interval": "2mo", "model.seasons": "1q"})

    @given(st.integers(1, 12))
    def test_round_trip(self, months: int) -> None:
        """Formatted steps are parsed back; the mean month equals the library's."""
        assert parse_months(format_months(months)) == months
        assert MONTH_SECONDS * 1000 == MONTH_MS


class TestHistories:
    """Seasons and backtests of calendar steps."""

    def test_seasons_of_a_history(self) -> None:
        """In twelve years of months of 28 to 31 days the season of twelve steps is detected."""
        times = pd.date_range("2000-01-31", periods=144, freq="ME").to_numpy().astype("M8[ms]").astype(np.int64)
        noise = np.random.default_rng(0).normal(0, 0.3, 144)
        forecaster = Forecaster(ModelConfig(**MODEL), max_series=2, history_events=200)
        out = forecaster.observe(Batch(["a"] * 144, times, 5 * np.sin(np.arange(144) * np.pi / 6) + noise))
        assert (out.status == Status.OK).all()
        assert calendar_months(int(out.calendar[-1])) == 1
        assert check_seasons(forecaster.history(), forecaster.config).shown == (12,)

    @pytest.mark.parametrize(
        ("kind", "months", "seasons"), [("month end", 1, (12,)), ("quarter", 3, (4,)), ("year", 12, ())]
    )
    def test_backtest(self, tmp_path: Path, kind: str, months: int, seasons: tuple[int, ...]) -> None:
        """The network of a backtest has steps of months, and its targets are the following events."""
        write(tmp_path / "events.csv", [kind])
        events = read_events(tmp_path / "events.csv", InputConfig())
        wanted = np.arange(len(events)) >= 20
        found = model_config(load_config(None, {"model.horizon": HORIZON}), events, 20)
        assert (found.interval_months, found.seasons) == (months, seasons)

        kept = np.flatnonzero(wanted)
        (grid,) = grids(events, kept, np.full(len(kept), found.interval_ms), found.seasons, found.interval_months)
        assert len(grid.y) == STEPS
        np.testing.assert_array_equal(grid.y, events.value)
        np.testing.assert_array_equal(grid.targets(HORIZON)[0], events.value[21:24])
