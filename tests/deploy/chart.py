"""Renderings of the chart by helm, kept with their values, because helm is not installed everywhere.

python tests/deploy/chart.py        renders every *.values.yaml again (needs helm on the path, or HELM=/path/to/helm)
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any, Final

import yaml

CHART: Final = Path(__file__).parents[2] / "deploy" / "helm" / "forecaster"
FOLDER: Final = Path(__file__).parent / "helm"
KUBERNETES: Final = "1.34.0"
CASES: Final = tuple(sorted(path.name.removesuffix(".values.yaml") for path in FOLDER.glob("*.values.yaml")))


def helm() -> str | None:
    """Returns the path of helm, or None."""
    return os.environ.get("HELM") or shutil.which("helm")


def digest(case: str) -> str:
    """Returns the digest of the chart and the values of a rendering."""
    found = hashlib.sha256((FOLDER / f"{case}.values.yaml").read_bytes())
    for path in sorted(CHART.rglob("*")):
        if path.is_file():
            found.update(str(path.relative_to(CHART)).encode() + b"\0" + path.read_bytes())
    return found.hexdigest()


def render(program: str, case: str) -> str:
    """Renders the chart with helm."""
    command = [program, "template", "release", str(CHART), "--kube-version", KUBERNETES, "--namespace", "forecasts"]
    command += ["--values", str(FOLDER / f"{case}.values.yaml")]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    if done.returncode:
        raise SystemExit(done.stderr)
    return f"# Made by chart.py from {digest(case)}\n{done.stdout}"


def objects(case: str) -> dict[str, dict[str, Any]]:
    """Returns the kept rendering: kind -> object."""
    text = (FOLDER / f"{case}.rendered.yaml").read_text()
    return {one["kind"]: one for one in yaml.safe_load_all(text) if one}


if __name__ == "__main__":
    found = helm()
    if found is None:
        message = "got no helm, expected it on the path or in the variable HELM"
        raise SystemExit(message)
    for name in CASES:
        (FOLDER / f"{name}.rendered.yaml").write_text(render(found, name))
