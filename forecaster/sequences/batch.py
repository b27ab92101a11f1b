"""Batches of sequences: inputs, masks of existing steps, and targets."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from forecaster.errors import BatchError
from forecaster.sequences.config import SequenceConfig


def padded(rows: Sequence[ArrayLike], fill: float) -> NDArray[Any]:
    """Stacks rows of unequal length to one array (N, longest, ...), padded with `fill` at their ends."""
    arrays = [np.asarray(row) for row in rows]
    out = np.full((len(arrays), max((len(a) for a in arrays), default=0), *arrays[0].shape[1:]), fill, arrays[0].dtype)
    for i, array in enumerate(arrays):
        out[i, : len(array)] = array
    return out


@dataclass(frozen=True)
class Sequences:
    """N sequences of up to T steps.

    A step that does not exist (a gap, or after the end of a shorter sequence) leaves the hidden state unchanged and
    has no loss. A missing target (nan, or class -1) has no loss either.

    Attributes:
        features: (N, T, F) real inputs; a step with a non-finite one does not exist. None if there are none.
        symbols: (N, T) integers; a step with a negative one does not exist. None if there are none.
        targets: by task: "each" (N, T), "last" (N,), "decode" (N, horizon); with one more axis if the output is
            values. Real, or integer for classes. None without training.
        future: (N, horizon, K) real known future values of the decoder, finite. None if there are none.
    """

    features: NDArray[Any] | None = None
    symbols: NDArray[Any] | None = None
    targets: NDArray[Any] | None = None
    future: NDArray[Any] | None = None

    def __len__(self) -> int:
        source = self.symbols if self.features is None else self.features
        return 0 if source is None else len(source)

    @property
    def steps(self) -> int:
        """Returns the number of steps T."""
        source = self.symbols if self.features is None else self.features
        return 0 if source is None else int(source.shape[1])

    @functools.cached_property
    def present(self) -> NDArray[np.bool_]:
        """Returns which steps exist, (N, T); computed once."""
        exists = np.ones((len(self), self.steps), np.bool_)
        if self.features is not None:
            exists &= np.isfinite(self.features).all(axis=2)
        if self.symbols is not None:
            exists &= self.symbols >= 0
        return exists

    @functools.cached_property
    def complete(self) -> bool:
        """Returns whether every step and every target exists; computed once."""
        if self.targets is None or not self.present.all():
            return False
        return bool((self.targets >= 0).all() if self.targets.dtype.kind in "iu" else np.isfinite(self.targets).all())

    def take(self, rows: Any) -> Self:
        """Returns the sequences of these rows."""
        parts = {f.name: getattr(self, f.name) for f in fields(self)}
        taken = type(self)(**{name: None if part is None else part[rows] for name, part in parts.items()})
        vars(taken)["present"] = self.present[rows]  # avoids computing it again for every batch
        if vars(self).get("complete"):
            vars(taken)["complete"] = True
        return taken

    def check(self, config: SequenceConfig, *, learn: bool) -> None:
        """Checks that the columns fit each other and a network.

        Args:
            config: of the network.
            learn: whether targets are needed.

        Raises:
            BatchError: a column does not fit; the message names it.
        """
        n, steps, c = len(self), self.steps, config
        _expect("features", self.features, (n, steps, c.features) if c.features else None)
        _expect("symbols", self.symbols, (n, steps) if c.symbols else None)
        if n == 0 or steps == 0:
            msg = f"got {n} sequences of {steps} steps, expected one of each at least"
            raise BatchError(msg)
        _below("symbols", self.symbols, c.symbols)
        decodes = c.task == "decode"
        _expect("future", self.future, (n, c.horizon, c.future) if decodes and c.future else None)
        if self.future is not None and not np.isfinite(self.future).all():
            msg = "future: got nan or infinity, expected finite numbers: what is known ahead is known"
            raise BatchError(msg)
        if self.targets is None:
            if learn:
                msg = "targets: got none, expected some to learn from"
                raise BatchError(msg)
            return
        shape = {"each": (n, steps), "last": (n,), "decode": (n, c.horizon)}[c.task]
        _expect("targets", self.targets, (*shape, c.outputs) if c.output == "values" else shape)
        if c.output == "classes":
            _below("targets", self.targets, c.outputs)


def _expect(name: str, got: NDArray[Any] | None, shape: tuple[int, ...] | None) -> None:
    found = None if got is None else got.shape
    if found != shape:
        msg = f"{name}: got {found or 'none'}, expected {shape or 'none'} for this network"
        raise BatchError(msg)


def _below(name: str, got: NDArray[Any] | None, limit: int) -> None:
    if got is not None and (got.dtype.kind not in "iu" or (got.size and int(got.max()) >= limit)):
        worst = got.max() if got.size else "nothing"
        msg = f"{name}: got {got.dtype} up to {worst}, expected whole numbers below {limit} (negative where missing)"
        raise BatchError(msg)
