"""Compiled kernels on a read-only system: the library is loaded nevertheless."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from service.cli import _kernel_cache as _kernels

ROOT = os.geteuid() == 0
# Root becomes another user who may read everything; others become root of a namespace. All is mounted read-only.
_SPACE = ["unshare", "-m" if ROOT else "-rm", "sh", "-c"]
_CAPS = "--inh-caps=-all,+dac_read_search --ambient-caps=-all,+dac_read_search --bounding-set=-all,+dac_read_search"
_OTHER = f"setpriv --reuid 65534 --regid 65534 --clear-groups {_CAPS}" if ROOT else ""


def read_only(places: list[Path], *command: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """Runs a command where only these places may be written."""
    kept = " && ".join(f"mount --bind {place} {place}" for place in places) or "true"
    # Places may lie in /dev/shm: an existing mount is remounted read-only, because a new mount would hide the places.
    shared = "{ mount -o remount,bind,ro /dev/shm || mount -t tmpfs -o ro none /dev/shm; }"
    script = f'{kept} && mount -o remount,bind,ro / && {shared} && exec {_OTHER} "$@"'
    own = os.environ | {"HOME": "/nonexistent", "TMPDIR": str(folder)}
    for name in ("NUMBA_CACHE_DIR", "XDG_CACHE_HOME"):
        own.pop(name, None)
    return subprocess.run(
        [*_SPACE, script, "sh", *command], cwd="/", env=own, capture_output=True, text=True, check=False, timeout=240
    )


def can() -> bool:
    """Returns whether this machine permits private mounts."""
    try:
        return bool(shutil.which("setpriv")) and read_only([], "true", folder=Path("/nonexistent")).returncode == 0
    except OSError:
        return False


class TestPlace:
    """The choice of the folder."""

    def test_a_usual_one(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        """With a writable folder of numba's own, nothing is changed."""
        monkeypatch.setenv(_kernels.VARIABLE, str(tmp_path / "new"))
        assert not _kernels.ensure_cache_folder()
        assert os.environ[_kernels.VARIABLE] == str(tmp_path / "new")
        assert not (tmp_path / "new").exists()

    def test_none(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        """Without a writable folder, a private one is made once and removed when the process ends."""
        monkeypatch.setenv(_kernels.VARIABLE, "/of/no/use")
        monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
        monkeypatch.setattr(_kernels, "may_write", lambda place: place.parent == tmp_path)
        gone = []
        monkeypatch.setattr(_kernels.atexit, "register", lambda *call, **_: gone.append(call[1]))
        assert _kernels.ensure_cache_folder()
        (made,) = tmp_path.iterdir()
        assert (os.environ[_kernels.VARIABLE], gone) == (str(made), [str(made)])
        assert made.stat().st_mode & 0o077 == 0
        assert not _kernels.ensure_cache_folder()

    def test_what_may_be_written(self, tmp_path: Path) -> None:
        """A folder is writable if it exists or can be made; a file, or a path below a file, is not."""
        (tmp_path / "file").touch()
        assert _kernels.may_write(tmp_path)
        assert _kernels.may_write(tmp_path / "a" / "b")
        assert not _kernels.may_write(tmp_path / "file")
        assert not _kernels.may_write(tmp_path / "file" / "a")


@pytest.mark.skipif(not can(), reason="no mounts of our own here")
class TestReadOnly:
    """A read-only system, and a user who owns nothing."""

    def test_one_place(self, tmp_path: Path) -> None:
        """With only a folder for temporary files, commands that load the library warn and succeed."""
        data = tmp_path / "data"
        (data / "models").mkdir(parents=True)
        for path in (tmp_path, data, data / "models"):
            path.chmod(0o777)
        command = [sys.executable, "-P", "-m", "service.cli", "models", "list", "--data-dir", str(data)]
        done = read_only([tmp_path], *command, folder=tmp_path)
        assert done.returncode == 0, done.stderr
        assert "compiled at every start" in done.stderr
        assert [path.name for path in tmp_path.iterdir()] == ["data"]

    def test_no_place(self) -> None:
        """Without a writable folder, the command fails with one line that states what is needed."""
        command = [sys.executable, "-P", "-m", "service.cli", "plan", "--series", "1", "--rate", "1"]
        done = read_only([], *command, folder=Path("/nonexistent"))
        assert done.returncode == 1
        assert done.stderr.splitlines() == [f"Error: {_kernels.NEEDED}"]
