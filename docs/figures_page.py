"""Generates docs/figures.md: every table of measurements of the pages, with its command."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).parents[1] / "benchmarks"))

from figures import FIGURES, by_hand

INTRODUCTION = """This page lists every table of measurements in the documentation, with the command that gives it.

`make figures` runs the commands of the first list, each once, and writes the tables into their pages, with the \
command, the commit and the machine below; `make figures ARGS=NAME` renews one of them.
The tests run each script in a form of seconds and compare the columns that it prints with those of the page.
`make accuracy` writes the tables of [accuracy](accuracy.md) that have a row for each public data set.
SHARED is the folder of the public data sets.
"""


def figures_page(note: str) -> str:
    """Returns the page."""
    lines = ["# Figures\n", note, INTRODUCTION, "| name | page | command |", "|---|---|---|"]
    lines += [f"| {one.name} | {_link(one.page)} | `{one.command}` |" for one in FIGURES]
    lines += ["\n## By hand\n", "These tables are copied from what the command prints; the commit is that of the run,"]
    lines += [
        "or that with which the table was written.\n",
        "| page | table | command | commit | why |",
        "|---|---|---|---|---|",
    ]
    lines += [
        f"| {_link(one.page)} | {_columns(one.table)} | `{one.command}` | {one.commit} | {one.why} |"
        for one in by_hand()
    ]
    return "\n".join([*lines, ""])


def _link(page: str) -> str:
    return f"[{page.removesuffix('.md')}]({page})"


def _columns(table: str) -> str:
    """Returns the first columns of a table, in words."""
    return ", ".join(cell.strip() for cell in table.strip("|").split("|")[:3] if cell.strip()).replace("`", "")
