"""Every table of measurements in the documentation is written by its script, or listed with its command and commit."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).parents[1] / "benchmarks"))
import accuracy
import figures
from figures import DOCS, FIGURES, ROOT, Figure

NUMBER = re.compile(r"[*~<>+-]*\s*[\d.,]+\s*(%|x|[a-zA-Z/]+)?[* ]*")
NO_MEASUREMENTS = {"messages.md", "architecture.md"}  # examples of records, numbers of lines that a test counts
MEASURED = 0.4  # share of cells that are numbers, from which a table is one of measurements
BY_ACCURACY = {*accuracy.VARIANTS, "cold"}
FORMS = "".join((ROOT / "tests" / name).read_text() for name in ("test_benchmarks.py", "test_benchmark_forms.py"))


def measures(lines: list[str]) -> bool:
    """Returns whether a table is one of measurements."""
    rows = [re.split(r"(?<!\\)\|", line.strip("|"))[1:] for line in lines[2:]]
    cells = [cell.strip() for row in rows for cell in row if cell.strip()]
    return sum(NUMBER.fullmatch(cell) is not None for cell in cells) > MEASURED * len(cells)


def test_no_measurement_stands_alone() -> None:
    """Each table of measurements stands between marks of a figure, or is listed as one that is measured by hand."""
    names = {(figure.page, figure.name) for figure in FIGURES}
    listed = {(one.page, one.table) for one in figures.by_hand()}
    used, alone = set(), list[str]()
    for page in sorted(DOCS.glob("*.md")):
        for table in figures.tables(page.read_text()):
            place = (page.name, table.lines[0])
            used.add(place)
            known = (page.name, table.mark) in names or (page.name == "accuracy.md" and table.mark in BY_ACCURACY)
            if page.name not in NO_MEASUREMENTS and measures(table.lines) and not known and place not in listed:
                alone.append(f"{page.name}:{table.at + 1} {table.lines[0]}")
    assert alone == [], "add a Figure to benchmarks/figures.py, or its command and commit to figures_by_hand.json"
    assert sorted(listed - used) == [], "figures_by_hand.json names tables that are gone"


@pytest.mark.parametrize("figure", FIGURES, ids=[figure.name for figure in FIGURES])
def test_marked(figure: Figure) -> None:
    """A figure names a script, stands once on its page with command and commit, and its columns are tested."""
    assert (ROOT / "benchmarks" / figure.script).is_file()
    text = (DOCS / figure.page).read_text()
    begin, end = f"<!-- figure {figure.name} -->\n", f"<!-- end {figure.name} -->\n"
    assert (text.count(begin), text.count(end)) == (1, 1)
    block = text.partition(begin)[2].partition(end)[0]
    below = block.strip().splitlines()[-1]
    assert re.match(re.escape(f"`{figure.command}`, commit ") + r"[0-9a-f]{7,}\b", below), below
    assert f'on_page("{figure.name}"' in FORMS, "compare what the form of seconds prints with the page"


def test_by_hand_is_complete() -> None:
    """What is measured by hand has a command with an existing script, a commit and a reason."""
    for one in figures.by_hand():
        assert re.fullmatch(r"[0-9a-f]{7,}", one.commit), one
        assert min(len(one.command), len(one.why)) > 5, one
        for script in re.findall(r"(?:benchmarks|tests)/[\w/]+\.py", one.command):
            assert (ROOT / script).is_file(), one


def test_a_page_is_renewed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """What a script prints is written between the marks, with command and commit; a page without them is refused."""
    (tmp_path / "page.md").write_text("before\n<!-- figure one -->\nold\n<!-- end one -->\nafter\n")
    monkeypatch.setattr(figures, "DOCS", tmp_path)
    monkeypatch.setattr(figures, "printed", lambda script, arguments, data: ["| a |", f"| {script} | {arguments} |"])
    monkeypatch.setattr(figures, "commit", lambda: "abcdef12")
    monkeypatch.setattr(figures, "machine", lambda: "two cores")
    one = Figure("one", "page.md", "script.py", "--full", "--quick", place=1)
    figures.renew([one], "DATA", quick=True)
    assert "old" in (tmp_path / "page.md").read_text()
    figures.renew([one], "DATA", quick=False)
    expected = "| script.py | --full |\n\n`python benchmarks/script.py --full`, commit abcdef12, two cores."
    assert (tmp_path / "page.md").read_text() == (f"before\n<!-- figure one -->\n{expected}\n<!-- end one -->\nafter\n")
    with pytest.raises(ValueError, match=r"page.md: got 0 pairs of marks, expected <!-- figure two -->"):
        figures.with_block("", Figure("two", "page.md", "script.py"), "")


def test_the_command_runs(tmp_path: Path) -> None:
    """`make figures ARGS="--quick forecast-formats"` prints a table with its command, and changes nothing."""
    page = (DOCS / "performance.md").read_bytes()
    done = subprocess.run(
        [sys.executable, str(ROOT / "benchmarks" / "figures.py"), "--quick", "forecast-formats"],
        capture_output=True, text=True, check=False, cwd=tmp_path,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "| `json` |" in done.stdout
    assert "`python benchmarks/forecast_formats.py`, commit " in done.stdout
    assert (DOCS / "performance.md").read_bytes() == page
