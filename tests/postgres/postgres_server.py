"""A real PostgreSQL server of the Debian package, started by the tests that need one.

POSTGRES_TIMESCALE=1 loads TimescaleDB, where the server has it, and makes the extension in its databases.
"""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any, Final

import psycopg
import pytest

_USER: Final = "nobody"  # the server refuses to run as root
_EVERYWHERE: Final = os.environ.get("POSTGRES_TIMESCALE", "") == "1"
PRELOAD: Final = "shared_preload_libraries = 'timescaledb'"
"""The setting that TimescaleDB needs."""


def programs() -> Path:
    """Returns the folder of the server's programs; without them tests are skipped, except under CI, where they fail."""
    found = shutil.which("initdb")
    folders = [*([Path(found).resolve().parent] if found else []), *sorted(Path("/usr/lib/postgresql").glob("*/bin"))]
    if not folders:
        assert not os.environ.get("CI"), "got no PostgreSQL under CI, expected the Debian package: run `make system`"
        pytest.skip("no PostgreSQL here: `make system` installs it")
    return folders[0]


class Server:
    """A server with its data in a folder of its own, which is deleted at the end.

    Args:
        settings: lines of postgresql.conf.
        rules: lines of pg_hba.conf; by default everyone of this machine is trusted.
    """

    def __init__(self, *settings: str, rules: str = "") -> None:
        self._programs = programs()
        if _EVERYWHERE:
            settings = (*settings, PRELOAD, "timescaledb.telemetry_level = off")
        self.folder = Path(tempfile.mkdtemp(prefix="postgres-"))
        self._user: dict[str, Any] = {}
        if os.getuid() == 0:
            account = pwd.getpwnam(_USER)
            os.chown(self.folder, account.pw_uid, account.pw_gid)
            self._user = {"user": account.pw_uid, "group": account.pw_gid, "extra_groups": []}
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = int(free.getsockname()[1])
        self._process: subprocess.Popen[bytes] | None = None
        self._run("initdb", "-D", "data", "-U", "postgres", "-A", "trust", "-E", "UTF8", "--locale=C", "-N")
        with (self.folder / "data" / "postgresql.conf").open("a") as file:
            lines = (f"port = {self.port}", "listen_addresses = '127.0.0.1'", "unix_socket_directories = ''",
                     "fsync = off", "max_connections = 40", "shared_buffers = '64MB'", *settings)  # fmt: skip
            file.write("\n".join(lines) + "\n")
        if rules:
            (self.folder / "data" / "pg_hba.conf").write_text(rules)

    def _run(self, name: str, *arguments: str) -> None:
        done = subprocess.run([self._programs / name, *arguments], cwd=self.folder, capture_output=True, check=False,
                              **self._user)  # fmt: skip
        assert done.returncode == 0, (done.stdout + done.stderr).decode()

    def write(self, name: str, content: bytes) -> Path:
        """Writes a file that only the server may read."""
        path = self.folder / name
        path.write_bytes(content)
        if self._user:
            os.chown(path, self._user["user"], self._user["group"])
        path.chmod(0o600)
        return path

    def url(self, database: str = "postgres", user: str = "postgres", port: int = 0, **options: str) -> str:
        """Returns an address of the server."""
        query = "&".join(f"{key}={value}" for key, value in options.items())
        return f"postgresql://{user}@127.0.0.1:{port or self.port}/{database}" + (f"?{query}" if query else "")

    def start(self) -> None:
        """Starts the server and waits until it answers."""
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [self._programs / "postgres", "-D", "data"], cwd=self.folder, stdout=log, stderr=log, **self._user
            )
        ends = time.monotonic() + 120
        while True:
            try:
                with socket.create_connection(("127.0.0.1", self.port), timeout=5):
                    pass
                if "ready to accept connections" in (self.folder / "log").read_text().rpartition("starting Postgre")[2]:
                    break
            except OSError:
                pass
            assert self._process.poll() is None, (self.folder / "log").read_text()
            assert time.monotonic() < ends, (self.folder / "log").read_text()
            time.sleep(0.02)
        if _EVERYWHERE:
            for database in ("template1", "postgres"):
                self.rows("CREATE EXTENSION IF NOT EXISTS timescaledb", database=database)

    def stop(self, how: signal.Signals = signal.SIGINT) -> None:
        """Stops the server: connections are ended (SIGINT), or it crashes (SIGQUIT)."""
        if self._process is not None:
            self._process.send_signal(how)
            self._process.wait(60)
            self._process = None

    def close(self) -> None:
        """Stops the server and deletes its data."""
        self.stop()
        shutil.rmtree(self.folder)

    def rows(self, query: str, *parameters: object, database: str = "postgres") -> list[tuple[Any, ...]]:
        """Returns the rows of a query, or [] of a statement without."""
        with psycopg.connect(self.url(database), autocommit=True) as session:
            done = session.execute(query.encode(), parameters)
            return done.fetchall() if done.description else []
