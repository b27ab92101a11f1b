"""`forecaster.read`: any form of a table gives the same observations, and their forecasts are those of the command."""

from __future__ import annotations

import gzip
import json
from importlib.metadata import EntryPoint
from pathlib import Path

import matplotlib as mpl
import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from click.testing import CliRunner
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pyarrow import feather, parquet

from forecaster import BatchError, MissingExtraError
from forecaster.interop import reading
from service.cli import main
from service.notebook.observations import Observations, read_source

ROOT = Path(__file__).parents[3]
FRAMES = {
    "pandas": lambda frame: frame,
    "pandas, indexed": lambda frame: frame.set_index("when"),
    "polars": pl.from_pandas,
    "polars, lazy": lambda frame: pl.from_pandas(frame).lazy(),
    "arrow": pa.Table.from_pandas,
    "arrow, batch": lambda frame: pa.RecordBatch.from_pandas(frame, preserve_index=False),
}
ROW = st.tuples(
    st.sampled_from(["north", "south", 'é, "quoted"']),
    st.integers(0, 400),
    st.none() | st.integers(-4000, 4000).map(lambda n: n / 8),
)


def frame_of(rows: list[tuple[str, int, float | None]]) -> pd.DataFrame:
    """Returns rows as a frame, with one row per series and hour."""
    rows = list({row[:2]: row for row in rows}.values())
    start = pd.Timestamp("2026-01-05")
    return pd.DataFrame(
        {
            "shop": [name for name, _, _ in rows],
            "when": [start + pd.Timedelta(hours=hour) for _, hour, _ in rows],
            "sold": [np.nan if value is None else value for _, _, value in rows],
        }
    )


def days(count: int = 10) -> pd.DataFrame:
    """Returns two series of hours."""
    hours, rng = np.arange(24 * count), np.random.default_rng(4)
    wave = 100 + 30 * np.sin(2 * np.pi * hours / 24)
    return frame_of(
        [
            (name, int(hour), float(round(wave[hour] + rng.normal(0, 3), 1)))
            for hour in hours
            for name in ("north", "south")
        ]
    )


def write(frame: pd.DataFrame, folder: Path) -> dict[str, Path]:
    """Writes a frame in every form of a file."""
    paths = {name: folder / f"table.{name}" for name in ("csv", "csv.gz", "jsonl", "parquet", "arrow", "feather")}
    text = frame.to_csv(index=False, date_format="%Y-%m-%dT%H:%M:%SZ")
    paths["csv"].write_text(text)
    paths["csv.gz"].write_bytes(gzip.compress(text.encode()))
    frame.to_json(paths["jsonl"], orient="records", lines=True, date_format="iso", date_unit="s")
    table = pa.Table.from_pandas(frame, preserve_index=False)
    parquet.write_table(table, paths["parquet"])
    feather.write_feather(table, paths["feather"])
    with pa.ipc.new_file(paths["arrow"], table.schema) as file:
        file.write_table(table)
    return paths


def same(one: Observations, other: Observations) -> bool:
    """Returns whether two have the same batch, bit for bit."""
    a, b = one.batch, other.batch
    return (
        list(a.series) == list(b.series)
        and a.timestamp_ms.tobytes() == b.timestamp_ms.tobytes()
        and np.array_equal(a.value, b.value, equal_nan=True)
    )


class TestForms:
    """One table in many forms."""

    @settings(
        max_examples=6, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture]
    )
    @given(rows=st.lists(ROW, min_size=2, max_size=80))
    def test_are_equal(self, tmp_path: Path, rows: list[tuple[str, int, float | None]]) -> None:
        """Frames, Arrow tables and files of the same rows, with missing values, in any order, give the same batch."""
        frame, named = frame_of(rows), {"series": "shop", "timestamp": "when", "value": "sold"}
        first = read_source(frame, **named)
        assert len(first) == len(frame)
        assert first.rejects == 0
        for name, make in FRAMES.items():
            assert same(read_source(make(frame), **named), first), name
        for name, path in write(frame, tmp_path).items():
            assert same(read_source(path, **named), first), name

    def test_fields_are_chosen(self, tmp_path: Path) -> None:
        """Without names every form is understood alike: the same fields, for the reasons that `inspect` gives."""
        frame = days(3)
        first = read_source(frame)
        assert first.series == ["north", "south"]
        for form in (*(make(frame) for make in FRAMES.values()), *map(str, write(frame, tmp_path).values())):
            found = read_source(form)
            assert same(found, first)
            assert {part: found.reasons[part] for part in ("values", "series")} == {
                "values": "sold, the only numeric field", "series": "shop, with which every time occurs once"
            }  # fmt: skip
        shown = json.loads(CliRunner().invoke(main, ["inspect", str(tmp_path / "table.csv"), "--json"]).stdout)
        assert shown["reasons"] == dict(read_source(tmp_path / "table.csv").reasons)

    def test_wide(self) -> None:
        """A column per series, with the times as the index, gives a series per column."""
        wide = days(3).pivot_table(index="when", columns="shop", values="sold")
        assert same(read_source(wide), read_source(days(3)))
        alone = read_source(wide["north"])
        assert (alone.series, len(alone)) == (["north"], 72) or alone.series == ["table"]

    def test_glob(self, tmp_path: Path) -> None:
        """The files of a glob are one table, in time order."""
        frame = days(4)
        for number, part in enumerate((frame[:50], frame[50:])):
            part.to_csv(tmp_path / f"{number}.csv", index=False)
        assert same(read_source(f"{tmp_path}/*.csv"), read_source(frame))

    def test_nixtla(self) -> None:
        """A frame of unique_id, ds, y needs no names, and comes back as it was."""
        frame = days(2).rename(columns={"shop": "unique_id", "when": "ds", "sold": "y"})
        for make in (FRAMES["pandas"], FRAMES["polars"]):
            found = read_source(make(frame)).frame()
            assert type(found) is type(make(frame))
            assert list(found.columns) == ["unique_id", "ds", "y"]
            assert found["y"].to_list() == frame["y"].tolist()


