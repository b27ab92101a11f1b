"""Sequences, settings and files that are refused, each with the reason."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from small_sequences import QUICK, SMALL

from forecaster import (
    BatchError,
    CheckpointError,
    ConfigError,
    SequenceConfig,
    SequenceModel,
    Sequences,
    SequenceTrain,
    fit_sequences,
)


class TestRefusals:
    """Errors name what does not fit."""

    @pytest.mark.parametrize(
        ("data", "name"),
        [
            (Sequences(features=np.zeros((0, 3, 2))), "sequences"),
            (Sequences(features=np.zeros((2, 3, 1))), "features"),
            (Sequences(features=np.zeros((2, 3, 2)), symbols=np.zeros((2, 3), int)), "symbols"),
            (Sequences(features=np.zeros((2, 3, 2)), targets=np.zeros((2, 3))), "targets"),
            (Sequences(features=np.zeros((2, 3, 2))), "targets"),
            (Sequences(features=np.zeros((2, 3, 2)), future=np.zeros((2, 1, 1))), "future"),
        ],
    )
    def test_columns(self, data: Sequences, name: str) -> None:
        """A column of another shape, missing or superfluous, is named."""
        with pytest.raises(BatchError, match=name):
            fit_sequences(data, SMALL, QUICK)

    def test_symbols_beyond_the_alphabet(self) -> None:
        """Symbols beyond the alphabet and classes beyond the last are rejected."""
        config = SequenceConfig(symbols=3, output="classes", outputs=2, task="last")
        ok: NDArray[Any] = np.array([[0, 1]])
        with pytest.raises(BatchError, match="below 3"):
            fit_sequences(Sequences(symbols=ok + 2, targets=np.array([1])), config)
        with pytest.raises(BatchError, match="below 2"):
            fit_sequences(Sequences(symbols=ok, targets=np.array([2])), config)

    @pytest.mark.parametrize(
        "settings",
        [{"task": "all"}, {"output": "words"}, {"output": "classes", "outputs": 1}, {"features": 0}, {"cell": "cnn"},
         {"cell": "none", "task": "decode"}, {"hidden_size": 20}, {"head_size": 5}, {"quantiles": (0.9, 0.5)},
         {"initial": "random"}],
    )  # fmt: skip
    def test_settings(self, settings: dict[str, Any]) -> None:
        """A setting outside its bounds is named."""
        with pytest.raises(ConfigError) as error:
            SequenceConfig(**({"features": 1} | settings))
        assert error.value.field in settings

    @pytest.mark.parametrize("settings", [{"k1": 5, "k2": 4}, {"k2": 4}, {"schedule": "linear"}, {"dropout": 1.0}])
    def test_training_settings(self, settings: dict[str, Any]) -> None:
        """A training setting outside its bounds is rejected."""
        with pytest.raises(ConfigError):
            SequenceTrain(**settings)

    def test_files(self, tmp_path: Path) -> None:
        """A damaged file is rejected."""
        path = tmp_path / "m.safetensors"
        SequenceModel.initial(SMALL).save(path)
        spoilt = bytearray(path.read_bytes())
        spoilt[-3] ^= 1
        path.write_bytes(bytes(spoilt))
        with pytest.raises(CheckpointError, match="damaged"):
            SequenceModel.load(path)

    def test_a_decoder_has_no_step(self) -> None:
        """A decoder rejects single steps: its output is for a whole sequence."""
        model = SequenceModel.initial(replace(SMALL, task="decode"))
        with pytest.raises(ConfigError, match="predict"):
            model.step(model.start(1), features=np.zeros((1, 2)))
