"""Query parameters: their types and bounds, strict parsing, and their part of the OpenAPI document."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal

from starlette.requests import Request

from service.http.views import RequestError
from service.messages.timestamps import EXPECTED, to_epoch_ms


@dataclass(frozen=True, slots=True)
class Parameter:
    """One query parameter.

    Attributes:
        name: in the query. text: its description. default: the value where it is missing; None means none.
        kind: text; an integer within bounds; a time; or a list (repeated, or separated by commas), numbers without
            repetition.
        least, most: bounds of a number; largest number of characters of a text, or of texts. 0: no bound.
    """

    name: str
    text: str
    kind: Literal["text", "number", "time", "numbers", "texts"] = "text"
    default: Any = None
    least: int = 0
    most: int = 0

    def described(self) -> dict[str, Any]:
        """Returns the description for OpenAPI."""
        bounds: dict[str, Any] = {"minimum": self.least, "maximum": self.most}
        schema: dict[str, Any] = {
            "text": {"type": "string"} | ({"maxLength": self.most} if self.most else {}),
            "number": {"type": "integer", **bounds},
            "time": {"type": "string", "description": EXPECTED},
            "numbers": {
                "type": "array", "items": {"type": "integer", "minimum": self.least}, "uniqueItems": True,
            },
            "texts": {"type": "array", "items": {"type": "string"}, "maxItems": self.most},
        }[self.kind]  # fmt: skip
        if self.default not in (None, ""):
            schema["default"] = self.default
        return {"name": self.name, "in": "query", "required": False, "description": self.text, "schema": schema}

    def read(self, given: list[str]) -> Any:
        """Parses the value.

        Raises:
            RequestError: the value is invalid; the message has the value and the expectation.
        """
        if self.kind == "texts":
            if len(given) > self.most:
                got = f"{len(given)} of them"
                raise self._wrong(got, f"at most {self.most}")
            return given
        if self.kind == "numbers":
            numbers = [self._whole(part.strip()) for text in given for part in text.split(",")]
            twice = next((one for one, times in Counter(numbers).items() if times > 1), None)
            if twice is not None:  # each repetition would cost as much again
                got = f"{twice} more than once"
                raise self._wrong(got, "each number once")
            return numbers
        if len(given) > 1:
            got = f"{len(given)} of them"
            raise self._wrong(got, "one")
        if not given:
            return self.default
        if self.kind == "text":
            if self.most and len(given[0]) > self.most:
                got = f"{len(given[0])} characters"
                raise self._wrong(got, f"at most {self.most}")
            return given[0]
        if self.kind == "number":
            return self._whole(given[0])
        (found,), bad = to_epoch_ms([given[0]], "ms")
        if bad:
            raise self._wrong(repr(given[0][:80]), EXPECTED)
        return int(found)

    def _whole(self, text: str) -> int:
        if not text.isascii() or not text.isdigit() or len(text) > 12 or int(text) < self.least:
            raise self._wrong(repr(text[:80]), f"a whole number from {self.least}" + self._upwards())
        if self.most and int(text) > self.most:
            raise self._wrong(text, f"at most {self.most}")
        return int(text)

    def _upwards(self) -> str:
        return f" to {self.most}" if self.most else " on"

    def _wrong(self, got: str, expected: str) -> RequestError:
        return RequestError(400, "bad_request", f"{self.name}: got {got}, expected {expected}")


def read(request: Request, parameters: Iterable[Parameter]) -> dict[str, Any]:
    """Parses all parameters of a request, by name.

    Raises:
        RequestError: a value is invalid, or a parameter is unknown.
    """
    known = {parameter.name: parameter for parameter in parameters}
    for name in request.query_params:
        if name not in known:
            expected = ", ".join(known) or "none"
            raise RequestError(400, "bad_request", f"got the parameter {name[:80]!r}, expected {expected}")
    return {name: parameter.read(request.query_params.getlist(name)) for name, parameter in known.items()}
