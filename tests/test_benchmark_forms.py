"""Every script of benchmarks/ runs in a form of seconds, so that none is broken unseen.

Those that print a table of the documentation are in test_benchmarks.py, those with a broker in
broker/test_kafka_benchmarks.py; a script elsewhere is named in `ELSEWHERE`.
"""

from __future__ import annotations

import ast
import csv
import functools
import gzip
import json
import math
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from forecaster import ModelConfig, TrainConfig
from service.config.sections import Config

sys.path.append(str(Path(__file__).parents[1] / "benchmarks"))
import accuracy
import cold_starts
import curves
import drift
import kernels
import long_lag
import peers
import prequential
import promotions
import push
import shadow
import shape_change
import sizes
import snapshot
import start
import table
import training
import training_load
import workers
from pretraining import train
from test_benchmarks import on_page

ROOT = Path(__file__).parents[1]
# Scripts whose form has another name or place, and the parts that other scripts are made of.
ELSEWHERE = {
    "demo_skill": "tests/e2e/test_demo.py",
    "instructions": "tests/test_instructions.py",
    "pretraining/cycles": "benchmarks/pretraining/series.py",
    "pretraining/dynamics": "tests/test_pretraining.py",
    "pretraining/series": "tests/test_pretraining.py",
    "figures": "tests/test_figures.py",
    "stream_sources": "benchmarks/unseen_streams.py",
}
SMALL = {"hidden_size": 16, "head_size": 16}  # as tests/service/parts.py: compiled for many tests
SET = [f"model.{name}={value}" for name, value in SMALL.items()]
network = functools.partial(ModelConfig, **SMALL)


def test_every_script_has_a_form() -> None:
    """Each script of the folder is used by a test that has its name, or by the file that is named for it."""
    functions: dict[str, str] = {}
    files = [ROOT / "tests" / name for name in ("test_benchmarks.py", "broker/test_kafka_benchmarks.py")]
    for path in [*files, Path(__file__)]:
        text = path.read_text()
        functions |= {
            node.name: ast.get_source_segment(text, node) or ""
            for node in ast.parse(text).body
            if isinstance(node, ast.FunctionDef)
        }
    folder, missing = ROOT / "benchmarks", []
    for path in sorted([*folder.glob("*.py"), *(folder / "pretraining").glob("[!_]*.py")]):
        script = path.relative_to(folder).with_suffix("").as_posix()
        if script in ELSEWHERE:
            if path.stem not in (ROOT / ELSEWHERE[script]).read_text():
                missing.append(script)
        else:
            own = [text for function, text in functions.items() if function.startswith(f"test_{path.stem}")]
            if not any(f"{path.stem}." in text or f"({path.stem}" in text for text in own) and not any(
                f'"{path.name}"' in text for text in functions.values()
            ):
                missing.append(script)
    assert missing == [], "give each a form of seconds in a test test_<script>, see the docstring"


@pytest.fixture
def shared(tmp_path: Path) -> Path:
    """A folder like that of the public streams: one data set of two hourly series, and a scorer of its rules."""
    (tmp_path / "data").mkdir()
    (tmp_path / "tools").mkdir()
    rng = np.random.default_rng(0)
    with gzip.open(tmp_path / "data" / "hours.csv.gz", "wt", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["series", "timestamp", "value"])
        for hour in range(400):
            time = f"2026-01-{1 + hour // 24:02d}T{hour % 24:02d}:00:00Z"
            for at, name in enumerate("ab"):
                rows.writerow([name, time, 10 + at + 5 * math.sin(hour * math.pi / 12) + rng.normal()])
    meta = {"hours": {"file": "hours.csv.gz", "freq_s": 3600, "season": 24, "horizon": 4}}
    (tmp_path / "data" / "datasets.json").write_text(json.dumps(meta))
    (tmp_path / "tools" / "score_prequential.py").write_text(SCORER)
    (tmp_path / "ACCURACY.md").write_text(
        "# Scores\n\nsCRPS\n\n| data set | lgbm_refit3 |\n|---|---|\n| hours | 0.5 |\n\n"
    )
    return tmp_path


SCORER = """
import json, sys
import numpy as np
if "--list-origins" in sys.argv:
    with open(sys.argv[-1], "w") as file:
        file.write("series,origin\\n" + "".join(f"{s},2026-01-1{d}T00:00:00Z\\n" for s in "ab" for d in range(5)))
else:
    q = np.load(sys.argv[3])["q"]
    assert q.shape[:2] == (10, 4), q.shape
    print(json.dumps({"MASE": 1.0, "sCRPS": 0.4, "cov80": 0.8, "cov90": 0.9}))
"""


