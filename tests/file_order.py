"""Order of the test files for two workers: files that wait and files that compute take turns, the longest first.

`--dist loadfile` gives each free worker the next file. By itself it begins with the file of most tests, so that the
long tests of few files come last, and one worker waits for the other. The seconds are those of the last record; a file
without a record counts as a short one. `make test ARGS=--record-seconds` writes them anew.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Final

RECORD: Final = Path(__file__).with_name("seconds.json")
SHORT: Final = 5  # seconds below which a file is not recorded
# Folders whose tests mostly wait, for processes and brokers, and leave a core to the tests that compute.
WAITING: Final = frozenset({"broker", "e2e", "deploy", "fuzz", "postgres", "soak"})


def ordered(files: Iterable[str], seconds: Mapping[str, float]) -> list[str]:
    """Returns the files in the order in which they start.

    Args:
        files: paths below the folder of the tests, e.g. "broker/test_pairs.py".
        seconds: duration of the files that are not short.
    """
    kinds: dict[bool, list[str]] = {True: [], False: []}
    for file in dict.fromkeys(files):
        kinds[file.partition("/")[0] in WAITING].append(file)
    placed: list[tuple[float, str]] = []
    for kind in kinds.values():
        kind.sort(key=lambda file: -seconds.get(file, 1.0))
        total, before = sum(seconds.get(file, 1.0) for file in kind), 0.0
        for file in kind:  # by the share of its kind that is before it: both kinds last as long as the run
            placed.append((before / total, file))
            before += seconds.get(file, 1.0)
    return [file for _, file in sorted(placed, key=lambda one: one[0])]


def recorded() -> dict[str, float]:
    """Returns the recorded seconds by file."""
    found: dict[str, float] = json.loads(RECORD.read_text())
    return found


def record(durations: Iterable[tuple[str, float]]) -> None:
    """Writes the seconds of all files that take longer than `SHORT`.

    Args:
        durations: file and seconds, of every phase of every test.
    """
    total: dict[str, float] = defaultdict(float)
    for file, seconds in durations:
        total[file] += seconds
    kept = {file: round(seconds) for file, seconds in sorted(total.items()) if seconds >= SHORT}
    RECORD.write_text(json.dumps(kept, indent=1) + "\n")
