"""The result of a check of what a configuration names: brokers, topics, files, folders, addresses."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Verdict = Literal["ok", "warning", "error"]


@dataclass(frozen=True, slots=True)
class Finding:
    """The result of one check.

    Attributes:
        verdict: ok, warning or error.
        subject: the checked item.
        text: what was found, and how to correct it.
    """

    verdict: Verdict
    subject: str
    text: str
