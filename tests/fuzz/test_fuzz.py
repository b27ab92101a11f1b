"""Broken input of every kind: a reader accepts it or refuses it by an error of its own, without a crash.

`make fuzz` is the long form: more inputs, new ones every time, and a table of their numbers.
"""

from __future__ import annotations

import os
import sys
from collections import Counter
from collections.abc import Callable
from typing import Any

import forged
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from targets import broken, pair, targets

from forecaster import Batch, CheckpointError, Forecaster
from service.config.load import load_config
from service.config.sections import Config
from service.errors import ConfigurationError

EXAMPLES = int(os.environ.get("FUZZ_EXAMPLES", "0"))
HOW = settings(
    max_examples=EXAMPLES or 60,
    derandomize=not EXAMPLES,
    database=None,
    deadline=None,
    suppress_health_check=list(HealthCheck),
)
TARGETS = targets()
LATER = Batch(["a"] * 3, 1_700_002_400_000 + 60_000 * np.arange(3), np.ones(3))


def tell(name: str, seen: Counter[str]) -> None:
    """Prints a row of the table in docs/security.md, in the long form."""
    if EXAMPLES:
        sys.stdout.write(f"\n| {name} | {sum(seen.values()):,} | {seen['taken']:,} | {seen['refused']:,} | 0 |\n")


def tried(
    made: st.SearchStrategy[Any], take: Callable[[Any], object], allowed: type[Exception] | tuple[type[Exception], ...]
) -> Counter[str]:
    """Counts the accepted inputs of a strategy, and those refused by an allowed error with a message."""
    seen: Counter[str] = Counter()

    @HOW
    @given(made)
    def attempt(data: Any) -> None:
        answer = "taken"
        try:
            take(data)
        except allowed as error:
            answer = str(error)
        assert answer
        seen["taken" if answer == "taken" else "refused"] += 1

    attempt()
    return seen


@pytest.mark.parametrize("name", TARGETS)
def test_broken_input_is_refused(name: str) -> None:
    """Mutated files and arbitrary bytes are accepted or refused by an allowed error."""
    target = TARGETS[name]
    seen = tried(broken(target.seeds), target.take, target.allowed)
    assert sum(seen.values()) >= 50
    tell(name, seen)


@pytest.mark.parametrize("name", TARGETS)
def test_good_input_is_taken(name: str) -> None:
    """The seeds themselves are accepted, so that a refusal is due to the mutation."""
    for data in TARGETS[name].seeds:
        TARGETS[name].take(data)


def test_contents_that_do_not_belong_together_are_refused() -> None:
    """A forged file with a correct checksum is refused with CheckpointError, or its state is usable."""
    seen = tried(forged.files(), lambda path: Forecaster.load(path).observe(LATER), CheckpointError)
    tell("forged checksum", seen)


def test_snapshots_that_do_not_belong_together_are_refused() -> None:
    """An incremental snapshot and its base, one of them forged, are refused with CheckpointError, or usable."""
    seen = tried(forged.pairs(), lambda files: pair().survived(*files), CheckpointError)
    tell("snapshots with a forged checksum", seen)


@HOW
@given(st.data())
def test_settings_of_any_kind(data: st.DataObject) -> None:
    """Any value of any configuration key is accepted or reported with the key's section."""
    kinds = {name: field.annotation for name, field in Config.model_fields.items()}
    section = data.draw(st.sampled_from(sorted(name for name, kind in kinds.items() if hasattr(kind, "model_fields"))))
    key = data.draw(st.sampled_from(sorted(kinds[section].model_fields)))
    value = data.draw(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20)
        | st.lists(st.integers() | st.text(max_size=5) | st.floats(), max_size=4)
        | st.dictionaries(st.text(max_size=5), st.integers() | st.text(max_size=5), max_size=2)
    )  # fmt: skip
    answer = section
    try:
        load_config(None, {f"{section}.{key}": value})
    except ConfigurationError as error:
        answer = str(error)
    assert section in answer
