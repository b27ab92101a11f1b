"""The notebook of examples/ runs from top to bottom."""

from __future__ import annotations

import json
from pathlib import Path

import matplotlib as mpl
import pytest

NOTEBOOK = Path(__file__).parents[3] / "examples" / "notebook.ipynb"


@pytest.mark.slow
def test_every_cell_runs() -> None:
    """The code cells run in order in one namespace, and the forecasts follow the season."""
    mpl.use("agg")
    cells = json.loads(NOTEBOOK.read_text())["cells"]
    names: dict[str, object] = {}
    for cell in cells:
        if cell["cell_type"] == "code":
            assert cell["outputs"] == [], "outputs are not committed"
            exec(compile("".join(cell["source"]), f"{NOTEBOOK.name} {cell['id']}", "exec"), names)  # noqa: S102

    ahead = names["ahead"]
    north = ahead[ahead["unique_id"] == "north"]  # type: ignore[index] # a frame
    assert north["forecaster"].iloc[5] > 115, "six hours after midnight is the top of the day"
    mpl.pyplot.close("all")
