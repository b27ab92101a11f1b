"""The documentation builds as a site without a warning, and its how-tos work as printed."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
PAGES = ("tutorial.md", "files.md", "scaling.md")


@pytest.mark.slow
def test_site_builds_strictly(tmp_path: Path) -> None:
    """Every page, link and name of the reference exists; every page is reachable; pages load no external files."""
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(tmp_path)]
    environment = os.environ | {"NO_MKDOCS_2_WARNING": "1"}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:] + done.stdout[-3000:]

    start = (tmp_path / "index.html").read_text()
    for page in (ROOT / "docs").glob("*.md"):
        built = tmp_path / ("index.html" if page.stem == "index" else f"{page.stem}/index.html")
        assert built.is_file(), page.name
        assert page.stem == "index" or f'href="{page.stem}/"' in start, f"{page.name} is not in the navigation"
    loads = r"""(?:<script[^>]+src|<img[^>]+src|<link[^>]+rel="stylesheet"[^>]+href)="(https?:[^"]+)"""
    for built in tmp_path.rglob("*.html"):
        assert not re.findall(loads, built.read_text()), built
    assert 'id="forecaster.Forecaster.observe"' in (tmp_path / "reference" / "index.html").read_text()


@pytest.mark.slow
@pytest.mark.parametrize("page", PAGES)
def test_how_tos(page: str, tmp_path: Path) -> None:
    """The blocks of a page succeed, one after the other in an empty folder, and print the shown output."""
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    environment = {name: value for name, value in os.environ.items() if not name.startswith("FORECASTER_")}
    environment["PATH"] = f"{Path(sys.executable).parent}:{environment['PATH']}"
    printed = ""
    for found in BLOCK.finditer((ROOT / "docs" / page).read_text()):
        language, text = found[1], found[2]
        if language == "text":
            assert printed == text
            continue
        assert language == "sh", f"a block of {language} is not run"
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", text],
            cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=240, check=False,
        )  # fmt: skip
        printed = done.stdout
        assert done.returncode == 0, f"{text}\n{printed[-3000:]}\n{done.stderr[-3000:]}"
