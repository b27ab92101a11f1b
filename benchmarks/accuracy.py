"""Accuracy on public streams: `forecaster backtest` over every data set, scored from outside, as a table in docs/.

    make accuracy                                   all data sets of ../shared, the table in docs/accuracy.md
    python benchmarks/accuracy.py SHARED [--only NAME ...] [--variant VARIANT] [--set KEY=VALUE ...] [--keep DIR]
    python benchmarks/accuracy.py SHARED --cold     forecasts from the second to the fiftieth event of each series
    python benchmarks/accuracy.py SHARED --spikes 0.01 --only NAME ...      one value of a hundred is a wrong one

SHARED holds data/ (datasets.json and the files), tools/score_prequential.py and ACCURACY.md, whose tables say how other
methods scored under the same protocol. One set of defaults for all: a run is given the interval and the horizon only.
"""

from __future__ import annotations

import argparse
import csv
import functools
import gzip
import json
import math
import os
import random
import re
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
PAGE = ROOT / "docs" / "accuracy.md"
REFERENCE = "lgbm_refit3"
# What is taken away, as options of `forecaster backtest`; "full" takes nothing away and is the table of docs/.
VARIANTS: dict[str, list[str]] = {
    "experts": ["--freeze-after", "0"],
    "uncalibrated": [],
    "full": [],
    "network": ["--set", "model.mixture=false"],
    "frozen": ["--freeze-after", "0.3"],
    "pretrained": ["--freeze-after", "0"],
    "untrained": ["--freeze-after", "0", "--set", "model.pretrained=false"],
    "scratch": ["--set", "model.pretrained=false"],
}


# What no setting takes away: constants of the library, changed before anything is compiled (into a cache of its own).
CONSTANTS = {
    "experts": "import forecaster.ensemble.weights as m; m.NETWORK_ODDS = 0.0",
    "uncalibrated": "import forecaster.ensemble.combine as p; p.NETWORK_RATE = p.EXPERT_RATE = p.SHARED_RATE = 0.0",
}


def backtest(arguments: list[str], variant: str) -> dict[str, Any]:
    """What `forecaster backtest` says, as JSON."""
    program, environment = ["-m", "service.cli"], dict(os.environ)
    if variant in CONSTANTS:
        program = ["-c", f"{CONSTANTS[variant]}; from service.cli import main; main()"]
        environment["NUMBA_CACHE_DIR"] = str(Path(tempfile.gettempdir()) / f"forecaster-{variant}")
    command = [sys.executable, *program, "backtest", *arguments, "--json"]
    answer = subprocess.run(command, check=True, stdout=subprocess.PIPE, env=environment).stdout
    found: dict[str, Any] = json.loads(answer)
    return found


def reference_scores(page: Path) -> dict[str, dict[str, float]]:
    """The sCRPS of other methods by data set, from the first table behind the line "sCRPS"."""
    text = page.read_text().partition("\nsCRPS\n")[2].lstrip().partition("\n\n")[0]
    header, _, *rows = ([cell.strip(" *") for cell in line.strip("| ").split("|")] for line in text.splitlines())
    return {
        row[0]: {name: float(cell) for name, cell in zip(header[1:], row[1:], strict=True) if cell != "-"}
        for row in rows
    }


def run(
    shared: Path, name: str, meta: dict[str, Any], options: list[str], folder: Path, variant: str,
    spikes: float = 0.0, draw: int = 0,
) -> dict[str, Any]:  # fmt: skip
    """Backtest and scores of one data set; `spikes` is the share of values that are wrong in what is read."""
    data, scorer = shared / "data", [sys.executable, str(shared / "tools" / "score_prequential.py")]
    origins, predictions = folder / f"{name}.csv", folder / f"{name}.npz"
    subprocess.run([*scorer, str(data), name, "--list-origins", str(origins)], check=True)
    source, wrong = data / meta["file"], folder / f"{name}-spiked.csv"
    file = spiked(source, wrong, spikes, draw) if spikes > 0 else source
    command = [
        str(file), "--interval", str(meta["freq_s"]), "--horizon", str(meta["horizon"]),
        "--origins", str(origins), "--out", str(predictions), *options,
    ]  # fmt: skip
    facts = backtest(command, variant)
    score = [*scorer, str(data), name, str(predictions), "--json"]
    return facts | json.loads(subprocess.run(score, check=True, stdout=subprocess.PIPE).stdout)


