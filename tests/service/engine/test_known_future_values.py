"""Known future values, from bytes to forecasts: lists in JSON and CSV, broadcast, crashes, files, memory."""

from __future__ import annotations

import dataclasses
import random
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pytest
from parts import Bench, config_of

from forecaster import Model
from service.backtest.events import read_events
from service.backtest.search import first_events, sampled
from service.capacity.plan import SHIPPED, Load, make_plan
from service.config.input import InputConfig
from service.config.load import load_config
from service.errors import ConfigurationError
from service.kafka.tools.produce_file import events_of
from service.messages.decode import CSV_HEADER, Decoded, Decoder
from service.ports import Records
from service.transport.memory import ABORT_POLL, ABORT_PUBLISH, ABORT_PUBLISHED, MemoryLog, Script

NAN = np.nan
HEADER = b"series,timestamp,value,future.p,future.q"
T0 = 1_700_000_000_000


def decode(*values: bytes, header: bytes | None = None, horizon: int = 3, **settings: Any) -> Decoded:
    """Decodes one batch with the known future values p and q."""
    headers = None if header is None else [((CSV_HEADER, header),)] * len(values)
    found = InputConfig.model_validate({"future_covariates": ["p", "q"]} | settings)
    return Decoder(found, horizon).decode(Records("0", range(len(values)), len(values), values, headers=headers))


def event(**fields: Any) -> bytes:
    """Returns a JSON event."""
    return orjson.dumps({"series": "s", "timestamp": 1, "value": 2.0} | fields)


def same(decoded: Decoded, *expected: list[list[float]]) -> None:
    """Asserts that nothing was rejected and that the lists are these."""
    assert not decoded.rejects
    np.testing.assert_array_equal(decoded.future, np.array(expected, np.float32))


class TestJson:
    """Known future values in JSON."""

    def test_lists(self) -> None:
        """Absent items, nulls, names and objects are missing values; items beyond the horizon are ignored."""
        same(
            decode(event(future={"q": [1, 2.5, 3, 4, 5], "p": [0, None]}), event(future={"other": ["x"], "p": None}),
                   event(), event(future=None), event(future={"p": [1e300], "q": []})),
            [[0, NAN, NAN], [1, 2.5, 3]], *[[[NAN] * 3] * 2] * 4,
        )  # fmt: skip

    def test_numbers_that_json_does_not_have(self) -> None:
        """NaN is accepted inside a list as well as outside of lists."""
        same(decode(b'{"series":"s","timestamp":1,"value":NaN,"future":{"p":[1,NaN,2]}}'), [[1, NAN, 2], [NAN] * 3])

    @pytest.mark.parametrize("future", [3, [1, 2], {"p": 1}, {"p": ["x"]}, {"q": {}}, {"q": [{}]}, {"p": [[1]]}])
    def test_something_else(self, future: Any) -> None:
        """Anything but an object of lists of numbers is rejected, and other events are kept."""
        decoded = decode(event(future=future), event(future={"p": [7]}))
        assert [(reject.position, reject.reason) for reject in decoded.rejects] == [(0, "wrong_type")]
        same(dataclasses.replace(decoded, rejects=[]), [[7, NAN, NAN], [NAN] * 3])

    def test_the_record_tells_the_series(self) -> None:
        """Lists are read where series and time come from the record itself."""
        values = [orjson.dumps({"value": 1, "future": {"p": [4]}})]
        decoder = Decoder(InputConfig.model_validate({"future_covariates": ["p"]}), 2)
        decoded = decoder.decode(Records("0", [0], 1, values, keys=[b"k"], timestamps_ms=[5]))
        assert decoded.series == ["k"]
        same(decoded, [[4, NAN]])

    def test_another_name(self) -> None:
        """The name of the object is configurable."""
        same(decode(event(ahead={"p": [1]}), fields={"future": "ahead"}), [[1, NAN, NAN], [NAN] * 3])

    def test_nothing_is_known_ahead(self) -> None:
        """Without configured names the field is ignored."""
        assert decode(event(future=3), future_covariates=[]).future is None


