"""The models of a daemon as a folder that trainer, engine and command line share.

    <sha256>.safetensors   a model; written once, never changed
    <sha256>.json          its origin and its scores
    decisions.jsonl        the newest decisions, appended; the authoritative record
    champion               sha256 of the model to use, from the last decision, as a small file
    groups/<name>/         decisions.jsonl and champion of a group; the models of all groups are together

Every write is atomic, or an append that is synced; after a kill at any point `recover` repairs the folder.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from forecaster import CheckpointError, Model, ModelConfig, is_pretrained, load_model, save_model, start_model
from service.errors import ServiceError
from service.folder_lock import sync_folder
from service.ports import Clock
from service.registry.decisions import PROMOTING, Decision, Standing, line_of, searchable, shortened, standing_of

_SHA256: Final = re.compile(r"[0-9a-f]{64}")
_GROUPS: Final = "groups"
_LEFT_MS: Final = 3_600_000  # temporary files older than this are left over from killed processes


class RegistryError(ServiceError):
    """The operation is not possible: unknown model, ambiguous name, no previous champion."""


@dataclass(frozen=True, slots=True)
class ModelEntry:
    """A model of the folder with its facts."""

    sha256: str
    parent: str
    created_ms: int
    figures: dict[str, Any]
    is_champion: bool


def decisions_folder(folder: Path, group: str) -> Path:
    """Returns the folder of the decisions of a group, in the folder of the models."""
    return folder / _GROUPS / group if group else folder


def has_models(folder: Path, group: str = "") -> bool:
    """Returns whether a registry folder has had a champion of a group."""
    return any((decisions_folder(folder, group) / name).exists() for name in ("champion", "decisions.jsonl"))


class Registry:
    """The registry folder. Safe for several processes at once.

    Args:
        folder: created if missing.
        clock: for the times in records.
        group: the group of series whose decisions and champion it has; "" without groups.

    Attributes:
        folder: of the models of all groups. decisions_folder: of the decisions of the group.
        clock: see above.
    """

    def __init__(self, folder: Path, clock: Clock, group: str = "") -> None:
        self.folder, self.group, self.clock = folder, group, clock
        self.decisions_folder = decisions_folder(folder, group)
        self._read: tuple[object, list[Decision]] = None, []  # state of the file, decisions
        self.decisions_folder.mkdir(parents=True, exist_ok=True)

    def of_group(self, group: str) -> Registry:
        """Returns the registry of a group of the same folder."""
        return self if group == self.group else Registry(self.folder, self.clock, group)

    def groups(self) -> list[str]:
        """Returns the groups of series that have decisions in the folder, without group ""."""
        return sorted(path.name for path in (self.folder / _GROUPS).glob("*/"))

    # Reading ------------------------------------------------------------------------------------------------

    def champion(self) -> str | None:
        """Returns the sha256 of the model to use, or None before the first. Cheap enough to call every second."""
        try:
            text = (self.decisions_folder / "champion").read_text("ascii", "replace").strip()
        except FileNotFoundError:
            return None
        return text if _SHA256.fullmatch(text) else self._newest_promoted()

    def load(self, sha256: str) -> Model:
        """Loads and verifies a model of the folder.

        Raises:
            RegistryError: the model does not exist, or its file has another model.
            CheckpointError: the file is damaged.
        """
        path = self._model_path(sha256)
        if not path.exists():
            msg = f"{self.folder}: has no model {sha256[:12]}; restore its file, or start with another state.data_dir"
            raise RegistryError(msg)
        try:
            model = load_model(path)
        except CheckpointError as error:
            msg = f"{error}; restore the file, or choose another model: `forecaster models list`, `models promote`"
            raise CheckpointError(msg) from error
        if model.sha256 != sha256:
            msg = f"{path}: got model {model.sha256[:12]}, expected {sha256[:12]}, as in the file name"
            raise RegistryError(msg)
        return model

    def decisions(self) -> list[Decision]:
        """Returns all decisions, oldest first. Skips a line that a crash truncated.

        The engine calls this every second, so the file is only read when it has changed.
        """
        path = self.decisions_folder / "decisions.jsonl"
        try:
            file = path.stat()
            state = file.st_ino, file.st_size, file.st_mtime_ns
            if self._read[0] != state:
                found = []
                for line in path.read_bytes().splitlines():
                    with contextlib.suppress(ValueError, TypeError):
                        found.append(Decision(**json.loads(line)))
                self._read = state, found
        except FileNotFoundError:
            return []
        return list(self._read[1])

    def decision_of(self, job: str) -> Decision | None:
        """Returns the decision of the training with this identity, or None."""
        return next((decision for decision in reversed(self.decisions()) if decision.job == job and job), None)

    def standing(self) -> Standing:
        """Returns the models on trial. A manual decision ends any trial."""
        return standing_of(self.decisions())

    def entries(self) -> list[ModelEntry]:
        """Returns all models, oldest first."""
        champion = self.champion()
        found = []
        for path in self.folder.glob("*.safetensors"):
            facts: dict[str, Any] = {}
            with contextlib.suppress(OSError, ValueError):
                facts = json.loads(path.with_suffix(".json").read_text("utf-8"))
            found.append(
                ModelEntry(
                    path.stem,
                    str(facts.get("parent", "")),
                    int(facts.get("created_ms", 0)),
                    dict(facts.get("figures", {})),
                    path.stem == champion,
                )
            )
        return sorted(found, key=lambda entry: (entry.created_ms, entry.sha256))

    def resolve(self, name: str) -> str:
        """Returns the sha256 that starts with `name`; "champion" is the champion.

        Raises:
            RegistryError: no model or several models match.
        """
        if name == "champion" and (champion := self.champion()):
            return champion
        matches = [entry.sha256 for entry in self.entries() if name and entry.sha256.startswith(name)]
        if len(matches) != 1:
            got = "none" if not matches else ", ".join(match[:12] for match in matches)
            msg = f"{self.folder}: models whose sha256 starts with {name!r}: {got}; expected exactly one"
            raise RegistryError(msg)
        return matches[0]

    # Writing ------------------------------------------------------------------------------------------------

    def add(self, model: Model, parent: str = "", figures: dict[str, Any] | None = None) -> str:
        """Stores a model, which is not used yet. An existing one stays unchanged.

        Returns:
            Its sha256.
        """
        sha256 = model.sha256
        if not self._model_path(sha256).exists():
            facts = {"parent": parent, "created_ms": self.clock.wall_ms(), "figures": figures or {}}
            replace_file(self._model_path(sha256).with_suffix(".json"), json.dumps(facts, sort_keys=True) + "\n")
            save_model(self._model_path(sha256), model)
        return sha256

    def begin(self, config: ModelConfig) -> Model:
        """Makes the model of a first start the champion: the weights shipped with the program, or untrained ones.

        Raises:
            CheckpointError: the shipped weights are damaged.
        """
        model = start_model(config)
        self.add(model)
        reason = "pretrained" if is_pretrained(config) else "untrained"
        self.record(Decision("initial", model.sha256, reason=reason, configured=searchable(config)))
        return model

    def record(self, decision: Decision) -> None:
        """Appends a decision, and changes the champion accordingly. Durable on return."""
        with self._locked():
            self._append(decision)

    def promote(self, sha256: str, reason: str = "by hand") -> None:
        """Makes a model of the folder the champion.

        Raises:
            RegistryError: it does not exist. CheckpointError: it is damaged; the champion stays.
        """
        with self._locked():  # otherwise it could be deleted in between
            self.load(sha256)
            self._append(Decision("promote", sha256, self._newest_promoted() or "", reason))

    def rollback(self, reason: str = "by hand") -> str:
        """Makes the previous champion the champion again; repeated calls go back further.

        Returns:
            Its sha256.

        Raises:
            RegistryError: there is no previous champion.
        """
        with self._locked():
            line = self._line_of_champions()
            if len(line) < 2:
                msg = f"{self.folder}: no previous champion, there was only one; `models list` shows the models"
                raise RegistryError(msg)
            self.load(line[-2])
            self._append(Decision("rollback", line[-2], line[-1], reason))
        return line[-2]

    def recover(self) -> None:
        """Makes the champion file agree with the last decision, after a crash between the two writes."""
        with self._locked():
            promoted = self._newest_promoted()
            if promoted is not None and self.champion() != promoted:
                replace_file(self.decisions_folder / "champion", promoted + "\n")

    def shorten(self, most: int) -> int:
        """Drops the oldest decisions above a number, except those that determine the present champion and trial.

        It waits until there are 10 % more, so that the file is rarely rewritten.

        Returns:
            The number of dropped decisions.
        """
        with self._locked():
            before = self.decisions()
            if len(before) <= most + most // 10:
                return 0
            after = shortened(before, most)
            if len(after) == len(before):
                return 0
            replace_file(self.decisions_folder / "decisions.jsonl", "".join(decision.line() for decision in after))
        return len(before) - len(after)

    def prune(self, needed: Collection[str], most: int) -> list[str]:
        """Deletes the oldest models above a number, and temporary files of killed processes.

        The champion, the previous one and the models on trial of every group are kept at any age.

        Args:
            needed: further models to keep.
            most: number of models to keep in total, if possible.

        Returns:
            The sha256 of the deleted models.
        """
        with self._locked():
            stay = {*needed, *(one for group in ("", *self.groups()) for one in self.of_group(group).in_use())}
            entries = self.entries()
            gone = [entry.sha256 for entry in entries[: max(0, len(entries) - most)] if entry.sha256 not in stay]
            for sha256 in gone:  # the facts first: a model without facts counts as the oldest in the next call
                self._model_path(sha256).with_suffix(".json").unlink(missing_ok=True)
                self._model_path(sha256).unlink(missing_ok=True)
            for left in (*self.folder.glob("*.tmp"), *self.folder.glob("*.received")):
                with contextlib.suppress(OSError):
                    if self.clock.wall_ms() - left.stat().st_mtime_ns // 1_000_000 > _LEFT_MS:
                        left.unlink()
        return gone

    def in_use(self) -> set[str]:
        """Returns the champion, the previous one and the models on trial of the group."""
        standing, champion = self.standing(), self.champion()
        found = {*self._line_of_champions()[-2:], standing.challenger, standing.former}
        return found if champion is None else {*found, champion}

    def _append(self, decision: Decision) -> None:
        stamped = replace(decision, decided_ms=decision.decided_ms or self.clock.wall_ms())
        path = self.decisions_folder / "decisions.jsonl"
        with path.open("ab") as file:
            if file.tell() and path.read_bytes()[-1:] != b"\n":
                file.write(b"\n")  # after a line that a crash truncated
            file.write(stamped.line().encode())
            file.flush()
            os.fsync(file.fileno())
        if decision.action in PROMOTING:
            replace_file(self.decisions_folder / "champion", decision.model + "\n")

    def _newest_promoted(self) -> str | None:
        line = self._line_of_champions()
        return line[-1] if line else None

    def _line_of_champions(self) -> list[str]:
        """Returns the champions in order, the present one last; a rollback removes the last one."""
        decisions = self.decisions()
        return [decisions[at].model for at in line_of(decisions)]

    def _model_path(self, sha256: str) -> Path:
        if not _SHA256.fullmatch(sha256):
            msg = f"got {sha256[:80]!r}, expected a sha256 of 64 hexadecimal digits"
            raise RegistryError(msg)
        return self.folder / f"{sha256}.safetensors"

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        """Serialises writers; held for milliseconds."""
        with (self.folder / "registry.lock").open("a") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield


def replace_file(path: Path, text: str) -> None:
    """Writes a small file atomically: a reader sees the old or the new one, also after a power loss."""
    temporary = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    with temporary.open("w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)
    sync_folder(path.parent)
