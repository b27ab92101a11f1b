"""Imports of optional packages."""

from __future__ import annotations

import importlib
from typing import Any

from forecaster.errors import MissingExtraError, install_command


def optional(module: str, extra: str) -> Any:
    """Imports and returns a module of an optional package.

    Raises:
        MissingExtraError: it is not installed; the message names the extra that contains it.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        msg = f"{module} is not installed ({error}); it comes with: {install_command(extra)}"
        raise MissingExtraError(msg) from error
