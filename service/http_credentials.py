"""The header `Authorization` of HTTP requests to other servers. The only place where it is made.

A secret comes from its file and goes into a header. A text of several lines would end the header there, and clients
show such a header in their errors; so it is checked here, and no error has any of it.
"""

from __future__ import annotations

from base64 import b64encode
from pathlib import Path

from service.errors import ServiceError


class SecretError(ServiceError):
    """A secret cannot be used now; the message names its file and has nothing of its content."""


def secret_in(path: Path) -> bytes:
    """Returns what is in the file of a secret.

    Raises:
        SecretError: it cannot be read now.
    """
    try:
        return path.read_bytes()
    except OSError as error:
        msg = f"{path}: the secret cannot be read ({error.strerror}), expected a file that this user can read"
        raise SecretError(msg) from None


def token_in(path: Path) -> str:
    """Returns the token in a file, without spaces and line ends around it.

    Raises:
        SecretError: it cannot be read now, or is not one word of printable ASCII characters.
    """
    token = secret_in(path).strip()
    if not token or not token.isascii() or not all(0x20 < one < 0x7F for one in token):
        msg = f"{path}: got no text, several words or lines, or other characters, expected the token only"
        raise SecretError(msg)
    return token.decode()


def password_in(path: Path) -> bytes:
    """Returns the password in a file, without the line end behind it.

    Raises:
        SecretError: it cannot be read now, or has several lines or no text.
    """
    password = secret_in(path).rstrip(b"\r\n")
    if not password or any(one < 0x20 or one == 0x7F for one in password):
        msg = f"{path}: got no text, several lines or control characters, expected the password only"
        raise SecretError(msg)
    return password


def basic(username: str, password: bytes) -> str:
    """Returns the value of the header for basic authentication (RFC 7617), in UTF-8."""
    return "Basic " + b64encode(username.encode() + b":" + password).decode()


def authorization(username: str, password_file: Path | None, token_file: Path | None) -> dict[str, str]:
    """Returns the header of a request with the secret that its file has now; empty without files.

    Args:
        username, password_file: of basic authentication. token_file: of a bearer token, in place of both.

    Raises:
        SecretError: the secret cannot be used now.
    """
    if token_file is not None:
        return {"Authorization": f"Bearer {token_in(token_file)}"}
    if password_file is not None:
        return {"Authorization": basic(username, password_in(password_file))}
    return {}
