"""Flat parameter buffers: checked once, read-only from then on."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from forecaster.errors import ConfigError


def frozen_parameters(params: NDArray[np.float32], expected: int) -> NDArray[np.float32]:
    """A read-only copy of a model's parameters.

    Args:
        params: (expected,) float32, finite.
        expected: how many the configuration has.

    Raises:
        ConfigError: another shape or dtype, or a number that is not finite.
    """
    if params.shape != (expected,) or params.dtype != np.float32:
        raise ConfigError("params", f"{params.dtype} {params.shape}", f"float32 ({expected},) for this configuration")
    if not np.isfinite(params).all():
        raise ConfigError("params", "nan or infinity", "finite numbers")
    frozen = params.copy()
    frozen.flags.writeable = False
    return frozen
