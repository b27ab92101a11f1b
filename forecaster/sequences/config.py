"""Configuration of a sequence network and of its training. All bounds are checked here."""

from __future__ import annotations

import itertools
from dataclasses import dataclass

from forecaster.config import CELLS, _check, _number, _Plain, _whole

TASKS = ("each", "last", "decode")
OUTPUTS = ("values", "quantiles", "classes")
INITIAL = ("zeros", "learnt")
SCHEDULES = ("constant", "cosine", "exponential", "steps")


@dataclass(frozen=True)
class SequenceConfig(_Plain):
    """Configuration of a sequence network.

    Attributes:
        task: "each": an output per step (many-to-many, equal length); "last": one output per sequence, from its last
            step (many-to-one); "decode": `horizon` outputs from a decoder that starts from the encoder's final state
            and receives its own outputs as inputs (many-to-many, unequal length).
        output: "values" (mean squared error), "quantiles" (pinball loss, cannot cross) or "classes" (softmax,
            cross-entropy).
        outputs: number of values or classes; for quantiles their levels determine it.
        quantiles: levels, increasing, 0.5 among them.
        features: real inputs per step.
        symbols: size of the alphabet of an additional symbol per step; 0 = none.
        embedding: size of the learnt embedding of a symbol.
        horizon: number of outputs of task "decode".
        future: real known future values of task "decode", per output.
        cell: "gru", "lstm", "elman" or "none" (the head alone: one-to-one).
        hidden_size: units per layer, a multiple of 16.
        layers: number of stacked recurrent layers.
        head_size: hidden units of a relu layer in the head, a multiple of 16; 0 = the head is linear.
        layer_norm: whether the output of every layer is normalised (Ba et al. 2016).
        residual: whether a layer's input is added to its output, from the second layer on (He et al. 2016).
        initial: "zeros", or "learnt": the state before the first step is a parameter.
        memory: the longest relevant lag in steps, if known: the initial gates have memories spread between 1 step
            and that many (Tallec and Ollivier 2018); 0 = memories of a few steps.
        seed: of the initial weights.
    """

    task: str = "each"
    output: str = "values"
    outputs: int = 1
    quantiles: tuple[float, ...] = (0.1, 0.5, 0.9)
    features: int = 0
    symbols: int = 0
    embedding: int = 16
    horizon: int = 1
    future: int = 0
    cell: str = "gru"
    hidden_size: int = 32
    layers: int = 1
    head_size: int = 0
    layer_norm: bool = False
    residual: bool = False
    initial: str = "zeros"
    memory: int = 0
    seed: int = 0

    def __post_init__(self) -> None:
        _check(self.task in TASKS, "task", self.task, f"one of {', '.join(TASKS)}")
        _check(self.output in OUTPUTS, "output", self.output, f"one of {', '.join(OUTPUTS)}")
        _whole("outputs", self.outputs, 1, 100_000)
        _check(self.output != "classes" or self.outputs >= 2, "outputs", self.outputs, "2 classes or more")
        q = self.quantiles
        ok = all(0 < a < 1 for a in q) and all(a < b for a, b in itertools.pairwise(q)) and 0.5 in q
        _check(ok, "quantiles", q, "levels between 0 and 1, increasing, 0.5 among them")
        _whole("features", self.features, 0, 4096)
        _whole("symbols", self.symbols, 0, 1_000_000)
        _check(self.features + self.symbols > 0, "features", self.features, "1 or more, or symbols")
        _whole("embedding", self.embedding, 1, 1024)
        _whole("horizon", self.horizon, 1, 4096)
        _whole("future", self.future, 0, 4096)
        _check(self.cell in CELLS, "cell", self.cell, f"one of {', '.join(CELLS)}")
        alone = self.cell == "none"
        _check(not (alone and self.task == "decode"), "cell", self.cell, "a recurrent cell: a decoder has a state")
        _whole("hidden_size", self.hidden_size, 16, 1024)
        _check(self.hidden_size % 16 == 0, "hidden_size", self.hidden_size, "a multiple of 16, e.g. 32, 48 or 64")
        _whole("layers", self.layers, 1, 8)
        _whole("head_size", self.head_size, 0, 1024)
        _check(self.head_size % 16 == 0, "head_size", self.head_size, "0, or a multiple of 16")
        for name in ("layer_norm", "residual"):
            _check(isinstance(getattr(self, name), bool), name, getattr(self, name), "true or false")
        _check(self.initial in INITIAL, "initial", self.initial, f"one of {', '.join(INITIAL)}")
        _whole("memory", self.memory, 0, 1_000_000)
        _check(self.memory != 1, "memory", self.memory, "0 or 2 steps and more")
        _whole("seed", self.seed, 0, 2**63 - 1)


