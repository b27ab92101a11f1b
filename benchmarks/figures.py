"""Renews the tables of measurements in docs/: runs each benchmark and writes its table between the marks of its page.

    make figures                                        all of them, on a machine that does nothing else: hours
    make figures ARGS="forecast-formats long-lag"       these alone
    make figures ARGS="--quick"                         the quick form of each that has one, printed, no page is changed
    make figures ARGS="--data DIR"                      where the public data sets are; without it ../shared

    <!-- figure NAME -->
    the table as the script prints it

    command, commit and machine
    <!-- end NAME -->

What is measured by hand, as it takes many hours or other machines, is in `BY_HAND` with its command and commit.
docs/figures.md lists both.
"""

from __future__ import annotations

import argparse
import functools
import json
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final, NamedTuple

ROOT: Final = Path(__file__).parents[1]
DOCS: Final = ROOT / "docs"
HAND: Final = ROOT / "benchmarks" / "figures_by_hand.json"
DATA: Final = "SHARED"  # stands for the folder of the public data sets in arguments


@dataclass(frozen=True)
class Figure:
    """A table that a script prints.

    Attributes:
        name: of the marks. page: below docs/. script: below benchmarks/. arguments: of the figure in the docs.
        quick: arguments of a form of seconds, None where only the tests have one.
        place: which of the tables that the script prints.
    """

    name: str
    page: str
    script: str
    arguments: str = ""
    quick: str | None = None
    place: int = 0

    @property
    def command(self) -> str:
        """The command as the page shows it."""
        return f"python benchmarks/{self.script} {self.arguments}".strip()


FIGURES: Final = (
    Figure("trend", "data.md", "trend.py", "", "--quick"),
    Figure("records", "performance.md", "records.py", "", "--events 400"),
    Figure("records-daemon", "performance.md", "records.py", "--daemon --events 20000", "--daemon --events 400"),
    Figure("raw-events", "performance.md", "raw_events.py", "--events 200000", "--events 25000 --series 20"),
    Figure(
        "late-events", "performance.md", "late_events.py", "--series 100 --events 150 --runs 2 --within 10",
        "--series 20 --events 60 --runs 1 --within 3",
    ),
    Figure("forecast-formats", "performance.md", "forecast_formats.py", "", "--forecasts 20"),
    Figure("sqlite-output", "performance.md", "sqlite_output.py", "--forecasts 200000", "--forecasts 8192"),
    Figure("parquet-output", "performance.md", "parquet_output.py", "--forecasts 200000", "--forecasts 8192"),
    Figure(
        "postgres-output", "performance.md", "postgres_output.py", "--forecasts 51200 --rounds 5",
        "--forecasts 4096 --rounds 1",
    ),
    Figure("long-lag", "recurrent.md", "long_lag.py", "", "--sequences 64 --epochs 1"),
    Figure("gradients-by-lag", "recurrent.md", "long_lag.py", "", "--sequences 64 --epochs 1", place=1),
    Figure("promotions", "retraining.md", "promotions.py", "", "--quick"),
    Figure("keyed-state", "engines.md", "keyed_state.py"),
    Figure("long-seasons", "seasons.md", "long_seasons.py"),
    Figure("cold-starts", "accuracy.md", "cold_starts.py", DATA),
    Figure("tails", "anomalies.md", "tails.py", DATA),
    Figure("conditional-coverage", "accuracy.md", "tails.py", DATA, place=1),
    Figure("gift-eval", "accuracy.md", "gift_eval.py", DATA),
)  # fmt: skip


class ByHand(NamedTuple):
    """A table that nothing writes, with its command and the commit that it was measured at."""

    page: str
    table: str  # its first line
    command: str
    commit: str
    why: str


def by_hand() -> list[ByHand]:
    """Returns the tables that are measured by hand."""
    return [ByHand(**one) for one in json.loads(HAND.read_text())]


