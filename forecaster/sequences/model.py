"""The public sequence model: a network with its weights, immutable; the state is an argument and a result."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from forecaster.errors import CheckpointError, ConfigError
from forecaster.model import frozen_parameters
from forecaster.sampling import sample_classes, sample_quantiles
from forecaster.sequences import outputs
from forecaster.sequences.batch import Sequences
from forecaster.sequences.config import SequenceConfig
from forecaster.sequences.layout import SequenceLayout, initial_sequence_params, sequence_layout_of
from forecaster.sequences.network import Network, UnrollSpan, initial_state
from forecaster.state.checkpoint import read_checkpoint, write_checkpoint

KIND = "sequence-model"
BATCH, STEPS = 256, 128  # tile size of predictions: memory is bounded, results do not depend on it


@dataclass(frozen=True, eq=False)
class SequenceModel:
    """Configuration and parameters of a sequence network.

    Attributes:
        config: the network.
        params: (n_params,) float32, read-only; `layout.views(params)` names its parts.
    """

    config: SequenceConfig
    params: NDArray[np.float32]

    def __post_init__(self) -> None:
        object.__setattr__(self, "params", frozen_parameters(self.params, self.layout.n_params))

    @classmethod
    def initial(cls, config: SequenceConfig) -> Self:
        """Returns an untrained model of `config` with seeded weights."""
        return cls(config, initial_sequence_params(config))

    @property
    def layout(self) -> SequenceLayout:
        """Returns the sizes and offsets of the parameters."""
        return sequence_layout_of(self.config)

    def start(self, batch: int) -> NDArray[np.float32]:
        """Returns the hidden state before the first step, (layers, batch, states*H)."""
        return initial_state(self.layout, self.params, batch)

    def predict(self, data: Sequences, state: NDArray[np.float32] | None = None) -> NDArray[np.float32]:
        """Returns the outputs for N sequences.

        Args:
            data: inputs; targets are ignored.
            state: initial state, see `start`; a decoder runs free.

        Returns:
            By task (N, T, n), (N, n) or (N, horizon, n); n values, quantiles or probabilities. Steps that do not
            exist, and sequences without any, are nan.

        Raises:
            BatchError: the columns do not fit.
        """
        return self.continued(data, state)[0]

    def continued(
        self, data: Sequences, state: NDArray[np.float32] | None = None
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Returns the outputs of `predict` and the hidden state after the last step, from which calls can continue.

        Args:
            data: B sequences.
            state: (layers, B, states*H) before the first step, not changed; None: zeros.

        Returns:
            The outputs, and the state (layers, B, states*H).
        """
        data = Sequences(data.features, data.symbols, None, data.future)
        data.check(self.config, learn=False)
        state = self.start(len(data)) if state is None else state
        network = Network(self.layout, min(BATCH, len(data)), min(STEPS, data.steps))
        results = []
        for i in range(0, len(data), BATCH):
            rows = slice(i, i + BATCH)
            results.append(self._tile(network, data.take(rows), state[:, rows]))
        return np.concatenate([out for out, _ in results]), np.concatenate([s for _, s in results], axis=1)

    def _tile(
        self, network: Network, data: Sequences, state: NDArray[Any]
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        task, n, present = self.config.task, len(data), data.present
        steps = data.steps if task == "each" else self.config.horizon if task == "decode" else 1
        out = np.full((n, steps, self.layout.n_raw), np.nan, np.float32)
        last = present.shape[1] - 1 - present[:, ::-1].argmax(axis=1)
        for start in range(0, data.steps, STEPS):
            stop = min(start + STEPS, data.steps)
            tops, _, state = network.encode(self.params, data, state, UnrollSpan(start, stop, start, stop))
            if task == "each":
                b, t = np.nonzero(present[:, start:stop])
                out[b, start + t] = self._read(network, tops[t, b])
            elif task == "last":
                b = np.flatnonzero(present.any(axis=1) & (last >= start) & (last < stop))
                out[b, 0] = self._read(network, tops[last[b] - start, b])
        if task == "decode":
            _, raws, _ = network.decode(self.params, data, state, None)
            out[...] = np.stack([outputs.read(self.config, raw) for raw in raws], axis=1)
        return out[:, 0] if task == "last" else out, state

    def _read(self, network: Network, tops: NDArray[Any]) -> NDArray[Any]:
        return outputs.read(self.config, network.head(self.params, tops)[0])

    def step(
        self,
        state: NDArray[np.float32],
        features: NDArray[Any] | None = None,
        symbols: NDArray[Any] | None = None,
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Computes one step of B sequences; bitwise equal to the same step within `predict`.

        Args:
            state: (layers, B, states*H), not changed.
            features: (B, F). symbols: (B,).

        Returns:
            Outputs (B, n), nan where the step does not exist, and the new state.

        Raises:
            BatchError: the columns do not fit.
            ConfigError: the network is a decoder.
        """
        if self.config.task == "decode":
            raise ConfigError("task", "decode", "each or last: a decoder answers for a whole sequence, see predict")
        at_once = Sequences(
            None if features is None else np.asarray(features)[:, None],
            None if symbols is None else np.asarray(symbols)[:, None],
        )
        out, state = self.continued(at_once, state)
        return out.reshape(len(at_once), -1), state

    def rollout(
        self, data: Sequences, steps: int, *, paths: int = 1, temperature: float = 1.0, seed: int = 0
    ) -> NDArray[Any]:
        """Generates further steps (one-to-many): after the given steps, inputs are samples of the network's outputs.

        Args:
            data: N sequences without missing steps, of one step or more.
            steps: number of steps to draw.
            paths: number of sample paths per sequence.
            temperature: of classes; 0 selects the most probable class, and the middle quantile.
            seed: of the draws.

        Returns:
            (N, paths, steps): symbols, or values.

        Raises:
            ConfigError: the network's output cannot be its next input.
        """
        c = self.config
        classes = c.output == "classes"
        fits = (c.symbols, c.features) == (c.outputs, 0) if classes else (c.symbols, c.features) == (0, 1)
        if c.task != "each" or not fits or (c.output == "values" and c.outputs != 1):
            expected = 'task "each" with as many symbols as classes and no features, or one feature and one value out'
            raise ConfigError("task", c.task, expected)
        rng = np.random.default_rng(seed)
        out, state = self.continued(data)
        last, state = np.repeat(out[:, -1], paths, axis=0), np.repeat(state, paths, axis=1)
        drawn = np.zeros((len(last), steps), np.int64 if classes else np.float32)
        for i in range(steps):
            uniform = rng.random(len(last))
            if classes:
                drawn[:, i] = sample_classes(last, temperature, uniform)
                last, state = self.step(state, symbols=drawn[:, i])
            else:
                uniform = uniform if temperature else np.full(len(last), 0.5)
                quantiles = c.output == "quantiles"
                drawn[:, i] = sample_quantiles(last, c.quantiles, uniform) if quantiles else last[:, 0]
                last, state = self.step(state, features=drawn[:, i : i + 1])
        return drawn.reshape(len(data), paths, steps)

    def save(self, path: Path | str) -> None:
        """Writes the model file `path` atomically.

        Raises:
            OSError: the file could not be written.
        """
        tensors = {name: np.array(view) for name, view in self.layout.views(self.params).items()}
        write_checkpoint(path, tensors, {"config": self.config.to_dict()}, KIND)

    @classmethod
    def load(cls, path: Path | str) -> Self:
        """Reads the model file `path`.

        Raises:
            CheckpointError: the file is damaged, of another kind, or its tensors do not fit its configuration.
        """
        tensors, header = read_checkpoint(path, KIND)
        try:
            config = SequenceConfig.from_dict(header["config"])
        except ConfigError as error:
            msg = f"{path}: its configuration does not fit this release: {error}"
            raise CheckpointError(msg) from error
        layout = sequence_layout_of(config)
        flat = np.zeros(layout.n_params, np.float32)
        view = layout.views(flat)
        got = {name: (tensor.shape, tensor.dtype.str) for name, tensor in tensors.items()}
        expected = {name: (part.shape, part.dtype.str) for name, part in view.items()}
        if got != expected:
            names = sorted(name for name in got.keys() | expected.keys() if got.get(name) != expected.get(name))
            msg = f"{path}: does not fit its configuration in {', '.join(names)}"
            raise CheckpointError(msg)
        for name, tensor in tensors.items():
            view[name][...] = tensor
        return cls(config, flat)
