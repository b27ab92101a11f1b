"""A daemon that reads InfluxDB line protocol and is killed leaves the output of an undisturbed run."""

from __future__ import annotations

import math
import shutil
from pathlib import Path

import pytest
from test_kill import KILLED, assert_whole, content, launcher, write_config

LINES = 200  # of each of two files
START = 1_767_571_200


def write_points(path: Path, first: int) -> None:
    """Writes lines with several fields, among comments, bad values and lines that are no points."""
    lines = ["# a file of Telegraf"]
    for step in range(first, first + LINES):
        value = "abc" if step % 61 == 0 else f"{math.sin(step / 20) + step % 3:.3f}"
        lines.append(f'm,host=a\\ {step % 2} f={value},g={step % 7}i,s="x, y" {START + 60 * step}')
        lines += ["# a comment", "", "no point", "m f=1"] if step % 50 == 0 else []
    path.write_text("\n".join(lines) + "\n")


@pytest.mark.slow
def test_line_protocol_after_kills(tmp_path: Path) -> None:
    """Forecasts, positions and rejects are byte for byte those of a run without kills, at several moments."""
    write_points(tmp_path / "a-1.lp", 0)
    write_points(tmp_path / "a-2.lp", LINES)
    config = write_config(tmp_path, [tmp_path / "a-*.lp"])
    with launcher(config) as start:
        assert start.run() == 0
        expected = content(tmp_path)
        assert (len(expected["forecasts"]), len(expected["rejects"])) == (4 * LINES, 16)
        shutil.rmtree(tmp_path / "data")
        for step, passage in ((3, 2), (4, 5), (5, 3)):
            assert start.run(kill_at=f"step:{step}:{passage}") == KILLED
        assert start.run() == 0
        assert_whole(tmp_path, expected)
