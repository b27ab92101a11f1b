"""What of the web configuration is in force; exchanged as a whole when its files change.

The listening socket stays. Every handshake and every request uses what is in force at that moment, so certificates,
authorities, users and headers change without a restart; whether TLS is spoken at all needs one.

A file that is being written is empty or lacks its end for a moment, and so may lack its users. So what takes protection
away comes into force only when the file has read the same for a while, and the log says so both times.
"""

from __future__ import annotations

import ssl
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import structlog

from service.errors import ConfigurationError, UnsettledError
from service.http.web_config import WebConfig, load_web_config, tls_context

_log = structlog.get_logger()

# For which a file has to stay as it is before it takes protection away.
SETTLE_SECONDS: Final = 30.0


class _Delegate(ssl.SSLContext):
    """The context that the server was given once: hands every handshake to the one in force.

    asyncio asks a context for nothing but `wrap_bio`. To change the one context in place would keep the authorities
    that were taken away.
    """

    current: ssl.SSLContext

    def wrap_bio(self, *args: Any, **named: Any) -> ssl.SSLObject:
        """As of the context in force."""
        return self.current.wrap_bio(*args, **named)


class ReloadableTls:
    """The web configuration in force.

    Args:
        path: the file; None for none: plain HTTP, no users.
        monotonic: seconds.

    Attributes:
        config: in force.
        tls: for the server, None for plain HTTP.

    Raises:
        ConfigurationError: the file cannot be used.
    """

    def __init__(self, path: Path | None, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._path, self._monotonic = path, monotonic
        self._weaker: tuple[WebConfig, float] | None = None
        self.config = WebConfig() if path is None else load_web_config(path)
        self.tls: _Delegate | None = None
        if path is not None and self.config.tls_server_config is not None:
            context = tls_context(path, self.config.tls_server_config)
            self.tls = _Delegate(ssl.PROTOCOL_TLS_SERVER)
            self.tls.current = context

    def files(self) -> list[Path]:
        """What it is read from, to be watched."""
        return [] if self._path is None else self.config.files(self._path)

    def reload(self) -> None:
        """Reads the files again and puts them in force.

        Raises:
            ConfigurationError: they cannot be used, or change what needs a restart; the old ones stay in force.
            UnsettledError: they take protection away, and have not been so for long; read them again.
        """
        if self._path is None:
            return
        weaker, self._weaker = self._weaker, None  # anything else in between, and the time begins anew
        new = load_web_config(self._path)
        tls = new.tls_server_config
        if (tls is None) != (self.tls is None):
            msg = f"{self._path}: tls_server_config: came or went; that needs a restart"
            raise ConfigurationError(msg)
        context = None if tls is None else tls_context(self._path, tls)
        if lost := sorted(self.config.protections() - new.protections()):
            self._settle(new, weaker, ", ".join(lost))
        if self.tls is not None and context is not None:
            self.tls.current = context
        self.config = new

    def _settle(self, new: WebConfig, weaker: tuple[WebConfig, float] | None, lost: str) -> None:
        """Lets a weaker configuration through once it has been read the same for long enough."""
        now = self._monotonic()
        same = weaker is not None and weaker[0] == new
        since = weaker[1] if weaker is not None and same else now
        if now - since >= SETTLE_SECONDS:
            _log.warning("web configuration no longer asks for protection", file=str(self._path), without=lost)
            return
        self._weaker = new, since
        if not same:
            _log.warning(
                "web configuration would take protection away, waiting for the file to stay so",
                file=str(self._path), without=lost, seconds=SETTLE_SECONDS,
            )  # fmt: skip
        msg = f"{self._path}: takes away {lost}; the old settings stay until it has been so for {SETTLE_SECONDS:g} s"
        raise UnsettledError(msg)
