"""The names of the members of the ensemble."""

from __future__ import annotations

from forecaster.config import ModelConfig


def member_names(config: ModelConfig) -> tuple[str, ...]:
    """Returns the members of `config`, in the order of `mixture_weights`; ("network",) without an ensemble."""
    if not config.mixture:
        return ("network",)
    kinds = ("seasonal_naive", "seasonal_level", "two_seasons")
    return ("network", "trend", *(f"{kind}_{season}" for season in config.seasons for kind in kinds))
