"""Rules of the code base: unique class names, short parameter lists, folder maps with existing files."""

from __future__ import annotations

import ast
import functools
import io
import re
import tokenize
from collections import Counter, defaultdict
from pathlib import Path
from typing import Final

import pytest

ROOT: Final = Path(__file__).parent.parent
SOURCES: Final = sorted(path for package in ("forecaster", "service") for path in (ROOT / package).rglob("*.py"))
PARAMETERS: Final = 12
HARD: Final = (
    "forecaster/kernels", "forecaster/ensemble", "service/engine", "service/sources", "service/sinks",
    "service/deliveries",
)  # fmt: skip
# Obsolete words that LAYOUT replaced, in all texts for readers.
WORDS: Final = re.compile(
    r"\b(matured|so-manieth|almanac|thrift|limbo|who is listened to|told|set aside|brought back|let go of"
    r"|seams?(?!\.))\b",  # the arrays seam.* of a snapshot keep their name
    re.IGNORECASE,
)


@functools.cache
def parsed() -> list[tuple[Path, ast.Module]]:
    """Returns every module of both packages."""
    return [(path.relative_to(ROOT), ast.parse(path.read_text())) for path in SOURCES]


def test_no_class_has_the_name_of_another() -> None:
    """No two public classes have the same name."""
    found = defaultdict(list)
    for path, tree in parsed():
        for node in tree.body:
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                found[node.name].append(str(path))
    assert {name: paths for name, paths in found.items() if len(paths) > 1} == {}


def test_short_lists_of_parameters() -> None:
    """No function has more than `PARAMETERS` parameters."""
    long = [
        f"{path}:{node.lineno} {node.name}"
        for path, tree in parsed()
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef)
        and len([one for one in (*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs) if one.arg != "self"])
        > PARAMETERS
    ]
    assert long == []


@pytest.mark.parametrize("folder", HARD)
def test_hard_folders_have_a_map(folder: str) -> None:
    """Every hard folder has a README.md of 5 to 40 lines."""
    page = ROOT / folder / "README.md"
    lines = page.read_text().splitlines()
    assert 5 <= len(lines) <= 40


@pytest.mark.parametrize("page", ["docs/architecture.md", *(f"{folder}/README.md" for folder in HARD)])
def test_files_on_the_map_are_there(page: str) -> None:
    """Every path with a folder that a page names exists."""
    text = (ROOT / page).read_text()
    named = re.findall(r"`((?:forecaster|service|tests|docs|benchmarks|deploy)/[\w./-]+)`", text)
    assert [name for name in named if not (ROOT / name).exists()] == []


def test_names_on_the_map_are_there() -> None:
    """Where the map says that something is in a file, the file contains that name."""
    text = (ROOT / "docs" / "architecture.md").read_text()
    named = re.findall(r"`([\w.]+)` in `((?:forecaster|service|docs)/[\w/]+\.py)`", text)
    assert len(named) > 20
    missing = [
        (name, path)
        for name, path in named
        if set(name.split(".")) - set(re.findall(r"\w+", (ROOT / path).read_text()))
    ]
    assert missing == []


@pytest.mark.parametrize("package", ["forecaster", "service"])
def test_every_module_is_on_the_map(package: str) -> None:
    """The row of a folder names every module in it, and every other module of a package has a row."""
    page = (ROOT / "docs" / "architecture.md").read_text().partition("## The tree")[2].partition("## ")[0]
    tables = dict(zip(("forecaster", "service"), page.split("`service/` is the daemon"), strict=True))
    rows: dict[str, str] = defaultdict(str)
    for names, content in re.findall(r"^\| (.*?) \|(.*)\|$", tables[package], re.MULTILINE):
        for name in re.findall(r"`([\w/.]+)`", names):
            rows[name.rstrip("/")] += content
    missing = [path.name for path in (ROOT / package).glob("*.py") if path.stem != "__init__" and path.name not in rows]
    for folder in (path for path in (ROOT / package).iterdir() if list(path.glob("*.py"))):
        named = set(re.findall(r"\w+", " ".join(re.findall(r"`([^`]+)`", rows[folder.name]))))
        found = () if folder.name == "cli" else folder.glob("*.py")  # a module per command
        missing += [f"{folder.name}/{path.stem}" for path in found if path.stem[0] != "_" and path.stem not in named]
    assert missing == []


