"""The web configuration in force; replaced when its files change.

The listening socket stays open. Every handshake and every request uses the configuration in force, so certificates,
authorities, users and headers change without a restart; turning TLS on or off requires one.

A file that is being written can be empty or truncated for a moment, and so lack its users. So a change that removes
protection takes effect only after the file has been unchanged for a while, and the log reports both times.
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

# Seconds for which a file that removes protection has to stay unchanged.
SETTLE_SECONDS: Final = 30.0


class _Delegate(ssl.SSLContext):
    """The context that the server gets once; it delegates every handshake to the context in force.

    asyncio calls only `wrap_bio` of a context. Changing the one context in place would keep authorities that were
    removed.
    """

    current: ssl.SSLContext

    def wrap_bio(self, *args: Any, **named: Any) -> ssl.SSLObject:
        """Delegates to the context in force."""
        return self.current.wrap_bio(*args, **named)


class ReloadableTls:
    """The web configuration in force.

    Args:
        path: the file; None: plain HTTP, no users.
        monotonic: returns seconds.

    Attributes:
        config: the configuration in force.
        tls: the context for the server, None for plain HTTP.

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
        """Returns the files to watch."""
        return [] if self._path is None else self.config.files(self._path)

    def reload(self) -> None:
        """Reads the files again and puts the configuration in force.

        Raises:
            ConfigurationError: the files cannot be used, or change what requires a restart; the old configuration stays
                in force.
            UnsettledError: the files remove protection and have not been unchanged for long enough; read them again
                later.
        """
        if self._path is None:
            return
        weaker, self._weaker = self._weaker, None  # any other content restarts the time
        new = load_web_config(self._path)
        tls = new.tls_server_config
        if (tls is None) != (self.tls is None):
            msg = f"{self._path}: tls_server_config: was added or removed; that requires a restart"
            raise ConfigurationError(msg)
        context = None if tls is None else tls_context(self._path, tls)
        if lost := sorted(self.config.protections() - new.protections()):
            self._settle(new, weaker, ", ".join(lost))
        if self.tls is not None and context is not None:
            self.tls.current = context
        self.config = new

    def _settle(self, new: WebConfig, weaker: tuple[WebConfig, float] | None, lost: str) -> None:
        """Accepts a configuration with less protection once it has been unchanged for long enough."""
        now = self._monotonic()
        same = weaker is not None and weaker[0] == new
        since = weaker[1] if weaker is not None and same else now
        if now - since >= SETTLE_SECONDS:
            _log.warning("web configuration removed protection", file=str(self._path), without=lost)
            return
        self._weaker = new, since
        if not same:
            _log.warning(
                "web configuration removes protection, waiting until the file stays unchanged",
                file=str(self._path), without=lost, seconds=SETTLE_SECONDS,
            )  # fmt: skip
        msg = (
            f"{self._path}: removes {lost}; the old settings stay until the file has been unchanged for "
            f"{SETTLE_SECONDS:g} s"
        )
        raise UnsettledError(msg)