def cells(line: str) -> list[str]:
    """Returns the cells of a row of a table."""
    return [cell.strip() for cell in line.strip().strip("|").split("|")]


def run_main(script: Any, monkeypatch: pytest.MonkeyPatch, *arguments: object) -> Any:
    """Runs a script's `main` with these arguments."""
    monkeypatch.setattr(sys, "argv", [script.__name__, *map(str, arguments)])
    return script.main()


def test_accuracy(shared: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Both tables have a row, and are written between the marks of the page."""
    page = shared / "page.md"
    page.write_text("<!-- full -->\n<!-- end full -->\n<!-- cold -->\n<!-- end cold -->\n")
    monkeypatch.setattr(accuracy, "PAGE", page)
    monkeypatch.setitem(accuracy.VARIANTS, "full", [part for one in SET for part in ("--set", one)])
    assert run_main(accuracy, monkeypatch, shared) == 0
    assert run_main(accuracy, monkeypatch, shared, "--cold") == 0
    rows = [cells(line) for line in page.read_text().splitlines() if line.startswith("| hours")]
    assert rows[0][1:5] == ["1.000", "0.400", "0.800", "0.800"]
    assert float(rows[1][1]) > 0
    assert run_main(accuracy, monkeypatch, shared, "--only", "nothing") == 2
    assert "got nothing, expected some of hours" in capsys.readouterr().out


def test_cold_starts(shared: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """The row has the share of actuals within the interval and its spread over the starts."""
    monkeypatch.setattr(cold_starts, "ModelConfig", network)
    run_main(cold_starts, monkeypatch, shared, "--starts", 3)
    row = cells(on_page("cold-starts", capsys.readouterr().out).splitlines()[-1])
    assert row[:2] == ["hours", "2"]
    assert 0.3 < float(row[2]) <= 1.0


def test_curves(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Two points of a curve of time and of memory are measured and drawn."""
    monkeypatch.setattr(curves, "BASE", network(seasons=(24,), interval_ms=60_000))
    run_main(curves, monkeypatch, "horizon", "memory", "--quick", "--images", tmp_path)
    points = json.loads((tmp_path / "curves.json").read_text())
    assert [x for x, _ in points["horizon"]] == [1, 6]
    assert all(y > 0 for _, y in points["horizon"] + points["memory"][1:])
    assert (tmp_path / "curve-horizon.svg").stat().st_size > 1000
    assert len(capsys.readouterr().out.splitlines()) == 2


def test_drift(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The daemon reads a stream that changes, and the table has its errors; the drift test finds a doubling."""
    for name, value in {"FIRST": 200, "EVENTS": 500, "LEVEL": 300, "SEASON": 400, "NOISE": 450, "HORIZON": 2}.items():
        monkeypatch.setattr(drift, name, value)
    monkeypatch.setattr(drift, "CHANGES", {"level": 300})
    monkeypatch.setattr(drift, "AFTER", (0, 100))
    value = drift.scripted(10.0 + np.sin(np.arange(500) / 8))
    begins = drift.write_events(tmp_path / "events.csv", value)
    small = drift.COMMON | {"model.horizon": 2, "retrain.every_events": 0} | dict(one.split("=") for one in SET)
    runs = {"none": drift.run(tmp_path / "events.csv", begins, small, tmp_path / "none")}
    found = {"none": drift.errors(value, runs["none"]["median"])}
    rows = [cells(line) for line in drift.table(found, runs).splitlines()[2:]]
    assert [row[0] for row in rows] == [
        "before", "level, 0 to 100 events on", "all from the first change on", "models adopted of trainings",
    ]  # fmt: skip
    assert 0 < float(rows[0][1]) < float(rows[1][1])
    (row,) = [cells(line) for line in drift.noise_table(1, drift.NOISES[2:]).splitlines()[2:]]
    assert row[2] == "1 of 1"


def runs_or_is_missing(name: str, make: Any) -> None:
    """Asserts that a contender does its work, or is left out for a package that is not installed."""
    missing = set[str]()
    made = table.available({name: make}, missing)
    assert len(made) + len(missing) == 1
    for call in made.values():
        call()


@pytest.mark.parametrize("name", ["numpy_gru", "torch_gru", "onnx_gru"])
def test_kernels(name: str) -> None:
    """The step of each library runs, or the library is not installed."""
    runs_or_is_missing(name, lambda: table.gru(getattr(kernels, name)(32), 32, 2))
    assert kernels.peak_flops() > 1e8


def test_peers() -> None:
    """Each peer runs, or is not installed."""
    for work in (peers.holt_winters, peers.snarimax, peers.deep_river):
        runs_or_is_missing(work.__name__, work)
    for step in (peers.jax_gru, peers.torch_compiled):
        runs_or_is_missing(step.__name__, functools.partial(_gru_of, step))


def _gru_of(step: Any) -> Any:
    return table.gru(step(32), 32, 2)


def test_long_lag(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Every cell is trained with and without clipping, and the gradients by lag are drawn."""
    run_main(long_lag, monkeypatch, "--sequences", 64, "--epochs", 1, "--plot", tmp_path / "gradients.svg")
    printed = capsys.readouterr().out
    trained, _, lags = printed.partition("\n\n")
    on_page("long-lag", trained)
    on_page("gradients-by-lag", lags)
    lines = printed.splitlines()
    assert [cells(line)[0] for line in lines[3:9]] == ["elman", "elman", "gru", "gru", "lstm", "lstm"]
    assert (tmp_path / "gradients.svg").stat().st_size > 1000


def test_prequential(shared: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The forecasts at the origins are written with all their levels."""
    origins, out = shared / "origins.csv", shared / "predictions.npz"
    origins.write_text("series,origin\na,2026-01-03T00:00:00Z\nb,2026-01-04T05:00:00Z\n")
    options = ["model.horizon=3", "model.interval=1h", "retrain.every_events=0", *SET]
    arguments = [shared / "data" / "hours.csv.gz", origins, out, "--season", "1d"]
    assert run_main(prequential, monkeypatch, *arguments, *(p for one in options for p in ("--set", one))) == 0
    found = np.load(out)
    assert found["q"].shape == (2, 3, len(prequential.LEVELS))
    assert sorted(found["series"].tolist()) == ["a", "b"]


def test_promotions(monkeypatch: pytest.MonkeyPatch) -> None:
    """Both rules train and decide, and the table has what was promoted."""
    monkeypatch.setattr(promotions, "MODEL", network(horizon=4, seasons=(24,), interval_ms=promotions.HOUR_MS))
    monkeypatch.setattr(promotions, "FRESH", 200)
    train_config = TrainConfig(max_steps=4, evaluate_every=2, batch=4, k1=8, k2=16)
    found = {rule: promotions.promotions(rule, 3, train_config) for rule in promotions.RULES}
    rows = [cells(line) for line in on_page("promotions", promotions.table(found, 2)).splitlines()[2:]]
    assert [row[0] for row in rows] == list(promotions.RULES)
    assert sum(len(ones) for ones in found.values()) == sum(int(row[2]) for row in rows)


def test_push(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Senders get bodies acknowledged, and remembering has a share."""
    settings = {"SECONDS": 0.3, "SIZES": (20,), "NETWORK": network(), "SERIES": (5,), "BATCHES": 4, "PER_BATCH": 100}
    for name, value in settings.items():
        monkeypatch.setattr(push, name, value)
    push.pushed()
    push.remembered()
    lines = [line.split() for line in capsys.readouterr().out.splitlines() if " [info" not in line]
    assert [line[0] for line in lines] == ["senders", "1", "8", "series", "5"]
    assert all(float(line[2].replace(",", "")) > 0 for line in (lines[1], lines[2], lines[4]))


def test_shadow(monkeypatch: pytest.MonkeyPatch) -> None:
    """Trials end with a verdict or without one, each of them counted."""
    small = network(seasons=(24,), horizon=2, calendar=False)
    for name, value in {"CONFIG": small, "LIMIT": 500, "NEAR": 100.0}.items():
        monkeypatch.setattr(shadow, name, value)
    equal, better = cells(shadow.equals(1)), cells(shadow.betters(1))
    assert (equal[1], better[1]) == ("1", "1")
    assert int(equal[2]) + int(equal[3]) <= 1
    assert len(shadow.skewed(2)) == 5


def test_shape_change(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Both changes of shape observe the events of the history again."""
    monkeypatch.setattr(shape_change, "ModelConfig", network)
    shape_change.main([5])
    rows = [cells(line) for line in capsys.readouterr().out.splitlines()[2:]]
    assert [row[:2] for row in rows] == [["5", "seasons"], ["5", "horizon"]]
    assert all(int(row[2].replace(",", "")) > 0 for row in rows)


def test_sizes(shared: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """A training of each size is scored."""
    monkeypatch.setattr(sizes, "EVENTS", (400, 10_000))
    monkeypatch.setattr(sizes, "HIDDEN", (16, 16))
    options = ["model.head_size=16", "train.batch=4", "train.k1=8", "train.k2=16"]
    monkeypatch.setattr(sizes, "figures", functools.partial(_few_steps, sizes.figures))
    arguments = [shared / "data", "--only", "hours", *(part for one in options for part in ("--set", one))]
    assert run_main(sizes, monkeypatch, *arguments) == 0
    row = cells(capsys.readouterr().out.splitlines()[-1])
    assert row[:2] == ["hours", "400"]
    assert all(float(cell.strip("*")) > 0 for cell in row[2:])


def _few_steps(figures: Any, config: Any, events: Any, hidden: int, steps: int) -> Any:
    return figures(config, events, hidden, min(steps, 2))


def test_snapshot(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """A full and an incremental snapshot are written under load and read again, bit for bit."""
    monkeypatch.setattr(snapshot, "IDLE_BATCHES", 5)
    snapshot.measure(network(interval_ms=60_000), 40, 16, [0.1], tmp_path, compare=True)
    printed = capsys.readouterr().out
    assert printed.count("bit for bit") == 2
    assert "incremental" in printed or "changes" in printed, printed


def test_start(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """A start with compiled code has its seconds."""
    run_main(start, monkeypatch, "--again", 1, "--cached", "model.interval=1m", *SET)
    assert "caches warm:    first forecast after" in capsys.readouterr().out


@pytest.mark.parametrize(
    "part",
    [
        lambda: table.steps(2, set(), (32,)),
        lambda: table.training(2, set(), (32,)),
        lambda: table.whole(2, set(), 16),
    ],
    ids=["steps", "training", "whole"],
)
def test_table(part: Any) -> None:
    """Each part of the table has rows, with ratios to ours."""
    rows = part()
    lines = table.table(rows).splitlines()
    assert len(lines) == len(rows) + 2
    assert all(row.ns > 0 for row in rows if row.who != "peak")
    assert {"forecaster"} <= {row.who for row in rows}


def test_training() -> None:
    """Our step of the comparison changes the weights, and has operations."""
    training.own_step("gru", 32)()
    assert training.multiply_adds("lstm", 64) > training.multiply_adds("gru", 32) > 0


def test_train(monkeypatch: pytest.MonkeyPatch) -> None:
    """A few steps of the fit behind the shipped weights lower or keep finite losses, and are scored."""
    for name, value in {"LONG": 3000, "SHORT": 3000, "ModelConfig": network, "BATCH": 4}.items():
        monkeypatch.setattr(train, name, value)
    params, lanes = train.fit(0, 4)
    assert np.isfinite(params).all()
    assert all(score > 0 for score in train.scores(lanes[0], params))


def test_training_load(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A training beside a daemon at work has its memory, and events have their latency at rest and meanwhile."""
    monkeypatch.setattr(training_load, "SETTLING_SECONDS", 0.1)
    settings = [*SET, "output.sink=sqlite", "train.max_steps=10", "train.evaluate_every=5", "train.batch=4",
                "train.k1=8", "train.k2=16", "model.horizon=2"]  # fmt: skip
    training_load.fill(tmp_path, 10, 60, training_load.config_of(tmp_path, 10, 600, settings))
    config = training_load.config_of(tmp_path, 10, 600, [*settings, "input.follow=true"])
    text = training_load.measure(tmp_path, 10, 200, 1.0, config)
    rows = [cells(line) for line in text.splitlines() if line.startswith("| ")][1:]
    assert [row[0] for row in rows] == [
        f"{what}, {when}" for what in ("engine", "arrival") for when in ("at rest", "while training")
    ]
    assert "peak of the training process 0 MiB" not in text


def test_workers() -> None:
    """Two workers have a figure."""
    config = Config.model_validate({"model": SMALL | {"seasons": [24], "interval": "1m", "horizon": 2}})
    assert workers.events_per_second(config, 2, 2000 * workers.PARTITIONS) > 0


def test_pytest_benchmarks() -> None:
    """The scripts of pytest-benchmark run each of their functions once."""
    scripts = ["test_observe.py", "test_step.py", "test_training.py"]
    few = [
        "test_first_start", "test_observe and 1-1]", "test_step and 32-gru", "test_peer and 32-numpy-1]",
        "test_chunk and 32-1]", "test_sequences and gru-32-forecaster",
    ]  # fmt: skip
    options = ["-q", "--benchmark-disable", "-p", "no:cacheprovider", "-k", " or ".join(f"({one})" for one in few)]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *options, *scripts],
        cwd=ROOT / "benchmarks", env=os.environ, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    assert f"{len(few)} passed" in done.stdout
