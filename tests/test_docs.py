"""The reference pages match the program, and the examples run."""

from __future__ import annotations

import importlib.util
import re
import runpy
from pathlib import Path
from types import ModuleType

import pytest

import forecaster
from service.config.alert_rules import AlertRule
from service.config.groups import GroupConfig
from service.config.load import load_config
from service.config.scale_rules import ScaleRule
from service.config.sections import Config

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"


def load_generator() -> ModuleType:
    """Loads docs/generate.py as a module."""
    spec = importlib.util.spec_from_file_location("generate", DOCS / "generate.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


GENERATOR = load_generator()


@pytest.mark.parametrize("page", list(GENERATOR.PAGES))
def test_generated_page_is_fresh(page: str) -> None:
    """A generated page equals the generator's current output; `make docs` writes it anew."""
    assert (DOCS / page).read_text() == GENERATOR.PAGES[page]()


def test_every_key_is_documented() -> None:
    """Every configuration key is on the configuration page with a description."""
    page = (DOCS / "configuration.md").read_text()
    for section, field in Config.model_fields.items():
        several = {tuple[one, ...]: one for one in (GroupConfig, AlertRule, ScaleRule)}.get(field.annotation)
        title, kind = (f"[[{section}]]", several) if several else (f"[{section}]", field.annotation)
        table = page.partition(f"## {title}\n")[2].partition("\n## ")[0]
        for key in kind.model_fields:
            assert re.search(rf"^\| `{key}(\.\w+)?` \| `.*` \| \S", table, re.MULTILINE), f"{section}.{key}"


def test_library_page_names_the_public_list() -> None:
    """Every name in the table of the library page is public."""
    page = (DOCS / "library.md").read_text()
    for row in re.findall(r"^\| (`.*?`) \|", page, re.MULTILINE):
        for name in re.findall(r"`(\w+)`", row):
            assert hasattr(forecaster, name), name


def test_settings_can_be_used(tmp_path: Path) -> None:
    """Every TOML block of the pages is a valid configuration."""
    block = re.compile(r"^```toml\n(.*?)^```$", re.MULTILINE | re.DOTALL)
    blocks = [(page, text) for page in sorted(DOCS.glob("*.md")) for text in block.findall(page.read_text())]
    assert len(blocks) >= 3
    for page, text in blocks:
        (tmp_path / page.name).write_text(text)
        config = load_config(tmp_path / page.name)
        config.library_model()
        config.library_anomaly()


@pytest.mark.parametrize("page", sorted(path.name for path in DOCS.glob("*.md")))
def test_links(page: str) -> None:
    """Every file that a page links to exists."""
    for link in re.findall(r"\]\((?!https?://)([^)#]+)\)", (DOCS / page).read_text()):
        assert (DOCS / link).exists(), link


@pytest.mark.slow
@pytest.mark.parametrize("example", sorted(path.name for path in (ROOT / "examples").glob("*.py")))
def test_examples(example: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Every example runs, prints something, and beats the baseline that it names, if any."""
    runpy.run_path(str(ROOT / "examples" / example))

    printed = capsys.readouterr().out.strip()
    assert printed
    figures = re.findall(r"(accuracy|error) ([\d.]+)%?, baseline \([\w -]+\) ([\d.]+)", printed)
    assert len(figures) == ("baseline" in printed)
    for kind, mine, trivial in figures:
        assert (float(mine) > float(trivial)) == (kind == "accuracy"), printed


@pytest.mark.slow
def test_covariates_page() -> None:
    """The block of the page runs, and the known future values halve the error."""
    page = (DOCS / "covariates.md").read_text()
    (block,) = re.findall(r"^```python\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
    names: dict[str, dict[str, float]] = {}
    exec(compile(block, "docs/covariates.md", "exec"), names)  # noqa: S102 - as below
    errors = names["errors"]
    assert errors["the plan"] < errors["nothing"] / 2


def test_recurrent_page() -> None:
    """The blocks of the page on recurrent networks run, one after the other."""
    blocks = re.findall(r"^```python\n(.*?)^```$", (DOCS / "recurrent.md").read_text(), re.MULTILINE | re.DOTALL)
    assert len(blocks) >= 8
    names: dict[str, object] = {}
    for block in blocks:
        exec(compile(block, "docs/recurrent.md", "exec"), names)  # noqa: S102 - the page's own code is what is tested
