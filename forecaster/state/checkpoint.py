"""Checkpoint files: safetensors with a JSON header, versioned, checksummed, replaced atomically, without pickle.

The safetensors metadata holds four strings: `kind` of the file, `version` (format of that kind), `header` (JSON) and
`sha256` (of header, names, types, shapes and contents). A file is written under a temporary name in the same folder,
fsynced and renamed, and the folder is fsynced: a reader sees the old file or the new one, never a part.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from forecaster.errors import CheckpointError

VERSIONS = {"forecaster": 5, "model": 2, "snapshot": 5}  # format versions; kinds not listed have version 1
# Errors that reading a damaged file may raise, also because of types that numpy lacks and nested headers.
_UNREADABLE = (SafetensorError, OSError, ValueError, TypeError, KeyError, RecursionError)
# Types of a file that numpy has by itself; others read only where a package registers them (ml_dtypes does).
_TYPES = frozenset(["BOOL", "I8", "I16", "I32", "I64", "U8", "U16", "U32", "U64", "F16", "F32", "F64", "C64"])
PIECE_ROWS, PIECE_BYTES = 4096, 1 << 24  # an array of more rows that is only verified is read in pieces


def version_of(kind: str) -> str:
    """Returns the format version in which this release writes and reads files of a kind."""
    return str(VERSIONS.get(kind, 1))


def content_sha256(arrays: dict[str, NDArray[Any]], header: str) -> str:
    """Returns the checksum of the header and every array's name, type, shape and bytes, in the order of the names."""
    digest = hashlib.sha256(header.encode())
    for name in sorted(arrays):
        _add(digest, name, arrays[name])
    return digest.hexdigest()


def _add(digest: hashlib._Hash, name: str, array: NDArray[Any]) -> None:
    array = np.ascontiguousarray(array)
    digest.update(f"\n{name} {array.dtype.str} {array.shape}\n".encode())
    digest.update(array.reshape(-1).view(np.uint8).data)


def write_checkpoint(path: Path | str, arrays: dict[str, NDArray[Any]], header: dict[str, Any], kind: str) -> str:
    """Writes a file atomically.

    Args:
        path: the file; its folder must exist. `path` with `.tmp` added is the temporary file.
        arrays: contents; read once, not changed.
        header: metadata of the arrays, JSON-serialisable.
        kind: of the file, e.g. "model"; checked when it is read.

    Returns:
        The sha256 of the contents.

    Raises:
        OSError: the file could not be written; the old one is untouched.
    """
    path = Path(path)
    text = json.dumps(header, sort_keys=True)
    arrays = {name: np.ascontiguousarray(array) for name, array in arrays.items()}
    checksum = content_sha256(arrays, text)
    metadata = {"kind": kind, "version": version_of(kind), "header": text, "sha256": checksum}
    temporary = path.with_name(path.name + ".tmp")
    try:
        save_file(arrays, temporary, metadata)
        with temporary.open("rb") as file:
            os.fsync(file.fileno())
        temporary.replace(path)
    except SafetensorError as error:  # the library reports a full disk this way
        temporary.unlink(missing_ok=True)
        raise OSError(str(error)) from error
    except OSError:
        temporary.unlink(missing_ok=True)
        raise
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
    return checksum


def _metadata(path: Path, file: Any, kind: str) -> dict[str, str]:
    metadata: dict[str, str] = file.metadata() or {}
    if metadata.get("kind") != kind:
        msg = f"{path}: got a file of kind {metadata.get('kind')!r}, expected {kind!r}"
        raise CheckpointError(msg)
    if metadata.get("version") != version_of(kind):
        msg = (
            f"{path}: got format version {metadata.get('version')!r}, expected {version_of(kind)}; "
            "it was written by another release, see the CHANGELOG"
        )
        raise CheckpointError(msg)
    return metadata


@contextmanager
def checked(where: str) -> Iterator[None]:
    """Converts errors of missing or wrong parts raised inside the block to a `CheckpointError`.

    `where`: the file, as its message names it.

    A checksum only proves that a file is as it was written; another program may have written it.

    Raises:
        CheckpointError: instead of the error that the wrong part caused.
    """
    try:
        yield
    except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
        msg = f"{where}: holds something else than this release expects ({type(error).__name__}: {error})"
        raise CheckpointError(msg) from error


