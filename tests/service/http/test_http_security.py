"""TLS, client certificates, passwords and request limits, with real certificates and real handshakes."""

from __future__ import annotations

import http.client
import socket
import ssl
from collections.abc import Callable

import bcrypt
import pytest
import trustme
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry
from secured_server import HASH, PASSWORD, Served, ask

from service.errors import ConfigurationError, UnsettledError
from service.file_watcher import FileWatcher
from service.http import ReloadableTls
from service.http.guard import is_right
from service.http.tls_reload import SETTLE_SECONDS
from service.monitoring.metrics import Metrics


class TestTls:
    """tls_server_config."""

    def test_a_real_request(self, served: Served, start: Callable) -> None:
        """A client that trusts the authority is answered; a client that does not, or of plain HTTP, is not."""
        server, _ = start(served.write(tls_server_config=served.certificate()))

        assert server.url.startswith("https://")
        assert ask(server.url, served.client())[:2] == (200, "0")
        with pytest.raises(ssl.SSLCertVerificationError):
            ask(server.url, ssl.create_default_context())
        with pytest.raises((http.client.HTTPException, ConnectionError)):
            ask(server.url.replace("https", "http"))

    def test_old_versions_are_refused(self, served: Served, start: Callable) -> None:
        """A TLS version below min_version is refused."""
        server, _ = start(served.write(tls_server_config=served.certificate() | {"min_version": "TLS13"}))
        old = served.client()
        old.maximum_version = ssl.TLSVersion.TLSv1_2

        with pytest.raises(ssl.SSLError):
            ask(server.url, old)
        assert ask(server.url, served.client())[0] == 200

    def test_client_certificates(self, served: Served, start: Callable) -> None:
        """A client without a certificate of the configured authority is refused; a reload changes the authority."""
        tls = served.certificate() | {
            "client_auth_type": "RequireAndVerifyClientCert",
            "client_ca_file": "clients.pem",
            "min_version": "TLS13",
        }
        first, second = trustme.CA(), trustme.CA()
        first.cert_pem.write_to_path(served.folder / "clients.pem")
        server, web = start(served.write(tls_server_config=tls))

        def as_one_of(authority: trustme.CA) -> int:
            context = served.client()
            authority.issue_cert("me@example.org").configure_cert(context)
            return ask(server.url, context)[0]

        with pytest.raises((ssl.SSLError, ConnectionError, http.client.RemoteDisconnected)):
            ask(server.url, served.client())
        assert as_one_of(first) == 200
        with pytest.raises((ssl.SSLError, ConnectionError, http.client.RemoteDisconnected)):
            as_one_of(second)

        second.cert_pem.write_to_path(served.folder / "clients.pem")
        web.reload()

        assert as_one_of(second) == 200
        with pytest.raises((ssl.SSLError, ConnectionError, http.client.RemoteDisconnected)):
            as_one_of(first)

    def test_a_renewed_certificate(self, served: Served, start: Callable) -> None:
        """A reload changes the certificate of later handshakes; a bad one leaves the old in force."""
        server, web = start(served.write(tls_server_config=served.certificate()))

        def shown() -> str:
            host, _, port = server.url.rpartition("/")[2].rpartition(":")
            with (
                socket.create_connection((host, int(port)), timeout=20) as plain,
                served.client().wrap_socket(plain, server_hostname="localhost") as secure,
            ):
                return secure.getpeercert()["serialNumber"]

        before = shown()
        served.certificate()
        assert shown() == before
        web.reload()
        after = shown()
        (served.folder / "server.crt").write_text("rubbish")
        with pytest.raises(ConfigurationError, match=r"server\.crt"):
            web.reload()

        assert after != before
        assert shown() == after

    def test_coming_and_going(self, served: Served, start: Callable) -> None:
        """Switching TLS on requires a restart."""
        _, web = start(served.write())
        served.write(tls_server_config=served.certificate())

        with pytest.raises(ConfigurationError, match="requires a restart"):
            web.reload()


