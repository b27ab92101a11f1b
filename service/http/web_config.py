r"""The web configuration file: TLS, client certificates and passwords, in the format of Prometheus exporters.

    tls_server_config:   {cert_file: server.crt, key_file: server.key, client_auth_type: RequireAndVerifyClientCert,
                          client_ca_file: clients.pem, min_version: TLS12}
    http_server_config:  {headers: {Strict-Transport-Security: max-age=31536000}}
    basic_auth_users:    {prometheus: $2y$10$...}        bcrypt, as printed by `htpasswd -nBC 10 "" | tr -d ':\n'`

Relative paths are relative to the folder of the file. Settings of exporters that are not supported here are rejected,
not ignored. No message contains a password hash or a key.
"""

from __future__ import annotations

import re
import ssl
from pathlib import Path
from typing import Any, Final, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError, field_validator

from service.errors import ConfigurationError

_MOST_BYTES: Final = 1 << 20
_BCRYPT: Final = r"^\$2[abxy]\$(0[4-9]|1\d|2[0-4])\$[./A-Za-z0-9]{53}$"
# The cipher suites of TLS 1.2 that exporters offer, by their names in Go and OpenSSL; those of TLS 1.3 are not
# selectable.
_SUITES: Final = {
    f"TLS_ECDHE_{key}_WITH_{go}": f"ECDHE-{key}-{name}"
    for key in ("ECDSA", "RSA")
    for go, name in (
        ("AES_128_GCM_SHA256", "AES128-GCM-SHA256"),
        ("AES_256_GCM_SHA384", "AES256-GCM-SHA384"),
        ("CHACHA20_POLY1305_SHA256", "CHACHA20-POLY1305"),
    )
}
_SUITES_13: Final = ("TLS_AES_128_GCM_SHA256", "TLS_AES_256_GCM_SHA384", "TLS_CHACHA20_POLY1305_SHA256")
_VERSIONS: Final = {"TLS12": ssl.TLSVersion.TLSv1_2, "TLS13": ssl.TLSVersion.TLSv1_3}
_POLICIES: Final = {
    "NoClientCert": ssl.CERT_NONE,
    "VerifyClientCertIfGiven": ssl.CERT_OPTIONAL,
    "RequireAndVerifyClientCert": ssl.CERT_REQUIRED,
}


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)