@dataclass(frozen=True)
class SequenceTrain(_Plain):
    """Configuration of the training of a sequence network.

    Attributes:
        k1: steps that a batch advances per optimiser step. k2: steps that gradients flow back through, at least k1;
            each step's loss counts once (Williams and Peng 1990: BPTT(k2; k1)). 0 and 0: full BPTT, over all steps.
        batch: sequences per batch.
        epochs: passes over the sequences.
        learning_rate: of Adam at its peak.
        schedule: "constant"; "cosine": falls to a tenth by a half cosine; "exponential": falls to a hundredth by the
            same factor per step; "steps": a tenth after half of the steps, a hundredth after three quarters.
        warmup_steps: optimiser steps over which the learning rate first rises linearly.
        clip_norm: gradients of a larger global norm are scaled down to it (Pascanu et al. 2013); 0 = never.
        clip_value: every component of a gradient is clipped to plus and minus this before the norm is computed; 0 =
            never.
        weight_decay: decoupled (AdamW), on weight matrices only.
        dropout: share of the activations between layers that is dropped (Zaremba et al. 2014), seeded.
        average: decay per optimiser step of an exponential average of the weights, which is the result of training
            (Polyak averaging, with the warm-up min(average, (1 + n) / (10 + n))); 0 = none.
        teacher_forcing: share of sequences whose decoder receives the previous actual, the others receive their own
            output ("free running"); drawn again for every optimiser step.
        validation_fraction: share of held-out sequences, at the end of the data; the best weights on them are kept.
            0 = none, the last weights are kept.
        patience: epochs without an improvement on the held-out sequences after which training stops.
        seed: of the order of sequences, of dropout and of teacher forcing.
    """

    k1: int = 0
    k2: int = 0
    batch: int = 32
    epochs: int = 20
    learning_rate: float = 3e-3
    schedule: str = "cosine"
    warmup_steps: int = 0
    clip_norm: float = 1.0
    clip_value: float = 0.0
    weight_decay: float = 0.0
    dropout: float = 0.0
    average: float = 0.0
    teacher_forcing: float = 1.0
    validation_fraction: float = 0.0
    patience: int = 1_000_000
    seed: int = 0

    def __post_init__(self) -> None:
        _whole("k1", self.k1, 0, 1_000_000)
        _whole("k2", self.k2, 0, 1_000_000)
        _check(self.k2 >= self.k1, "k2", self.k2, f"at least k1 = {self.k1}: a step's loss must reach its own chunk")
        _check((self.k1 == 0) == (self.k2 == 0), "k1", self.k1, "0 only together with k2 = 0, for full BPTT")
        _whole("batch", self.batch, 1, 1_000_000)
        _whole("epochs", self.epochs, 1, 1_000_000)
        _number("learning_rate", self.learning_rate, 1e-8, 1.0)
        _check(self.schedule in SCHEDULES, "schedule", self.schedule, f"one of {', '.join(SCHEDULES)}")
        _whole("warmup_steps", self.warmup_steps, 0, 1_000_000)
        _number("clip_norm", self.clip_norm, 0.0, 1e6)
        _number("clip_value", self.clip_value, 0.0, 1e6)
        _number("weight_decay", self.weight_decay, 0.0, 1.0)
        _number("dropout", self.dropout, 0.0, 0.95)
        _number("average", self.average, 0.0, 0.999999)
        _number("teacher_forcing", self.teacher_forcing, 0.0, 1.0)
        _number("validation_fraction", self.validation_fraction, 0.0, 0.9)
        _whole("patience", self.patience, 1, 1_000_000)
        _whole("seed", self.seed, 0, 2**63 - 1)
