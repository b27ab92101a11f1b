"""The client of a schema registry with Confluent's HTTP interface. The only module that imports the HTTP client.

    GET <url>/schemas/ids/<id>                         a schema
    GET <url>/subjects/<subject>/versions/<version>    a schema that another one refers to
    POST <url>/subjects/<subject>/versions             registers a schema, or finds it where it is registered

Only the registry's own word, an error of the codes below, means that a schema is unknown or refused. Whatever else goes
wrong may be over a minute later: the caller asks again, and no record is rejected for it.
"""

from __future__ import annotations

import ssl
import time
from collections.abc import Mapping
from typing import Any, Final, NamedTuple
from urllib.parse import quote

import httpx
import orjson

from service.config.schema_registry import SchemaRegistryConfig
from service.errors import SchemaRegistryError
from service.http_credentials import SecretError, authorization
from service.schemas.schema import AVRO, RegisteredSchema, SchemaError

MAX_ANSWER_BYTES: Final = 1 << 20
"""Largest answer, and largest sum of the texts of the schemas that one schema refers to."""
MOST_REFERENCES: Final = 200
"""Largest number of schemas that one schema refers to, directly or not."""

_UNKNOWN: Final = frozenset({40401, 40402, 40403})  # no such subject, version, schema
_REFUSED: Final = frozenset({409, 422})  # incompatible with earlier versions, invalid
_SHOWN: Final = 200  # characters of an answer in a message
_ACCEPTED: Final = {
    "accept": "application/vnd.schemaregistry.v1+json, application/json",
    "accept-encoding": "identity",  # so that the limit on the bytes of an answer is one on memory
}


class _Key(NamedTuple):
    """A reference to a schema."""

    subject: str
    version: str
    name: str


