"""Apache Kafka's jars, a class-data archive and formatted folders, made once and kept in the user's cache folder.

    libs/            jars, by Maven from jars/pom.xml
    kafka.jsa        class-data archive: a broker is up in about two seconds instead of five
    formatted/N/     data folder of node N, formatted
    tls/             key pair of the test listeners, its certificate as PEM

The content is made in a temporary folder and then renamed, so that an interrupted run leaves nothing incomplete.
"""

from __future__ import annotations

import fcntl
import functools
import hashlib
import os
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).parent / "jars"
VERSIONS = {"4": "kafka4", "3.9": "kafka39"}  # profiles of the pom, which sets the exact versions
PORTS = ("PORT", "PROXIED", "PROXY", "SECURE", "TLS", "CONTROLLER")  # required by a node, see server.properties.in
CLUSTER_ID = "MkU3OEVBNTcwNTJENDM2Qk"
SCRAM_PASSWORD = "alice-password"  # noqa: S105 - password of a broker that lives as long as a test
# Three nodes share a small machine with other jobs; C1 only, as a broker of a test lives for seconds.
JAVA_OPTIONS = (
    "-Xms64m", "-Xmx256m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Xss512k", "-Djava.awt.headless=true",
)  # fmt: skip


class BrokerMissingError(Exception):
    """Java or Maven is missing, or the jars cannot be downloaded."""


def cache_folder() -> Path:
    """Returns the cache folder."""
    root = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(root) / "forecaster-tests" / "kafka"


def needed_programs() -> None:
    """Raises BrokerMissingError if a program that a broker needs is missing."""
    missing = [name for name in ("java", "mvn", "keytool") if shutil.which(name) is None]
    if missing:
        msg = f"no real Kafka broker: {', '.join(missing)} not found; install Java 17 and Maven, or set KAFKA_BOOTSTRAP"
        raise BrokerMissingError(msg)


@dataclass(frozen=True)
class Jars:
    """An installation in the cache."""

    folder: Path

    @functools.cached_property
    def class_path(self) -> str:
        """Class path of all jars, sorted: the class-data archive is valid for one class path in one order only."""
        return ":".join(str(jar) for jar in sorted((self.folder / "libs").glob("*.jar")))

    @property
    def version(self) -> str:
        """Version of the broker, e.g. 4.4.0."""
        (jar,) = (self.folder / "libs").glob("kafka_2.13-*.jar")
        return jar.stem.removeprefix("kafka_2.13-")

    @property
    def certificate(self) -> Path:
        """PEM of the self-signed certificate of the TLS listeners."""
        return self.folder / "tls" / "certificate.pem"

    def java(self, folder: Path, *arguments: str) -> list[str]:
        """Returns a command line for a program of the jars that logs into `folder`/server.log."""
        log4j, log4j2 = HERE / "log4j.properties", HERE / "log4j2.properties"
        logging = (
            f"-Dkafka.logs.dir={folder}", f"-Dlog4j.configuration=file:{log4j}",
            f"-Dlog4j2.configurationFile=file:{log4j2}",
        )  # fmt: skip
        return ["java", *JAVA_OPTIONS, *logging, *arguments]


def installation(series: str) -> Jars:
    """Returns the jars of a series of versions ("4" or "3.9"); makes them if they are missing.

    Raises:
        BrokerMissingError: the installation cannot be made; the message has the reason.
    """
    needed_programs()
    digest = hashlib.sha256(b"".join(path.read_bytes() for path in sorted(HERE.iterdir()))).hexdigest()[:10]
    folder = cache_folder() / f"{series}-{digest}"
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("w") as lock:  # a second test run waits for the first
        fcntl.flock(lock, fcntl.LOCK_EX)
        _once(folder / "libs", lambda path: _fetch(VERSIONS[series], path))
        _once(folder / "tls", _make_keys)
        jars = Jars(folder)
        _once(folder / "formatted", lambda path: _format(jars, path))
        return jars


def _once(target: Path, make: Callable[[Path], None]) -> None:
    if target.exists():
        return
    unfinished = target.with_name(f"{target.name}.{os.getpid()}.tmp")
    shutil.rmtree(unfinished, ignore_errors=True)
    unfinished.mkdir()
    try:
        make(unfinished)
        unfinished.rename(target)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)


def _run(command: list[str], what: str, seconds: float) -> None:
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=seconds, check=False)
    except subprocess.TimeoutExpired as error:
        msg = f"{what}: did not end within {seconds:g} s"
        raise BrokerMissingError(msg) from error
    if done.returncode:
        msg = f"{what}: {(done.stderr or done.stdout)[-1500:]}"
        raise BrokerMissingError(msg)


def _fetch(profile: str, folder: Path) -> None:
    _run(
        [
            "mvn", "-q", "-B", "-f", str(HERE / "pom.xml"), "-P", profile, "dependency:copy-dependencies",
            "-DincludeScope=runtime", f"-DoutputDirectory={folder}",
        ],
        "Maven could not fetch the broker",
        240,
    )  # fmt: skip


def _make_keys(folder: Path) -> None:
    store = ["-keystore", str(folder / "keystore.p12"), "-storetype", "PKCS12", "-storepass", "keystore-password"]
    _run(
        [
            "keytool", "-genkeypair", "-alias", "broker", "-keyalg", "EC", "-validity", "3650", "-dname",
            "CN=localhost", "-ext", "san=ip:127.0.0.1,dns:localhost", "-ext", "bc:c", *store,
        ],
        "keytool", 60,
    )  # fmt: skip
    certificate = str(folder / "certificate.pem")
    _run(["keytool", "-exportcert", "-rfc", "-alias", "broker", "-file", certificate, *store], "keytool", 60)


def _format(jars: Jars, folder: Path) -> None:
    """Formats the data folders of nodes 1 to 3. Voters are static, so the content does not depend on ports."""
    for nodes, node in ((1, 1), (3, 1), (3, 2), (3, 3)):
        home = folder / f"{nodes}-{node}"
        home.mkdir()
        ports = {name: port for port, name in enumerate(PORTS, 1)}  # never opened
        voters = ",".join(f"{n}@127.0.0.1:1" for n in range(1, nodes + 1))
        properties = home / "server.properties"
        properties.write_text(server_properties(jars, home, node, voters, nodes, ports))
        users = [f"SCRAM-SHA-{bits}=[name=alice,password={SCRAM_PASSWORD}]" for bits in (256, 512)]
        add = [word for user in users for word in ("-S", user)]
        format_ = ["kafka.tools.StorageTool", "format", "-t", CLUSTER_ID, "-c", str(properties), *add]
        _run(jars.java(home, "-cp", jars.class_path, *format_), "formatting", 60)


def server_properties(
    jars: Jars, folder: Path, node: int, voters: str, nodes: int, ports: dict[str, int], more: str = ""
) -> str:
    """Writes the configuration of a node."""
    text = (HERE / "server.properties.in").read_text()
    values: dict[str, object] = {
        "ID": node,
        "VOTERS": voters,
        "DIR": folder,
        "RF": nodes,
        "MINISR": 1 if nodes == 1 else 2,
        "KEYSTORE": jars.folder / "tls" / "keystore.p12",
        **ports,
    }
    for name, value in values.items():
        text = text.replace(f"@{name}@", str(value))
    return f"{text}\n{more}\n"
