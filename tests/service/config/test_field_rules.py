"""Paths to fields, rules for the names of series, and the errors of a configuration that has bad ones."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from service.config.field_paths import FieldPath, innermost, is_plain, parse_path
from service.config.input import FieldNames, InputConfig
from service.config.load import load_config
from service.config.series_rule import Outside, Part, parse_rule
from service.errors import ConfigurationError

NAMES = st.text("abc_ -@°é0123", min_size=1, max_size=6)


def fields(**names: object) -> FieldNames:
    """Returns the names of fields with these values."""
    return FieldNames.model_validate(names)


def wrong(**names: object) -> str:
    """Returns the error message of bad names of fields."""
    with pytest.raises(ValidationError) as caught:
        fields(**names)
    return str(caught.value)


def message(**flags: object) -> str:
    """Returns the error message of a bad configuration; `__` in a flag stands for the dot."""
    with pytest.raises(ConfigurationError) as caught:
        load_config(None, {key.replace("__", "."): value for key, value in flags.items()})
    return str(caught.value)


def merged(parts: tuple[Part, ...]) -> list[Part]:
    """Returns the parts with neighbouring literal texts joined: how they are split does not matter."""
    found = list[Part]()
    for part in parts:
        if isinstance(part, str) and found and isinstance(found[-1], str):
            found[-1] += part
        else:
            found.append(part)
    return found


class TestPaths:
    """The grammar of paths."""

    @pytest.mark.parametrize(
        ("text", "arrays", "keys"),
        [
            ("value", (), ("value",)),
            ("the value", (), ("the value",)),
            ("@timestamp", (), ("@timestamp",)),
            ("sensor.location.id", (), ("sensor", "location", "id")),
            ("readings[0].value", (), ("readings", 0, "value")),
            ("grid[1][22]", (), ("grid", 1, 22)),
            ("[3].value", (), (3, "value")),
            ("samples[].value", (("samples",),), ("value",)),
            ("samples[]", (("samples",),), ()),
            ("[].value", ((),), ("value",)),
            ("a.b[].c.d", (("a", "b"),), ("c", "d")),
            ("a[0].b[].c", (("a", 0, "b"),), ("c",)),
            ("hosts[].samples[].v", (("hosts",), ("samples",)), ("v",)),
            ("rows[][]", (("rows",), ()), ()),
            ("rows[][1]", (("rows",),), (1,)),
            ("payload.*", (), ("payload", "*")),
            ("cpu_*", (), ("cpu_*",)),
        ],
    )
    def test_names_indices_and_arrays(self, text: str, arrays: tuple[Any, ...], keys: tuple[Any, ...]) -> None:
        """Names, numbers of elements and arrays are distinguished."""
        assert parse_path(text) == FieldPath(text, arrays, keys)

    @pytest.mark.parametrize(
        ("text", "keys"),
        [
            ("/a", ("a",)),
            ("/a/b", ("a", "b")),
            ("/a.b[0]/c[]", ("a.b[0]", "c[]")),
            ("/a~1b", ("a/b",)),
            ("/a~0b", ("a~b",)),
            ("/~01", ("~1",)),
            ("/~10", ("/0",)),
            ("/", ("",)),
            ("/a//b", ("a", "", "b")),
            ("/0", ("0",)),
        ],
    )
    def test_json_pointer(self, text: str, keys: tuple[str, ...]) -> None:
        """A JSON Pointer has names only; ~1 is a slash and ~0 is a tilde, in the order of RFC 6901."""
        assert parse_path(text) == FieldPath(text, (), keys)

    @given(st.lists(st.text("ab~/.[]01", max_size=6), min_size=1, max_size=4))
    def test_any_names_as_a_json_pointer(self, names: list[str]) -> None:
        """Any names, escaped as in RFC 6901, are found again."""
        text = "".join("/" + name.replace("~", "~0").replace("/", "~1") for name in names)
        assert parse_path(text).keys == tuple(names)

    @given(st.lists(st.tuples(NAMES, st.lists(st.integers(0, 999), max_size=2)), min_size=1, max_size=4))
    def test_any_names_with_dots_between(self, parts: list[tuple[str, list[int]]]) -> None:
        """Names and the numbers of elements after them are keys in their order."""
        text = ".".join(name + "".join(f"[{number}]" for number in numbers) for name, numbers in parts)
        assert parse_path(text).keys == tuple(key for name, numbers in parts for key in (name, *numbers))

    @pytest.mark.parametrize(
        "text",
        ["", ".", "a.", ".a", "a..b", "a.[0]"],
    )
    def test_malformed(self, text: str) -> None:
        """A malformed path is an error that has the path and the forms that are expected."""
        with pytest.raises(ValueError, match="expected names such as") as caught:
            parse_path(text)
        assert f"got the path {text!r}" in str(caught.value)

    @pytest.mark.parametrize("text", ["temp [C]", "a[x]", "a[", "a]", "[kW] load", "a[-1]"])
    def test_brackets_around_other_texts(self, text: str) -> None:
        """Brackets around anything but the number of an element belong to the name, as in names with units."""
        assert parse_path(text)[1:] == ((), (text,))
        assert is_plain(text)

    @pytest.mark.parametrize(
        ("text", "name"), [("a", "a"), ("a.b", "a.b"), ("/a.b", "a.b"), ("/a~1b", "a/b"), ("/a/b", "/a/b")]
    )
    def test_name_of_a_column(self, text: str, name: str) -> None:
        """A column is called like the whole path; a pointer of one name stands for that name."""
        assert parse_path(text).name == name

    def test_innermost_array(self) -> None:
        """Fields around an array belong to its elements; those of another array do not."""
        around, outer, inner = map(parse_path, ["site", "hosts[].name", "hosts[].samples[].v"])
        assert innermost([around]) == ()
        assert innermost([inner, around, outer]) == (("hosts",), ("samples",))
        with pytest.raises(ValueError, match=r"'rows\[\]\.v' and 'hosts\[\]\.samples\[\]\.v'.*different arrays"):
            innermost([inner, parse_path("rows[].v")])


class TestRules:
    """Rules for the names of series."""

    @pytest.mark.parametrize(
        ("rule", "expected"),
        [
            ("host", [parse_path("host")]),
            ("a.b", [parse_path("a.b")]),
            (["site"], [parse_path("site")]),
            (["site", "a.b"], [parse_path("site"), "/", parse_path("a.b")]),
            ("{site}/{a.b}", [parse_path("site"), "/", parse_path("a.b")]),
            ("{samples[].id}", [parse_path("samples[].id")]),
            ("{list[0]}", [parse_path("list[0]")]),
            ("{/a~1b}", [parse_path("/a~1b")]),
            ("{key}", [Outside("key")]),
            ("{topic}-{file}", [Outside("topic"), "-", Outside("file")]),
            ("{header:X-Host}.{field}", [Outside("header", "X-Host"), ".", Outside("field")]),
            ("{{{site}}}", ["{", parse_path("site"), "}"]),
            ("all", [parse_path("all")]),
            ("{{all}}", ["{all}"]),
        ],
    )
    def test_parts(self, rule: str | list[str], expected: list[Part]) -> None:
        """A field, a list of fields and a template become their parts."""
        assert merged(parse_rule(rule, several=False)) == expected

    @pytest.mark.parametrize(
        ("rule", "expected"),
        [
            ("", [Outside("field")]),
            ([], [Outside("field")]),
            ("host", [parse_path("host"), ".", Outside("field")]),
            (["a", "b"], [parse_path("a"), "/", parse_path("b"), ".", Outside("field")]),
            ("x{host}", ["x", parse_path("host"), ".", Outside("field")]),
            ("{field}@{host}", [Outside("field"), "@", parse_path("host")]),
            ("{{field}}", ["{field}.", Outside("field")]),
        ],
    )
    def test_several_values(self, rule: str | list[str], expected: list[Part]) -> None:
        """With several values the field of the value follows, unless the rule has it or is empty."""
        assert merged(parse_rule(rule, several=True)) == expected

    @pytest.mark.parametrize("rule", ["", []])
    def test_one_value_needs_a_rule(self, rule: str | list[str]) -> None:
        """Without several values an empty rule is an error."""
        with pytest.raises(ValueError, match="got no series, expected a field"):
            parse_rule(rule, several=False)

    @pytest.mark.parametrize(
        "rule", ["{", "{a", "{a}}", "{}", "{a..b}", "{a!r}", "{a:>5}", "{key:x}", "{header}", "{header:}", "x{a[}"]
    )
    def test_malformed_templates(self, rule: str) -> None:
        """A malformed template is an error that has the template and an example."""
        with pytest.raises(ValueError, match="expected") as caught:
            parse_rule(rule, several=False)
        assert f"got the template {rule!r}" in str(caught.value)

    @pytest.mark.parametrize("rule", ["a..b", ["a", ""], ["a", "b."]])
    def test_malformed_fields(self, rule: str | list[str]) -> None:
        """A malformed path in a rule is an error."""
        with pytest.raises(ValueError, match="got the path"):
            parse_rule(rule, several=False)


class TestFieldNames:
    """Errors of the configuration of fields."""

    def test_fields_of_different_arrays(self) -> None:
        """Fields whose elements do not belong together are an error that has both."""
        text = wrong(series="id", timestamp="times[].t", value="samples[].v")
        assert "'times[].t'" in text
        assert "'samples[].v'" in text
        assert "different arrays" in text

    @pytest.mark.parametrize(
        "names",
        [
            {"series": "x", "value": "x"},
            {"timestamp": "value"},
            {"series": ["a", "a"]},
            {"series": "{a}{a}"},
            {"values": ["a", "timestamp"]},
            {"record_time": "timestamp"},
        ],
    )
    def test_equal_names(self, names: dict[str, Any]) -> None:
        """Two parts of an event in one field are an error."""
        assert "differ from each other" in wrong(**names)

    def test_a_value_that_is_not_used_may_share_a_name(self) -> None:
        """With several values the name of the single one does not count."""
        assert fields(series="value", values=["a"]).value_paths == (parse_path("a"),)

    @pytest.mark.parametrize("zone", ["Europe/Berln", "", "../etc/passwd", "Europe", "/etc/localtime", "a\0b"])
    def test_unknown_timezone(self, zone: str) -> None:
        """A time zone that is not in the tz database is an error with the name and an example."""
        text = wrong(timezone=zone)
        assert f"timezone is {zone!r}" in text
        assert "Europe/Berlin" in text

    def test_separators_that_are_equal(self) -> None:
        """Equal separators of decimals and thousands are an error."""
        assert "expected separators that differ" in wrong(thousands=",", decimal=",")
        assert "expected separators that differ" in wrong(thousands=".")
        assert fields(thousands=".", decimal=",").thousands == "."

    @pytest.mark.parametrize("name", ["timestamp", "value", "record_time", "series"])
    def test_malformed_paths(self, name: str) -> None:
        """A malformed path of any part is an error of the configuration."""
        assert "got the path 'a..b'" in wrong(**{name: "a..b"})

    def test_malformed_value(self) -> None:
        """A malformed path in a list of values is an error of the configuration."""
        assert "got the path 'a..x'" in wrong(values=["ok", "a..x"])

    @pytest.mark.parametrize(
        ("names", "flat"),
        [
            ({}, True),
            ({"series": "a b", "record_time": "r"}, True),
            ({"series": "a.b"}, False),
            ({"series": ["a", "b"]}, False),
            ({"series": "{a}"}, False),
            ({"values": ["a"]}, False),
            ({"record_time": "a[0]"}, False),
            ({"value": "/a"}, False),
        ],
    )
    def test_flat(self, names: dict[str, Any], flat: bool) -> None:
        """Only records of one event with plain fields are flat."""
        assert fields(**names).is_flat is flat

    def test_use_of_the_file(self) -> None:
        """Records need the name of their file only where the series has it."""
        assert fields(series="{file}").use_file_name
        assert not fields(series="file").use_file_name

    def test_series_within_an_array_that_is_the_record(self) -> None:
        """A path that begins with an array is one name, although its text begins like a list."""
        names = fields(series="[].id", timestamp="[].t", value="[].v")
        assert merged(names.series_parts) == [parse_path("[].id")]

    @pytest.mark.parametrize("name", ["a..b", "temp."])
    def test_malformed_covariates(self, name: str) -> None:
        """A covariate that is no path is an error of the configuration, not of the first record."""
        with pytest.raises(ValidationError, match="got the path"):
            InputConfig.model_validate({"covariates": [name]})

    @pytest.mark.parametrize("names", [{}, {"value": "samples[].v"}])
    def test_covariates_of_another_array(self, names: dict[str, str]) -> None:
        """A covariate in an array that has none of the other fields is an error of the configuration."""
        with pytest.raises(ValidationError, match="different arrays"):
            InputConfig.model_validate({"fields": names, "covariates": ["others[].x"]})


class TestSources:
    """Lists from flags and the environment."""

    @pytest.mark.parametrize("text", ['["site", "a.b"]', ' ["site","a.b"] '])
    def test_series_as_the_text_of_a_list(self, text: str) -> None:
        """A flag with the text of a JSON list is a list of fields."""
        config = load_config(None, {"input.fields.series": text})
        assert config.input.fields.series == ("site", "a.b")

    def test_series_from_the_environment(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """The environment may have a list, or a template with commas."""
        monkeypatch.setenv("FORECASTER_INPUT__FIELDS__SERIES", '["a", "b"]')
        assert load_config().input.fields.series == ("a", "b")
        monkeypatch.setenv("FORECASTER_INPUT__FIELDS__SERIES", "{a},{b}")
        assert load_config().input.fields.series == "{a},{b}"

    @pytest.mark.parametrize("text", ['["a", "b.*"]', "a, b.*"])
    def test_values(self, text: str) -> None:
        """A list of values may be JSON or have commas."""
        assert load_config(None, {"input.fields.values": text}).input.fields.values == ("a", "b.*")

    @pytest.mark.parametrize("text", ['["a", "b"', "[1]", '["a", null]'])
    def test_a_broken_list(self, text: str) -> None:
        """A text that only begins like a list of names is an error at its flag."""
        assert message(input__fields__series=text).startswith("flag: input.fields.series: got ")

    def test_errors_name_their_place(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """An error has the place of the bad value, what it is, and what is expected."""
        assert "timezone is 'Mars'; expected" in message(input__fields__timezone="Mars")
        monkeypatch.setenv("FORECASTER_INPUT__SEPARATOR", ":")
        text = message()
        assert text.startswith("environment variable FORECASTER_INPUT__SEPARATOR: input.separator: got ':', expected")
