"""The models of a daemon as a folder that trainer, engine and command line share.

    <sha256>.safetensors   a model; written once, never changed
    <sha256>.json          where it came from and what it scored
    decisions.jsonl        every decision, appended: the truth
    champion               sha256 of the model to use: what the last decision says, as one small file to look at

Every write is atomic or an append that is synced; a process killed anywhere leaves a folder that `recover` repairs.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import re
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final, Literal

from forecaster import CheckpointError, Model, ModelConfig, is_pretrained, load_model, save_model, start_model
from service.errors import ServiceError
from service.ports import Clock

_SHA256: Final = re.compile(r"[0-9a-f]{64}")

Action = Literal[
    "initial",
    "shadow",
    "promoted",
    "kept",
    "nothing_to_learn",
    "failed",
    "confirmed",
    "restored",
    "promote",
    "rollback",
]
# Decisions that make their model the champion.
_CROWNING: Final = frozenset({"initial", "promoted", "restored", "promote", "rollback"})
# Those of a training that made no model.
_WITHOUT_MODEL: Final = frozenset({"nothing_to_learn", "failed"})
# Those that take the last champion off again.
_GOING_BACK: Final = frozenset({"restored", "rollback"})


class RegistryError(ServiceError):
    """The registry cannot do that: no such model, an ambiguous name, nothing to go back to."""


@dataclass(frozen=True, slots=True)
class Decision:
    """One line of decisions.jsonl.

    Attributes:
        action: "initial"; "promoted", "kept", "nothing_to_learn" or "failed" (by a training), "shadow" (good enough to
            run beside the champion; then "promoted" or "kept"); "confirmed" or "restored" (of a promoted one, by the
            old champion that ran beside it); "promote", "rollback" (by a person).
        model: sha256 of the model that it is about; "" where a training made none.
        parent: sha256 of the champion at that time, "" where there was none.
        reason: in words.
        figures: losses and counts of the training.
        job: identity of the training, so that one cut short is not taken for one that ended; "" for none.
        seasons: of the history that was trained on, as `service.seasons.Seasons.to_dict`; empty where none was.
        decided_ms: wall clock.
    """

    action: Action
    model: str
    parent: str = ""
    reason: str = ""
    figures: dict[str, Any] = field(default_factory=dict)
    job: str = ""
    decided_ms: int = 0
    seasons: dict[str, list[int]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Standing:
    """What is on trial, by the decisions.

    Attributes:
        challenger: sha256 of the model that is to run beside the champion, "" for none.
        former: sha256 of the old champion that is to run beside the one it lost to, "" for none.
        since: the decision that says so.
    """

    challenger: str = ""
    former: str = ""
    since: Decision | None = None


@dataclass(frozen=True, slots=True)
class Entry:
    """A model of the folder, with what is known about it."""

    sha256: str
    parent: str
    created_ms: int
    figures: dict[str, Any]
    is_champion: bool


class Registry:
    """The folder. Safe for several processes at once.

    Args:
        folder: created when missing.
        clock: for the times in records.
    """

    def __init__(self, folder: Path, clock: Clock) -> None:
        self.folder = folder
        self._clock = clock
        self._read: tuple[object, list[Decision]] = None, []  # decisions, and of which state of the file
        folder.mkdir(parents=True, exist_ok=True)

    # Reading ------------------------------------------------------------------------------------------------

    def champion(self) -> str | None:
        """The sha256 of the model to use, or None before the first. Cheap enough to ask every second."""
        try:
            text = (self.folder / "champion").read_text("ascii", "replace").strip()
        except FileNotFoundError:
            return None
        return text if _SHA256.fullmatch(text) else self._crowned()

    def load(self, sha256: str) -> Model:
        """A model of the folder, verified.

        Raises:
            RegistryError: it is not there, or the file holds another model.
            CheckpointError: it is damaged.
        """
        path = self._model_path(sha256)
        if not path.exists():
            msg = f"{self.folder}: has no model {sha256[:12]}; put its file back, or start with another state.data_dir"
            raise RegistryError(msg)
        try:
            model = load_model(path)
        except CheckpointError as error:
            msg = f"{error}; put the file back, or choose another model: `forecaster models list`, `models promote`"
            raise CheckpointError(msg) from error
        if model.sha256 != sha256:
            msg = f"{path}: got model {model.sha256[:12]}, expected {sha256[:12]}, as the file is called"
            raise RegistryError(msg)
        return model

    def decisions(self) -> list[Decision]:
        """All decisions, oldest first. A line cut short by a crash is left out.

        The loop asks every second, for years: the file is read when it has changed.
        """
        path = self.folder / "decisions.jsonl"
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
        """How the training with this identity ended, or None if it never did."""
        return next((decision for decision in reversed(self.decisions()) if decision.job == job and job), None)

    def standing(self) -> Standing:
        """What is on trial. A decision by a person ends any trial."""
        found = Standing()
        for decision in self.decisions():
            if decision.action == "shadow":
                found = Standing(challenger=decision.model, since=decision)
            elif decision.action == "promoted" and decision.model == found.challenger:
                found = Standing(former=decision.parent, since=decision)
            elif decision.action == "kept" and decision.model != found.challenger:
                continue
            elif decision.action not in _WITHOUT_MODEL:
                found = Standing()
        return found

    def entries(self) -> list[Entry]:
        """All models, oldest first."""
        champion = self.champion()
        found = []
        for path in self.folder.glob("*.safetensors"):
            facts: dict[str, Any] = {}
            with contextlib.suppress(OSError, ValueError):
                facts = json.loads(path.with_suffix(".json").read_text("utf-8"))
            found.append(
                Entry(
                    path.stem,
                    str(facts.get("parent", "")),
                    int(facts.get("created_ms", 0)),
                    dict(facts.get("figures", {})),
                    path.stem == champion,
                )
            )
        return sorted(found, key=lambda entry: (entry.created_ms, entry.sha256))

    def resolve(self, name: str) -> str:
        """The sha256 that begins with `name`; "champion" is the champion.

        Raises:
            RegistryError: none or several do.
        """
        if name == "champion" and (champion := self.champion()):
            return champion
        matches = [entry.sha256 for entry in self.entries() if name and entry.sha256.startswith(name)]
        if len(matches) != 1:
            got = "none" if not matches else ", ".join(match[:12] for match in matches)
            msg = f"{self.folder}: models whose sha256 begins with {name!r}: {got}; expected exactly one"
            raise RegistryError(msg)
        return matches[0]

    # Writing ------------------------------------------------------------------------------------------------

    def add(self, model: Model, parent: str = "", figures: dict[str, Any] | None = None) -> str:
        """Keeps a model; nobody uses it yet. One that is there already stays as it is.

        Returns:
            Its sha256.
        """
        sha256 = model.sha256
        if not self._model_path(sha256).exists():
            facts = {"parent": parent, "created_ms": self._clock.wall_ms(), "figures": figures or {}}
            replace_file(self._model_path(sha256).with_suffix(".json"), json.dumps(facts, sort_keys=True) + "\n")
            save_model(self._model_path(sha256), model)
        return sha256

    def begin(self, config: ModelConfig) -> Model:
        """Makes the model of a first start the champion: the weights that come with the program, or untrained ones.

        Raises:
            CheckpointError: the weights that come with the program are damaged.
        """
        model = start_model(config)
        self.add(model)
        self.record(Decision("initial", model.sha256, reason="pretrained" if is_pretrained(config) else "untrained"))
        return model

    def record(self, decision: Decision) -> None:
        """Appends a decision and moves the champion if it says so. Durable on return."""
        with self._locked():
            self._append(decision)

    def promote(self, sha256: str, reason: str = "by hand") -> None:
        """Makes a model of the folder the champion.

        Raises:
            RegistryError: it is not there. CheckpointError: it is damaged; the champion stays.
        """
        self.load(sha256)
        with self._locked():
            self._append(Decision("promote", sha256, self._crowned() or "", reason))

    def rollback(self, reason: str = "by hand") -> str:
        """Makes the champion's predecessor the champion again; repeated, goes back further.

        Returns:
            Its sha256.

        Raises:
            RegistryError: there is none.
        """
        with self._locked():
            line = self._line_of_champions()
            if len(line) < 2:
                msg = f"{self.folder}: nothing to go back to, there was only one champion; `models list` shows them"
                raise RegistryError(msg)
            self.load(line[-2])
            self._append(Decision("rollback", line[-2], line[-1], reason))
        return line[-2]

    def recover(self) -> None:
        """Makes the champion file say what the last decision says, after a crash between the two."""
        with self._locked():
            crowned = self._crowned()
            if crowned is not None and self.champion() != crowned:
                replace_file(self.folder / "champion", crowned + "\n")

    def _append(self, decision: Decision) -> None:
        stamped = asdict(decision) | {"decided_ms": decision.decided_ms or self._clock.wall_ms()}
        path = self.folder / "decisions.jsonl"
        with path.open("ab") as file:
            if file.tell() and path.read_bytes()[-1:] != b"\n":
                file.write(b"\n")  # behind a line cut short by a crash
            file.write(json.dumps(stamped, sort_keys=True).encode() + b"\n")
            file.flush()
            os.fsync(file.fileno())
        if decision.action in _CROWNING:
            replace_file(self.folder / "champion", decision.model + "\n")

    def _crowned(self) -> str | None:
        line = self._line_of_champions()
        return line[-1] if line else None

    def _line_of_champions(self) -> list[str]:
        """The champion and its predecessors; a rollback takes the last one off again."""
        line: list[str] = []
        for decision in self.decisions():
            if decision.action in _GOING_BACK and len(line) >= 2 and line[-2] == decision.model:
                line.pop()
            elif decision.action in _CROWNING and line[-1:] != [decision.model]:
                line.append(decision.model)
        return line

    def _model_path(self, sha256: str) -> Path:
        if not _SHA256.fullmatch(sha256):
            msg = f"got {sha256[:80]!r}, expected a sha256 of 64 hexadecimal digits"
            raise RegistryError(msg)
        return self.folder / f"{sha256}.safetensors"

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        """One writer at a time; held for milliseconds."""
        with (self.folder / "registry.lock").open("a") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield


def replace_file(path: Path, text: str) -> None:
    """Writes a small file so that a reader sees the old one or the new one, also after a power loss."""
    temporary = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    with temporary.open("w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
