"""Next-word completion on the documentation that Python ships (pydoc_data.topics), and a sentence drawn from it.

The last fifth of the topics is not learnt from. Many-to-many of equal length, then one-to-many.
"""

import re
from collections import Counter
from pydoc_data.topics import topics

import numpy as np

from forecaster import SequenceConfig, Sequences, SequenceTrain, fit_sequences

WORDS, LENGTH = 500, 24


def text(names: list[str]) -> list[str]:
    """The words of some topics, in order."""
    return re.findall(r"[a-z]+|[.,]", " ".join(topics[name] for name in names).lower())


def main() -> None:
    """Train, complete, compare with the most frequent successor of each word."""
    names = sorted(topics)
    cut = len(names) * 4 // 5
    train, test = text(names[:cut])[:48_000], text(names[cut:])[:9_600]
    common = [word for word, _ in Counter(train).most_common(WORDS - 1)]
    number = {word: i + 1 for i, word in enumerate(common)}  # 0 is any other word

    def windows(words: list[str]) -> Sequences:
        ids = np.array([number.get(word, 0) for word in words])
        n = (len(ids) - 1) // LENGTH
        symbols, targets = ids[: n * LENGTH].reshape(n, LENGTH), ids[1 : n * LENGTH + 1].reshape(n, LENGTH)
        return Sequences(symbols=symbols, targets=np.where(targets == 0, -1, targets))  # nobody asks for "any other"

    learnt, asked = windows(train), windows(test)
    config = SequenceConfig(symbols=WORDS, embedding=32, output="classes", outputs=WORDS, hidden_size=64)
    settings = SequenceTrain(epochs=8, learning_rate=0.01, weight_decay=0.01, validation_fraction=0.1, patience=2)
    model = fit_sequences(learnt, config, settings).model

    pairs = np.zeros((WORDS, WORDS))
    np.add.at(pairs, (learnt.symbols[:, :-1].ravel(), learnt.symbols[:, 1:].ravel()), 1)
    pairs[:, 0] = 0
    there = asked.targets > 0
    right = (model.predict(asked).argmax(axis=2) == asked.targets)[there].mean()
    successor = (pairs.argmax(axis=1)[asked.symbols] == asked.targets)[there].mean()
    frequent = (asked.targets[there] == number[common[0]]).mean()
    print(f"always {common[0]!r}: {frequent:.1%}")
    print(f"accuracy {right:.1%}, baseline (most frequent successor) {successor:.1%}")
    start = "the value of"
    given = Sequences(symbols=np.array([[number[word] for word in start.split()]]))
    drawn = model.rollout(given, 12, temperature=0.5, seed=1)[0, 0]
    print(start, " ".join(["..." if i == 0 else common[i - 1] for i in drawn]))


main()
