"""A real schema registry, Apicurio's, as a child process: its interface is Confluent's under /apis/ccompat/v7.

registry = RegistryProcess(folder)              # downloaded once, started and ready
registry.register("in-value", schema)           # returns the id
registry.kill(); registry.start()               # the schemas are on disk and keep their ids
registry.close()
"""

from __future__ import annotations

import fcntl
import json
import shutil
import subprocess
import tarfile
import time
from pathlib import Path
from typing import Any

import httpx
from kafka_broker import free_ports
from kafka_jars import JAVA_OPTIONS, BrokerMissingError, _once, _run, cache_folder, needed_programs

VERSION = "3.0.9"
READY_SECONDS = 120.0  # on a machine that runs three other jobs
_ARTIFACT = f"io.apicurio:apicurio-registry-app:{VERSION}:tar.gz:all"


def program() -> Path:
    """Returns the folder of the program; downloads it by Maven if it is missing.

    Raises:
        BrokerMissingError: it cannot be downloaded; the message has the reason.
    """
    needed_programs()
    folder = cache_folder().with_name("schema-registry")
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("w") as lock:  # a second test run waits for the first
        fcntl.flock(lock, fcntl.LOCK_EX)
        _once(folder / VERSION, _fetch)
    return folder / VERSION


def _fetch(folder: Path) -> None:
    copy = ["dependency:copy", f"-Dartifact={_ARTIFACT}", f"-DoutputDirectory={folder}"]
    _run(["mvn", "-q", "-B", *copy], "Maven could not fetch the schema registry", 240)
    (archive,) = folder.glob("*.tar.gz")
    with tarfile.open(archive) as packed:
        packed.extractall(folder, filter="data")
    archive.unlink()


class RegistryProcess:
    """A registry on a port of its own, started and ready.

    Args:
        folder: for its database and its log.
    """

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True)
        self._folder, self._program, (self._port,) = folder, program(), free_ports(1)
        self._process: subprocess.Popen[bytes] | None = None
        try:
            self.start()
        except BaseException:
            self.close()
            raise

    @property
    def url(self) -> str:
        """Address for clients."""
        return f"http://127.0.0.1:{self._port}/apis/ccompat/v7"

    def start(self) -> None:
        """Starts the process and waits until it serves.

        Raises:
            BrokerMissingError: it ended or did not get ready; the message has the end of its log.
        """
        (jar,) = self._program.glob("*-runner.jar")
        options = {
            "quarkus.http.host": "127.0.0.1", "quarkus.http.port": self._port, "apicurio.storage.kind": "sql",
            "apicurio.storage.sql.kind": "h2", "apicurio.datasource.url": f"jdbc:h2:file:{self._folder}/schemas",
        }  # fmt: skip
        command = ["java", *JAVA_OPTIONS, *(f"-D{name}={value}" for name, value in options.items()), "-jar", str(jar)]
        with (self._folder / "out.log").open("ab") as output:
            self._process = subprocess.Popen(command, stdout=output, stderr=output, start_new_session=True)
        deadline = time.monotonic() + READY_SECONDS
        while time.monotonic() < deadline and self._process.poll() is None:
            try:
                if httpx.get(f"{self.url}/subjects", trust_env=False, timeout=5).status_code == httpx.codes.OK:
                    return
            except httpx.HTTPError:
                time.sleep(0.2)
        tail = (self._folder / "out.log").read_text(errors="replace")[-2000:]
        msg = f"the schema registry did not start: {tail}"
        raise BrokerMissingError(msg)

    def register(
        self, subject: str, schema: Any, kind: str = "AVRO", references: list[dict[str, Any]] | None = None
    ) -> int:
        """Registers a schema, as it is if it is a text; returns its id."""
        body = {
            "schema": schema if isinstance(schema, str) else json.dumps(schema),
            "schemaType": kind,
            "references": references or [],
        }
        answer = httpx.post(f"{self.url}/subjects/{subject}/versions", json=body, trust_env=False, timeout=30)
        assert answer.status_code == httpx.codes.OK, answer.text
        return int(answer.json()["id"])

    def kill(self) -> None:
        """Kills the process, as a power loss does."""
        if self._process is not None:
            self._process.kill()
            self._process.wait(10)
            self._process = None

    def close(self) -> None:
        """Kills the process and removes its data."""
        self.kill()
        shutil.rmtree(self._folder, ignore_errors=True)
