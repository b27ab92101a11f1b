"""Reads the metrics page of a running daemon and summarises it for people.

scrape(url)          one page as metric families, in the order of the page
figures(families)    one figure per counter and gauge; a histogram as count, mean and quantiles (pure)
"""

from __future__ import annotations

import math
import ssl
import urllib.error
import urllib.request
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from http.client import HTTPException
from pathlib import Path

from prometheus_client import Metric
from prometheus_client.parser import text_string_to_metric_families

from service.http_credentials import basic

# Largest accepted page; the bound keeps a wrong URL from filling the memory.
MAX_PAGE_BYTES = 16_000_000


class ScrapeError(Exception):
    """The page could not be read or is not a metrics page; the message says which and has the URL."""


@dataclass(frozen=True, slots=True)
class Figure:
    """One metric of the summary.

    Attributes:
        name: the name of the metric in Prometheus (a counter with its `_total`).
        kind: "counter", "gauge", "histogram", "info" or "unknown".
        labels: label -> value.
        value: the value; the mean of a histogram.
        count: observations of a histogram, None otherwise.
        quantiles: of a histogram, (level, upper bound of its bucket); the bound may be infinite.
        help: the help text of the metric.
    """

    name: str
    kind: str
    labels: dict[str, str]
    value: float
    count: float | None = None
    quantiles: tuple[tuple[float, float], ...] = ()
    help: str = ""


@dataclass(frozen=True, slots=True)
class Access:
    """Certificates and password for a request.

    Attributes:
        authority: PEM file of the authorities that verify the daemon's certificate; None: those of the system.
        certificate, key: PEM files of the client certificate, where the daemon requires one.
        user, password: where the daemon requires them; the password is never shown.
    """

    authority: Path | None = None
    certificate: Path | None = None
    key: Path | None = None
    user: str = ""
    password: bytes = field(default=b"", repr=False)

    def context(self) -> ssl.SSLContext:
        """Creates the TLS context.

        Raises:
            ScrapeError: a file cannot be used; the message names it.
        """
        named = [str(path) for path in (self.authority, self.certificate, self.key) if path is not None]
        try:
            context = ssl.create_default_context(cafile=self.authority)
            if self.certificate is not None:
                context.load_cert_chain(self.certificate, self.key, password=lambda: "")
        except (OSError, ValueError) as error:
            msg = (
                f"{', '.join(named)}: cannot be used for TLS ({error}); expected PEM files, the key without a password"
            )
            raise ScrapeError(msg) from error
        return context


def scrape(url: str, timeout_seconds: float = 5.0, access: Access | None = None) -> list[Metric]:
    """Reads one metrics page.

    Args:
        url: URL of the page.
        timeout_seconds: timeout of the request.
        access: certificates and passwords, where they are needed.

    Raises:
        ScrapeError: no daemon answers at the URL, or the answer is not a metrics page.
    """
    if not url.startswith(("http://", "https://")):
        msg = f"got the URL {url!r}; expected one that begins with http:// or https://"
        raise ScrapeError(msg)
    if "@" in url.partition("://")[2].partition("/")[0]:
        msg = "got a URL with a password in it; expected --user and --password-file, which other users cannot see"
        raise ScrapeError(msg)
    access = access or Access()
    context = access.context() if url.startswith("https://") else None
    try:
        request = urllib.request.Request(url)  # noqa: S310 - the scheme is checked above
        if access.user:
            word = basic(access.user, access.password)
            request.add_unredirected_header("Authorization", word)  # not sent to another host
        with urllib.request.urlopen(request, timeout=timeout_seconds, context=context) as answer:  # noqa: S310 - as above
            page = answer.read(MAX_PAGE_BYTES).decode()
    except urllib.error.HTTPError as error:
        error.close()  # the error holds the socket of the answer
        hints = {401: "use --user and --password-file", 403: "add this host to http.allowed_hosts of its configuration"}
        hint = f"; {hints.get(error.code, 'expected a metrics page')}"
        msg = f"{url} answered {error.code} {error.reason}{hint}"
        raise ScrapeError(msg) from error
    except (OSError, ValueError, HTTPException) as error:  # refused, timed out, an invalid URL
        reason = getattr(error, "reason", error)
        msg = f"no answer from {url}: {reason}; check that a daemon is running there (http.port of its configuration)"
        raise ScrapeError(msg) from error
    try:
        families = list(text_string_to_metric_families(page))
    except ValueError as error:
        msg = f"the answer of {url} is not a metrics page ({error}); expected the text format of Prometheus"
        raise ScrapeError(msg) from error
    if not families:
        msg = f"the page of {url} has no metric; expected the text format of Prometheus"
        raise ScrapeError(msg)
    return families


def figures(families: Iterable[Metric], levels: Sequence[float] = (0.5, 0.99)) -> list[Figure]:
    """Returns one figure per counter, gauge and set of labels; one per histogram. Skips `*_created` times."""
    found: list[Figure] = []
    for family in families:
        if family.type == "histogram":
            found += _histograms(family, levels)
            continue
        found += [
            Figure(sample.name, family.type, dict(sample.labels), sample.value, help=family.documentation)
            for sample in family.samples
            if not sample.name.endswith("_created")
        ]
    return found


def _histograms(family: Metric, levels: Sequence[float]) -> list[Figure]:
    """Returns the histograms of a family, one per set of labels (without `le`)."""
    buckets: dict[tuple[tuple[str, str], ...], list[tuple[float, float]]] = {}
    sums: dict[tuple[tuple[str, str], ...], float] = {}
    for sample in family.samples:
        key = tuple(sorted((label, value) for label, value in sample.labels.items() if label != "le"))
        if sample.name.endswith("_bucket"):
            buckets.setdefault(key, []).append((float(sample.labels["le"]), sample.value))
        elif sample.name.endswith("_sum"):
            sums[key] = sample.value
    found = []
    for key, cumulative in buckets.items():
        count = max(below for _, below in cumulative)
        mean = sums.get(key, math.nan) / count if count else math.nan
        quantiles = tuple((level, _quantile(cumulative, level)) for level in levels) if count else ()
        found.append(
            Figure(family.name, "histogram", dict(key), mean, count, quantiles, family.documentation),
        )
    return found


def _quantile(cumulative: Sequence[tuple[float, float]], level: float) -> float:
    """Returns the upper bound of the bucket that contains the quantile; it is never less than the true value."""
    ordered = sorted(cumulative)
    wanted = level * ordered[-1][1]
    return next(bound for bound, below in ordered if below >= wanted)