def read_header(path: Path | str, kind: str) -> dict[str, Any]:
    """Reads the header of the file `path` alone, without reading or verifying the arrays.

    `kind`: of the file.

    Raises:
        CheckpointError: the file is not of this kind or cannot be read.
    """
    path = Path(path)
    try:
        with safe_open(path, framework="np") as file:
            header: dict[str, Any] = json.loads(_metadata(path, file, kind)["header"])
            return header
    except _UNREADABLE as error:
        msg = f"{path}: cannot be read as a {kind}: {error}"
        raise CheckpointError(msg) from error


def read_checkpoint(
    path: Path | str,
    kind: str,
    keep: Callable[[str], bool] = lambda _: True,
    *,
    mapped: bool = False,
    sha256: str | None = None,
) -> tuple[dict[str, NDArray[Any]], dict[str, Any]]:
    """Reads and verifies a file.

    Args:
        path, kind: of the file.
        keep: whether to return an array of that name; the others are verified as well, but piece by piece.
        sha256: checksum of the expected contents; None: any intact contents.
        mapped: maps large arrays instead of copying them into memory: they are read-only and read when used.

    Returns:
        Its arrays (writable copies unless mapped) and its header.

    Raises:
        CheckpointError: the file is missing, damaged, of another kind or version, or has another checksum.
    """
    path, arrays = Path(path), {}
    try:
        with safe_open(path, framework="np") as file:
            metadata = _metadata(path, file, kind)
            text, expected = metadata["header"], metadata["sha256"]
            if sha256 not in {None, expected}:
                msg = f"{path}: got contents with sha256 {expected[:12]}, expected {str(sha256)[:12]}; use an older one"
                raise CheckpointError(msg)
            header = json.loads(text)
            digest = hashlib.sha256(text.encode())
            for name in sorted(file.keys()):
                shape, kept_as = file.get_slice(name).get_shape(), file.get_slice(name).get_dtype()
                if kept_as not in _TYPES:
                    msg = f"{path}: cannot be read as a {kind}: array {name!r} has type {kept_as}, which numpy lacks"
                    raise CheckpointError(msg)
                if (keep(name) and not mapped) or len(shape) == 0 or shape[0] <= PIECE_ROWS:
                    array = file.get_tensor(name)
                    _add(digest, name, array)
                    if keep(name):
                        arrays[name] = array
                else:
                    first = file.get_slice(name)[:1]
                    digest.update(f"\n{name} {first.dtype.str} {tuple(shape)}\n".encode())
                    for piece in _pieces(path, name):
                        digest.update(piece)
                    if keep(name):
                        arrays[name] = _mapped(path, name, first.dtype)
    except _UNREADABLE as error:
        msg = f"{path}: cannot be read as a {kind}: {error}"
        raise CheckpointError(msg) from error
    got = digest.hexdigest()
    if got != expected:
        msg = f"{path}: damaged: its contents have sha256 {got[:12]}, its header says {expected[:12]}; use an older one"
        raise CheckpointError(msg)
    return arrays, header


def _mapped(path: Path, name: str, dtype: np.dtype[Any]) -> NDArray[Any]:
    """Returns an array of a verified file as a memory map."""
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        entry = json.loads(file.read(length))[name]
    return np.memmap(path, dtype, "r", 8 + length + entry["data_offsets"][0], tuple(entry["shape"]))


def _pieces(path: Path, name: str) -> Iterator[bytes]:
    """Reads the bytes of an array; plain reads, as pages of a mapped file would count as memory of the process."""
    with path.open("rb") as file:
        size = int.from_bytes(file.read(8), "little")  # then the description, then the contents
        start, end = json.loads(file.read(size))[name]["data_offsets"]
        file.seek(8 + size + start)
        for at in range(start, end, PIECE_BYTES):
            yield file.read(min(PIECE_BYTES, end - at))