def test_tests_mirror_the_packages() -> None:
    """Every folder of a package has a folder of tests; those of `capacity` go through its commands."""
    folders = [path.parent.relative_to(ROOT) for package in ("forecaster", "service")
               for path in (ROOT / package).glob("*/__init__.py")]  # fmt: skip
    missing = [str(folder) for folder in folders if not (ROOT / "tests" / folder).is_dir()]
    assert missing == ["service/capacity"]


def lines_of_code(path: Path) -> int:
    """Counts the lines of a module or folder without blank lines, comments and docstrings."""
    if path.is_dir():
        return sum(map(lines_of_code, path.rglob("*.py")))
    text, skipped = (
        path.read_text(),
        {tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT},
    )
    tokens = tokenize.generate_tokens(io.StringIO(text).readline)
    lines = {
        at for one in tokens if one.type not in skipped for at in range(one.start[0], one.end[0] + 1) if one.string
    }
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) and ast.get_docstring(
            node
        ):
            lines -= set(range(node.body[0].lineno, (node.body[0].end_lineno or 0) + 1))
    return len(lines)


def imports(path: Path) -> int:
    """Counts the lines of the imports of a module."""
    nodes = [node for node in ast.parse(path.read_text()).body if isinstance(node, ast.Import | ast.ImportFrom)]
    return sum((node.end_lineno or 0) - node.lineno + 1 for node in nodes)


def test_the_size_of_the_loops() -> None:
    """The table of the map states the lines of both loops within a tenth, or 50 lines; their sums within a fiftieth."""
    table = (ROOT / "docs" / "architecture.md").read_text().partition("## Reading both loops")[2].partition("## ")[0]
    rows = re.findall(r"^\|[^|]+\|([^|]+)\| (\d+) \|$", table, re.MULTILINE)
    assert len(rows) > 5
    parts: list[set[Path]] = []
    for files, stated in rows:
        named = [ROOT / name for name in re.findall(r"`([^`]+)`", files)]
        parts.append({one for path in named for one in (path.rglob("*.py") if path.is_dir() else [path])})
        counted = sum(map(lines_of_code, parts[-1]))
        assert abs(counted - int(stated)) <= max(50, counted // 10), (files, counted)
    everything, second = set().union(*parts), parts[-1]
    first = everything - second
    sums = [sum(map(lines_of_code, everything)), sum(map(lines_of_code, first)), sum(map(imports, first))]
    pattern = r"about ([\d,]+) lines, and ([\d,]+) without.*?\nOf these .*? about ([\d,]+) are imports"
    (stated_sums,) = re.findall(pattern, table)
    for counted, stated in zip(sums, stated_sums, strict=True):
        assert abs(counted - int(stated.replace(",", ""))) <= max(50, counted // 50), sums


@pytest.mark.parametrize("path", [path.relative_to(ROOT) for path in SOURCES], ids=str)
def test_words(path: Path) -> None:
    """No module contains an obsolete word."""
    text = (ROOT / path).read_text()
    assert WORDS.findall(text) == []


SEARCHED: Final = (
    "prediction interval", "ensemble", "probabilistic", "conformal", "seasonality", "frequency", "hyperparameter",
    "resample", "actuals", "rolling origin", "walk-forward", "backpressure", "lead time", "concept drift", "zero-shot",
    "extrapolate",
)  # fmt: skip


@pytest.mark.parametrize("words", SEARCHED)
def test_words_that_readers_search_for(words: str) -> None:
    """The pages have the words by which a reader searches for a forecaster, also with a hyphen."""
    pages = "\n".join(page.read_text().lower() for page in [ROOT / "README.md", *(ROOT / "docs").glob("*.md")])
    assert words in pages or words.replace(" ", "-") in pages


def test_words_of_the_pages() -> None:
    """No page contains an obsolete word; the changelog may, for renames."""
    pages = [*ROOT.glob("docs/*.md"), ROOT / "README.md", ROOT / "CONTRIBUTING.md"]
    assert {page.name: found for page in pages if (found := WORDS.findall(page.read_text()))} == {}


def test_no_test_file_has_the_name_of_another() -> None:
    """The name of a file occurs once among tests, their helpers and benchmarks: all are imported without a folder."""
    files = [
        *(ROOT / "tests").rglob("*.py"),
        *(path for path in (ROOT / "benchmarks").glob("*.py") if not path.name.startswith("test_")),
    ]
    names = Counter(path.name for path in files if path.name not in {"conftest.py", "__init__.py"})
    assert [name for name, count in names.items() if count > 1] == []