def spiked(source: Path, target: Path, share: float, draw: int) -> Path:
    """A copy in which this share of the values, drawn at random, lies 30 standard deviations of its series away.

    Outcomes are scored by the values as they were: the scorer reads the source. `draw` is the seed.
    """
    rng = random.Random(draw)
    with gzip.open(source, "rt", newline="") as file:
        rows = list(csv.DictReader(file))
    values: dict[str, list[float]] = {}
    for row in rows:
        if row["value"]:
            values.setdefault(row["series"], []).append(float(row["value"]))
    far = {series: 30.0 * statistics.pstdev(found) for series, found in values.items()}
    for row in rows:
        if row["value"] and rng.random() < share:
            row["value"] = repr(float(row["value"]) + rng.choice((-1.0, 1.0)) * far[row["series"]])
    with target.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return target


def run_cold(
    shared: Path, name: str, meta: dict[str, Any], options: list[str], folder: Path, variant: str
) -> dict[str, Any]:
    """Backtest from every third of the first fifty events of each series, and of simple methods at the same origins.

    What comes after the last target changes none of these forecasts, and is left out.
    """
    origins, data = folder / f"{name}-cold.csv", folder / f"{name}-cold-data.csv"
    seen: dict[str, int] = {}
    rows, last = [], ""
    with gzip.open(shared / "data" / meta["file"], "rt", newline="") as file:
        reader = csv.DictReader(file)
        everything = sorted(reader, key=lambda row: row["timestamp"])
    for row in everything:
        seen[row["series"]] = count = seen.get(row["series"], 0) + 1
        if 2 <= count <= 50 and count % 3 == 2:
            rows.append((row["series"], row["timestamp"]))
        if count <= 50 + meta["horizon"]:
            last = row["timestamp"]
    with origins.open("w", newline="") as file:
        csv.writer(file).writerows([("series", "origin"), *rows])
    with data.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(everything[0]))
        writer.writeheader()
        writer.writerows(row for row in everything if row["timestamp"] <= last)
    command = [
        str(data), "--interval", str(meta["freq_s"]), "--horizon", str(meta["horizon"]), "--origins", str(origins),
        "--report", str(folder / f"{name}-cold.html"), *options,
    ]  # fmt: skip
    return backtest(command, variant)


def cold_table(results: dict[str, dict[str, Any]]) -> str:
    """sCRPS of the first forecasts of each series, of naive and of the best simple method of each data set."""
    lines = ["| data set | forecaster | naive | best simple method | of best | cov80 |", "|---|---|---|---|---|---|"]
    ratios = []
    for name, r in results.items():
        others = {method: scores["scrps"] for method, scores in r["methods"].items() if scores["scrps"] is not None}
        best = min(others, key=lambda method: others[method])
        ratios.append(r["scrps"] / others[best])
        lines.append(
            f"| {name} | {r['scrps']:.3f} | {others['naive']:.3f} | {best} {others[best]:.3f} | {ratios[-1]:.3f} | "
            f"{r['coverage_80']:.3f} |"
        )
    return "\n".join([*lines, f"| geometric mean | | | | {geometric_mean(ratios):.3f} | |"])


def geometric_mean(values: list[float]) -> float:
    """Of positive numbers; nan of none."""
    return math.exp(sum(map(math.log, values)) / len(values)) if values else math.nan


COLUMNS = ("MASE", "sCRPS", "of " + REFERENCE, "of best", "cov80", "cov90", "trainings", "training s", "events/s")


