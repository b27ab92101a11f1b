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
from service.messages.outside import FILE_NAME
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

    def test_date_and_time_of_day(self, tmp_path: Path) -> None:
        """A date and a time of day in two fields are the time together; neither of them is a series."""
        lines = [f"{day}.1.2026,{hour}:00,{hour}" for day in range(1, 4) for hour in range(24)]
        found = chosen(csv_sample(tmp_path, "Date,Time,Power", *lines))
        assert found == {"timestamp": ["Date", "Time"], "value": "Power", "series": "{file}", "date_order": "dmy"}

    def test_parallel_arrays(self) -> None:
        """The arrays of an object are parallel where one of them has times."""
        hourly = {"time": [f"2026-01-0{day}" for day in range(1, 9)], "a": [*range(8)], "b": [0.5] * 8}
        found = chosen(json_sample([{"site": "n", "zone": "GMT", "hourly": hourly, "units": {"a": "C"}}]))
        assert (found["timestamp"], found["values"]) == ("hourly[:].time", ["hourly[:].a", "hourly[:].b"])
        assert found["series"] == ""
        assert "[:]" not in json.dumps(chosen(json_sample([{"ts": 1_767_571_200 + i, "v": [1, 2], "w": [3, 4], "x": i}
                                                           for i in range(9)])))  # fmt: skip


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


class TestRefused:
    """What could be read in two ways, or would be read wrongly, is refused with the reason."""

    def test_two_times_of_day(self, tmp_path: Path) -> None:
        """Of several times of day beside a date none is chosen."""
        lines = [f"2026-01-{day:02d},{hour:02d}:00,{hour:02d}:30,{hour}" for day in range(1, 4) for hour in range(24)]
        with pytest.raises(ConfigurationError, match="got a date in Date and a time of day in From and To; set the"):
            choose(csv_sample(tmp_path, "Date,From,To,Power", *lines))

    def test_a_date_alone_was_named(self, tmp_path: Path) -> None:
        """A date that the configuration names without its time of day is refused, with what to set."""
        sample = csv_sample(tmp_path, "Date,Time,Power", *(f"2026-01-01,{hour:02d}:00,{hour}" for hour in range(24)))
        with pytest.raises(ConfigurationError, match=r'input.fields.timestamp=\["Date","Time"\]'):
            choose(sample, given={"timestamp": "Date"})

    @pytest.mark.parametrize("name", ["when", "timestamp"])
    def test_day_or_month_first(self, tmp_path: Path, name: str) -> None:
        """Dates with the day or the month first are refused, unless one of them or the configuration decides."""
        lines = [f"s,0{day}/02/2026 10:00,{day}" for day in range(1, 9)]
        sample = csv_sample(tmp_path, f"series,{name},value", *lines)
        with pytest.raises(ConfigurationError, match=r"may be first; set it: --set input\.fields\.date_order=dmy"):
            settled(sample, InputConfig())
        for order, days in (("dmy", 1), ("mdy", 31)):
            settings = settled(sample, InputConfig.model_validate({"fields": {"date_order": order}}))
            times = Decoder(settings).decode(sample.records).timestamp_ms
            assert times[1] - times[0] == days * 24 * HOUR * 1000
        more = csv_sample(tmp_path, f"series,{name},value", *lines, "s,13/02/2026 10:00,5", name="y.csv")
        assert settled(more, InputConfig()).fields.date_order == "dmy"

    def test_records_of_one_time(self, tmp_path: Path) -> None:
        """Whole numbers that distinguish the records of a time name the series; without such a field it is an error."""
        lines = [f"2026-01-{day:02d},{store},{item},{day}.{item}" for day in range(1, 20) for store in (1, 2)
                 for item in (1, 2, 3)]  # fmt: skip
        found = chosen(csv_sample(tmp_path, "date,store,item,sales", *lines))
        assert (found["series"], found["value"]) == (["store", "item"], "sales")
        same = [f"2026-01-{day:02d},{day}.5" for day in range(1, 20) for _ in range(3)]
        with pytest.raises(ConfigurationError, match="several records at the same time that no field distinguishes"):
            choose(csv_sample(tmp_path, "date,sales", *same, name="y.csv"))

    @pytest.mark.parametrize("name", ["id", "key", "name"])
    def test_a_name_of_every_record(self, tmp_path: Path, name: str) -> None:
        """A field that is different in every record names no series."""
        lines = [f"n{day},2026-01-{day:02d},{day}.5" for day in range(1, 29)]
        assert chosen(csv_sample(tmp_path, f"{name},date,value", *lines))["series"] == "{file}"

    def test_commas(self, tmp_path: Path) -> None:
        """Commas before exactly three digits are ambiguous, unless the configuration says what they are."""
        sample = csv_sample(tmp_path, "time;visits", *(f"2026-01-0{day};{day}2,345" for day in range(1, 9)))
        with pytest.raises(ConfigurationError, match="whose comma may separate decimals or thousands"):
            choose(sample)
        for name, value in (("decimal", 12.345), ("thousands", 12345.0)):
            settings = settled(sample, InputConfig.model_validate({"fields": {name: ","}}))
            assert Decoder(settings).decode(sample.records).value[0] == value

    def test_dates_as_names_of_columns(self, tmp_path: Path) -> None:
        """A header with dates, below which there are none, is refused: the table is turned."""
        with pytest.raises(ConfigurationError, match="expected a header with the names of the columns"):
            csv_sample(tmp_path, "region,2026-01-01,2026-01-02", "north,5,6", "south,7,8")

    def test_another_encoding(self, tmp_path: Path) -> None:
        """A header that is not UTF-8 is refused, with what to do."""
        (tmp_path / "x.csv").write_bytes("time,Stra\xdfe\n2026-01-01,5\n".encode("latin-1"))
        with pytest.raises(ConfigurationError, match="not UTF-8; convert the file"):
            sample_of_file(str(tmp_path / "x.csv"), InputConfig())

    def test_other_dates(self, tmp_path: Path) -> None:
        """A date of another form is shown in the message."""
        with pytest.raises(ConfigurationError, match=r"a text such as '1-Mar-2024' in Datum is not read"):
            choose(csv_sample(tmp_path, "Datum,Wert", *(f"{day}-Mar-2024,{day}" for day in range(1, 9))))

    @pytest.mark.parametrize("dates", [[20240301 + day for day in range(9)], [1920 + year for year in range(9)]])
    def test_dates_in_digits(self, dates: list[int]) -> None:
        """Dates and years in digits are refused where the configuration names them as the time without a unit."""
        sample = json_sample([{"date": date, "sales": 2.5} for date in dates])
        with pytest.raises(ConfigurationError, match="a date or a year in digits"):
            choose(sample, given={"timestamp": "date"})
        assert choose(sample, given={"timestamp": "date", "time_unit": "ms"}).settings["input.fields.value"] == "sales"

    def test_nothing_readable(self, tmp_path: Path) -> None:
        """A file without a readable record is an error of its own, which says how its first record begins."""
        (tmp_path / "x.jsonl").write_bytes(b'{"a": \n' * 5)
        with pytest.raises(ServiceError, match="records that cannot be read as a JSON document"):
            choose(sample_of_file(str(tmp_path / "x.jsonl"), InputConfig()))


