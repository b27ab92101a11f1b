"""The public interface has the types of its documented usage."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path


def test_the_interface_type_checks() -> None:
    """Mypy in strict mode reports no error for typing/api.py."""
    here = Path(__file__).parent
    command = [sys.executable, "-m", "mypy", "--strict", str(here / "api.py")]
    result = subprocess.run(command, capture_output=True, text=True, cwd=here.parents[1], check=False)
    assert result.returncode == 0, result.stdout + result.stderr
