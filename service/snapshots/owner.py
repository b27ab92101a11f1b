"""Records which output the state of a data folder belongs to: positions are only valid for the output they refer to.

    <data_dir>/snapshots/output.json     name and place of the output

Every snapshot has the name of its output, too. The file is written at the first start; a folder without it, as of older
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
# Folders next to the snapshots with further data on partitions of the same output.
RELATED_FOLDERS: Final = ("rules", "settings")


def claim(root: Path, output: OutputIdentity, *, fresh: bool) -> None:
    """Checks that a folder of snapshots belongs to an output, before any of them is used.

    A folder whose output no longer exists is reassigned to a new output, without its snapshots.

    Args:
        root: the folder of all snapshots.
        output: the identity from the transport; one without a name claims nothing.
        fresh: whether nothing was ever committed to the output.

    Raises:
        ConfigurationError: the folder belongs to another output, which exists or may exist.
        OSError: the file cannot be written.
    """
    if not output.name:
        return
    owner = _owner(root)
    if owner.get("name") == output.name:
        if (owner.get("place"), owner.get("path")) != (output.place, output.path):
            _write(root, output)  # the output was moved
        return
    if owner.get("name") and any(root.glob("*/*.snapshot")):
        if not (fresh and _is_gone(owner["path"], output.path)):
            others = ", ".join(f"{root.with_name(name)}" for name in RELATED_FOLDERS)
            msg = (
                f"{root.parent}: got the output {output.place}, expected {owner['place']}, which the state in this "
                "folder was computed for. Use a separate state.data_dir for each output, or restore the expected one; "
                f"to compute the state for this output again from its events, delete {root}, {others}"
            )
            raise ConfigurationError(msg)
        _log.warning("state deleted, its output no longer exists", folder=str(root), output=owner["place"])
        for folder in (root, *(root.with_name(name) for name in RELATED_FOLDERS)):
            shutil.rmtree(folder, ignore_errors=True)
    _write(root, output)


def _is_gone(path: str, mine: str) -> bool:
    """Returns whether the output in that file no longer exists: the file is missing, or it is the present one."""
    if not path:
        return False  # not in a file, so unknown
    there = Path(path)
    return not there.exists() or (bool(mine) and Path(mine).exists() and there.samefile(mine))


def _owner(root: Path) -> dict[str, str]:
    """Reads the recorded owner; empty where the file is missing or damaged. Every snapshot has its output, too.

    Raises:
        OSError: the file is there and cannot be read, as without descriptors.
    """
    try:
        found = json.loads((root / FILE).read_text("utf-8"))
    except (FileNotFoundError, ValueError):
        return {}
    complete = isinstance(found, dict) and all(isinstance(found.get(key), str) for key in ("name", "place", "path"))
    return found if complete else {}


def _write(root: Path, output: OutputIdentity) -> None:
    root.mkdir(parents=True, exist_ok=True)
    facts = {"name": output.name, "place": output.place, "path": output.path}
    replace_file(root / FILE, json.dumps(facts, sort_keys=True) + "\n")
