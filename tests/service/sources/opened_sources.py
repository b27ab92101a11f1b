"""The file sources that a test has opened; conftest.py closes them after it."""

from __future__ import annotations

from typing import Final

from service.sources.file_source import FileSource

OPENED: Final[list[FileSource]] = []
