"""Which output the state of a data folder belongs to: positions say nothing without the output that they stand in.

    <data_dir>/snapshots/output.json     name and place of the output

Every snapshot names its output, too. Written at the first start; a folder that has none yet, as those of older
releases, belongs to the output that it is started with.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Final

import structlog

from service.errors import ConfigurationError
from service.ports import OutputIdentity
from service.registry.models import replace_file

_log = structlog.get_logger()

FILE: Final = "output.json"
# Beside the snapshots: what is kept of partitions of the same output.
BESIDE: Final = ("rules", "settings")


def claim(root: Path, output: OutputIdentity, *, fresh: bool) -> None:
    """Makes sure that a folder of snapshots belongs to an output, before any of them is used.

    One that belonged to an output that is gone is given to one that begins, without its snapshots.

    Args:
        root: the folder of all snapshots.
        output: as the transport names it; one without a name claims nothing.
        fresh: whether nothing was ever committed to it.

    Raises:
        ConfigurationError: it belongs to another output, which is still there or may be.
        OSError: the claim cannot be written.
    """
    if not output.name:
        return
    owner = _owner(root)
    if owner.get("name") == output.name:
        if (owner.get("place"), owner.get("path")) != (output.place, output.path):
            _write(root, output)  # it was moved
        return
    if owner.get("name") and any(root.glob("*/*.snapshot")):
        if not (fresh and _is_gone(owner["path"], output.path)):
            others = ", ".join(f"{root.with_name(name)}" for name in BESIDE)
            msg = (
                f"{root.parent}: got the output {output.place}, expected {owner['place']}, which the state in this "
                "folder was computed for. Give each output a state.data_dir of its own, or put the expected one "
                f"back; to compute the state of this one anew from its events, delete {root}, {others}"
            )
            raise ConfigurationError(msg)
        _log.warning("state deleted, its output no longer exists", folder=str(root), output=owner["place"])
        for folder in (root, *(root.with_name(name) for name in BESIDE)):
            shutil.rmtree(folder, ignore_errors=True)
    _write(root, output)


def _is_gone(path: str, mine: str) -> bool:
    """Whether an output in that file is no more: the file is not there, or is the one of now."""
    if not path:
        return False  # not in a file: nobody can tell
    there = Path(path)
    return not there.exists() or (bool(mine) and Path(mine).exists() and there.samefile(mine))


def _owner(root: Path) -> dict[str, str]:
    """What was written, or nothing: snapshots name their output themselves, so a damaged file is only written anew."""
    try:
        found = json.loads((root / FILE).read_text("utf-8"))
    except (OSError, ValueError):
        return {}
    whole = isinstance(found, dict) and all(isinstance(found.get(key), str) for key in ("name", "place", "path"))
    return found if whole else {}


def _write(root: Path, output: OutputIdentity) -> None:
    root.mkdir(parents=True, exist_ok=True)
    facts = {"name": output.name, "place": output.place, "path": output.path}
    replace_file(root / FILE, json.dumps(facts, sort_keys=True) + "\n")
