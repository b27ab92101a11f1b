"""What of the web configuration is in force; exchanged as a whole when its files change.

The listening socket stays. Every handshake and every request uses what is in force at that moment, so certificates,
authorities, users and headers change without a restart; whether TLS is spoken at all needs one.
"""

from __future__ import annotations

import ssl
from pathlib import Path
from typing import Any

from service.errors import ConfigurationError
from service.http.web_config import WebConfig, load_web_config, tls_context


class _Delegate(ssl.SSLContext):
    """The context that the server was given once: hands every handshake to the one in force.

    asyncio asks a context for nothing but `wrap_bio`. To change the one context in place would keep the authorities
    that were taken away.
    """

    current: ssl.SSLContext

    def wrap_bio(self, *args: Any, **named: Any) -> ssl.SSLObject:
        """As of the context in force."""
        return self.current.wrap_bio(*args, **named)


class Web:
    """The web configuration in force.

    Args:
        path: the file; None for none: plain HTTP, no users.

    Attributes:
        config: in force.
        tls: for the server, None for plain HTTP.

    Raises:
        ConfigurationError: the file cannot be used.
    """

    def __init__(self, path: Path | None) -> None:
        self._path = path
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
        """
        if self._path is None:
            return
        new = load_web_config(self._path)
        tls = new.tls_server_config
        if (tls is None) != (self.tls is None):
            msg = f"{self._path}: tls_server_config: came or went; that needs a restart"
            raise ConfigurationError(msg)
        if self.tls is not None and tls is not None:
            self.tls.current = tls_context(self._path, tls)
        self.config = new
