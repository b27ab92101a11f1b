"""Which fields of an unknown sample are the time, the values and the series."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.config.input import InputConfig
from service.discovery.choice import choose, settled
from service.discovery.sample import InputSample, of_json, sample_of_file
from service.discovery.summary import summarise
from service.errors import ConfigurationError, ServiceError
from service.messages.decode import Decoder
from service.messages.mapping import FILE_NAME
from service.ports import Records

HOUR = 3600


def csv_sample(folder: Path, *lines: str, name: str = "x.csv") -> InputSample:
    """Returns the sample of a file with these lines."""
    (folder / name).write_text("\n".join(lines) + "\n")
    return sample_of_file(str(folder / name), InputConfig())


def json_sample(records: Sequence[Any], **others: Any) -> InputSample:
    """Returns the sample of JSON records."""
    values = [json.dumps(record).encode() for record in records]
    headers = [((FILE_NAME, b"x"),)] * len(values)
    return of_json("x", Records("p", range(len(values)), len(values), values, headers=headers, **others), InputConfig())


def chosen(sample: InputSample) -> dict[str, Any]:
    """Returns the chosen fields, by their names in `input.fields`."""
    return {key.removeprefix("input.fields."): value for key, value in choose(sample).settings.items()}


class TestTime:
    """The time is found by its name or its values, and never guessed between two."""

    def test_by_its_name(self) -> None:
        """A usual name is preferred over another field with times."""
        records = [{"created": f"2026-01-0{day}", "ts": 1_767_571_200 + day, "v": day} for day in range(1, 9)]
        assert chosen(json_sample(records))["timestamp"] == "ts"

    def test_by_its_values(self) -> None:
        """A field of any name is the time if it alone has times."""
        records = [{"logged": f"2026-01-0{day}", "amount": day} for day in range(1, 9)]
        assert chosen(json_sample(records))["timestamp"] == "logged"

    @pytest.mark.parametrize("scale", [1, 1000, 1_000_000, 1_000_000_000])
    def test_numbers_of_any_unit(self, scale: int) -> None:
        """Epoch numbers are times in every unit; the values in their range of another name are not."""
        records = [{"at": (1_767_571_200 + HOUR * i) * scale, "value": i} for i in range(30)]
        sample = json_sample(records)
        assert chosen(sample)["timestamp"] == "at"
        assert summarise(sample, settled(sample, InputConfig())).intervals_ms == [HOUR * 1000]

    def test_two_are_ambiguous(self) -> None:
        """Two fields with times and no usual name are refused, and the message names both."""
        records = [{"begin": f"2026-01-0{day}", "end": f"2026-02-0{day}", "value": day} for day in range(1, 9)]
        with pytest.raises(ConfigurationError, match="got times in begin and end; set the one of the event"):
            choose(json_sample(records))

    def test_none(self) -> None:
        """Without a time the fields are listed; on Kafka the record has one."""
        records = [{"name": "a", "value": i} for i in range(9)]
        with pytest.raises(ConfigurationError, match="got no field with times among name, value"):
            choose(json_sample(records))
        assert "timestamp" not in chosen(json_sample(records, timestamps_ms=range(9)))


class TestValues:
    """The values are the numbers that are no identifiers."""

    def test_several(self, tmp_path: Path) -> None:
        """Numeric fields without a usual name are series of their own; texts and identifiers are not among them."""
        lines = [f"2026-01-0{day},{100 + day},x,{day},{2 * day}" for day in range(1, 9)]
        found = chosen(csv_sample(tmp_path, "date,user_id,note,cpu,mem", *lines))
        assert found == {"timestamp": "date", "values": ["cpu", "mem"], "series": ""}

    def test_none(self, tmp_path: Path) -> None:
        """A file without numbers is refused."""
        with pytest.raises(ConfigurationError, match="got no numeric field among time, name"):
            choose(csv_sample(tmp_path, "time,name", "2026-01-01,a", "2026-01-02,b"))

    def test_gaps_in_a_column(self, tmp_path: Path) -> None:
        """Missing values do not make a column a text."""
        lines = [f"2026-01-0{day},{'' if day % 2 else day},{'NA' if day % 3 else day}" for day in range(1, 9)]
        assert chosen(csv_sample(tmp_path, "time,a,b", *lines))["values"] == ["a", "b"]


class TestSeries:
    """The series are the fields with which no time occurs twice."""

    def test_the_fewest_fields(self) -> None:
        """One field is enough where it separates the times; else two are taken; a free text never is."""
        one = [{"time": day, "region": region, "city": region + "1", "note": f"n{day}{region}", "v": day}
               for day in range(1_767_571_200, 1_767_571_209) for region in "ab"]  # fmt: skip
        two = [{"time": day, "region": region, "kind": kind, "v": day}
               for day in range(1_767_571_200, 1_767_571_209) for region in "ab" for kind in "xy"]  # fmt: skip
        assert chosen(json_sample(one))["series"] == "region"
        assert chosen(json_sample(two))["series"] == ["region", "kind"]

    def test_from_outside(self, tmp_path: Path) -> None:
        """Without such a field the series is the key of the record, or the name of the file."""
        records = [{"time": 1_767_571_200 + i, "v": i} for i in range(9)]
        assert chosen(json_sample(records, keys=[b"k"] * 9))["series"] == "{key}"
        lines = [f"2026-01-0{day},{day}" for day in range(1, 9)]
        assert chosen(csv_sample(tmp_path, "time,v", *lines))["series"] == "{file}"

    def test_files_of_a_glob(self, tmp_path: Path) -> None:
        """Columns of several files are not mixed: their series have the name of the file."""
        for name in ("a.csv", "b.csv"):
            csv_sample(tmp_path, "time,cpu,mem", *(f"2026-01-0{day},{day},{day}" for day in range(1, 9)), name=name)
        assert chosen(sample_of_file(str(tmp_path / "*.csv"), InputConfig()))["series"] == "{file}"


def test_given_fields_are_kept(tmp_path: Path) -> None:
    """What the configuration names is not chosen, and the rest is."""
    sample = csv_sample(tmp_path, "t1,t2,a,b", *(f"2026-01-0{day},2026-02-0{day},{day},{day}" for day in range(1, 9)))
    settings = settled(sample, InputConfig.model_validate({"fields": {"timestamp": "t2", "value": "b"}}))
    assert (settings.fields.timestamp, settings.fields.value, settings.fields.values) == ("t2", "b", ())
    assert settings.fields.series == "{file}"


@given(
    names=st.lists(st.text("abcdefgh_", min_size=1, max_size=6), min_size=2, max_size=6, unique=True),
    data=st.data(),
)
def test_whatever_is_chosen_can_be_read(names: list[str], data: st.DataObject) -> None:
    """A choice never fails but for an ambiguity, and the daemon reads every record of its sample without a reject."""
    kinds = [data.draw(st.sampled_from(["time", "number", "text", "id", "maybe"])) for _ in names]
    records = [
        {name: _cell(kind, i) for name, kind in zip(names, kinds, strict=True)} for i in range(12)
    ]  # fmt: skip
    sample = json_sample(records)
    try:
        settings = settled(sample, InputConfig())
    except ConfigurationError:
        return
    decoded = Decoder(settings).decode(sample.records)
    assert not decoded.rejects
    assert set(decoded.positions) == set(range(12))


def _cell(kind: str, i: int) -> object:
    return {
        "time": f"2026-01-{i + 1:02d}T00:00:00Z", "number": i * 1.5, "text": "ab"[i % 2], "id": i % 3,
        "maybe": None if i % 4 == 0 else i,
    }[kind]  # fmt: skip


def test_no_file(tmp_path: Path) -> None:
    """A file that does not exist, or has no records, is an error that names it."""
    with pytest.raises(ServiceError, match="none"):
        sample_of_file(str(tmp_path / "none.csv"), InputConfig())
    (tmp_path / "empty.csv").write_text("time,value\n")
    with pytest.raises(ServiceError, match="has no records"):
        sample_of_file(str(tmp_path / "empty.csv"), InputConfig())
