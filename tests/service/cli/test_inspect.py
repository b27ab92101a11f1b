"""`forecaster inspect`, and how `run` settles the fields of a file."""

from __future__ import annotations

import json
import sqlite3
import tomllib
from contextlib import closing
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from service.cli import main
from service.config.load import load_config
from service.sources.local import local_source

FORMS = Path(__file__).parents[2] / "data" / "forms"
# One network for all files, because each compiles: without seasons, which are otherwise found in the file.
SMALL = ["--port", "0", "--data-dir", "data", "--horizon", "2", "--set", "model.hidden_size=16",
         "--set", "model.head_size=16", "--set", "model.seasons=[]"]  # fmt: skip
ANNOTATED = {f"cpu,host={host} usage_{name}" for host in ("web0", "web1") for name in ("idle", "user")}
# Series and events of each file, as its author knows them.
EXPECTED = {
    "plain.csv": ({"plain"}, 48),
    "wide.csv": ({"HUFL", "HULL", "OT"}, 144),
    "electricity.csv": ({"MT_001", "MT_002"}, 96),
    "grafana.csv": ({"cpu", "memory"}, 96),
    "long.tsv": ({"pump", "valve"}, 96),
    "keys.csv": ({"cpu/north", "cpu/south", "mem/north", "mem/south"}, 192),
    "sensor-ids.csv": ({"1000", "1001"}, 96),
    "unknown.txt": ({"unknown"}, 48),
    "flat.jsonl": ({"cpu.a", "cpu.b"}, 96),
    "nested.jsonl": ({"7", "8"}, 96),
    "wide.jsonl": ({"web0.cpu", "web0.mem", "web1.cpu", "web1.mem"}, 192),
    "iot.jsonl": ({"d1"}, 48),
    "numbers-as-text.jsonl": ({"d0", "d1"}, 96),
    "telegraf.jsonl": ({f"web{k}.fields.usage_{name}" for k in "01" for name in ("idle", "user")}, 192),
    "telegraf.lp": (
        {f"cpu,cpu=cpu-total,host=web{k} usage_{name}" for k in "01" for name in ("idle", "user")}
        | {r"disk,device=sda1,host=web0,path=/var/lib/my\ data free"},
        240,
    ),
    "access.log": ({"access"}, 48),
    "prometheus.json": ({"web0:9100", "web1:9100"}, 96),
    "debezium.jsonl": ({"tea", "rice"}, 96),
    "connect.jsonl": ({"m1"}, 48),
    "cloudevents.jsonl": ({"press"}, 48),
    "document.json": ({"north", "south"}, 96),
    "no-header.csv": ({"column_2", "column_3"}, 96),
    "excel.csv": ({"excel"}, 48),
    "annotated.csv": (ANNOTATED, 192),
    "annotated-tables.csv": (ANNOTATED | {"disk,host=web0,path=/var used"}, 240),
    "titles.csv": ({"temperature_2m (°C)", "wind_speed_10m (km/h)"}, 96),
    "date-and-time.csv": ({"Global_active_power", "Voltage"}, 96),
    "month-first.csv": ({"month-first"}, 48),
    "months.csv": ({"months"}, 48),
    "columns.json": ({"hourly.temperature_2m", "hourly.relative_humidity_2m"}, 96),
    "table.parquet": ({"cpu", "memory"}, 96),
    "table.avro": ({"pump", "valve"}, 96),
}  # fmt: skip


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory with a file of two columns."""
    lines = [f"2026-01-05 {hour:02d}:00,{hour % 5}" for hour in range(20)]
    (tmp_path / "load.csv").write_text("\n".join(["when,load", *lines]) + "\n")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def call(*arguments: str, **options: str) -> Result:
    """Runs the command in this process."""
    return CliRunner().invoke(main, arguments, **options)


def forecasts() -> list[tuple[str, int]]:
    """Returns the number of forecasts of every series."""
    with closing(sqlite3.connect("data/forecasts.sqlite")) as database:
        return database.execute("SELECT series, count(*) FROM forecasts GROUP BY 1 ORDER BY 1").fetchall()


def test_all_files_are_here() -> None:
    """Every example file has a row of this test."""
    assert {path.name for path in FORMS.iterdir()} == EXPECTED.keys()


@pytest.mark.parametrize("name", [name for name in EXPECTED if not name.endswith((".parquet", ".avro"))])
def test_piped(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is suggested for a form on standard input is read from there; else the configuration names a file."""
    monkeypatch.chdir(tmp_path)
    done = CliRunner().invoke(main, ["inspect", "-", "--write", "found.toml"], input=(FORMS / name).read_bytes())
    assert done.exit_code == 0, done.output
    config = load_config(Path("found.toml"), {"state.data_dir": tmp_path / "data"})
    if config.input.files == ("-",):
        local_source(config).close()  # a format that is read from files only is refused here
    else:
        assert config.input.format in {"json", "annotated-csv"}
        assert "read from files, not from standard input" in done.output


