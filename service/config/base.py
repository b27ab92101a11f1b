"""What the sections of the configuration are made of: a frozen base, and lists as people write them."""

from __future__ import annotations

import json
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field


def listed(value: Any) -> Any:
    """Lets the environment and flags give a list as JSON or as text with commas."""
    if not isinstance(value, str):
        return value
    text = value.strip()
    if text.startswith("["):
        return json.loads(text)
    return [part.strip() for part in text.split(",") if part.strip()]


def _distinct(value: tuple[str, ...]) -> tuple[str, ...]:
    if "" in value or len(set(value)) != len(value):
        msg = "expected texts that are not empty and differ from each other"
        raise ValueError(msg)
    return value


Texts = Annotated[tuple[str, ...], BeforeValidator(listed), AfterValidator(_distinct)]
Name = Annotated[str, Field(min_length=1)]


class Section(BaseModel):
    """A part of the configuration; immutable, and strict about unknown keys."""

    model_config = ConfigDict(extra="forbid", frozen=True, validate_default=True, protected_namespaces=())
