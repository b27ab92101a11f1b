"""Imports of what not everyone has."""

from __future__ import annotations

import importlib
from typing import Any

from forecaster.errors import MissingExtraError, install_command


def optional(module: str, extra: str) -> Any:
    """The module, imported now.

    Raises:
        MissingExtraError: it is not installed; the message names the extra that brings it.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        msg = f"{module} is not installed ({error}); it comes with: {install_command(extra)}"
        raise MissingExtraError(msg) from error