class TestCsv:
    """Known future values in CSV."""

    @pytest.mark.parametrize("quoted", [b"", b'"'])  # with a quote anywhere each line is parsed by itself
    def test_lists(self, quoted: bytes) -> None:
        """Lists are separated by spaces or bars; an empty item between bars and an empty cell are missing values."""
        lines = [b"s,1,2,0 0 1,1|2", quoted + b"s" + quoted + b",2,2,1||3|4, 5  nan 6 ", b"s,3,2,,null"]
        same(
            decode(*lines, header=HEADER),
            [[0, 0, 1], [1, 2, NAN]], [[1, NAN, 3], [5, NAN, 6]], [[NAN] * 3, [NAN] * 3],
        )  # fmt: skip

    def test_an_absent_column(self) -> None:
        """An absent column gives missing values."""
        same(decode(b"s,1,2,7", header=b"series,timestamp,value,future.q"), [[NAN] * 3, [7, NAN, NAN]])
        same(decode(b"s,1,2", header=b"series,timestamp,value"), [[NAN] * 3] * 2)

    def test_something_else(self) -> None:
        """Anything but numbers is rejected, and the message names what is expected."""
        decoded = decode(b"s,1,2,1;2,3", b"s,2,2,1,3", header=HEADER)
        (reject,) = decoded.rejects
        assert (reject.position, reject.reason) == (0, "wrong_type")
        assert reject.detail.startswith("got '1;2' as future.p, expected a list of numbers; in CSV separated by spaces")
        same(dataclasses.replace(decoded, rejects=[]), [[1, NAN, NAN], [3, NAN, NAN]])

    def test_replayed_into_a_topic(self, tmp_path: Path) -> None:
        """A line of a file becomes an event with the lists of the line."""
        path = tmp_path / "events.csv"
        path.write_bytes(HEADER + b"\ns,1,2,0 0 1,1||3\ns,2,2,,\n")
        settings = InputConfig.model_validate({"future_covariates": ["p", "q"]})
        lines = [value for _, _, value in events_of(path, settings)]
        assert orjson.loads(lines[0])["future"] == {"p": [0, 0, 1], "q": [1, None, 3]}
        same(decode(*lines), [[0, 0, 1], [1, NAN, 3]], [[NAN] * 3] * 2)


class TestEngine:
    """Known future values in the engine."""

    SETTINGS: dict[str, dict[str, Any]] = {  # noqa: RUF012 - not changed
        "input": {"future_covariates": ["p", "q"], "covariates": ["p"], "broadcast": "@all"},
        "model": {"interval": "60s"},
    }

    def script(self, *, change: int = -1) -> list[bytes | Script]:
        """Returns two series, some events with known future values, and broadcasts, one of which can be changed."""
        rng = random.Random(1)
        out: list[bytes | Script] = []
        for step in range(40):
            time = T0 + step * 60_000
            if step % 9 == 2:
                future = {"p": [rng.random() for _ in range(6)], "q": [9 if step == change else 0.5, None, 1]}
                out.append(orjson.dumps({"series": "@all", "timestamp": time, "value": None, "future": future}))
            for series in "ab":
                given = {"series": series, "timestamp": time, "value": rng.random(), "p": step % 2}
                if rng.random() < 0.5:
                    given["future"] = {rng.choice("pq"): [rng.random() for _ in range(rng.randrange(5))]}
                out.append(orjson.dumps(given))
        return out

    def run(self, folder: Path, script: list[bytes | Script], **sections: dict[str, Any]) -> list[bytes]:
        """Returns the forecasts of a run to the end."""
        settings = {name: self.SETTINGS.get(name, {}) | sections.get(name, {}) for name in {*self.SETTINGS, *sections}}
        bench = Bench(folder, MemoryLog({"0": script}), settings)
        initial = Model.initial(bench.config.library_model())
        noise = np.random.default_rng(0).normal(scale=0.1, size=initial.params.size).astype(np.float32)
        bench.registry.promote(bench.registry.add(Model(initial.config, initial.params + noise)))  # uses the lists
        bench.run()
        return list(bench.log.forecasts("0"))

    def test_through_crashes_and_in_any_batches(self, tmp_path: Path) -> None:
        """A run that crashes and restores from snapshots gives the bytes of an undisturbed run."""
        whole = self.run(tmp_path / "whole", self.script())
        script = self.script()
        for at, mark in ((70, ABORT_PUBLISHED), (41, ABORT_PUBLISH), (20, ABORT_POLL)):
            script.insert(at, mark)
        state = {"snapshot_every": "1ms"}
        assert self.run(tmp_path / "parts", script, input={"max_poll_records": 5}, state=state) == whole
        assert len(whole) == 80

    def test_it_matters(self, tmp_path: Path) -> None:
        """As a control, one changed broadcast number changes later forecasts, and none before."""
        one, two = self.run(tmp_path / "one", self.script()), self.run(tmp_path / "two", self.script(change=20))
        differ = [a != b for a, b in zip(one, two, strict=True)]
        assert differ.index(True) == 2 * 20

    def test_a_state_without_them(self, tmp_path: Path) -> None:
        """State without the names continues with them after a clean stop, then with more steps, and without again."""
        lines = [event(timestamp=T0 + step * 60_000, future={"p": [step, 1], "q": [2] * 5}) for step in range(40)]
        wide = self.SETTINGS | {"model": self.SETTINGS["model"] | {"horizon": 5}}
        log = MemoryLog({"0": lines[:10]})
        for end, settings in ((10, {}), (20, self.SETTINGS), (30, wide), (40, {})):
            bench = Bench(tmp_path, MemoryLog({"0": lines[:end]}, units=list(log.units)), settings)
            bench.run()
            log = bench.log
        found = [len(orjson.loads(one)["quantiles"]) for one in log.forecasts("0")]
        assert found == [3] * 20 + [5] * 10 + [3] * 10