class TestPasswords:
    """basic_auth_users."""

    def test_who_may_enter(self, served: Served, start: Callable) -> None:
        """Only the right password of a configured user is accepted, repeatedly, until a reload removes the user."""
        server, web = start(served.write(basic_auth_users={"ann": HASH}))

        status, _, headers = ask(server.url)
        assert (status, headers["www-authenticate"][:5]) == (401, "Basic")
        assert ask(server.url, user="ann", password=PASSWORD[1:])[0] == 401
        assert ask(server.url, user="bob", password=PASSWORD)[0] == 401
        assert ask(server.url, user="ann", password="x" * 100)[0] == 401
        assert [ask(server.url, user="ann", password=PASSWORD)[0] for _ in range(2)] == [200, 200]
        assert served.refused == ["unauthorized"] * 4

        served.write(basic_auth_users={"bob": HASH})
        web.reload()

        assert ask(server.url, user="ann", password=PASSWORD)[0] == 401
        assert ask(server.url, user="bob", password=PASSWORD)[0] == 200

    @given(st.dictionaries(st.sampled_from("abcdef"), st.integers(4, 14), min_size=1), st.sampled_from("abcdefg"))
    def test_a_refusal_takes_as_long_for_every_name(self, costs: dict[str, int], user: str) -> None:
        """A refusal computes as many rounds of bcrypt for a known user, of any cost, as for an unknown one."""
        rounds = list[int]()

        def counted(_password: bytes, stored: bytes) -> bool:
            assert len(stored) == len(HASH)
            rounds.append(1 << int(stored.split(b"$")[2]))
            return False

        hashes = {name: bcrypt.gensalt(cost).decode() + "x" * 31 for name, cost in costs.items()}
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(bcrypt, "checkpw", counted)
            assert not is_right(b"guess", hashes.get(user), hashes.values())
        assert sum(rounds) == 1 << max(costs.values())

    def test_what_refuses_an_unknown_user_is_a_hash(self) -> None:
        """The hash that refuses an unknown user is a valid bcrypt hash that no password matches."""
        other = bcrypt.hashpw(b"other", bcrypt.gensalt(5)).decode()
        assert is_right(PASSWORD.encode(), HASH, [HASH, other])
        assert not is_right(PASSWORD.encode(), None, [HASH, other])
        assert not is_right(PASSWORD.encode(), other, [HASH, other])

    def test_headers(self, served: Served, start: Callable) -> None:
        """http_server_config.headers are sent, and a header forbids browsers to guess types."""
        server, _ = start(served.write(http_server_config={"headers": {"X-Frame-Options": "deny"}}))
        headers = ask(server.url)[2]

        assert headers["x-frame-options"] == "deny"
        assert headers["x-content-type-options"] == "nosniff"


class TestTakingProtectionAway:
    """An empty or half-written file removes no password."""

    def test_an_empty_file(self, served: Served, start: Callable) -> None:
        """An empty file is refused, at the start and at a reload, and the passwords stay in force."""
        path = served.write(basic_auth_users={"ann": HASH})
        server, web = start(path)
        for text in ("", "\n# users\n", "---\n"):
            path.write_text(text)
            with pytest.raises(ConfigurationError, match="is empty"):
                web.reload()
            with pytest.raises(ConfigurationError, match="is empty"):
                ReloadableTls(path)
        served.clock.now += 10 * SETTLE_SECONDS
        with pytest.raises(ConfigurationError, match="is empty"):
            web.reload()
        assert ask(server.url)[0] == 401

    def test_users_that_go(self, served: Served, start: Callable) -> None:
        """Passwords are removed only after the file has had no users for a while without interruption."""
        server, web = start(served.write(basic_auth_users={"ann": HASH}))

        def read(after: float, **config: object) -> None:
            served.clock.now += after
            served.write(**config)
            web.reload()

        for after, config in ((0.0, {}), (SETTLE_SECONDS - 1, {}), (2.0, {"http_server_config": {}, "x": 1})):
            with pytest.raises((UnsettledError, ConfigurationError)):
                read(after, **config)
        with pytest.raises(UnsettledError, match="removes passwords"):
            read(SETTLE_SECONDS)
        assert ask(server.url)[0] == 401
        read(1.0, basic_auth_users={"ann": HASH})
        with pytest.raises(UnsettledError):
            read(SETTLE_SECONDS)
        assert ask(server.url)[0] == 401

        read(SETTLE_SECONDS)
        assert ask(server.url)[0] == 200

    def test_client_certificates_that_go(self, served: Served) -> None:
        """Removing client certificates takes the same wait as passwords; removing TLS requires a restart."""
        served.authority.cert_pem.write_to_path(served.folder / "ca.pem")
        tls = served.certificate()
        asked = tls | {"client_auth_type": "RequireAndVerifyClientCert", "client_ca_file": "ca.pem"}
        web = ReloadableTls(served.write(tls_server_config=asked), served.clock.monotonic)
        served.write(tls_server_config=tls)
        with pytest.raises(UnsettledError, match="removes client certificates"):
            web.reload()
        served.write()
        served.clock.now += SETTLE_SECONDS
        with pytest.raises(ConfigurationError, match="requires a restart"):
            web.reload()

    def test_the_watch_reads_again(self, served: Served) -> None:
        """The watcher rereads an unsettled file although the file no longer changes."""
        web = ReloadableTls(served.write(basic_auth_users={"ann": HASH}), served.clock.monotonic)
        metrics = Metrics(CollectorRegistry())
        watch = FileWatcher(metrics, served.clock)
        watch.add("web", web.files, web.reload)
        served.write()
        for seconds in (0.0, SETTLE_SECONDS / 2, SETTLE_SECONDS / 3):
            served.clock.now += seconds
            watch.check()
            assert web.config.basic_auth_users
            assert metrics.registry.get_sample_value("forecaster_config_last_reload_successful", {"file": "web"}) == 0
        served.clock.now += SETTLE_SECONDS / 3
        watch.check()
        assert not web.config.basic_auth_users
        assert metrics.registry.get_sample_value("forecaster_config_last_reload_successful", {"file": "web"}) == 1
