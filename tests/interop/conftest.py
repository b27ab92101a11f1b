"""Makes the networks and streams of tests/reference importable."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent / "reference"))
