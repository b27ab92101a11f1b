"""The other end of /metrics: reads a running daemon's page and makes it small enough for a person.

scrape(url)          one page as families, in the order of the page
figures(families)    one figure per counter and gauge; a histogram as count, mean and quantiles (pure)
"""

from __future__ import annotations

import base64
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

# A page larger than this is not this daemon's; the bound keeps a wrong URL from filling the memory.
MAX_PAGE_BYTES = 16_000_000


class ScrapeError(Exception):
    """The page could not be read or is not a metrics page; the message says which and names the URL."""


@dataclass(frozen=True, slots=True)
class Figure:
    """One line of the summary.

    Attributes:
        name: the metric's name as Prometheus knows it (a counter with its `_total`).
        kind: "counter", "gauge", "histogram", "info" or "unknown".
        labels: label -> value.
        value: the value; for a histogram the mean.
        count: observations of a histogram, None otherwise.
        quantiles: of a histogram, (level, upper bound of the bucket it falls in); the bound may be infinite.
        help: one sentence from the daemon.
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
    """How a page is asked for.

    Attributes:
        authority: PEM file of authorities that the daemon's certificate is checked by; None: those of the system.
        certificate, key: PEM files of our own certificate, where the daemon asks for one.
        user, password: where it asks for them; the password is never shown.
    """

    authority: Path | None = None
    certificate: Path | None = None
    key: Path | None = None
    user: str = ""
    password: str = field(default="", repr=False)

    def context(self) -> ssl.SSLContext:
        """For TLS.

        Raises:
            ScrapeError: a file cannot be used; which.
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
        url: of the page.
        timeout_seconds: to wait for it.
        access: certificates and passwords, where they are needed.

    Raises:
        ScrapeError: nobody answers there, or what answers is not a metrics page.
    """
    if not url.startswith(("http://", "https://")):
        msg = f"got the URL {url!r}; expected one that begins with http:// or https://"
        raise ScrapeError(msg)
    if "@" in url.partition("://")[2].partition("/")[0]:
        msg = "got a URL with a password in it; expected --user and --password-file, which others cannot see"
        raise ScrapeError(msg)
    access = access or Access()
    context = access.context() if url.startswith("https://") else None
    try:
        request = urllib.request.Request(url)  # noqa: S310 - the scheme is checked above
        if access.user:
            word = base64.b64encode(f"{access.user}:{access.password}".encode()).decode()
            request.add_unredirected_header("Authorization", f"Basic {word}")  # another host must not get it
        with urllib.request.urlopen(request, timeout=timeout_seconds, context=context) as answer:  # noqa: S310 - as above
            page = answer.read(MAX_PAGE_BYTES).decode()
    except urllib.error.HTTPError as error:
        error.close()  # it is the answer as well, with its socket
        hints = {401: "give --user and --password-file", 403: "name this host in http.allowed_hosts of its config"}
        hint = f"; {hints.get(error.code, 'expected a metrics page')}"
        msg = f"{url} answered {error.code} {error.reason}{hint}"
        raise ScrapeError(msg) from error
    except (OSError, ValueError, HTTPException) as error:  # refused, timed out, a URL that is none
        reason = getattr(error, "reason", error)
        msg = f"no answer from {url}: {reason}; is a daemon running there (http.port of its config)?"
        raise ScrapeError(msg) from error
    try:
        families = list(text_string_to_metric_families(page))
    except ValueError as error:
        msg = f"what {url} answered is not a metrics page ({error}); expected the text format of Prometheus"
        raise ScrapeError(msg) from error
    if not families:
        msg = f"the page of {url} holds no metric; expected the text format of Prometheus"
        raise ScrapeError(msg)
    return families


def figures(families: Iterable[Metric], levels: Sequence[float] = (0.5, 0.99)) -> list[Figure]:
    """One figure per counter, gauge and set of labels; one per histogram. `*_created` times are left out."""
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
    """A family can hold several histograms, one per set of labels (without `le`)."""
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
    """The upper bound of the bucket in which the quantile falls: never less than the true value."""
    ordered = sorted(cumulative)
    wanted = level * ordered[-1][1]
    return next(bound for bound, below in ordered if below >= wanted)
