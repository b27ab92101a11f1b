"""The condition of `input.where`: its syntax, and messages with the place of a mistake."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.config.field_paths import parse_path
from service.config.input import InputConfig
from service.config.load import load_config
from service.config.where import Combination, Condition, FieldTest, Negation, parse_condition, paths_of
from service.errors import ConfigurationError


def field(text: str) -> str:
    """Returns a path as a condition has it: in backquotes unless it is a plain word."""
    return text if text in {"a", "unit"} else f"`{text}`"


def written(condition: Condition) -> str:
    """Writes a condition with all parentheses."""
    if isinstance(condition, Negation):
        return f"not ({written(condition.of)})"
    if isinstance(condition, Combination):
        return f" {condition.word} ".join(f"({written(one)})" for one in condition.of)
    texts = [_quoted(one) if isinstance(one, str) else repr(one) for one in condition.constants]
    rest = f"[{', '.join(texts)}]" if condition.operator.endswith("in") else "".join(texts)
    return f"{field(condition.path.text)} {condition.operator} {rest}"


def _quoted(text: str) -> str:
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"


CONSTANTS = st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text("ab'\"\\ 5\n`", max_size=4)
PATHS = st.sampled_from(["a", "unit", "a.b", "samples[].v", "/a.b/c", "Temp (C)", "not", "@t", "5"]).map(parse_path)
TESTS = (
    st.builds(FieldTest, PATHS, st.sampled_from(["==", "!="]), st.tuples(CONSTANTS))
    | st.builds(FieldTest, PATHS, st.sampled_from(["<", "<=", ">", ">="]), st.tuples(st.integers() | st.just("x")))
    | st.builds(FieldTest, PATHS, st.sampled_from(["in", "not in"]), st.lists(CONSTANTS, min_size=1).map(tuple))
    | st.builds(FieldTest, PATHS, st.sampled_from(["is null", "is not null"]), st.just(()))
)
CONDITIONS: st.SearchStrategy[Condition] = st.recursive(
    TESTS,
    lambda inner: (
        st.builds(Negation, inner)
        | st.builds(Combination, st.sampled_from(["and", "or"]), st.lists(inner, min_size=2, max_size=3).map(tuple))
    ),
    max_leaves=6,
)


@given(CONDITIONS)
def test_what_is_written_is_parsed(condition: Condition) -> None:
    """Every condition is parsed to itself from its text, and its fields are those of its tests."""
    assert parse_condition(written(condition)) == condition
    assert {path.text for path in paths_of(condition)} <= {"a", "unit", "a.b", "samples[].v", "/a.b/c", "Temp (C)",
                                                           "not", "@t", "5"}  # fmt: skip


@given(st.text("ab.[]()'\"`<>=!,&0-9 \\/notinsul", max_size=30))
def test_any_text(text: str) -> None:
    """Any text is a condition or an error that says what is expected."""
    try:
        parse_condition(text)
    except ValueError as error:
        assert "expected" in str(error)  # noqa: PT017 - most texts are none


@pytest.mark.parametrize(
    ("text", "same"),
    [
        ("a == 1 or b == 2 and c == 3", "(a == 1) or ((b == 2) and (c == 3))"),
        ("not a == 1 and b == 2", "(not (a == 1)) and (b == 2)"),
        ("a==1 AND b NOT IN('x',\"y\")", "(a == 1) and (b not in ['x', 'y'])"),
        ("a == null", "a is null"),
        ("a != null", "a is not null"),
        ("a == true", "a == 1"),
        ("sensor.id-2[0].x > -5", "`sensor.id-2[0].x` > -5"),
        ("/a.b/c is null", "`/a.b/c` is null"),
    ],
)
def test_syntax(text: str, same: str) -> None:
    """`not` binds most and `or` least; words may be in capital letters; plain paths need no quotes."""
    assert parse_condition(text) == parse_condition(same)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("unit = 'C'", "got \"= 'C'\" at character 6 of the condition, expected ==, !="),
        ("a == C", "got 'C' at character 6 of the condition, expected a number, a text in quotes"),
        ("a > 1 b", "got 'b' at character 7 of the condition, expected `and`, `or` or the end"),
        ("(a > 1", "got the end of the condition, expected `and`, `or` or )"),
        ("a > '5'", "expected a number without quotes"),
        ("a in 5", "got '5' at character 6 of the condition, expected a list such as"),
        ("a[ == 1", "got '[ == 1' at character 2"),
        ("a == 'x", 'got "\'x" at character 6'),
        ("__import__('os')", "got \"('os')\" at character 11"),
        ("not " * 99 + "a == 1", "expected at most 32 levels of parentheses and `not`"),
        ("a == 1 or " * 500 + "a == 1", "got a condition of 5006 characters, expected at most 4096"),
        ("`a..b` == 1", "got the path 'a..b', expected names"),
    ],
)
def test_mistakes(text: str, message: str) -> None:
    """A mistake in the configuration names the key, the place, what was received and what is expected."""
    with pytest.raises(ConfigurationError) as caught:
        load_config(overrides={"input.where": text})
    assert "flag: input.where: got" in str(caught.value)
    assert message in str(caught.value)


def test_a_field_in_another_array() -> None:
    """A field that belongs to elements of another array is refused."""
    with pytest.raises(ValueError, match=r"input.where has 'b\[\].x', which is in different arrays"):
        InputConfig.model_validate({"where": "b[].x > 0", "fields": {"value": "a[].v"}})
    assert InputConfig.model_validate({"where": "  "}).condition is None
