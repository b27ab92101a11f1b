"""A real Apache Kafka cluster of one or three KRaft nodes as child processes of a test run.

    cluster = Cluster(installation("4"), folder)    # started and ready
    cluster.bootstrap                               # for clients
    cluster.nodes[0].kill(); cluster.nodes[0].start()
    cluster.close()

    python tests/broker/kafka_broker.py             # fetches and prepares what brokers need, while nothing needs it yet

A node can fail as a process can: `kill` (power loss), `terminate` (orderly end), `freeze` and `thaw`.
"""

from __future__ import annotations

import contextlib
import os
import random
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
import time
from pathlib import Path

from kafka_jars import PORTS, BrokerMissingError, Jars, installation, server_properties

READY = "Kafka Server started"
READY_SECONDS = 60.0  # on a machine that runs three other jobs


def free_ports(count: int) -> list[int]:
    """Returns unused ports from below the ephemeral range, because a broker binds them later."""
    found: list[int] = []
    for port in random.SystemRandom().sample(range(20_000, 32_000), 2_000):
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            found.append(port)
        if len(found) == count:
            return found
    msg = f"of 2,000 ports below 32,000 only {len(found)} are free, {count} are needed"
    raise BrokerMissingError(msg)


class Node:
    """One node: broker and controller in one process."""

    def __init__(self, jars: Jars, folder: Path, node: int, voters: str, nodes: int, ports: dict[str, int]) -> None:
        self.folder, self.ports = folder, ports
        self._jars = jars
        self._process: subprocess.Popen[bytes] | None = None
        folder.mkdir(parents=True)
        shutil.copytree(jars.folder / "formatted" / f"{nodes}-{node}" / "data", folder / "data")
        self._properties = folder / "server.properties"
        self._properties.write_text(server_properties(jars, folder, node, voters, nodes, ports))

    @property
    def address(self) -> str:
        """Host and port for clients."""
        return f"127.0.0.1:{self.ports['PORT']}"

    def start(self, *, archive: Path | None = None, wait: bool = True) -> None:
        """Starts the process, and waits until it serves unless `wait` is False.

        Args:
            archive: path for a class-data archive that is written when the process ends; None uses the existing one.
            wait: whether to wait until the node serves.
        """
        self._log.unlink(missing_ok=True)
        known = self._jars.folder / "kafka.jsa"
        sharing: list[str] = []
        if archive is not None:
            sharing = [f"-XX:ArchiveClassesAtExit={archive}"]
        elif known.exists():
            sharing = [f"-XX:SharedArchiveFile={known}", "-Xshare:auto"]
        command = self._jars.java(
            self.folder, *sharing, "-cp", self._jars.class_path, "kafka.Kafka", str(self._properties)
        )
        with (self.folder / "out.log").open("ab") as output:
            self._process = subprocess.Popen(command, stdout=output, stderr=output, start_new_session=True)
        if wait:
            self.await_ready()

    @property
    def runs(self) -> bool:
        """Whether the node's process runs."""
        return self._process is not None and self._process.poll() is None

    @property
    def _log(self) -> Path:
        return self.folder / "server.log"

    def await_ready(self) -> None:
        """Waits until the node serves.

        Raises:
            BrokerMissingError: the node ended or did not get ready; the message has the end of its log.
        """
        deadline = time.monotonic() + READY_SECONDS
        while time.monotonic() < deadline:
            if self._log.exists() and READY in self._log.read_text(errors="replace"):
                return
            if self._process is None or self._process.poll() is not None:
                break
            time.sleep(0.05)
        tail = (self.folder / "out.log").read_text(errors="replace")[-1000:]
        log = self._log.read_text(errors="replace")[-2000:] if self._log.exists() else ""
        msg = f"the broker did not start: {tail}\n{log}"
        raise BrokerMissingError(msg)

    def _signal(self, number: int) -> None:
        if self._process is not None and self.runs:
            os.kill(self._process.pid, number)

    def kill(self) -> None:
        """Kills the process, as a power loss does."""
        self._signal(signal.SIGKILL)
        self._wait(10)

    def terminate(self) -> None:
        """Ends the process in order; kills it after 20 s."""
        self._signal(signal.SIGCONT)
        self._signal(signal.SIGTERM)
        self._wait(20)

    def freeze(self) -> None:
        """Stops the process without ending it: sockets stay open, requests get no answer."""
        self._signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Resumes a frozen process."""
        self._signal(signal.SIGCONT)

    def _wait(self, seconds: float) -> None:
        if self._process is None:
            return
        try:
            self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait(10)
        self._process = None


class Cluster:
    """One or three nodes, started and ready.

    Args:
        jars: the installation.
        folder: for data and logs; removed by `close`.
        nodes: 1 or 3.
    """

    def __init__(self, jars: Jars, folder: Path, nodes: int = 1) -> None:
        self.jars, self.folder = jars, folder
        ports = free_ports(len(PORTS) * nodes)
        each = [dict(zip(PORTS, ports[len(PORTS) * n :], strict=False)) for n in range(nodes)]
        voters = ",".join(f"{n}@127.0.0.1:{p['CONTROLLER']}" for n, p in enumerate(each, 1))
        self.nodes = [Node(jars, folder / str(n), n, voters, nodes, p) for n, p in enumerate(each, 1)]
        try:
            self.start()
        except BaseException:
            self.close()
            raise

    @property
    def bootstrap(self) -> str:
        """Addresses of all nodes."""
        return ",".join(node.address for node in self.nodes)

    def start(self) -> None:
        """Starts the nodes that do not run; waits for all nodes."""
        for node in self.nodes:
            if not node.runs:
                node.start(wait=False)
        for node in self.nodes:
            node.await_ready()

    def close(self) -> None:
        """Ends all nodes at once and removes their data."""
        for node in self.nodes:
            node.thaw()
            node.kill()
        shutil.rmtree(self.folder, ignore_errors=True)


_archiving = threading.Lock()


def make_archive(jars: Jars, folder: Path) -> None:
    """Writes the class-data archive of an installation, which takes one start and one orderly end of a broker."""
    target = jars.folder / "kafka.jsa"
    with _archiving:
        if target.exists():
            return
        ports = dict(zip(PORTS, free_ports(len(PORTS)), strict=True))
        node = Node(jars, folder, 1, f"1@127.0.0.1:{ports['CONTROLLER']}", 1, ports)
        unfinished = target.with_name(f"{target.name}.{os.getpid()}.tmp")
        try:
            node.start(archive=unfinished)
            time.sleep(1.0)  # more classes are loaded in the second after the start
            node.terminate()
            if unfinished.exists():
                unfinished.rename(target)
        finally:
            node.kill()
            unfinished.unlink(missing_ok=True)
            shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as scratch:
        make_archive(installation(os.environ.get("KAFKA_SERIES", "4")), Path(scratch) / "node")