class TestMistakes:
    """What cannot be read."""

    @pytest.mark.parametrize("name", ["pandas", "polars", "polars, lazy", "arrow"])
    def test_null_identifiers(self, name: str) -> None:
        """Rows without the name of their series are refused with their number and the first of them."""
        frame = days(2)
        frame.loc[[5, 9], "shop"] = None
        with pytest.raises(BatchError, match="got 2 of 96 rows without a shop, the first of them row 5"):
            read_source(FRAMES[name](frame), series="shop")
        with pytest.raises(BatchError, match="rows without a unique_id"):
            read_source(FRAMES[name](frame.rename(columns={"shop": "unique_id"})))

    def test_messages(self, tmp_path: Path) -> None:
        """Each mistake says what was got and which argument helps, without the name of a file that was never given."""
        for source, text in (
            (pd.DataFrame({"a": [1.5], "b": ["x"]}), r'the table: got no field.*\(\.\.\., timestamp="NAME"\)'),
            (tmp_path / "none.csv", "none.csv"),
            (3, "got a int that is no table"),
            (pd.DataFrame({"time": ["2026-01-05"], "value": [object()]}), "no table"),
        ):  # fmt: skip
            with pytest.raises(BatchError, match=text):
                read_source(source)

    def test_rejects(self, tmp_path: Path) -> None:
        """Rows that are no events are left out, counted, and shown with the reason of the first."""
        path = tmp_path / "events.csv"
        path.write_text(days(2).to_csv(index=False) + "north,soon,3\n")
        found = read_source(path)
        assert (len(found), found.rejects) == (96, 1)
        assert "soon" in found.example
        assert "rejects: 1 rows" in repr(found)


class TestObservations:
    """What one does with them."""

    def test_forecasts_are_those_of_the_command(self, tmp_path: Path) -> None:
        """`forecast` gives the numbers of `forecaster forecast`, for a frame too, and reports its progress."""
        path, seen = write(days(), tmp_path)["csv"], list[tuple[int, int, str]]()
        done = CliRunner().invoke(main, ["forecast", str(path), "--horizon", "6", "--as", "csv"])
        expected = np.array([line.split(",")[2:] for line in done.stdout.splitlines()[1:]], np.float64)
        found = read_source(days(), progress=lambda *report: seen.append(report))
        ahead = found.forecast(6)
        columns = [f"forecaster-lo-{share}" for share in (90, 80, 50)]
        columns += ["forecaster", *(f"forecaster-hi-{share}" for share in (50, 80, 90))]
        np.testing.assert_array_equal(np.float32(ahead[columns]), np.float32(expected))
        assert [*ahead["unique_id"][:6], *ahead["unique_id"][6:]] == ["north"] * 6 + ["south"] * 6
        assert seen[0][2] == "reading"
        assert seen[-1][:2] == (480, 480)
        assert found.forecast() is not ahead
        assert len(found.forecast()) == 12, "the horizon of the last call"
        assert len(read_source(pl.from_pandas(days())).forecast(3)) == 6

    def test_plot(self) -> None:
        """A series is plotted with its forecast; one without a name is the first."""
        mpl.use("agg")
        found = read_source(days())
        assert found.plot("south").get_title(loc="left") == "south"
        assert found.plot(last=48).get_title(loc="left") == "north"
        with pytest.raises(BatchError, match="west"):
            found.plot("west")
        mpl.pyplot.close("all")

    def test_explain(self) -> None:
        """The explanation is of the forecast that is shown; one without a name is of the first series."""
        found = read_source(days())
        ahead = found.forecast(6)
        for name, asked in (("north", None), ("south", "south")):
            explained = found.explain(asked)
            shown = ahead[ahead["unique_id"] == name]["forecaster"].to_numpy()
            np.testing.assert_array_equal(np.float32(explained.median), np.float32(shown))
            assert "forecast" in explained.in_words()
        with pytest.raises(BatchError, match="west"):
            found.explain("west")

    def test_bar(self, capsys: pytest.CaptureFixture[str]) -> None:
        """A bar is shown where it is asked for, on standard error."""
        assert len(read_source(days(2), progress=True)) == 96
        assert capsys.readouterr().out == ""


class TestPort:
    """How the library finds what reads."""

    def test_is_an_entry_point(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """The library calls the entry point of the distribution, and says where it is missing."""
        named = EntryPoint("daemon", "service.notebook.observations:read_source", "forecaster.readers")
        assert 'daemon = "service.notebook.observations:read_source"' in (ROOT / "pyproject.toml").read_text()
        monkeypatch.setattr(reading, "entry_points", lambda group: [named] if group == named.group else [])
        assert same(reading.read(days(2), value="sold"), read_source(days(2)))
        monkeypatch.setattr(reading, "entry_points", lambda group: [])
        with pytest.raises(MissingExtraError, match="forecaster-daemon"):
            reading.read(days(2))
