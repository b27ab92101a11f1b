"""Import and export of PyTorch weights, and the ONNX graph in onnxruntime."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cases
import golden_inputs as gi
import naive
import numpy as np
import onnxruntime
import pytest
import test_goldens
from naive import Naive

from forecaster import ConfigError, Forecaster, Model, ModelConfig
from forecaster.interop import export_onnx, from_torch, to_torch

CELLS = ("elman", "gru", "lstm")


@pytest.mark.parametrize("case", gi.CASES, ids=lambda case: case.name)
def test_from_torch_is_the_packing_of_the_goldens(case: gi.Case) -> None:
    """A PyTorch state dict becomes the parameters for which the goldens hold PyTorch's results."""
    weights = gi.weights(case)

    model = from_torch(
        {name: value for name, value in weights.items() if "_l" in name}, test_goldens.layout_for(case).config
    )

    layout = model.layout
    expected = layout.views(test_goldens.pack(layout, case, weights).astype(np.float32))
    for name, view in layout.views(model.params).items():
        if name.startswith("layer"):
            np.testing.assert_array_equal(view, expected[name], err_msg=name)


@pytest.mark.parametrize("cell", CELLS)
def test_round_trip(cell: str) -> None:
    """Exported and imported weights give an equal model, bit for bit; the head is that of the given model."""
    model = cases.rough_model(cases.plain(cell, 2))
    layout = model.layout
    params = model.params.copy()
    if cell == "lstm":  # unused lanes are not exported
        for i in range(2):
            layout.views(params)[f"layer{i}.bias"][:, 64:] = 0.0
    model = Model(model.config, params)

    assert from_torch(to_torch(model), model).sha256 == model.sha256


def test_names_and_shapes_are_torchs() -> None:
    """Names and shapes are those of `nn.GRU(n_x, H, 2).state_dict()`."""
    sizes = {name: value.shape for name, value in to_torch(Model.initial(cases.plain("gru", 2))).items()}
    n_x = Model.initial(cases.plain("gru", 2)).layout.n_x
    assert sizes == {
        "weight_ih_l0": (96, n_x), "weight_hh_l0": (96, 32), "bias_ih_l0": (96,), "bias_hh_l0": (96,),
        "weight_ih_l1": (96, 32), "weight_hh_l1": (96, 32), "bias_ih_l1": (96,), "bias_hh_l1": (96,),
    }  # fmt: skip


def test_what_does_not_fit_is_named() -> None:
    """Missing, unknown and misshapen weights are named individually; a network without a cell has none to export."""
    weights: dict[str, Any] = dict(to_torch(Model.initial(cases.GRU)))
    weights["weight_hh_l0"] = weights["weight_hh_l0"][:-1]
    weights["weight_hr_l0"] = weights.pop("bias_hh_l0")
    with pytest.raises(ConfigError) as caught:
        from_torch(weights, cases.GRU)
    for part in ("weight_hr_l0: unknown", "bias_hh_l0: missing", "weight_hh_l0: (47, 16) instead of (48, 16)"):
        assert part in str(caught.value)
    with pytest.raises(ConfigError, match="a recurrent one"):
        to_torch(Model.initial(cases.plain("none")))


# Two tanh (library 2.7e-7, onnxruntime 1e-7) and two orders of float32 sums over 60 steps and two layers, in scales.
TOLERANCE = 2e-5
NETWORKS = {
    "gru": cases.GRU,
    "gru-2": cases.STREAMING["gru-2-covariates-calendar-learnt"],
    "lstm": cases.plain("lstm"),
    "elman": cases.STREAMING["elman-1-two-seasons-calendar-covariate"],
    "none": cases.plain("none"),
    "decoder": cases.STREAMING["decoder-calendar"],
}


@pytest.mark.parametrize("network", NETWORKS)
def test_onnxruntime_forecasts_the_same(network: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The exported graph, stepped by onnxruntime, gives the forecasts of `observe`."""
    config: ModelConfig = NETWORKS[network]
    model = cases.rough_model(config)
    layout = model.layout
    stream = cases.stream(config, 60, series=1, rough=False)
    expected = Forecaster(model).observe(stream)
    export_onnx(model, tmp_path / "model.onnx")
    session = onnxruntime.InferenceSession(str(tmp_path / "model.onnx"), providers=["CPUExecutionProvider"])

    twin = Naive(model)  # computes the features; onnxruntime computes the network
    fed: dict[str, Any] = {}
    cell_step, head = naive.cell_step, naive.head

    def watched_step(cell: str, p: Any, layer: str, x: Any, h: Any, c: Any) -> Any:
        if layer == "layer0":
            fed["x"] = x
        return cell_step(cell, p, layer, x, h, c)

    def watched_head(p: Any, quantiles: Any, top: Any, f: Any) -> Any:
        fed.setdefault("x", top)
        fed["f"] = f
        return head(p, quantiles, top, f)

    monkeypatch.setattr(naive, "cell_step", watched_step)
    monkeypatch.setattr(naive, "head", watched_head)
    names = [put.name for put in session.get_inputs() if put.name[0] in "hc"]
    state = {name: np.zeros((1, layout.hidden), np.float32) for name in names}
    for i in range(60):
        fed.clear()
        side = [] if stream.covariates is None else stream.covariates[i].tolist()
        future = np.zeros((0, config.horizon)) if stream.future is None else stream.future[i]
        event = stream.series[i], int(stream.timestamp_ms[i]), float(stream.value[i])
        _, _, row = twin.observe(*event, side, future)
        facts = {"ref": np.float32([row.last]), "scale": np.float32([row.scale])}
        given = facts | state | {name: np.float32(fed[name])[None] for name in ("x", "f")}
        *new, quantiles = session.run(None, order(session, given))
        state = dict(zip(names, new, strict=True))
        got = quantiles[0]
        assert np.isfinite(got).all()
        limit = TOLERANCE * max(row.scale, 1e-3) + 2e-7 * abs(row.last)
        if row.scale > 0:  # before that, the forecast is that of prior.py
            np.testing.assert_allclose(got, expected.quantiles[i], rtol=0, atol=limit)


def test_a_decoder_without_inputs_is_refused() -> None:
    """A decoder with neither season nor calendar is rejected; the error states the required inputs."""
    with pytest.raises(ConfigError, match="a season or the calendar: ONNX has no GRU without inputs"):
        export_onnx(cases.rough_model(cases.STREAMING["decoder-bare-none-learnt"]))


def order(session: Any, given: dict[str, Any]) -> dict[str, Any]:
    """Returns the inputs that the graph has."""
    return {put.name: given[put.name] for put in session.get_inputs()}
