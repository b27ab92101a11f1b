"""The tables of cases in the pages on security and delivery: every row names a test, and every named test exists."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

ROOT: Final = Path(__file__).parent.parent
TESTS: Final = ROOT / "tests"
FILES: Final = sorted(TESTS.rglob("test_*.py"))
_CODE: Final = re.compile(r"`([^`]+)`")


def rows(page: str) -> Iterator[tuple[str, str, str]]:
    """Yields first cell, last cell and last column's name of every row of tables whose last column is called test."""
    column = ""
    for line in page.splitlines():
        if not line.startswith("|"):
            column = ""
            continue
        cells = [cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]]
        if not column:
            column = cells[-1]
        elif column.startswith("test") and not set(cells[0]) <= set("-:"):
            yield cells[0], cells[-1], column


def file_named(name: str, column: str) -> Path:
    """Returns the one test file whose path ends with `name`; the name of the column may give its folder."""
    parts = Path(name).parts
    found = [path for path in FILES if path.parts[-len(parts) :] == parts]
    below = [code for code in _CODE.findall(column) if code.startswith("tests")]
    if len(found) > 1 and below:
        found = [path for path in found if path.is_relative_to(ROOT / below[0])]
    assert len(found) == 1, f"{name}: got {len(found)} files, expected one"
    return found[0]


def named(cell: str, column: str, last: Path | None) -> Iterator[tuple[Path, str]]:
    """Yields file and name (empty: whole file) of every test in a cell; a name alone refers to the previous file."""
    for code in _CODE.findall(cell):
        file, *names = code.removeprefix("tests/").split("::")
        if file.endswith(".py"):
            last = file_named(file, column)
        elif file:
            names = [file, *names]
        assert last is not None, f"{code}: expected the name of a file before"
        yield last, "::".join(names)


def there(file: Path, name: str) -> bool:
    """Whether a file contains a test, a class of tests, or a test in a class."""
    text = file.read_text()
    return all(
        re.search(rf"^\s*(async def|def|class) {re.escape(one)}\b", text, re.MULTILINE) for one in name.split("::")
    )


@pytest.mark.parametrize("page", ["security.md", "delivery.md"])
def test_every_case_has_a_test_that_exists(page: str) -> None:
    """Each row of each table names at least one test, and every named test exists."""
    last: Path | None = None
    count, missing = 0, []
    for case, cell, column in rows((ROOT / "docs" / page).read_text()):
        found = list(named(cell, column, last))
        last = found[-1][0] if found else last
        missing += [f"{case}: {file.name}::{name}" for file, name in found if name and not there(file, name)]
        missing += [] if found else [f"{case}: names no test"]
        count += 1
    assert missing == []
    assert count >= 20


def test_what_is_missing_is_found(tmp_path: Path) -> None:
    """The check reports a missing test, in the form of every table."""
    (tmp_path / "test_a.py").write_text("class TestB:\n    def test_c(self): ...\n")
    assert there(tmp_path / "test_a.py", "TestB::test_c")
    assert not there(tmp_path / "test_a.py", "TestB::test_d")
    assert not there(tmp_path / "test_a.py", "test_")
    head = "| case | what | test |\n|---|---|---|\n"
    page = head + "| x | y | `test_cases.py`: `test_z`, `::test_w` |\n| a | b | |\n\n| c | d |\n"
    (case, cell, column), (_, empty, _) = rows(page)
    assert [name for _, name in named(cell, column, None)] == ["", "test_z", "test_w"]
    assert (case, empty) == ("x", "")