def table(results: dict[str, dict[str, Any]], reference: dict[str, dict[str, float]]) -> str:
    """The results as a Markdown table, with geometric means of the ratios below."""
    lines = ["| data set | " + " | ".join(COLUMNS) + " |", "|" + "---|" * (len(COLUMNS) + 1)]
    to_reference, to_best = [], []
    for name, r in results.items():
        others = reference.get(name, {})
        one, best = r["sCRPS"] / others.get(REFERENCE, math.nan), r["sCRPS"] / min(others.values(), default=math.nan)
        to_reference.append(one)
        to_best.append(best)
        lines.append(
            f"| {name} | {r['MASE']:.3f} | {r['sCRPS']:.3f} | {one:.3f} | {best:.3f} | {r['cov80']:.3f} | "
            f"{r['cov90']:.3f} | {r['promoted']}/{r['retrainings']} | {r['training_seconds']:.0f} | "
            f"{r['events_per_second']:.0f} |"
        )
    means = f"{geometric_mean(to_reference):.3f} | {geometric_mean(to_best):.3f}"
    lines.append(f"| geometric mean | | | {means} | | | | | |")
    return "\n".join(lines)


def write(page: Path, mark: str, text: str) -> None:
    """Puts the text between the page's marks `<!-- mark -->` and `<!-- end mark -->`."""
    begin, end = f"<!-- {mark} -->", f"<!-- end {mark} -->"
    new, count = re.subn(
        f"{re.escape(begin)}.*{re.escape(end)}", lambda _: f"{begin}\n{text}\n{end}", page.read_text(), flags=re.DOTALL
    )
    if count != 1:
        msg = f"{page}: expected the marks {begin} and {end} once"
        raise SystemExit(msg)
    page.write_text(new)


def main() -> int:
    """Runs what was asked for; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("shared", type=Path, nargs="?", default=ROOT / ".." / "shared")
    parser.add_argument("--only", nargs="*", default=[], help="data sets to run; the page is left alone")
    parser.add_argument("--variant", choices=VARIANTS, default="full")
    parser.add_argument("--cold", action="store_true", help="score the first fifty events of each series instead")
    parser.add_argument("--spikes", type=float, default=0.0, help="share of values made wrong; the page is left alone")
    parser.add_argument("--draw", type=int, default=0, help="seed of the wrong values")
    parser.add_argument("--set", action="append", default=[], dest="settings", help="a configuration key=value")
    parser.add_argument("--keep", type=Path, help="folder for origins, predictions and results")
    arguments = parser.parse_args()
    listing = arguments.shared / "data" / "datasets.json"
    if not listing.exists():
        print(f"{listing}: not there; give the folder with data/, tools/ and ACCURACY.md as the argument")
        return 2
    datasets = json.loads(listing.read_text())
    if unknown := set(arguments.only) - set(datasets):
        print(f"got {', '.join(sorted(unknown))}, expected some of {', '.join(datasets)}")
        return 2
    reference = reference_scores(arguments.shared / "ACCURACY.md")
    options = VARIANTS[arguments.variant] + [part for setting in arguments.settings for part in ("--set", setting)]
    results = {}
    with tempfile.TemporaryDirectory() as temporary:
        folder = arguments.keep or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        for name in arguments.only or datasets:
            one = run_cold if arguments.cold else functools.partial(run, spikes=arguments.spikes, draw=arguments.draw)
            results[name] = one(arguments.shared, name, datasets[name], options, folder, arguments.variant)
            shown = cold_table({name: results[name]}) if arguments.cold else table({name: results[name]}, reference)
            print(shown.splitlines()[2], flush=True)
            (folder / "results.json").write_text(json.dumps(results, indent=1))
    text = cold_table(results) if arguments.cold else table(results, reference)
    print(text)
    if not (arguments.only or arguments.settings or arguments.spikes):
        write(PAGE, "cold" if arguments.cold else arguments.variant, text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
