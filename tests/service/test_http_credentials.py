"""Secrets in headers: read for every request, checked, and shown in no error, whichever client sends them."""

from __future__ import annotations

import ast
from base64 import b64decode
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

import service
from service.config.bootstrap import BootstrapConfig
from service.config.schema_registry import SchemaRegistryConfig
from service.deliveries import UnavailableError
from service.deliveries.http_post import HttpEndpoint, HttpPost
from service.errors import SchemaRegistryError, ServiceError, TransportError, UnreachableError
from service.http_credentials import SecretError, authorization, basic
from service.kafka.connection import bearer_token
from service.schemas.registry import SchemaRegistry
from service.sources.prometheus_client import PrometheusClient

NOBODY = "http://127.0.0.1:9"  # refused before anything is sent where a secret is sound


def post(path: Path) -> None:
    """Sends a delivery."""
    HttpPost(HttpEndpoint(NOBODY, token_file=path), {}).post(b"")


def query(path: Path) -> None:
    """Asks a Prometheus."""
    PrometheusClient(
        BootstrapConfig.model_validate({"url": NOBODY, "query": "up", "range": "1h", "token_file": str(path)})
    ).samples(0, 1000)


def look_up(path: Path) -> None:
    """Asks a schema registry."""
    settings = SchemaRegistryConfig.model_validate({"url": NOBODY, "token_file": str(path)})
    SchemaRegistry(settings, httpx.MockTransport(lambda request: httpx.Response(200))).schema(1)


def broker(path: Path) -> None:
    """Authenticates at a broker."""
    bearer_token(path)


CLIENTS: list[tuple[Callable[[Path], None], type[ServiceError]]] = [
    (post, UnavailableError), (query, UnreachableError), (look_up, SchemaRegistryError), (broker, TransportError),
]  # fmt: skip


UNUSABLE = [b"hush\nX-Other: hush\n", b"hush hush", b"hush\r\rhush", b"", b"\n", b"hush\xff", None]


@pytest.mark.parametrize(("send", "expected"), CLIENTS, ids=lambda one: one.__name__)
@pytest.mark.parametrize("text", UNUSABLE, ids=range(len(UNUSABLE)))
def test_a_token_that_is_none(
    tmp_path: Path, send: Callable[[Path], None], expected: type[ServiceError], text: bytes | None
) -> None:
    """Several lines, other characters, nothing, or no file: an error that may be over, without the secret."""
    path = tmp_path / "token"
    if text is not None:
        path.write_bytes(text)
    with pytest.raises(expected, match=r"expected the token only|No such file") as error:
        send(path)
    assert "hush" not in str(error.value)
    assert str(path) in str(error.value)


@given(st.binary(max_size=40), st.booleans())
def test_headers(tmp_path_factory: pytest.TempPathFactory, text: bytes, token: bool) -> None:
    """Whatever is in the file: one line with the secret itself, or an error; a password comes back as it was."""
    path = tmp_path_factory.getbasetemp() / "secret"
    path.write_bytes(text)
    try:
        found = authorization("me", None, path) if token else authorization("me", path, None)
    except SecretError:
        shown = text.strip() if token else text.rstrip(b"\r\n")
        assert not shown or any(one < 0x21 if token else one < 0x20 for one in shown) or max(shown) > 0x7E
        return
    value = found["Authorization"]
    assert value.isascii()
    assert value.isprintable()
    if token:
        assert value == f"Bearer {text.strip().decode()}"
    else:
        assert b64decode(value.removeprefix("Basic ")) == b"me:" + text.rstrip(b"\r\n")


def test_no_credentials() -> None:
    """Without files there is no header; names are sent in UTF-8."""
    assert authorization("", None, None) == {}
    assert b64decode(basic("mé", b"x").removeprefix("Basic ")) == "mé:x".encode()


def test_headers_are_made_in_one_place() -> None:
    """No other module makes a header of a token or a password, so that none is left unchecked."""
    root = Path(service.__file__).parent
    makes = [
        path.relative_to(root).as_posix()
        for path in sorted(root.rglob("*.py"))
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and node.value in ("Basic ", "Bearer ")
    ]
    assert makes == ["http_credentials.py"] * 2
