"""Limits of single series: their forecasts are clipped, and nothing else changes."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path

import numpy as np
import orjson
import pytest
from parts import Bench, event
from pydantic import ValidationError

from forecaster import Forecasts
from service.config.limits import Limit
from service.engine.clip import Limits
from service.messages.digits import printable
from service.transport.memory import MemoryLog


def answers(quantiles: list[list[float]]) -> Forecasts:
    """Returns one step of forecasts."""
    n = len(quantiles)
    return Forecasts(
        np.zeros(n, np.uint8), np.zeros(n, np.int64), np.full(n, 1000), np.ones(n, np.int64),
        np.array(quantiles, np.float32)[:, None], np.zeros(n, np.float32), np.zeros(n, np.uint8),
    )  # fmt: skip


def test_the_first_that_fits() -> None:
    """Quantiles are clipped to the limits of the first matching pattern; other series and the input are unchanged."""
    limits = Limits([Limit(series="cpu.0", greatest=50), Limit(series="cpu.*", least=0, greatest=100)])
    given = answers([[-5, 60, 120], [-5, 60, 120], [-5, 60, 120], [math.nan] * 3])

    for _ in range(2):  # from the cache as well
        moved = limits.applied(["cpu.0", "cpu.1", "load", "cpu.1"], given).quantiles[:, 0]
        np.testing.assert_array_equal(moved, [[-5, 50, 50], [0, 60, 100], [-5, 60, 120], [math.nan] * 3])
    assert given.quantiles[1, 0].tolist() == [-5, 60, 120]
    assert limits.applied(["load"] * 4, given) is given
    assert Limits([]).applied(["cpu.0"] * 4, given) is given


@pytest.mark.parametrize(("limit", "row"), [(100.3, [0.5, 60.25, 120.0]), (1e9 + 1, [1e9 - 0.5, 1e9 + 0.25, 1e9 + 2])])
def test_a_limit_is_published_as_it_was_set(limit: float, row: list[float]) -> None:
    """Limits are published unrounded, also beyond float32 precision and at large levels."""
    given = dataclasses.replace(answers([row]), quantiles=np.array([[row]]))
    moved = Limits([Limit(series="a", greatest=limit)]).applied(["a"], given).quantiles

    assert orjson.loads(orjson.dumps(printable(moved)[0], option=orjson.OPT_SERIALIZE_NUMPY)) == [[*row[:2], limit]]


@pytest.mark.parametrize(
    ("limit", "expected"),
    [
        ({}, "expected least, greatest or both"),
        ({"least": 2, "greatest": 2}, "expected least below greatest, got least=2.0 and greatest=2.0"),
        ({"least": math.nan}, "finite"),
    ],
)
def test_mistakes(limit: dict[str, float], expected: str) -> None:
    """A limit that limits nothing, or everything, is refused."""
    with pytest.raises(ValidationError, match=expected):
        Limit.model_validate({"series": "a"} | limit)


def test_what_is_published(tmp_path: Path) -> None:
    """Forecasts of a limited series keep to its limits; all other output is the same as without limits."""
    script = [event(step, name) for step in range(60) for name in "ab"]
    limited = {"output": {"limits": [{"series": "a", "least": 1, "greatest": 5}]}}
    free, bound = (
        Bench(tmp_path / name, MemoryLog({"0": script}), sections) for name, sections in (("f", {}), ("b", limited))
    )
    for bench in (free, bound):
        bench.run()
    before, after = ([orjson.loads(text) for text in bench.log.forecasts("0")] for bench in (free, bound))

    assert np.min([one["quantiles"] for one in before]) < 1
    for one, other in zip(before, after, strict=True):
        if one["series"] == "a":
            one["quantiles"] = np.clip(one["quantiles"], 1, 5).tolist()
        assert one == other