@pytest.mark.parametrize("name", EXPECTED)
def test_every_form_without_settings(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every example file is forecast by one command without settings: every event once, nothing rejected."""
    monkeypatch.chdir(tmp_path)
    series, events = EXPECTED[name]
    done = call("run", "--input", str(FORMS / name), *SMALL)
    assert done.exit_code == 0, done.stderr
    found = dict(forecasts())
    assert found.keys() == series
    assert sum(found.values()) == events
    assert f"events={events}" in done.stderr
    assert "rejected=0" in done.stderr
    assert call("run", "--input", str(FORMS / name), *SMALL).exit_code == 0
    assert dict(forecasts()) == found


def test_shows_and_writes(folder: Path) -> None:
    """The text has fields, choice and facts; the written file is a configuration that reads the file."""
    done = call("inspect", "load.csv", "--write", "found.toml")
    assert done.exit_code == 0, done.stderr
    for part in (
        "when",
        "time ",
        "load",
        "the only numeric field",
        "interval: 1h",
        "20 of 1 series (load)",
        "rejects:  none",
    ):
        assert part in done.stdout
    written = tomllib.loads((folder / "found.toml").read_text())
    assert written["input"]["fields"] == {"timestamp": "when", "value": "load", "series": "{file}"}
    assert written["model"] == {"seasons": [24]}
    assert call("run", "--config", "found.toml", *SMALL).exit_code == 0
    assert forecasts() == [("load", 20)]
    assert not (folder / "data" / "input.json").exists()
    again = call("inspect", "load.csv", "--write", "found.toml")
    assert again.exit_code == 2
    assert "expected the name of a new file" in again.stderr


def test_json_and_standard_input(folder: Path) -> None:
    """Standard input is looked at in the same way, and --json has everything."""
    done = call("inspect", "-", "--json", input=(folder / "load.csv").read_text())
    facts = json.loads(done.stdout)
    assert facts["events"] == 20
    assert facts["settings"]["input.fields.timestamp"] == "when"
    assert [one["path"] for one in facts["fields"]] == ["when", "load"]


def test_a_condition_and_units(folder: Path) -> None:
    """A condition and units are applied, written with the rest, and used by the run, whose log counts the others."""
    (folder / "config.toml").write_text(
        '[input]\nwhere = "load != 3"\nunits = [{series = "l*", factor = 10, offset = 0.5}, {series = "*"}]\n'
    )
    done = call("inspect", "load.csv", "--config", "config.toml", "--write", "found.toml")
    assert done.exit_code == 0, done.stderr
    assert "filter:   4 records, or elements of arrays, do not meet input.where" in done.stdout
    written = tomllib.loads((folder / "found.toml").read_text())["input"]
    assert written["where"] == "load != 3"
    assert [one["factor"] for one in written["units"]] == [10, 1]
    ran = call("run", "--config", "found.toml", *SMALL)
    assert ran.exit_code == 0, ran.stderr
    assert "filtered=4" in ran.stderr
    assert forecasts() == [("load", 16)]
    nothing = call("run", "--input", "load.csv", *SMALL, "--data-dir", "other", "--set", "input.where=lode == 3")
    assert nothing.exit_code == 2
    assert "expected lode as well; see input.where" in nothing.stderr
    assert not (folder / "other").exists()
    none = call("run", "--input", "load.csv", *SMALL, "--data-dir", "none", "--set", "input.where=load > 99")
    assert none.exit_code == 0, none.stderr
    assert "warning" in none.stderr.splitlines()[-1]
    assert "filtered=20" in none.stderr


def test_other_files_of_a_glob(folder: Path) -> None:
    """Of the other files of a glob those are named that lack a chosen field, or have other columns."""
    text = (folder / "load.csv").read_text()
    (folder / "n-1.csv").write_text(text)
    (folder / "n-2.csv").write_text(text)
    (folder / "n-3.csv").write_text(text.replace("load", "heat"))
    (folder / "n-4.csv").write_text("title\n" + text)
    (folder / "n-5.csv").write_text("")
    (folder / "n-6.csv").write_bytes(text.replace("load", "l\xf6ad").encode("latin-1"))
    done = call("inspect", "n-*.csv")
    assert done.exit_code == 0, done.stderr
    assert "5 others looked at; 3 of them differ" in done.stdout
    assert "n-3.csv: it lacks load; it has heat as well" in done.stdout
    assert "n-4.csv: its header is in another place" in done.stdout
    facts = json.loads(call("inspect", "n-*.csv", "--json").stdout)["other_files"]
    assert (facts["looked_at"], facts["more"]) == (5, 0)
    assert "not UTF-8" in facts["different"]["n-6.csv"]
    assert json.loads(call("inspect", "load.csv", "--json").stdout)["other_files"] is None


def test_nothing_to_look_at() -> None:
    """Neither a source nor a topic, or both, is a usage error."""
    assert call("inspect").exit_code == 2
    assert call("inspect", "x.csv", "--topic", "t").exit_code == 2


def test_an_ambiguous_file_spoils_nothing(folder: Path) -> None:
    """A start with an ambiguous file ends with status 2, says what to set, and leaves no data folder."""
    (folder / "two.csv").write_text("begin,end,v\n" + "".join(f"2026-01-0{d},2026-02-0{d},{d}\n" for d in range(1, 9)))
    done = call("run", "--input", "two.csv", *SMALL)
    assert done.exit_code == 2
    assert "--set input.fields.timestamp=NAME" in done.stderr
    assert not (folder / "data").exists()
    assert call("run", "--input", "two.csv", *SMALL, "--set", "input.fields.timestamp=end", "--set",
                "input.fields.value=v", "--set", "input.fields.series={file}").exit_code == 0  # fmt: skip


def test_the_choice_is_kept(folder: Path) -> None:
    """A restart reads further lines with the first choice, also where the file would now suggest another one."""
    first = call("run", "--input", "load.csv", *SMALL)
    assert "fields of the input chosen" in first.stderr
    kept = json.loads((folder / "data" / "input.json").read_text())
    assert kept["settings"]["input.fields.value"] == "load"
    assert kept["files"] == ["load.csv"]
    with (folder / "load.csv").open("a") as file:
        file.writelines(f"2026-01-06 {hour:02d}:00,2026-01-06 {hour:02d}:00\n" for hour in range(20))  # times as values
    again = call("run", "--input", "load.csv", *SMALL)
    assert "chosen at the first start for load.csv" in again.stderr
    assert forecasts() == [("load", 20)]
    assert "rejected=20" in again.stderr


def test_the_configuration_takes_precedence(folder: Path) -> None:
    """What the configuration names is not chosen, and the rest is; also from a kept choice."""
    zone = ["--set", "input.fields.timezone=Europe/Berlin"]
    assert call("run", "--input", "load.csv", *SMALL, *zone, "--set", "input.fields.series=load-{file}").exit_code == 0
    assert forecasts() == [("load-load", 20)]
    (folder / "config.toml").write_text('[input]\nfiles = ["load.csv"]\n[input.fields]\nseries = "again-{file}"\n')
    with (folder / "load.csv").open("a") as file:
        file.write("2026-01-06 00:00,1\n")
    assert call("run", "--config", "config.toml", *SMALL, *zone).exit_code == 0
    assert forecasts() == [("again-load", 1), ("load-load", 20)]
    with closing(sqlite3.connect("data/forecasts.sqlite")) as database:
        (first,) = database.execute("SELECT min(origin) FROM forecasts").fetchone()
    assert first == "2026-01-04T23:00:00.000Z"


def test_everything_named(folder: Path) -> None:
    """Nothing is chosen where the configuration names all fields of an event."""
    names = [f"--set=input.fields.{name}={field}" for name, field in
             (("series", "{file}"), ("timestamp", "when"), ("value", "load"))]  # fmt: skip
    done = call("run", "--input", "load.csv", *SMALL, *names)
    assert "fields of the input chosen" not in done.stderr
    assert forecasts() == [("load", 20)]


def test_inputs_that_do_not_fit(folder: Path) -> None:
    """Inputs of which one choice cannot read all are refused before anything is written."""
    (folder / "other.csv").write_text("when,heat\n" + "".join(f"2026-01-0{d},{d}\n" for d in range(1, 9)))
    (folder / "list.json").write_text('[\n {"when": "2026-01-05", "load": 1}\n]')
    (folder / "titled.csv").write_text("title\n" + (folder / "load.csv").read_text())
    titled = "titled.csv is CSV with commas, below another line"
    for name, text in (
        ("other.csv", "which lacks load"),
        ("titled.csv", titled),
        ("list.json", "is CSV with commas, and list.json is a JSON"),
    ):
        done = call("run", "--input", "load.csv", "--input", name, *SMALL)
        assert done.exit_code == 2
        assert text in done.stderr
        assert not (folder / "data").exists()


def test_written_with_what_was_given(folder: Path) -> None:
    """The written configuration has the settings of the command line as well as the chosen ones."""
    assert call("inspect", "load.csv", "--write", "tz.toml", "--set", "input.fields.timezone=Asia/Tokyo").exit_code == 0
    fields = tomllib.loads((folder / "tz.toml").read_text())["input"]["fields"]
    assert fields == {"timestamp": "when", "series": "{file}", "value": "load", "timezone": "Asia/Tokyo"}


def test_a_kept_choice_that_is_damaged(folder: Path) -> None:
    """A damaged choice is an error, never a new guess."""
    assert call("run", "--input", "load.csv", *SMALL).exit_code == 0
    (folder / "data" / "input.json").write_text("{")
    done = call("run", "--input", "load.csv", *SMALL)
    assert done.exit_code == 2
    assert "input.json" in done.stderr


def test_windows_are_written(tmp_path: Path) -> None:
    """With windows, the seasons are those of their values, and the written configuration has the windows too."""
    data, config, written = tmp_path / "raw.csv", tmp_path / "config.toml", tmp_path / "written.toml"
    rows = [f"{1_700_000_000 + at * 60},x_total,{at % 5000}\n" for at in range(9000)]
    data.write_text("timestamp,series,value\n" + "".join(rows))
    config.write_text(
        '[aggregate]\ninterval = "1h"\nfunctions = ["count"]\nrules = [{series = "*_total", functions = ["rate"]}]\n'
    )
    command = ["inspect", str(data), "--config", str(config), "--write", str(written)]
    done = CliRunner().invoke(main, command)

    assert done.exit_code == 0, done.output
    assert "windows:  150 values of closed windows" in done.output
    found = load_config(written)
    assert found.aggregate == load_config(config).aggregate
    assert found.model.seasons == (24,)


def test_advice_for_raw_events(folder: Path) -> None:
    """For raw events at irregular times the written configuration has windows; with windows there is no advice."""
    times = [1_767_571_200_000 + 20_000 * at + 7919 * at * at % 19_000 for at in range(300)]
    lines = [f'{{"series": "s", "timestamp": {time}, "value": {time % 97}}}' for time in sorted(times)]
    (folder / "orders.jsonl").write_text("\n".join(lines) + "\n")
    found = CliRunner().invoke(main, ["inspect", "orders.jsonl", "--write", "found.toml"])

    assert found.exit_code == 0, found.output
    assert "advice:   raw events at irregular times, one in 20s of a series" in found.output
    written = tomllib.loads((folder / "found.toml").read_text())
    assert written["aggregate"] == {"interval": "5m", "functions": ["count", "mean"]}
    assert load_config(folder / "found.toml").aggregate.interval == 300
    again = CliRunner().invoke(main, ["inspect", "orders.jsonl", "--config", "found.toml"])
    assert again.exit_code == 0, again.output
    assert "advice:" not in again.output
    assert "windows:" in again.output
    as_json = CliRunner().invoke(main, ["inspect", "orders.jsonl", "--json"])
    assert json.loads(as_json.stdout)["advice"]["settings"] == written["aggregate"]


def test_known_future_values(tmp_path: Path) -> None:
    """Lists of values that are known ahead are named until the configuration names them."""
    lines = [
        {"series": "s", "timestamp": 3600 * at, "value": at % 5, "price": 2.0, "future": {"price": [2.0, 2.5]}}
        for at in range(60)
    ]
    file = tmp_path / "sales.jsonl"
    file.write_text("".join(json.dumps(line) + "\n" for line in lines))
    shown = CliRunner().invoke(main, ["inspect", str(file)])
    assert 'input.future_covariates = ["price"]' in shown.stdout
    config = tmp_path / "forecaster.toml"
    config.write_text('[input]\ncovariates = ["price"]\nfuture_covariates = ["price"]\n')
    shown = CliRunner().invoke(main, ["inspect", str(file), "--config", str(config)])
    assert shown.exit_code == 0, shown.output
    assert "future_covariates = [" not in shown.stdout.partition("rejects:")[0]


def test_mixed_cadences(tmp_path: Path) -> None:
    """Groups by cadence are shown, and the configuration leaves the seasons to the daemon, which has them by group."""
    hour, begin = 3_600_000, 1_767_571_200_000
    gaps = {"a": hour, "b": hour, "c": 24 * hour}
    rows = sorted((begin + step * gap, name) for name, gap in gaps.items() for step in range(40))
    path = tmp_path / "in.csv"
    path.write_text("series,timestamp,value\n" + "".join(f"{name},{at},{at % 7}\n" for at, name in rows))
    done = CliRunner().invoke(main, ["inspect", str(path)])
    assert "groups:   by cadence, with their series: default 2, auto-1d 1" in done.output
    assert "seasons" not in done.output
