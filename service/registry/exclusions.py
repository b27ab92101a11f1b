"""Training exclusions: windows of series that trainings do not use, in a file of the registry folder.

    exclusions.json    series (a glob), from, to (epoch ms; from included, to excluded), reason, time of the entry

Every training reads them, so a window may be added in advance or long afterwards; forecasts do not change. The trainer
treats a value inside as a missing observation: it is neither a target nor an input, and the held-out comparison
excludes it as well.
"""

from __future__ import annotations

import fnmatch
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Final

import numpy as np

from forecaster import History
from service.errors import ServiceError
from service.registry.models import replace_file

MOST_RECORDED: Final = 1000  # windows from control records; bounds the disk space and the time of trainings


class ExclusionError(ServiceError):
    """The file cannot be read, or the exclusion does not exist."""


@dataclass(frozen=True, slots=True)
class Exclusion:
    """One window.

    Attributes:
        series: a glob as in a shell; "*" for all.
        from_ms, to_ms: event time, epoch ms; from included, to excluded.
        reason: text for people.
        said_ms: wall clock.
    """

    series: str
    from_ms: int
    to_ms: int
    reason: str = ""
    said_ms: int = 0


def _path(folder: Path) -> Path:
    return folder / "exclusions.json"


def read(folder: Path) -> list[Exclusion]:
    """Reads all exclusions of a registry folder, in the order in which they were added.

    Raises:
        ExclusionError: the file is not what `add` writes.
    """
    try:
        return [Exclusion(**entry) for entry in json.loads(_path(folder).read_text("utf-8"))]
    except FileNotFoundError:
        return []
    except (ValueError, TypeError) as error:
        msg = f"{_path(folder)}: expected a list of exclusions, got {error}; repair or delete it"
        raise ExclusionError(msg) from error


def add(folder: Path, exclusion: Exclusion) -> int:
    """Adds an exclusion; durable on return.

    Returns:
        Its number, for `remove`.

    Raises:
        ExclusionError: the window is empty, or the file cannot be read.
    """
    if exclusion.to_ms <= exclusion.from_ms:
        msg = f"got a window from {exclusion.from_ms} to {exclusion.to_ms}, expected an end after its start"
        raise ExclusionError(msg)
    found = [*read(folder), exclusion]
    _write(folder, found)
    return len(found)


def record(folder: Path, exclusion: Exclusion) -> bool:
    """Adds an exclusion of a control record, unless the same window of the same series exists.

    Returns:
        Whether it was added.

    Raises:
        ExclusionError: as `add`, or there are MOST_RECORDED exclusions already.
    """
    window, found = (exclusion.series, exclusion.from_ms, exclusion.to_ms), read(folder)
    if window in {(each.series, each.from_ms, each.to_ms) for each in found}:
        return False
    if len(found) >= MOST_RECORDED:
        msg = f"{_path(folder)}: got {len(found)} windows, expected fewer than {MOST_RECORDED}; remove old ones"
        raise ExclusionError(msg)
    add(folder, exclusion)
    return True


def remove(folder: Path, number: int) -> Exclusion:
    """Removes an exclusion; the numbers of later ones decrease by one.

    Raises:
        ExclusionError: the number does not exist.
    """
    found = read(folder)
    if not 1 <= number <= len(found):
        expected = f"expected 1 to {len(found)}; `forecaster exclude --list` shows them" if found else "there is none"
        msg = f"{_path(folder)}: got number {number}, {expected}"
        raise ExclusionError(msg)
    gone = found.pop(number - 1)
    _write(folder, found)
    return gone


def _write(folder: Path, exclusions: Sequence[Exclusion]) -> None:
    replace_file(_path(folder), json.dumps([asdict(each) for each in exclusions], indent=1) + "\n")


def masked(history: History, exclusions: Sequence[Exclusion]) -> History:
    """Returns the history with excluded values as missing. Series without a row match "*" only."""
    if not exclusions:
        return history
    value = history.value.copy()
    for each in exclusions:
        hit = (history.timestamp_ms >= each.from_ms) & (history.timestamp_ms < each.to_ms)
        if each.series != "*":
            serials = [s for s, name in history.names.items() if fnmatch.fnmatchcase(name, each.series)]
            hit &= np.isin(history.series, np.array(serials, np.int64))
        value[hit] = np.nan
    return replace(history, value=value)
