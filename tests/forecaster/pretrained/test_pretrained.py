"""Pretrained weights shipped with the package: the networks they serve, their fitting, and their benefit."""

from __future__ import annotations

import itertools
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from forecaster import (
    Batch,
    CheckpointError,
    Forecaster,
    History,
    Model,
    ModelConfig,
    TrainConfig,
    fit,
    fit_from,
    is_pretrained,
    start_model,
)
from forecaster.pretrained import start
from forecaster.pretrained.levels import increments, shares, slot_mixes

T0, STEP_MS = 1_600_000_000_000, 3_600_000
PLAIN = ModelConfig(calendar=False)
ALONE = replace(PLAIN, seasons=(24,), horizon=3, mixture=False)  # one for several tests: each costs a compilation
NINETEEN = tuple(round(0.05 * i, 2) for i in range(1, 20))


def daily(days: int, seed: int = 0) -> NDArray[np.float64]:
    """Returns hourly values with a random daily profile and some noise."""
    rng = np.random.default_rng(seed)
    return 50.0 + np.tile(10.0 * rng.normal(size=24), days) + rng.normal(size=24 * days)


def batch(value: NDArray[np.float64], width: int = 0) -> Batch:
    """Returns one series of hourly events."""
    covariates = np.zeros((len(value), width), np.float32) if width else None
    return Batch(["a"] * len(value), T0 + np.arange(len(value)) * STEP_MS, value, covariates)


def levels() -> st.SearchStrategy[tuple[float, ...]]:
    """Returns any quantile levels with 0.5 among them, down to a thousandth."""
    below = st.lists(st.integers(1, 499), max_size=9, unique=True)
    above = st.lists(st.integers(501, 999), max_size=9, unique=True)
    return st.tuples(below, above).map(lambda sides: tuple(sorted(v / 1000 for v in [*sides[0], 500, *sides[1]])))


class TestWhichNetworks:
    """`is_pretrained`, and the model that `start_model` returns."""

    @pytest.mark.parametrize(
        "other", [{"cell": "lstm"}, {"hidden_size": 32}, {"layers": 2}, {"head_size": 32}, {"pretrained": False}]
    )
    def test_another_network_starts_untrained(self, other: dict[str, object]) -> None:
        """Another cell or size, or pretraining switched off, gives the seeded weights."""
        config = ModelConfig.from_dict(PLAIN.to_dict() | other)

        assert not is_pretrained(config)
        assert (start_model(config).params == Model.initial(config).params).all()

    @pytest.mark.parametrize("seasons", [(), (7,), (24, 168), (12, 288, 2016)])
    def test_the_default_network_starts_pretrained(self, seasons: tuple[int, ...]) -> None:
        """The default network starts pretrained with any number of seasons, and independently of the seed."""
        config = replace(PLAIN, seasons=seasons)
        model = start_model(config)

        assert is_pretrained(config)
        assert model.config == config
        assert model.sha256 == start_model(config).sha256 != Model.initial(config).sha256
        assert (model.params == start_model(replace(config, seed=9)).params).all()

    def test_where_it_is_used(self) -> None:
        """A forecaster, a training and a cold start from a configuration use the pretrained weights."""
        config, history = replace(PLAIN, seasons=(24,), horizon=2), short_history()
        one_look = TrainConfig(k1=8, k2=16, batch=4, max_steps=1, learning_rate=1e-8, min_windows=1)

        assert Forecaster(config, max_series=1).model.sha256 == start_model(config).sha256
        trained = fit(history, config, one_look)
        assert trained.model.sha256 == fit(history, start_model(config), one_look).model.sha256
        cold = fit_from(history, Model.initial(config), "cold", one_look)
        assert cold.model.sha256 == trained.model.sha256


def short_history() -> History:
    """Returns a week of one series."""
    value = daily(7).astype(np.float32)
    n = len(value)
    ts = T0 + np.arange(n) * STEP_MS
    return History(np.zeros(n, np.int64), ts, value, np.zeros((n, 0), np.float32), {0: "a"}, {0: STEP_MS})


