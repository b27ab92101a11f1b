"""Literal kernels are compiled by a process of their own, and used as soon as they are there."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numba
import numpy as np
import pytest
from structlog.testing import capture_logs

from forecaster import Batch, Forecaster, ModelConfig, kernel_form, use_kernels, used_kernels
from forecaster.layout import layout_of
from forecaster.observe import observe_kernel
from service.engine.literal_kernels import LiteralKernels
from service.lifecycle import SystemClock

NETWORK = ModelConfig(
    cell="gru", hidden_size=16, head_size=16, horizon=2, quantiles=(0.1, 0.5, 0.9), calendar=False, pretrained=False,
    interval_ms=1000, max_gap=3,
)  # fmt: skip
ENDED = (sys.executable, "-c", "input()")
FAILED = (sys.executable, "-c", "input(); raise SystemExit(3)")
RUNS_ON = (sys.executable, "-c", "import time; input(); time.sleep(600)")
AT_ONCE, LATER = {"quick": 0.0, "general": 0.0}, {"quick": 5.0, "general": 20.0}
ECHO = "import pathlib, sys; pathlib.Path(sys.argv[1]).write_text(input())"


@pytest.fixture(autouse=True)
def _automatic() -> Iterator[None]:
    before = used_kernels()
    use_kernels("auto")
    yield
    use_kernels(before)


@pytest.fixture
def _fresh_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An empty folder of compiled code for kernels that are built from now on, here and in processes started here."""
    assert observe_kernel(layout_of(NETWORK)).general  # made before, so that its code is taken from the usual folder
    monkeypatch.setattr(numba.config, "CACHE_DIR", str(tmp_path / "compiled"))
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path / "compiled"))


class Now:
    """A clock that a test sets."""

    seconds = 0.0

    def monotonic(self) -> float:
        """The set time."""
        return self.seconds

    def wall_ms(self) -> int:
        """Not used."""
        return 0


def events(start: int, count: int) -> Batch:
    """Some events of one series."""
    steps = np.arange(start, start + count)
    return Batch(["a"] * count, steps * 1000, 10 + np.sin(steps))


def wait(kernels: LiteralKernels) -> None:
    """Polls until the process has ended."""
    ends = time.monotonic() + 300
    while kernels.running:
        assert time.monotonic() < ends
        time.sleep(0.05)
        kernels.poll()


@pytest.mark.usefixtures("_fresh_cache")
@pytest.mark.timeout(600)
def test_the_form_changes_between_two_batches() -> None:
    """A network that was never compiled is general, later literal, and its forecasts are those of a general one."""
    forecaster, twin = Forecaster(NETWORK), Forecaster(NETWORK)
    kernels = LiteralKernels(SystemClock(), delay=AT_ONCE)
    forecaster.observe(events(0, 50))
    assert kernel_form(NETWORK) == "general"
    kernels.want([NETWORK, NETWORK])
    kernels.poll()
    assert kernels.running
    wait(kernels)
    found = forecaster.observe(events(50, 50))
    assert kernel_form(NETWORK) == "literal"
    use_kernels("general")
    twin.observe(events(0, 50))
    assert twin.observe(events(50, 50)).quantiles.tobytes() == found.quantiles.tobytes()
    assert forecaster.header() == twin.header()


def general(monkeypatch: pytest.MonkeyPatch) -> None:
    """Makes every kernel look general."""
    monkeypatch.setattr("service.engine.literal_kernels.kernel_form", lambda network: "general")


def test_a_short_run_starts_no_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """The process begins after the delay, and once."""
    general(monkeypatch)
    now = Now()
    kernels = LiteralKernels(now, ENDED, delay=LATER)
    kernels.want([NETWORK])
    now.seconds = 19.0
    kernels.poll()
    assert not kernels.running
    now.seconds = 20.0
    with capture_logs() as logs:
        kernels.poll()
        assert kernels.running
        wait(kernels)
    assert [line["event"] for line in logs] == ["compiled for this network"]
    kernels.poll()
    assert not kernels.running


