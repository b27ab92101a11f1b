"""Is a sentence kind? Classification of whole sequences: many-to-one, loss at the last word only.

Sentences are made here: verdicts, some of them negated ("not bad at all"), of which the last one counts ("I thought
it was awful, but it is great"). Which words occur says little; in which order says all.
"""

import numpy as np

from forecaster import SequenceConfig, Sequences, SequenceTrain, fit_sequences, padded

GOOD, BAD = ["good", "great", "lovely", "fine"], ["bad", "awful", "boring", "poor"]
FILLERS = ["it", "was", "the", "film", "and", "really", "quite", "story"]
VOCABULARY = {word: i for i, word in enumerate([*GOOD, *BAD, *FILLERS, "not", "but"])}


def sentence(rng: np.random.Generator) -> tuple[list[str], int]:
    """Words, and whether the verdict is kind."""
    words: list[str] = []
    kind = 0
    for clause in range(rng.integers(1, 4)):
        words += ["but"] * (clause > 0) + list(rng.choice(FILLERS, rng.integers(1, 5)))
        kind, negated = int(rng.integers(2)), rng.random() < 0.4
        words += ["not"] * bool(negated) + [str(rng.choice(GOOD if kind != negated else BAD))]
        words += list(rng.choice(FILLERS, rng.integers(0, 3)))
    return words, kind


def corpus(n: int, seed: int) -> Sequences:
    """Sentences of unequal length, filled up with -1: steps that do not exist."""
    rng = np.random.default_rng(seed)
    rows = [sentence(rng) for _ in range(n)]
    symbols = padded([[VOCABULARY[word] for word in words] for words, _ in rows], -1)
    symbols = np.pad(symbols, ((0, 0), (0, 40 - symbols.shape[1])), constant_values=-1)
    return Sequences(symbols=symbols, targets=np.array([kind for _, kind in rows]))


def bag(data: Sequences) -> np.ndarray:
    """How often each word occurs in each sentence."""
    counts = np.zeros((len(data), len(VOCABULARY)))
    rows, steps = np.nonzero(data.symbols >= 0)
    np.add.at(counts, (rows, data.symbols[rows, steps]), 1)
    return counts


def main() -> None:
    """Train, and compare with a linear classifier of the bag of words."""
    train, test = corpus(1500, 0), corpus(500, 1)
    config = SequenceConfig(task="last", symbols=len(VOCABULARY), output="classes", outputs=2, cell="lstm")
    settings = SequenceTrain(epochs=15, learning_rate=0.01, dropout=0.1, schedule="exponential")
    model = fit_sequences(train, config, settings).model
    right = (model.predict(test).argmax(axis=1) == test.targets).mean()
    weights, *_ = np.linalg.lstsq(bag(train), 2.0 * train.targets - 1.0, rcond=None)
    linear = ((bag(test) @ weights > 0) == test.targets).mean()
    majority = max(test.targets.mean(), 1 - test.targets.mean())
    print(f"always the same answer: {majority:.1%}")
    print(f"accuracy {right:.1%}, baseline (bag of words) {linear:.1%}")


main()
