"""Findings on the terminal: what was looked at, how it is, and what to do about it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol

import click
import orjson

_MARKS = {"ok": ("ok", "green"), "warning": ("warning", "yellow"), "error": ("ERROR", "red")}


class Found(Protocol):
    """As `service.kafka.tools.doctor.Finding`."""

    @property
    def verdict(self) -> str:
        """ok, warning or error."""

    @property
    def subject(self) -> str:
        """What was looked at."""

    @property
    def text(self) -> str:
        """What was found."""


def show_findings(findings: Iterable[Found], *, as_json: bool = False) -> bool:
    """Shows each as it comes; whether none was an error."""
    well = True
    for finding in findings:
        well &= finding.verdict != "error"
        if as_json:
            click.echo(orjson.dumps({"verdict": finding.verdict, "subject": finding.subject, "text": finding.text}))
        else:
            mark, colour = _MARKS[finding.verdict]
            click.echo(f"{click.style(f'{mark:>7}', fg=colour)}  {finding.subject}: {finding.text}")
    return well