class TestColumns:
    """The kind of a column."""

    def test_missing_marks(self, tmp_path: Path) -> None:
        """NaN is a missing value, and a few texts among numbers are bad values of a numeric column."""
        lines = [f"2026-01-{day:02d},{'NaN' if day % 2 else day},{'unavailable' if day % 9 == 0 else day}"
                 for day in range(1, 29)]  # fmt: skip
        assert chosen(csv_sample(tmp_path, "time,a,b", *lines))["values"] == ["a", "b"]

    def test_names_with_dots(self, tmp_path: Path) -> None:
        """The name of a column is whole; only a path of JSON has a last name."""
        lines = [f"2026-01-{day:02d},{day},{day}" for day in range(1, 9)]
        assert chosen(csv_sample(tmp_path, "time,PM2.5,PM10.value", *lines))["values"] == ["PM2.5", "PM10.value"]

    def test_default_fields_with_a_decimal_comma(self, tmp_path: Path) -> None:
        """A file with the default names is read with its decimal comma."""
        sample = csv_sample(tmp_path, "series;timestamp;value", *(f"a;2026-01-0{day};2,5" for day in range(1, 9)))
        decoded = Decoder(settled(sample, InputConfig())).decode(sample.records)
        assert decoded.value.tolist() == [2.5] * 8


def test_covariates_are_no_values() -> None:
    """A field that the configuration names as a covariate is neither a value nor a name of a series."""
    records = [{"at": f"2026-01-01T{hour:02d}:00:00Z", "sold": hour * 1.5, "price": 2 + hour % 3} for hour in range(24)]
    sample = json_sample(records)
    assert choose(sample).settings["input.fields.values"] == ["sold", "price"]
    chosen = choose(sample, covariates=["price"])
    assert chosen.settings["input.fields.value"] == "sold"
    assert "price" in [column.path for column in chosen.columns], "it is shown"


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
