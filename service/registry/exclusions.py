"""Incidents: windows of series that are not to be learnt from, as a file of the registry folder.

    exclusions.json    series (a glob), from, to (epoch ms; from included, to not), reason, when it was said

Read by every training, so a window may be marked before it comes or long after; what is forecast does not change. A
value in it is, to the trainer, a missing observation: neither a target nor an input, and the held-out comparison
leaves it out as well.
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

MOST_SAID: Final = 1000  # windows that a stream may say: it must not fill the disk, nor a training's time


class ExclusionError(ServiceError):
    """The file cannot be read, or there is no such exclusion."""


@dataclass(frozen=True, slots=True)
class Exclusion:
    """One window.

    Attributes:
        series: a glob, as the shell has them; "*" for all.
        from_ms, to_ms: event time, epoch ms; the first included, the last not.
        reason: for people.
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
    """All exclusions of a registry folder, in the order in which they were said.

    Raises:
        ExclusionError: the file is not what `add` writes.
    """
    try:
        return [Exclusion(**entry) for entry in json.loads(_path(folder).read_text("utf-8"))]
    except FileNotFoundError:
        return []
    except (ValueError, TypeError) as error:
        msg = f"{_path(folder)}: expected a list of exclusions, got {error}; mend or delete it"
        raise ExclusionError(msg) from error


def add(folder: Path, exclusion: Exclusion) -> int:
    """Adds one; durable on return.

    Returns:
        Its number, by which it can be removed.

    Raises:
        ExclusionError: the window is empty, or the file cannot be read.
    """
    if exclusion.to_ms <= exclusion.from_ms:
        msg = f"got a window from {exclusion.from_ms} to {exclusion.to_ms}, expected an end behind its beginning"
        raise ExclusionError(msg)
    found = [*read(folder), exclusion]
    _write(folder, found)
    return len(found)


def say(folder: Path, exclusion: Exclusion) -> bool:
    """Adds one unless the same window of the same series is there already; what a stream says may come again.

    Returns:
        Whether it was added.

    Raises:
        ExclusionError: as `add`, or there are MOST_SAID already.
    """
    window, found = (exclusion.series, exclusion.from_ms, exclusion.to_ms), read(folder)
    if window in {(each.series, each.from_ms, each.to_ms) for each in found}:
        return False
    if len(found) >= MOST_SAID:
        msg = f"{_path(folder)}: got {len(found)} windows, expected fewer than {MOST_SAID}; remove old ones"
        raise ExclusionError(msg)
    add(folder, exclusion)
    return True


def remove(folder: Path, number: int) -> Exclusion:
    """Takes one off again; those behind it move up.

    Raises:
        ExclusionError: there is no such number.
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
    """The history as it is to be learnt from: excluded values are missing. Series without a row match "*" only."""
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
