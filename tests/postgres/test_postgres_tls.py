"""Connections with TLS: the server's certificate is verified as the address asks."""

from __future__ import annotations

import pytest
import trustme
from postgres_outputs import opened, unit
from postgres_server import Server

from service.errors import TransportError


def test_certificates(tmp_path, schema):
    """`sslmode=verify-full` takes a server of the authority, and refuses one of another, or with another name."""
    authority, other = trustme.CA(), trustme.CA()
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    other.cert_pem.write_to_path(tmp_path / "other.pem")
    issued = authority.issue_cert("127.0.0.1")
    server = Server(
        "ssl = on", "ssl_cert_file = '../cert.pem'", "ssl_key_file = '../key.pem'", rules="hostssl all all all trust\n"
    )
    try:
        server.write("cert.pem", issued.cert_chain_pems[0].bytes())
        server.write("key.pem", issued.private_key_pem.bytes())
        server.start()
        verified = {"sslmode": "verify-full", "sslrootcert": str(tmp_path / "ca.pem")}
        sink = opened(server, schema, url=server.url(**verified))
        sink.publish(unit())
        query = "SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()"
        assert sink._connected().execute(query.encode()).fetchone() == (True,)
        sink.close()
        with pytest.raises(TransportError, match="certificate verify failed"):
            opened(server, schema, url=server.url(**verified | {"sslrootcert": str(tmp_path / "other.pem")}))
        named = server.url(**verified, hostaddr="127.0.0.1").replace("@127.0.0.1", "@elsewhere.example")
        with pytest.raises(TransportError, match="certificate"):
            opened(server, schema, url=named)
        with pytest.raises(TransportError, match=r"pg_hba\.conf"):
            opened(server, schema, url=server.url(sslmode="disable"))
    finally:
        server.close()