def test_the_request_has_the_networks(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The process gets the networks whose kernels are general, no others."""
    monkeypatch.setattr("service.engine.literal_kernels.kernel_form",
                        lambda network: "general" if network == NETWORK else "literal")  # fmt: skip
    kernels = LiteralKernels(Now(), (sys.executable, "-c", ECHO, str(tmp_path / "request")), delay=AT_ONCE)
    kernels.want([NETWORK, ModelConfig()])
    kernels.poll()
    wait(kernels)
    (given,) = json.loads((tmp_path / "request").read_text())["networks"]
    assert ModelConfig.from_dict(given["network"]) == NETWORK
    assert given["form"] == "literal"


def test_quick_code_is_replaced_in_two_steps(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Quickly made code soon becomes the general form, and that the literal form after the longer delay."""
    form = "quick"
    monkeypatch.setattr("service.engine.literal_kernels.kernel_form", lambda network: form)
    use_kernels("quick")
    now = Now()
    kernels = LiteralKernels(now, (sys.executable, "-c", ECHO, str(tmp_path / "request")), delay=LATER)

    def requested(seconds: float) -> list[str]:
        """Returns the forms that are compiled then."""
        (tmp_path / "request").unlink(missing_ok=True)
        now.seconds = seconds
        kernels.want([NETWORK])
        kernels.poll()
        wait(kernels)
        if not (tmp_path / "request").exists():
            return []
        return [one["form"] for one in json.loads((tmp_path / "request").read_text())["networks"]]

    assert [requested(seconds) for seconds in (0.0, 4.0, 5.0, 50.0)] == [[], [], ["general"], []]
    assert used_kernels() == "quick"
    form = "general"
    assert [requested(seconds) for seconds in (60.0, 79.0, 80.0, 200.0)] == [[], [], ["literal"], []]


def test_other_functions_follow_quick_code(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """What runs as Python is compiled as soon as quickly made code is replaced, before networks, and once."""
    form = "quick"
    monkeypatch.setattr("service.engine.literal_kernels.kernel_form", lambda network: form)
    now = Now()
    command = sys.executable, "-c", ECHO, str(tmp_path / "request")
    kernels = LiteralKernels(now, command, delay=LATER, others_wait=lambda: True)
    found = list[tuple[float, list[str], bool]]()
    for seconds in (0.0, 5.0, 6.0, 7.0, 27.0, 60.0):
        now.seconds = seconds
        kernels.want([NETWORK])
        kernels.poll()
        wait(kernels)
        if (tmp_path / "request").exists():
            request = json.loads((tmp_path / "request").read_text())
            found.append((seconds, [one["form"] for one in request["networks"]], request["others"]))
            (tmp_path / "request").unlink()
            form = "general"
    assert found == [(5.0, ["general"], False), (6.0, [], True), (27.0, ["literal"], False)]


def test_other_functions_without_quick_code(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Where networks are compiled already, they are compiled after the longer delay, and once."""
    monkeypatch.setattr("service.engine.literal_kernels.kernel_form", lambda network: "literal")
    now = Now()
    command = sys.executable, "-c", ECHO, str(tmp_path / "request")
    kernels = LiteralKernels(now, command, delay=LATER, others_wait=lambda: True)
    found = []
    for seconds in (0.0, 19.0, 20.0, 60.0):
        now.seconds = seconds
        kernels.want([NETWORK])
        kernels.poll()
        wait(kernels)
        if (tmp_path / "request").exists():
            found.append((seconds, json.loads((tmp_path / "request").read_text())))
            (tmp_path / "request").unlink()
    assert found == [(20.0, {"networks": [], "others": True})]


def test_networks_that_come_later(monkeypatch: pytest.MonkeyPatch) -> None:
    """A network that is adopted later is compiled after its own delay; those that were requested are not again."""
    general(monkeypatch)
    now = Now()
    kernels = LiteralKernels(now, ENDED, delay=LATER)
    kernels.want([NETWORK])
    now.seconds = 30.0
    kernels.want([NETWORK])
    kernels.poll()
    assert kernels.running
    kernels.want([NETWORK, ModelConfig()])  # while it runs
    wait(kernels)
    kernels.want([NETWORK, ModelConfig()])
    now.seconds = 49.0
    kernels.poll()
    assert not kernels.running
    now.seconds = 50.0
    kernels.poll()
    assert kernels.running
    wait(kernels)


def test_a_network_without_events_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    """A champion has no form before its first event; it is compiled once it has had one."""
    forms = {NETWORK: "general", ModelConfig(): ""}
    monkeypatch.setattr("service.engine.literal_kernels.kernel_form", forms.__getitem__)
    now = Now()
    kernels = LiteralKernels(now, ENDED, delay=LATER)

    def after(seconds: float) -> bool:
        """Returns whether the process runs then; waits until it has ended."""
        now.seconds = seconds
        kernels.want([*forms])
        kernels.poll()
        begun = kernels.running
        wait(kernels)
        return begun

    assert [after(seconds) for seconds in (0.0, 19.0, 20.0, 30.0)] == [False, False, True, False]
    forms[ModelConfig()] = "general"
    assert [after(seconds) for seconds in (40.0, 59.0, 60.0, 99.0)] == [False, False, True, False]


@pytest.mark.parametrize("form", ["general", "literal"])
def test_a_chosen_form_stays(form: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is compiled in the background where the environment names a form."""
    general(monkeypatch)
    use_kernels(form)
    kernels = LiteralKernels(Now(), ENDED, delay=AT_ONCE)
    kernels.want([NETWORK])
    kernels.poll()
    assert not kernels.running


@pytest.mark.parametrize(
    ("command", "logged"),
    [(FAILED, "compiling for this network failed"), (("/no/such/program",), "process that compiles not started")],
)
def test_a_failure_changes_nothing(command: tuple[str, ...], logged: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A process that fails or cannot be started is logged, and not started again."""
    general(monkeypatch)
    kernels = LiteralKernels(Now(), command, delay=AT_ONCE)
    kernels.want([NETWORK])
    with capture_logs() as logs:
        kernels.poll()
        wait(kernels)
    assert [(line["event"], line["log_level"]) for line in logs] == [(logged, "warning")]
    kernels.poll()
    assert not kernels.running


def test_close_ends_the_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """A daemon that ends kills the process."""
    general(monkeypatch)
    started = list[subprocess.Popen[bytes]]()
    popen = subprocess.Popen

    def remember(*args: Any, **settings: Any) -> subprocess.Popen[bytes]:
        started.append(popen(*args, **settings))
        return started[-1]

    monkeypatch.setattr(subprocess, "Popen", remember)
    kernels = LiteralKernels(Now(), RUNS_ON, delay=AT_ONCE)
    kernels.want([NETWORK])
    kernels.poll()
    kernels.close()
    assert not kernels.running
    assert started[0].returncode == -9