class TestFitting:
    """Fitting the shipped weights to a configuration."""

    def test_calendar_and_covariates_change_nothing_yet(self) -> None:
        """Calendar and covariates start with zero weights: forecasts equal those without them, to the bit."""
        more = replace(ALONE, calendar=True, covariates=("a", "b"))
        value = daily(4)

        bare, rich = (Forecaster(c, max_series=1).observe(batch(value, len(c.covariates))) for c in (ALONE, more))

        assert (bare.quantiles[2:] == rich.quantiles[2:]).all()

    def test_shipped_levels_keep_their_weights(self) -> None:
        """All shipped levels give the shipped file, to the bit; a part of the levels gives the same increments."""
        source = start.shipped(1)
        whole = start.fitted(source, replace(PLAIN, seasons=(24,), quantiles=source.model.config.quantiles))
        part = start.fitted(source, replace(PLAIN, seasons=(24,), quantiles=NINETEEN))

        assert (whole.params == source.model.params).all()
        shipped, mine = (m.layout.views(m.params)["head.O"] for m in (source.model, part))
        assert (mine[:, :10] == shipped[:, :10]).all()  # the median and the levels above it, to 0.95

    def test_forecasts_hardly_depend_on_the_other_levels(self) -> None:
        """The default levels give the median of the shipped levels, and quantiles within a tenth of a scale."""
        value = daily(14)
        few = ALONE
        many = replace(few, quantiles=start.shipped(1).model.config.quantiles)
        out = {len(c.quantiles): Forecaster(c, max_series=1).observe(batch(value)).quantiles[-48:] for c in (many, few)}
        picked = out[len(many.quantiles)][..., [many.quantiles.index(a) for a in few.quantiles]]

        assert picked[..., 3] == pytest.approx(out[7][..., 3], abs=1e-3)
        assert np.abs(picked - out[7]).mean() < 0.1 * value.std()

    @given(wanted=levels(), seasons=st.integers(0, 3))
    def test_any_levels_are_served(self, wanted: tuple[float, ...], seasons: int) -> None:
        """Usual increments of the shipped levels add up to the usual increments of any levels, all of them positive."""
        source = start.shipped(seasons)
        shipped = source.model.config.quantiles
        sources = increments(shipped)
        for (factors, constant), target in zip(
            slot_mixes(shipped, wanted, source.usual)[1:], increments(wanted), strict=True
        ):
            side = [i for i, one in enumerate(sources) if (sum(one) > 0) == (sum(target) > 0)]
            part = shares(target, [sources[i] for i in side])
            assert min(factors) >= 0.0 < max(factors)
            assert factors[0] == 0.0
            for narrow_or_wide in source.usual:
                before = narrow_or_wide[1:] - 1.0 / narrow_or_wide[1:]
                o = float(np.dot(factors[1:], before)) + constant
                expected = sum(share * narrow_or_wide[1 + i] for i, share in zip(side, part, strict=True))
                assert (o + np.sqrt(o * o + 4.0)) / 2.0 == pytest.approx(expected, rel=1e-6)

    @given(wanted=levels(), seasons=st.integers(0, 3), horizon=st.integers(1, 400))
    def test_any_configuration_gets_finite_weights(self, wanted: tuple[float, ...], seasons: int, horizon: int) -> None:
        """Weights for any configuration are deterministic, finite and below 1e3, also far from the shipped levels."""
        config = replace(PLAIN, quantiles=wanted, seasons=(5, 35, 350)[:seasons], horizon=horizon, calendar=True)
        model = start_model(config)

        assert np.isfinite(model.params).all()
        assert np.abs(model.params).max() < 1e3
        assert model.sha256 == start_model(config).sha256

    def test_quantiles_are_ordered_and_finite(self) -> None:
        """Quantiles at levels that are not shipped are ordered and finite from the second event on."""
        config = replace(PLAIN, quantiles=(0.003, 0.17, 0.5, 0.77, 0.999), seasons=(24,), horizon=3)
        out = Forecaster(config, max_series=1).observe(batch(daily(4))).quantiles

        assert np.isfinite(out[1:]).all()
        assert (np.diff(out, axis=-1) >= 0).all()
        assert (out[40:, :, -1] > out[40:, :, 0]).all()


class TestFiles:
    """The weight files of the package."""

    def test_half_a_megabyte(self) -> None:
        """The package holds one file per number of seasons, below half a megabyte in total."""
        sizes = [start.path_of(seasons).stat().st_size for seasons in range(4)]

        assert sorted(p.name for p in start.FOLDER.glob("*.safetensors")) == [start.path_of(i).name for i in range(4)]
        assert sum(sizes) < 500_000

    def test_a_damaged_file_is_refused(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """A damaged weight file is rejected by its checksum, like any model file."""
        path = tmp_path / "seasons0.safetensors"
        shutil.copy(start.path_of(0), path)
        content = bytearray(path.read_bytes())
        content[-100] ^= 1
        path.write_bytes(content)
        monkeypatch.setattr(start, "FOLDER", tmp_path)
        start.shipped.cache_clear()
        try:
            with pytest.raises(CheckpointError, match="damaged"):
                start_model(PLAIN)
        finally:
            start.shipped.cache_clear()

    def test_increments_of_both_ends(self) -> None:
        """Usual increments are positive, and larger at the wide end than at the narrow end, for every level."""
        for narrow, wide in (start.shipped(seasons).usual[:, 1:] for seasons in range(4)):
            assert (narrow > 0).all()
            assert (wide > narrow).all()


def test_worth() -> None:
    """Pretrained weights have a tenth less loss than untrained weights on a new series, and suitable coverage."""
    value, q = daily(20, seed=3), np.array(ALONE.quantiles)
    loss, coverage = {}, {}
    for name, model in {"pretrained": start_model(ALONE), "untrained": Model.initial(ALONE)}.items():
        out = Forecaster(model, max_series=1).observe(batch(value)).quantiles
        at = np.arange(24 * 3, len(value) - 3)
        target = np.stack([value[at + h + 1] for h in range(3)], axis=1)
        error = target[..., None] - out[at]
        loss[name] = float(np.maximum(q * error, (q - 1.0) * error).mean())
        coverage[name] = float(((target >= out[at][..., 1]) & (target <= out[at][..., 5])).mean())

    assert loss["pretrained"] < 0.9 * loss["untrained"]
    assert 0.75 < coverage["pretrained"] < 0.97


def test_shares_of_increments() -> None:
    """A share is 1 between shipped levels, below 1 where only one level is shipped, above 1 beyond the last."""
    shipped = increments((0.1, 0.25, 0.5, 0.75, 0.9))
    upper = shipped[:2]
    ((low, high),) = increments((0.5, 0.9))

    assert shares((low, high), upper) == [1.0, 1.0]
    ((_, middle),) = increments((0.5, 0.8))
    first, second = shares((0.0, middle), upper)
    assert first == 1.0
    assert 0.0 < second < 1.0
    ((_, far),) = increments((0.5, 0.999))
    assert shares((0.0, far), upper)[1] > 2.0
    assert [a < b for a, b in itertools.pairwise(shares((0.0, far), upper))] == [True]
