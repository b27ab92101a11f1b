"""Prints findings: the subject of a check, its result, and what to do about it."""

from __future__ import annotations

from collections.abc import Iterable

import click
import orjson

from service.config.findings import Finding

_MARKS = {"ok": ("ok", "green"), "warning": ("warning", "yellow"), "error": ("ERROR", "red")}


def show_findings(findings: Iterable[Finding], *, as_json: bool = False) -> bool:
    """Prints each finding as it arrives; returns whether none of them is an error."""
    well = True
    for finding in findings:
        well &= finding.verdict != "error"
        if as_json:
            click.echo(orjson.dumps({"verdict": finding.verdict, "subject": finding.subject, "text": finding.text}))
        else:
            mark, colour = _MARKS[finding.verdict]
            click.echo(f"{click.style(f'{mark:>7}', fg=colour)}  {finding.subject}: {finding.text}")
    return well
