"""The form of compiled functions that the environment asks for, see `forecaster.use_kernels`."""

from __future__ import annotations

import os
from typing import Final

from forecaster import use_kernels, used_kernels
from service.errors import ConfigurationError

VARIABLE: Final = "FORECASTER_KERNELS"


def use_kernels_of_environment() -> None:
    """Sets the form that the environment variable names; without one nothing changes.

    Called at the start of every process of the program; processes inherit the variable.

    Raises:
        ConfigurationError: its value is no form.
    """
    if form := os.environ.get(VARIABLE):
        try:
            use_kernels(form)
        except ValueError as error:
            msg = f"{VARIABLE}: {error}"
            raise ConfigurationError(msg) from None


def use_quick_kernels() -> None:
    """Lets the first start on a machine answer with quickly made code; a form that was chosen stays.

    For processes that compile faster forms while they run (engine/literal_kernels.py).
    """
    if used_kernels() == "auto":
        use_kernels("quick")
