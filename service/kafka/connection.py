"""Connection arguments of kafka-python's clients: addresses, TLS and authentication. None of them is logged."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from kafka.net.sasl.oauth import AbstractTokenProvider

from service.config.kafka import KafkaConfig
from service.errors import TransportError
from service.http_credentials import SecretError, token_in


class TokenFile(AbstractTokenProvider):  # type: ignore[misc] # the library ships no types
    """Reads the bearer token again for every connection, so that a renewed file needs no notification."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self._path = path

    def token(self) -> str:
        """Returns the token.

        Raises:
            TransportError: see `bearer_token`.
        """
        return bearer_token(self._path)


def bearer_token(path: Path) -> str:
    """Returns the token in a file.

    Raises:
        TransportError: it cannot be read now, or is no token.
    """
    try:
        return token_in(path)
    except SecretError as error:
        msg = f"kafka.token_file: {error}"
        raise TransportError(msg) from None


def connection(settings: KafkaConfig) -> dict[str, Any]:
    """Returns the arguments common to consumers, producers and admin clients."""
    arguments: dict[str, Any] = {
        "bootstrap_servers": list(settings.bootstrap),
        "client_id": settings.transactional_id,
        "request_timeout_ms": round(settings.request_timeout * 1000),
        "bootstrap_timeout_ms": round(settings.request_timeout * 1000),
        # Reconnects to a recovered broker soon, however long it was unavailable.
        "reconnect_backoff_max_ms": 2000,
        # Also the wait for metadata and for the end of the previous transaction: 100 ms would add up to 1 s per start.
        "retry_backoff_ms": 20,
        "security_protocol": settings.security.upper(),
    }
    if settings.security.endswith("ssl"):
        password = settings.key_password.get_secret_value()
        arguments |= {
            "ssl_check_hostname": settings.check_hostname,
            "ssl_cafile": _text(settings.ca_file),
            "ssl_certfile": _text(settings.certificate_file),
            "ssl_keyfile": _text(settings.key_file),
            "ssl_password": password or None,
        }
    if settings.security.startswith("sasl"):
        arguments["sasl_mechanism"] = settings.mechanism
        if settings.mechanism == "OAUTHBEARER" and settings.token_file is not None:
            arguments["sasl_oauth_token_provider"] = TokenFile(settings.token_file)
        else:
            arguments |= {
                "sasl_plain_username": settings.username,
                "sasl_plain_password": settings.sasl_password(),
            }
    return arguments


def _text(path: Path | None) -> str | None:
    return None if path is None else str(path)
