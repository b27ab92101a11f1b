"""Checks the Host and the Origin of requests.

A page of another site can make a browser send requests to any machine that its user reaches. It cannot read the answer,
unless its name resolves to that machine (DNS rebinding); then `Host` still has the name of the site. So where neither a
password nor TLS identifies the client, the host has to be a name that no other site can own: an address, localhost, or
a name from the configuration. Requests that change something must have no Origin or one of this daemon, in all cases.
"""

from __future__ import annotations

import fnmatch
import ipaddress
import re
from collections.abc import Iterable, Sequence
from typing import Final

_READS: Final = frozenset({"GET", "HEAD", "OPTIONS"})


def name_of(authority: str) -> str:
    """Returns the host of `name:port` in lower case, without brackets and trailing dot; empty where it is malformed."""
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
    """The permitted host names.

    Args:
        allowed: names in addition to addresses and localhost; * and ? match any characters.
    """

    def __init__(self, allowed: Sequence[str] = ()) -> None:
        globs = [fnmatch.translate(name.lower().removesuffix(".")) for name in allowed]
        self._allowed = re.compile("|".join(globs) or r"(?!)")

    def verdict(self, method: str, headers: Iterable[tuple[bytes, bytes]], *, open_to_all: bool) -> str:
        """Returns the empty text where a request is permitted, else "host" or "origin".

        Args:
            method: the HTTP method. headers: with names in lower case.
            open_to_all: neither a password nor TLS identifies client and server.
        """
        found = {name: value.decode("latin-1") for name, value in headers if name in (b"host", b"origin")}
        host, origin = found.get(b"host"), found.get(b"origin")
        if (
            open_to_all and host is not None and not self.ours(name_of(host))
        ):  # HTTP/1.0 has no Host, but no browser uses it
            return "host"
        if method not in _READS and origin is not None and not self._same(origin, host or ""):
            return "origin"
        return ""

    def ours(self, name: str) -> bool:
        """Returns whether no other site can own a name."""
        return _address(name) or name == "localhost" or name.endswith(".localhost") or self._configured(name)

    def _configured(self, name: str) -> bool:
        return bool(name) and self._allowed.fullmatch(name) is not None

    def _same(self, origin: str, host: str) -> bool:
        """Returns whether an origin is the requested host and port, or a configured name."""
        scheme, found, authority = origin.partition("://")
        if not found or scheme.lower() not in ("http", "https"):
            return False
        return authority.lower() == host.strip().lower() or self._configured(name_of(authority))
