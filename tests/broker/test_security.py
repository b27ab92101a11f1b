"""TLS and every authentication method, against the listeners of a real broker."""

from __future__ import annotations

import base64
import json
import time

import pytest
from contract import unit_of
from kafka_tools import produce, read_topic, settings, transport, values

from service.errors import TransportError


def token(seconds: float = 3600.0) -> str:
    """Returns a bearer token without a signature, which the broker's test validator accepts."""
    parts = ({"alg": "none"}, {"sub": "alice", "iat": time.time(), "exp": time.time() + seconds})
    return ".".join(base64.urlsafe_b64encode(json.dumps(p).encode()).rstrip(b"=").decode() for p in parts) + "."


@pytest.fixture
def secure(cluster, bootstrap, topics, app, tmp_path, jars):
    """Makes a transport with the given settings; the input holds one record."""
    produce(bootstrap, topics(), [b"a"])
    ports = cluster.nodes[0].ports

    def make(port: str, **more: object):
        given = {"ca_file": jars.certificate} | more
        return transport(settings(f"127.0.0.1:{ports[port]}", app, **given), tmp_path / "state")

    return make


def forecast(one) -> None:
    """Starts a transport, publishes one record, and closes the transport."""
    one.start()
    records = one.poll(10, 1)
    assert records is not None
    one.publish(unit_of(records))
    one.close()


def test_tls(secure, bootstrap, app):
    """The connection is encrypted, and the broker's certificate is verified by its authority."""
    forecast(secure("TLS", security="ssl"))
    assert len(read_topic(bootstrap, f"{app}.forecasts")) == 1


@pytest.mark.parametrize("mechanism", ["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"])
def test_password(secure, bootstrap, app, mechanism, tmp_path):
    """A password from a file is accepted."""
    path = tmp_path / "password"
    path.write_text("alice-password\n")
    forecast(secure("SECURE", security="sasl_ssl", mechanism=mechanism, username="alice", password_file=path))
    assert len(read_topic(bootstrap, f"{app}.forecasts")) == 1


def test_token(secure, bootstrap, app, tmp_path):
    """A bearer token from a file is accepted."""
    path = tmp_path / "token"
    path.write_text(token())
    forecast(secure("SECURE", security="sasl_ssl", mechanism="OAUTHBEARER", token_file=path))
    assert len(values(read_topic(bootstrap, f"{app}.forecasts"))) == 1


def test_wrong_password(secure, caplog, capsys):
    """A wrong password is an error, and appears in no message and no log."""
    secret = {"password": "not-the-password"}
    one = secure("SECURE", security="sasl_ssl", mechanism="SCRAM-SHA-512", username="alice", **secret)
    with caplog.at_level("DEBUG"), pytest.raises(TransportError) as error:
        one.start()
    one.close()
    said = f"{error.value!r} {caplog.text} {capsys.readouterr()} {one.shared.settings!r}"
    assert "not-the-password" not in said


def test_unknown_authority(secure):
    """A certificate of an unknown authority is refused."""
    one = secure("TLS", security="ssl", ca_file=None)
    with pytest.raises(TransportError):
        one.start()
    one.close()