class SchemaRegistry:
    """Asks a registry for schemas. Keeps connections; secrets are read from their files for every request.

    Args:
        settings: of the registry.
        transport: in place of the network, for tests.
    """

    def __init__(self, settings: SchemaRegistryConfig, transport: httpx.BaseTransport | None = None) -> None:
        self._settings, self._url = settings, settings.url.rstrip("/")
        self._transport = transport
        self._client: httpx.Client | None = None

    def schema(self, number: int) -> RegisteredSchema:
        """Returns the schema of an id, with those that it refers to.

        Raises:
            SchemaError: the registry has none, or it is too large.
            SchemaRegistryError: the registry does not answer, or refuses to.
        """
        found: dict[_Key, RegisteredSchema] = {}
        answer = self._get(f"/schemas/ids/{number}")
        self._resolve(answer, found, [])
        return _schema(answer, list(found.values()))

    def register(self, subject: str, schema: RegisteredSchema) -> int:
        """Registers a schema without references; returns its id, the same one every time.

        Raises:
            SchemaError: the registry refuses it.
            SchemaRegistryError: the registry does not answer, or refuses to.
        """
        kind = {} if schema.kind == AVRO else {"schemaType": schema.kind}  # registries that know only Avro have no type
        path = f"/subjects/{quote(subject, safe='')}/versions"
        status, body = self._request(path, {"schema": schema.text} | kind)
        answer = _object(body)
        number = answer.get("id")
        if status == httpx.codes.OK and type(number) is int and 0 <= number < 1 << 32:
            return number
        if status in _REFUSED and "error_code" in answer:
            msg = f"the registry refuses it for {subject}: {str(answer.get('message', ''))[:_SHOWN]}"
            raise SchemaError(msg)
        raise self._unexpected(status, path, body, "the id of a schema")

    def _resolve(self, answer: Mapping[str, Any], found: dict[_Key, RegisteredSchema], path: list[_Key]) -> None:
        """Adds the schemas that an answer refers to, each after those that it refers to itself."""
        references = answer.get("references") or []
        if not isinstance(references, list) or not all(isinstance(one, dict) for one in references):
            msg = f"got {str(references)[:_SHOWN]} as references, expected a list of objects"
            raise self._failed(msg)
        for one in references:
            key = _Key(*(str(one.get(part, "")) for part in _Key._fields))
            if key in found:
                continue
            if key in path:
                msg = f'the reference to version {key.version} of "{key.subject}" refers back to itself'
                raise SchemaError(msg)
            if len(found) + len(path) >= MOST_REFERENCES:
                msg = f"got more than {MOST_REFERENCES} references, expected fewer"
                raise SchemaError(msg)
            inner = self._get(f"/subjects/{quote(key.subject, safe='')}/versions/{quote(key.version, safe='')}")
            self._resolve(inner, found, [*path, key])
            found[key] = _schema(inner, [], key.name)
            if sum(len(schema.text) for schema in found.values()) > MAX_ANSWER_BYTES:
                msg = f"got references of more than {MAX_ANSWER_BYTES} characters, expected fewer"
                raise SchemaError(msg)

    def _get(self, path: str) -> Mapping[str, Any]:
        status, body = self._request(path)
        answer = _object(body)
        if status == httpx.codes.OK and isinstance(answer.get("schema"), str):
            return answer
        if answer.get("error_code") in _UNKNOWN:
            msg = f"the registry does not have it: {str(answer.get('message', ''))[:_SHOWN]}"
            raise SchemaError(msg)
        raise self._unexpected(status, path, body, "a schema")

    def _unexpected(self, status: int, path: str, body: bytes, expected: str) -> SchemaRegistryError:
        got = body[:_SHOWN].decode("utf-8", "replace")
        check = "check the registry, schema_registry.url and the credentials"
        return self._failed(f"got status {status} for {path}: {got!r}, expected {expected}; {check}")

    def _request(self, path: str, sent: Mapping[str, str] | None = None) -> tuple[int, bytes]:
        """Returns the status and the body of an answer.

        Args:
            path: below the address of the registry.
            sent: a JSON object to post; None: get.

        Raises:
            SchemaError: the body is too large.
            SchemaRegistryError: there is no answer.
        """
        deadline, body = time.monotonic() + self._settings.timeout, bytearray()
        try:
            if self._client is None:
                self._client = self._connected()
            method = "GET" if sent is None else "POST"
            with self._client.stream(method, self._url + path, headers=self._credentials(), json=sent) as answer:
                for part in answer.iter_raw():
                    body += part
                    if len(body) > MAX_ANSWER_BYTES:
                        msg = f"got more than {MAX_ANSWER_BYTES} bytes for {path}, expected a smaller schema"
                        raise SchemaError(msg)
                    if time.monotonic() > deadline:
                        msg = f"no complete answer for {path} within {self._settings.timeout:g} s"
                        raise self._failed(msg)
                return answer.status_code, bytes(body)
        except (httpx.HTTPError, httpx.InvalidURL, OSError) as error:
            raise self._failed(str(error) or type(error).__name__) from error

    def _connected(self) -> httpx.Client:
        verify: ssl.SSLContext | bool = False
        if self._url.startswith("https:"):
            verify = ssl.create_default_context(cafile=self._settings.ca_file)
        # No proxies, netrc or certificates from the environment: all that counts is in the configuration.
        return httpx.Client(
            verify=verify, timeout=self._settings.timeout, trust_env=False, headers=_ACCEPTED, transport=self._transport
        )

    def _credentials(self) -> dict[str, str]:
        """Returns the header of a request with the secret that its file has now.

        Raises:
            SchemaRegistryError: the secret cannot be used now.
        """
        settings = self._settings
        try:
            return authorization(settings.username, settings.password_file, settings.token_file)
        except SecretError as error:
            raise self._failed(str(error)) from None

    def _failed(self, text: str) -> SchemaRegistryError:
        return SchemaRegistryError(f"schema registry {self._url}: {text}")

    def close(self) -> None:
        """Closes the connections; a further request opens new ones."""
        if self._client is not None:
            self._client.close()
            self._client = None


def _object(body: bytes) -> Mapping[str, Any]:
    """Returns the JSON object of an answer; an empty one where it is something else."""
    try:
        answer = orjson.loads(body)
    except ValueError:
        return {}
    return answer if isinstance(answer, dict) else {}


def _schema(answer: Mapping[str, Any], references: list[RegisteredSchema], name: str = "") -> RegisteredSchema:
    return RegisteredSchema(answer["schema"], str(answer.get("schemaType") or AVRO), references, name)
