"""By which names the HTTP face may be asked for, and from which pages it may be written to.

A page of another site can make a browser ask whatever the machine of its user reaches. It cannot read the answer,
unless its name resolves to that machine meanwhile (DNS rebinding): then the name is still the one in `Host`. So where
nothing else says who asks, a name has to be one that nobody else can own: an address, localhost, or one of the
configuration. A request that changes something has to come from no page at all, or from one of ours, whatever protects
the face.
"""

from __future__ import annotations

import fnmatch
import ipaddress
import re
from collections.abc import Iterable, Sequence
from typing import Final

_READS: Final = frozenset({"GET", "HEAD", "OPTIONS"})


def name_of(authority: str) -> str:
    """The host of `name:port`, in lower case, without brackets and the dot at its end; empty where it is none."""
    name, port = authority.strip().lower(), ""
    if name.startswith("["):
        name, found, rest = name[1:].partition("]")
        if not found or (rest and not rest.startswith(":")):
            return ""
        port = rest[1:]
    else:
        name, _, port = name.partition(":")
    return name.removesuffix(".") if port.isdigit() or not port else ""


def _address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


class Hosts:
    """The names.

    Args:
        allowed: beside addresses and localhost; * and ? fit any characters.
    """

    def __init__(self, allowed: Sequence[str] = ()) -> None:
        globs = [fnmatch.translate(name.lower().removesuffix(".")) for name in allowed]
        self._allowed = re.compile("|".join(globs) or r"(?!)")

    def verdict(self, method: str, headers: Iterable[tuple[bytes, bytes]], *, open_to_all: bool) -> str:
        """Empty where a request may go on, else "host" or "origin".

        Args:
            method: of HTTP. headers: with names in lower case.
            open_to_all: neither a password nor a certificate says who asks and who answers.
        """
        found = {name: value.decode("latin-1") for name, value in headers if name in (b"host", b"origin")}
        host, origin = found.get(b"host"), found.get(b"origin")
        if (
            open_to_all and host is not None and not self.ours(name_of(host))
        ):  # HTTP/1.0 has none, but no browser speaks it
            return "host"
        if method not in _READS and origin is not None and not self._same(origin, host or ""):
            return "origin"
        return ""

    def ours(self, name: str) -> bool:
        """Whether nobody else can own a name."""
        return _address(name) or name == "localhost" or name.endswith(".localhost") or self._configured(name)

    def _configured(self, name: str) -> bool:
        return bool(name) and self._allowed.fullmatch(name) is not None

    def _same(self, origin: str, host: str) -> bool:
        """Whether a page is one of ours: of the very host and port that it asks, or of a configured name."""
        scheme, found, authority = origin.partition("://")
        if not found or scheme.lower() not in ("http", "https"):
            return False
        return authority.lower() == host.strip().lower() or self._configured(name_of(authority))