class Table(NamedTuple):
    """A Markdown table of a text: its lines, the number of the first one, and the marks that it stands between."""

    lines: list[str]
    at: int
    mark: str


def tables(text: str) -> Iterator[Table]:
    """Yields the tables of a text in their order."""
    found, mark = list[str](), ""
    for number, line in enumerate([*text.splitlines(), ""]):
        if line.startswith("|"):
            found.append(line)
            continue
        if found:
            yield Table(found, number - len(found), mark)
            found = []
        if begins := re.fullmatch(r"<!-- (figure )?([\w-]+) -->", line):
            mark = begins[2]
        elif line.startswith("<!-- end "):
            mark = ""


def printed(script: str, arguments: str, data: str) -> list[str]:
    """Runs a script; returns the tables that it prints.

    Raises:
        CalledProcessError: it failed.
    """
    words = [data if word == DATA else word for word in shlex.split(arguments)]
    command = [sys.executable, str(ROOT / "benchmarks" / script), *words]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, cwd=ROOT)
    return ["\n".join(table.lines) for table in tables(done.stdout)]


def machine() -> str:
    """Returns processor, number of cores, load, and the date."""
    info = Path("/proc/cpuinfo")
    model = re.search(r"^model name\s*: (.+)$", info.read_text() if info.exists() else "", re.MULTILINE)
    name = model[1].strip() if model else "unknown processor"
    return f"{name}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}, {datetime.now(UTC):%Y-%m-%d}"


def commit() -> str:
    """Returns the commit of the working tree, and whether it has changes."""
    git = ["git", "describe", "--always", "--dirty", "--abbrev=8", "--exclude=*"]
    return subprocess.run(git, cwd=ROOT, capture_output=True, text=True, check=True).stdout.strip()


def caption(figure: Figure, at: str, where: str) -> str:
    """Returns what stands below a table."""
    return f"`{figure.command}`, commit {at}, {where}."


def with_block(text: str, figure: Figure, block: str) -> str:
    """Returns a page with a block between the marks of a figure.

    Raises:
        ValueError: the marks are not there once.
    """
    begin, end = f"<!-- figure {figure.name} -->", f"<!-- end {figure.name} -->"
    pattern = f"{re.escape(begin)}\n.*?\n{re.escape(end)}"
    new, count = re.subn(pattern, lambda _: f"{begin}\n{block}\n{end}", text, flags=re.DOTALL)
    if count != 1:
        msg = f"{figure.page}: got {count} pairs of marks, expected {begin} and {end} once"
        raise ValueError(msg)
    return new


def renew(figures: list[Figure], data: str, *, quick: bool) -> None:
    """Runs the scripts, each command once, and writes the pages; with `quick` only prints what it would write."""
    run = functools.cache(printed)
    for figure in figures:
        arguments = figure.quick if quick else figure.arguments
        if arguments is None:
            print(f"{figure.name}: no quick form", file=sys.stderr)
            continue
        block = f"{run(figure.script, arguments, data)[figure.place]}\n\n{caption(figure, commit(), machine())}"
        print(f"{figure.name}\n\n{block}\n", flush=True)
        if not quick:
            page = DOCS / figure.page
            page.write_text(with_block(page.read_text(), figure, block))


def main() -> None:
    """Renews the figures that are asked for."""
    names = [figure.name for figure in FIGURES]
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"all by default: {', '.join(names)}")
    parser.add_argument("--quick", action="store_true", help="forms of seconds; no page is changed")
    parser.add_argument("--data", default=str(ROOT / ".." / "shared"), help="folder of the public data sets")
    given = parser.parse_args()
    if unknown := set(given.names) - set(names):
        parser.error(f"got {', '.join(sorted(unknown))}, expected some of {', '.join(names)}")
    wanted = [figure for figure in FIGURES if not given.names or figure.name in given.names]
    renew(wanted, given.data, quick=given.quick)


if __name__ == "__main__":
    main()
