"""What will the log say next? A network of symbols follows a stream of event types, one event at a time.

The stream is made here: sessions of a small service, in which what comes depends on what was three or more events ago
(a retry repeats what failed; a session that began with a deploy ends with a check). Many-to-many of equal length.
"""

import itertools

import numpy as np

from forecaster import SequenceConfig, Sequences, SequenceTrain, fit_sequences

TYPES = ["login", "deploy", "query", "write", "timeout", "retry", "check", "logout"]
LOGIN, DEPLOY, QUERY, WRITE, TIMEOUT, RETRY, CHECK, LOGOUT = range(len(TYPES))


def session(rng: np.random.Generator) -> list[int]:
    """One session of events."""
    start = LOGIN if rng.random() < 0.6 else DEPLOY
    events = [start]
    for _ in range(rng.integers(2, 6)):
        work = QUERY if rng.random() < 0.7 else WRITE
        events.append(work)
        if rng.random() < 0.3:
            events += [TIMEOUT, RETRY, work]
    return [*events, CHECK if start == DEPLOY else LOGOUT]


def stream(length: int, seed: int) -> np.ndarray:
    """Sessions one behind the other."""
    rng, events = np.random.default_rng(seed), []
    while len(events) < length:
        events += session(rng)
    return np.array(events[:length])


def main() -> None:
    """Train on one stream, then follow a new one."""
    train, test = stream(64 * 96 + 1, 0), stream(3001, 1)
    data = Sequences(symbols=train[:-1].reshape(64, 96), targets=train[1:].reshape(64, 96))
    config = SequenceConfig(symbols=len(TYPES), output="classes", outputs=len(TYPES))
    settings = SequenceTrain(k1=16, k2=32, epochs=12, batch=16, learning_rate=0.01, average=0.98)
    model = fit_sequences(data, config, settings).model

    state, hits = model.start(1), 0
    for now, then in itertools.pairwise(test):  # the stream: one event, one forecast, the state goes on
        probabilities, state = model.step(state, symbols=np.array([now]))
        hits += int(probabilities[0].argmax() == then)

    pairs = np.zeros((len(TYPES), len(TYPES)))
    np.add.at(pairs, (train[:-1], train[1:]), 1)
    frequent = float((test[1:] == np.bincount(train).argmax()).mean())
    successor = float((pairs.argmax(axis=1)[test[:-1]] == test[1:]).mean())
    print(f"most frequent type: {frequent:.1%}")
    print(f"accuracy {hits / (len(test) - 1):.1%}, baseline (most frequent successor) {successor:.1%}")
    drawn = model.rollout(Sequences(symbols=np.array([[DEPLOY]])), 10, seed=3)[0, 0]
    print("a session as the network would write it: deploy", " ".join(TYPES[i] for i in drawn))


main()
