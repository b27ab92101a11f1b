"""The client of a schema registry: what it asks, what it believes, and how much it reads."""

from __future__ import annotations

import base64
import json
import socket
import ssl
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import httpx
import pytest
import trustme
from pydantic import ValidationError

from service.config.schema_registry import SchemaRegistryConfig
from service.errors import SchemaRegistryError
from service.schemas import registry
from service.schemas.registry import SchemaRegistry
from service.schemas.schema import RegisteredSchema, SchemaError

URL = "http://registry.test:8081/apis/ccompat/v7"


def client(answer, **more) -> SchemaRegistry:
    """Returns a client whose requests are answered by a function."""
    settings = SchemaRegistryConfig.model_validate({"url": URL, **more})
    return SchemaRegistry(settings, httpx.MockTransport(answer))


def answering(status: int, content: object) -> SchemaRegistry:
    """Returns a client that gets one answer to everything."""
    body = content if isinstance(content, bytes) else json.dumps(content).encode()
    return client(lambda request: response(status, body))


def response(status: int, content: object = b"") -> httpx.Response:
    """Returns an answer whose body was not read yet."""
    body = content if isinstance(content, bytes) else json.dumps(content).encode()
    return httpx.Response(status, stream=httpx.ByteStream(body))


def test_schema():
    """A schema without a type is Avro; the path of the address is kept."""
    asked = []

    def answer(request: httpx.Request) -> httpx.Response:
        asked.append(str(request.url))
        return response(200, {"schema": '"string"'})

    assert client(answer, url=f"{URL}/").schema(7) == RegisteredSchema('"string"', "AVRO", [])
    assert asked == [f"{URL}/schemas/ids/7"]
    assert answering(200, {"schema": "{}", "schemaType": "JSON"}).schema(7).kind == "JSON"


def test_references():
    """Referenced schemas are asked for once each, and come after those that they refer to."""
    schemas = {
        "/schemas/ids/1": {"schema": "outer", "references": [{"name": "A", "subject": "a/b c", "version": 2},
                                                             {"name": "B", "subject": "b", "version": 1}]},
        "/subjects/a%2Fb%20c/versions/2": {"schema": "a", "references": [{"name": "B", "subject": "b", "version": 1}]},
        "/subjects/b/versions/1": {"schema": "b"},
    }  # fmt: skip
    asked = []

    def answer(request: httpx.Request) -> httpx.Response:
        path = request.url.raw_path.decode().removeprefix("/apis/ccompat/v7")
        asked.append(path)
        return response(200, schemas[path])

    found = client(answer).schema(1)
    assert (found.text, [one.text for one in found.references]) == ("outer", ["b", "a"])
    assert sorted(asked) == sorted(schemas)


def test_register():
    """A schema is posted with its type, except Avro, which old registries do not name; the id comes back."""
    posted = []

    def answer(request: httpx.Request) -> httpx.Response:
        posted.append((request.method, str(request.url), json.loads(request.content)))
        return response(200, {"id": 7})

    one = client(answer)
    assert one.register("a b-value", RegisteredSchema('"string"')) == 7
    assert one.register("a", RegisteredSchema("x", "PROTOBUF")) == 7
    assert posted == [
        ("POST", f"{URL}/subjects/a%20b-value/versions", {"schema": '"string"'}),
        ("POST", f"{URL}/subjects/a/versions", {"schema": "x", "schemaType": "PROTOBUF"}),
    ]


@pytest.mark.parametrize("status", [409, 422])
def test_refused_registration(status):
    """A schema that the registry refuses, such as one that is incompatible, is an error that stays."""
    refused = answering(status, {"error_code": status, "message": "incompatible: a field was removed"})
    with pytest.raises(SchemaError, match="refuses it for a-value: incompatible"):
        refused.register("a-value", RegisteredSchema("{}"))


@pytest.mark.parametrize(
    ("status", "content"),
    [(200, {"id": "7"}), (200, {"id": -1}), (200, []), (401, {"error_code": 401}), (409, b""), (500, b"down")],
)
def test_registration_without_an_answer(status, content):
    """Whatever else a registry says to a registration may be over a minute later."""
    with pytest.raises(SchemaRegistryError, match="expected the id of a schema"):
        answering(status, content).register("a-value", RegisteredSchema("{}"))


def test_references_without_end():
    """A schema that refers to itself, or to too many others, is unusable; the registry is not asked for ever."""
    again = {"schema": "{}", "references": [{"name": "A", "subject": "a", "version": 1}]}
    with pytest.raises(SchemaError, match="refers back"):
        answering(200, again).schema(1)

    def more(request: httpx.Request) -> httpx.Response:
        number = int(request.url.path.rpartition("/")[2]) + 1
        return response(200, {"schema": "{}", "references": [{"name": "A", "subject": "a", "version": number}]})

    with pytest.raises(SchemaError, match="more than 200 references"):
        client(more).schema(1)


