"""Web configurations that are refused, and the command line behind TLS and a password."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from secured_server import HASH, PASSWORD, Served

from service.errors import ConfigurationError
from service.http import ReloadableTls
from service.http.web_config import load_web_config

BAD = {
    "tls_server_config: {cert_file: a}": "tls_server_config.key_file",
    "tls_server_config: {cert_file: a, key_file: b, curve_preferences: [X25519]}": "not supported",
    "tls_server_config: {cert_file: a, key_file: b, client_auth_type: RequireAnyClientCert}": "expected one of",
    "tls_server_config: {cert_file: a, key_file: b, client_ca_file: c}": "both, or neither",
    "tls_server_config: {cert_file: a, key_file: b, cipher_suites: [TLS_RSA_WITH_RC4_128_SHA]}": "RC4",
    "tls_server_config: {cert_file: a, key_file: b, min_version: TLS13, max_version: TLS12}": "above max_version",
    "basic_auth_users: {ann: hunter2secret}": "ann: expected a bcrypt hash",
    f"basic_auth_users: {{'a:b': '{HASH}'}}": "without a colon",
    "http_server_config: {headers: {'X y': z}}": "expected a header's name",
    "basic_auth_users: [hunter2secret": "not YAML in line",
    "- hunter2secret": "got list",
    "users: {}": "unknown",
}


@pytest.mark.parametrize("text", BAD, ids=range(len(BAD)))
def test_bad_files(text: str, tmp_path: Path) -> None:
    """An invalid file is refused with its path and the key, and no password is in the message."""
    path = tmp_path / "web.yml"
    path.write_text(text)

    with pytest.raises(ConfigurationError) as error:
        load_web_config(path)

    assert BAD[text] in str(error.value)
    assert str(path) in str(error.value)
    assert "hunter2secret" not in f"{error.value}{error.value.__cause__}"


def test_an_encrypted_key(tmp_path: Path) -> None:
    """An encrypted private key is refused without a prompt at the terminal."""
    from cryptography.hazmat.primitives.serialization import (
        BestAvailableEncryption,
        Encoding,
        PrivateFormat,
        load_pem_private_key,
    )

    served = Served(tmp_path)
    tls = served.certificate()
    key = load_pem_private_key((tmp_path / "server.key").read_bytes(), None)
    (tmp_path / "server.key").write_bytes(
        key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"secret"))
    )

    with pytest.raises(ConfigurationError, match="cannot be used"):
        ReloadableTls(served.write(tls_server_config=tls))


def test_the_client_of_the_command_line(served: Served, start: Callable, tmp_path: Path) -> None:
    """`forecaster metrics` reads a page behind TLS, a client certificate and a password, or reports what is missing."""
    from click.testing import CliRunner

    from service.cli import main

    tls = served.certificate() | {"client_auth_type": "RequireAndVerifyClientCert", "client_ca_file": "ca.pem"}
    served.authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    mine = served.authority.issue_cert("ann@example.org")
    mine.private_key_pem.write_to_path(tmp_path / "mine.key")
    mine.cert_chain_pems[0].write_to_path(tmp_path / "mine.crt")
    (tmp_path / "password").write_text(PASSWORD + "\n")
    server, _ = start(served.write(tls_server_config=tls, basic_auth_users={"ann": HASH}))
    url = server.url.replace("127.0.0.1", "localhost") + "/metrics"

    def read(*options: str) -> tuple[int, str]:
        found = CliRunner().invoke(main, ["metrics", url, *options])
        return found.exit_code, found.output

    files = ("--ca", f"{tmp_path}/ca.pem", "--cert", f"{tmp_path}/mine.crt", "--key", f"{tmp_path}/mine.key")
    signed = (*files, "--user", "ann", "--password-file", f"{tmp_path}/password")
    status, said = read(*signed)
    assert (status, "probe" in said) == (0, True), said
    assert read(*files)[0] == 1
    assert "--password-file" in read(*files)[1]
    assert "CERTIFICATE_VERIFY_FAILED" in read()[1]
    assert read("--ca", f"{tmp_path}/password")[0] == 1
    found = CliRunner().invoke(main, ["metrics", "https://ann:hunter2secret@localhost/metrics"])
    assert (found.exit_code, "hunter2secret" in found.output) == (1, False)
