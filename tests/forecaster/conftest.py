"""Makes the shared cases and naive twins of tests/reference importable."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).parents[1] / "reference"))