def test_large_references():
    """Many large schemas are refused, although each of them alone would not be."""
    many = [{"name": "A", "subject": "a", "version": number} for number in range(50)]

    def answer(request: httpx.Request) -> httpx.Response:
        if "/ids/" in request.url.path:
            return response(200, {"schema": "{}", "references": many})
        return response(200, {"schema": " " * (registry.MAX_ANSWER_BYTES // 10)})

    with pytest.raises(SchemaError, match="references of more than"):
        client(answer).schema(1)


@pytest.mark.parametrize("code", [40401, 40402, 40403])
def test_unknown(code):
    """Only an error code of the registry means that a schema is unknown; the text has the registry's words."""
    with pytest.raises(SchemaError, match="Schema 7 not found"):
        answering(404, {"error_code": code, "message": "Schema 7 not found"}).schema(7)


@pytest.mark.parametrize(
    ("status", "content"),
    [
        (404, b"<html>no such page</html>"),
        (404, {"error": "not found"}),
        (404, {"error_code": 404, "message": "HTTP 404 Not Found"}),
        (401, {"error_code": 40101, "message": "Unauthorized"}),
        (403, {"error_code": 40301, "message": "Forbidden"}),
        (429, b""),
        (500, {"error_code": 50001, "message": "Error in the backend"}),
        (503, b"busy"),
        (302, b""),
        (200, b"<html>please log in</html>"),
        (200, {"id": 7}),
        (200, {"schema": None}),
        (200, {"schema": "{}", "references": 5}),
    ],
)
def test_failures(status, content):
    """Every other answer is a failure of the registry, after which it is asked again."""
    with pytest.raises(SchemaRegistryError, match=r"registry\.test") as error:
        answering(status, content).schema(7)
    assert error.value.retriable


@pytest.mark.parametrize("error", [httpx.ConnectError("refused"), httpx.ReadTimeout(""), OSError("no route")])
def test_no_answer(error):
    """A registry that cannot be reached, or is slow, is a failure of the registry."""

    def answer(request: httpx.Request) -> httpx.Response:
        raise error

    with pytest.raises(SchemaRegistryError, match=r"registry\.test"):
        client(answer).schema(7)


class Stream(httpx.SyncByteStream):
    """A body that never ends."""

    def __init__(self) -> None:
        self.sent = 0

    def __iter__(self):
        """Yields pieces."""
        while True:
            self.sent += 1 << 16
            yield b" " * (1 << 16)


def test_large_answer(monkeypatch):
    """An answer is read up to a limit, and one that takes longer than the timeout in all is given up."""
    stream = Stream()
    with pytest.raises(SchemaError, match=f"more than {registry.MAX_ANSWER_BYTES} bytes"):
        client(lambda request: httpx.Response(200, stream=stream)).schema(7)
    assert stream.sent <= registry.MAX_ANSWER_BYTES + (1 << 16)
    with pytest.raises(SchemaRegistryError, match=r"within 1e-09 s"):
        client(lambda request: httpx.Response(200, stream=Stream()), timeout=1e-9).schema(7)


def test_credentials(tmp_path):
    """Secrets are read for every request and appear in no error."""
    seen = []

    def answer(request: httpx.Request) -> httpx.Response:
        seen.append(request.headers.get("authorization"))
        return response(401)

    secret = tmp_path / "secret"
    one = client(answer, username="alice", password_file=str(secret))
    other = client(answer, token_file=str(secret))
    for word in ("first", "second"):
        secret.write_text(f"{word}\n")
        for asked in (one, other, client(answer)):
            with pytest.raises(SchemaRegistryError) as error:
                asked.schema(1)
            assert word not in str(error.value)
        assert seen[-3:] == [
            "Basic " + base64.b64encode(f"alice:{word}".encode()).decode(),
            f"Bearer {word}",
            None,
        ]
    secret.unlink()
    with pytest.raises(SchemaRegistryError, match="No such file"):
        one.schema(1)


@pytest.mark.parametrize(
    "wrong",
    [
        {"url": "registry:8081"},
        {"url": "ftp://registry"},
        {"url": "http://alice:secret-word@registry"},
        {"url": "http://registry/?x=1"},
        {"url": URL, "username": "alice"},
        {"url": URL, "password_file": "secret"},
        {"url": URL, "username": "alice", "password_file": "secret", "token_file": "token"},
    ],
)
def test_settings(wrong):
    """Settings that cannot work are refused, and a password in an address is not repeated."""
    with pytest.raises(ValidationError, match=r"expected") as error:
        SchemaRegistryConfig.model_validate(wrong)
    assert "secret-word" not in error.value.errors()[0]["msg"]


@pytest.fixture
def secure(tmp_path):
    """Returns the address of a registry that speaks TLS, and the file of its authority."""
    authority = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    authority.cert_pem.write_to_path(tmp_path / "authority.pem")
    server = ThreadingHTTPServer(("127.0.0.1", 0), Answers)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"https://127.0.0.1:{server.server_address[1]}", str(tmp_path / "authority.pem")
    server.shutdown()
    server.server_close()
    thread.join()


class Answers(BaseHTTPRequestHandler):
    """Answers every request with a schema."""

    def do_GET(self) -> None:
        """Answers."""
        body = b'{"schema": "\\"string\\""}'
        self.send_response(200)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Prints nothing."""


def test_tls(secure):
    """The registry's certificate is verified with `ca_file`; another authority, or none, is a failure."""
    url, authority = secure
    known = SchemaRegistry(SchemaRegistryConfig.model_validate({"url": url, "ca_file": authority}))
    assert known.schema(1).text == '"string"'
    known.close()
    for wrong in ({}, {"ca_file": f"{authority}.gone"}):
        unknown = SchemaRegistry(SchemaRegistryConfig.model_validate({"url": url, **wrong}))
        with pytest.raises(SchemaRegistryError, match=r"certificate|No such file"):
            unknown.schema(1)
        unknown.close()


def test_refused_connection():
    """Nothing listens: a failure that is over as soon as something does."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        settings = SchemaRegistryConfig.model_validate({"url": f"http://127.0.0.1:{free.getsockname()[1]}"})
    down = SchemaRegistry(settings)
    with pytest.raises(SchemaRegistryError, match="refused"):
        down.schema(1)
    down.close()