class TlsConfig(_Part):
    """`tls_server_config`."""

    cert_file: Path
    key_file: Path
    client_auth_type: Literal["NoClientCert", "VerifyClientCertIfGiven", "RequireAndVerifyClientCert"] = "NoClientCert"
    client_ca_file: Path | None = None
    min_version: Literal["TLS12", "TLS13"] = "TLS12"
    max_version: Literal["TLS12", "TLS13"] = "TLS13"
    cipher_suites: tuple[str, ...] = ()
    prefer_server_cipher_suites: bool = True

    @field_validator("cipher_suites")
    @classmethod
    def _known(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        unknown = [name for name in value if name not in _SUITES and name not in _SUITES_13]
        if unknown:
            msg = f"got {', '.join(unknown)}, expected some of {', '.join((*_SUITES, *_SUITES_13))}"
            raise ValueError(msg)
        return value


class HttpServerConfig(_Part):
    """`http_server_config`. The server uses HTTP/1.1, even if `http2` permits more."""

    http2: bool = True
    headers: dict[str, str] = Field(default_factory=dict)

    @field_validator("headers")
    @classmethod
    def _plain(cls, value: dict[str, str]) -> dict[str, str]:
        for name, text in value.items():
            if not (name.isascii() and name.replace("-", "").isalnum()) or not text.isascii() or not text.isprintable():
                msg = f"{name}: expected a header's name and a text of printable ASCII"
                raise ValueError(msg)
        return value


class WebConfig(_Part):
    """The content of the file."""

    tls_server_config: TlsConfig | None = None
    http_server_config: HttpServerConfig = Field(default_factory=HttpServerConfig)
    basic_auth_users: dict[str, SecretStr] = Field(default_factory=dict)

    @field_validator("basic_auth_users")
    @classmethod
    def _hashes(cls, value: dict[str, SecretStr]) -> dict[str, SecretStr]:
        for name, secret in value.items():
            if not name or ":" in name:
                msg = f"got the user {name!r}, expected a name without a colon"
                raise ValueError(msg)
            if not re.fullmatch(_BCRYPT, secret.get_secret_value()):
                msg = f"{name}: expected a bcrypt hash ($2y$10$ and 53 characters), never the password itself"
                raise ValueError(msg)
        return value

    def protections(self) -> frozenset[str]:
        """Returns the names of the protections in force."""
        tls = self.tls_server_config
        found = {
            "passwords": bool(self.basic_auth_users),
            "TLS": tls is not None,
            "client certificates": tls is not None and tls.client_auth_type == "RequireAndVerifyClientCert",
        }
        return frozenset(name for name, there in found.items() if there)

    def files(self, path: Path) -> list[Path]:
        """Returns the files of the configuration: itself, certificate, key, authorities."""
        tls = self.tls_server_config
        named = [] if tls is None else [tls.cert_file, tls.key_file, tls.client_ca_file]
        return [path, *(path.parent / name for name in named if name is not None)]


def load_web_config(path: Path) -> WebConfig:
    """Reads and checks a file; `tls_context` checks the certificates.

    Raises:
        ConfigurationError: the file cannot be used; the message has file, key and expectation.
    """
    try:
        with path.open("rb") as file:
            text = file.read(_MOST_BYTES + 1)
    except OSError as error:
        msg = f"{path}: cannot be read ({error.strerror}); expected a web configuration file (YAML)"
        raise ConfigurationError(msg) from error
    if len(text) > _MOST_BYTES:
        msg = f"{path}: got more than {_MOST_BYTES} bytes, expected a web configuration file (YAML)"
        raise ConfigurationError(msg)
    try:
        found: Any = yaml.safe_load(text)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f" in line {mark.line + 1}" if mark is not None else ""
        msg = f"{path}: not YAML{where}: {getattr(error, 'problem', None) or 'bytes that are not text'}"
        raise ConfigurationError(msg) from None  # the error's own text quotes the file
    except RecursionError:
        msg = f"{path}: nested too deeply, expected a web configuration file (YAML)"
        raise ConfigurationError(msg) from None
    if found is None:  # it is being written; an empty file must not remove protection
        msg = f"{path}: is empty; expected the keys {', '.join(WebConfig.model_fields)}, or {{}} for none of them"
        raise ConfigurationError(msg)
    if not isinstance(found, dict):
        msg = f"{path}: got {type(found).__name__}, expected the keys {', '.join(WebConfig.model_fields)}"
        raise ConfigurationError(msg)
    try:
        config = WebConfig.model_validate(found)
    except ValidationError as error:
        raise ConfigurationError("\n".join(_explain(path, dict(item)) for item in error.errors())) from None
    _check(path, config)
    return config


def _explain(path: Path, error: dict[str, Any]) -> str:
    key = ".".join(str(part) for part in error["loc"])
    text = error["msg"].removeprefix("Value error, ")
    if error["type"] == "extra_forbidden":
        text = "unknown or not supported here; remove it"
    elif key.endswith("client_auth_type"):
        text = f"expected one of {', '.join(_POLICIES)}: requested certificates are verified"
    return f"{path}: {key}: {text}"


def _check(path: Path, config: WebConfig) -> None:
    tls = config.tls_server_config
    if tls is None:
        return
    if (tls.client_auth_type == "NoClientCert") != (tls.client_ca_file is None):
        msg = f"{path}: tls_server_config: expected client_auth_type and client_ca_file both, or neither"
        raise ConfigurationError(msg)
    if tls.min_version > tls.max_version:
        msg = f"{path}: tls_server_config: got min_version {tls.min_version} above max_version {tls.max_version}"
        raise ConfigurationError(msg)


def tls_context(path: Path, tls: TlsConfig) -> ssl.SSLContext:
    """Creates a TLS context for the settings of a file at `path`.

    Raises:
        ConfigurationError: certificate, key or authorities cannot be used; the message says which, and why.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version, context.maximum_version = _VERSIONS[tls.min_version], _VERSIONS[tls.max_version]
    if tls.prefer_server_cipher_suites:
        context.options |= ssl.OP_CIPHER_SERVER_PREFERENCE
    context.options |= ssl.OP_NO_RENEGOTIATION | ssl.OP_NO_COMPRESSION
    chosen = [_SUITES[name] for name in tls.cipher_suites if name in _SUITES]
    # Default: the suites of TLS 1.2 that exporters offer, with forward secrecy and authentication.
    context.set_ciphers(":".join(chosen or _SUITES.values()))
    context.set_alpn_protocols(["http/1.1"])
    what = path.parent / tls.cert_file
    try:
        # An encrypted key would prompt on a terminal; the empty password rejects it instead.
        context.load_cert_chain(what, path.parent / tls.key_file, password=lambda: "")
        if tls.client_ca_file is not None:
            what = path.parent / tls.client_ca_file
            context.load_verify_locations(what)
    except (OSError, ValueError) as error:  # SSLError is an OSError
        reason = getattr(error, "reason", None) or error.strerror or str(error) if isinstance(error, OSError) else error
        msg = f"{path}: tls_server_config: {what} (or its key) cannot be used: {reason}"
        raise ConfigurationError(msg) from None
    context.verify_mode = _POLICIES[tls.client_auth_type]
    return context