def test_a_file_for_a_backtest(tmp_path: Path) -> None:
    """Lists stay with their events when the events are sorted, sampled or cut."""
    path = tmp_path / "events.jsonl"
    order = [3, 1, 2, 0, 4, 5]
    events = [{"series": "ab"[at % 2], "timestamp": at, "value": at, "future": {"p": [at, at + 1]}} for at in order]
    path.write_bytes(b"\n".join(orjson.dumps(one) for one in events))
    found = read_events(path, InputConfig.model_validate({"future_covariates": ["p"]}), 2)
    for some in (found, first_events(found, 4), sampled(found, 1, 0)):
        assert some.future is not None
        assert some.future.tolist() == [[[value, value + 1]] for value in some.value.tolist()]
    assert len(sampled(found, 1, 0)) == 3


class TestSettings:
    """Settings that are refused before the start."""

    def message(self, **flags: Any) -> str:
        """Returns the error message."""
        with pytest.raises(ConfigurationError) as caught:
            load_config(None, {name.replace("__", "."): value for name, value in flags.items()})
        return str(caught.value)

    def test_names(self) -> None:
        """The object needs a name of its own, and the number of values per event is limited."""
        names = {"input__future_covariates": ["p"]}
        assert "which another field uses" in self.message(**names, input__fields={"future": "value"})
        assert "input.fields uses" in self.message(**names, input__covariates=["future"])
        text = self.message(input__future_covariates=["p", "q"], model__horizon=1024 * 3)
        assert "model.horizon" in text
        text = self.message(input__future_covariates=list("abcde"), model__horizon=1024)
        assert "input.future_covariates: got" in text
        assert "at most 4 (4096 / horizon)" in text

    def test_broadcast_needs_an_interval(self) -> None:
        """Broadcast lists need a configured interval, because event time shifts the lists."""
        flags = {"input__future_covariates": ["p"], "input__broadcast": "@all"}
        assert "model.interval: got 'auto', expected a duration, because broadcast lists" in self.message(**flags)
        assert load_config(None, {"input.future_covariates": "p", "input.broadcast": "@all", "model.interval": "1h"})


def test_a_plan_counts_them() -> None:
    """A plan counts four bytes per name, step ahead and event of the history."""
    plain = config_of(Path(), model={"horizon": 24}).library_model()
    wide = dataclasses.replace(plain, future_covariates=("p", "q"))
    one, two = (make_plan(Load(10, 1.0, model, 1000, 3, 100), SHIPPED) for model in (plain, wide))
    assert two.history_bytes - one.history_bytes == 1000 * 2 * 24 * 4
    assert two.training_memory_bytes > one.training_memory_bytes + 3 * 1000 * 2 * 24 * 4
