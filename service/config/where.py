"""The condition of `input.where`: which records are events.

    unit == 'C'                      a field and a text, in single or double quotes
    temp >= -40 and temp < 125       a field and a number; true and false are 1 and 0, as for values
    site in ['north', 'south']       one of several; also `not in`
    error is null                    the field is not there, null or empty; also `is not null`
    not (a == 1 or sensor.id == 2)   and, or, not, parentheses; `not` binds most, `or` least
    `Temp (C)` > 5                   a path that is no plain word, in backquotes

Fields are paths as in `input.fields`. A comparison with a field that is null is false, and `!=` is always the opposite
of `==`, so that `status != 'bad'` is true for a record without a status. A number compares with the number of the
field, which may be a text; a text compares with the text of the field, which may be a number.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final, Literal, NamedTuple

from service.config.field_paths import FieldPath, parse_path

Operator = Literal["==", "!=", "<", "<=", ">", ">=", "in", "not in", "is null", "is not null"]
Constant = int | float | str

_MOST: Final = 4096  # characters
_DEEPEST: Final = 32  # parentheses and `not` around a comparison
_SHOWN: Final = 20  # characters of the rest, in a message
_QUOTED: Final = re.compile(r"\\(.)", re.DOTALL)
_TOKEN: Final = re.compile(
    r"""
    (?P<text>'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*")
    |(?P<number>[+-]?(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][+-]?\d+)?)(?![\w.@-])
    |(?P<sign>==|!=|<=|>=|<|>|\(|\)|\[|\]|,)
    |(?P<field>`[^`]+`|/[^\s()\[\]<>=!,'"`]+|[\w@$][\w@$%:.-]*(?:\[(?:\d*|:)\](?:\.[\w@$%:.-]+)?)*)
    """,
    re.VERBOSE | re.DOTALL,
)
_WORDS: Final = frozenset({"and", "or", "not", "in", "is", "null", "true", "false"})
_COMPARISONS: Final = "==, !=, <, <=, >, >=, in, not in, is null or is not null"


class FieldTest(NamedTuple):
    """A comparison of a field with constants: one, several for `in`, none for `is null`."""

    path: FieldPath
    operator: Operator
    constants: tuple[Constant, ...]


class Negation(NamedTuple):
    """The opposite of a condition."""

    of: Condition


class Combination(NamedTuple):
    """Several conditions, all of which must hold with "and", one of which must with "or"."""

    word: Literal["and", "or"]
    of: tuple[Condition, ...]


Condition = FieldTest | Negation | Combination


def parse_condition(text: str) -> Condition:
    """Parses a condition.

    Raises:
        ValueError: it is malformed; the message has the place, what was received and what is expected.
    """
    if len(text) > _MOST:
        msg = f"got a condition of {len(text)} characters, expected at most {_MOST}"
        raise ValueError(msg)
    parser = _Parser(text)
    found = parser.condition(0)
    parser.end()
    return found


def paths_of(condition: Condition) -> Iterator[FieldPath]:
    """Yields the paths of all fields of a condition."""
    if isinstance(condition, FieldTest):
        yield condition.path
    elif isinstance(condition, Negation):
        yield from paths_of(condition.of)
    else:
        for one in condition.of:
            yield from paths_of(one)


class _Token(NamedTuple):
    kind: str  # text, number, sign, field, word, end, or wrong for what is none of them
    text: str
    at: int


class _Parser:
    """Parses one text by recursive descent."""

    def __init__(self, text: str) -> None:
        self._text, self._tokens, self._next = text, list(_tokens(text)), 0

    def condition(self, depth: int) -> Condition:
        """Parses conditions between `or`."""
        return self._combination("or", depth)

    def end(self) -> None:
        """Checks that nothing follows."""
        if self._token.kind != "end":
            raise self._wrong("`and`, `or` or the end")

    @property
    def _token(self) -> _Token:
        return self._tokens[self._next]

    def _accept(self, *texts: str) -> str:
        """Moves beyond the next token if it is one of these words and signs, and returns it; otherwise returns ""."""
        if self._token.kind not in {"word", "sign"} or self._token.text not in texts:
            return ""
        self._next += 1
        return self._tokens[self._next - 1].text

    def _combination(self, word: Literal["and", "or"], depth: int) -> Condition:
        found = [self._combination("and", depth) if word == "or" else self._single(depth)]
        while self._accept(word):
            found.append(self._combination("and", depth) if word == "or" else self._single(depth))
        return found[0] if len(found) == 1 else Combination(word, tuple(found))

    def _single(self, depth: int) -> Condition:
        if depth > _DEEPEST:
            levels = f"at most {_DEEPEST} levels of parentheses and `not`"
            raise self._wrong(levels)
        if self._accept("not"):
            return Negation(self._single(depth + 1))
        if self._accept("("):
            found = self.condition(depth + 1)
            if not self._accept(")"):
                raise self._wrong("`and`, `or` or )")
            return found
        return self._comparison()

    def _comparison(self) -> FieldTest:
        token = self._token
        if token.kind != "field":
            raise self._wrong("the name of a field (in backquotes if it is no plain word), `not` or (")
        path = self._path(token)
        self._next += 1
        for sign in ("==", "!=", "<=", ">=", "<", ">"):
            if self._accept(sign):
                return self._with_constant(path, sign)
        if self._accept("is"):
            negated = self._accept("not")
            if not self._accept("null"):
                raise self._wrong("null or not null")
            return FieldTest(path, "is not null" if negated else "is null", ())
        negated = self._accept("not")
        if self._accept("in"):
            return FieldTest(path, "not in" if negated else "in", self._list())
        raise self._wrong(_COMPARISONS)

    def _path(self, token: _Token) -> FieldPath:
        try:
            return parse_path(token.text.strip("`"))
        except ValueError as error:
            msg = f"{error} (at character {token.at + 1})"
            raise ValueError(msg) from None

    def _with_constant(self, path: FieldPath, sign: Literal["==", "!=", "<=", ">=", "<", ">"]) -> FieldTest:
        if sign in {"==", "!="} and self._accept("null"):
            return FieldTest(path, "is null" if sign == "==" else "is not null", ())
        number = self._next
        constant = self._constant()
        if sign not in {"==", "!="} and isinstance(constant, str) and _is_number(constant):
            self._next = number
            raise self._wrong("a number without quotes, because texts are compared letter by letter")
        return FieldTest(path, sign, (constant,))

    def _list(self) -> tuple[Constant, ...]:
        begin = self._accept("[", "(")
        if not begin:
            raise self._wrong("a list such as ['a', 'b']")
        end, found = {"[": "]", "(": ")"}[begin], [self._constant()]
        while self._accept(","):
            found.append(self._constant())
        if not self._accept(end):
            raise self._wrong(", or " + end)
        return tuple(found)

    def _constant(self) -> Constant:
        if word := self._accept("true", "false"):
            return int(word == "true")
        token = self._token
        if token.kind == "text":
            self._next += 1
            return _QUOTED.sub(r"\1", token.text[1:-1])
        if token.kind == "number":
            self._next += 1
            return int(token.text) if token.text.lstrip("+-").isdigit() else float(token.text)
        raise self._wrong("a number, a text in quotes, true or false")

    def _wrong(self, expected: str) -> ValueError:
        token = self._token
        rest = self._text[token.at : token.at + _SHOWN]
        got = f"{rest!r} at character {token.at + 1}" if rest else "the end"
        return ValueError(f"got {got} of the condition, expected {expected}")


def _tokens(text: str) -> Iterator[_Token]:
    """Yields the tokens of a text, the last of which is an "end", or is "wrong"."""
    at = len(text) - len(text.lstrip())
    while at < len(text):
        match = _TOKEN.match(text, at)
        if match is None:
            yield _Token("wrong", text[at], at)
            return
        kind, found = str(match.lastgroup), match[0]
        if kind == "field" and found.lower() in _WORDS:
            kind, found = "word", found.lower()
        yield _Token(kind, found, at)
        at = match.end() + len(text[match.end() :]) - len(text[match.end() :].lstrip())
    yield _Token("end", "", len(text))


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
