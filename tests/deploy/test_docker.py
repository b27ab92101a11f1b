"""The image without a container engine: its file is parsed, its steps run into a folder, and the result is used."""

from __future__ import annotations

import fnmatch
import json
import os
import re
import shlex
import shutil
import site
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import small_run
from dockerfile_parse import DockerfileParser
from prometheus_client import CollectorRegistry
from shipped import DEPLOY, ROOT, program

from service.config.sections import Config
from service.http import HttpServer, create_app
from service.lifecycle import SystemClock
from service.monitoring.health import Health
from service.monitoring.metrics import Metrics

# The network of small_run, as the variable WARMUP sets it.
NETWORK = (
    "--horizon 2 --season 12 --interval 1m --set model.hidden_size=16 --set model.head_size=16 "
    "--set model.quantiles=[0.1,0.5,0.9] --set train.k1=8 --set train.k2=16 --set train.batch=8"
)


@pytest.fixture(scope="module")
def stages(tmp_path_factory: pytest.TempPathFactory) -> list[list[tuple[str, str]]]:
    """Returns the instructions of every stage: name and value."""
    parser = DockerfileParser(str(tmp_path_factory.mktemp("dockerfile")))
    parser.content = (DEPLOY / "docker" / "Dockerfile").read_text()
    found: list[list[tuple[str, str]]] = []
    for line in parser.structure:
        if line["instruction"] == "FROM":
            found.append([])
        if line["instruction"] != "COMMENT":
            found[-1].append((line["instruction"], line["value"]))
    return found


def of(stage: list[tuple[str, str]], name: str) -> list[str]:
    """Returns the values of one instruction."""
    return [value for instruction, value in stage if instruction == name]


def environment(stage: list[tuple[str, str]]) -> dict[str, str]:
    """Returns the variables that a stage sets."""
    return dict(pair.split("=", 1) for value in of(stage, "ENV") for pair in shlex.split(value))


def test_the_image_has_no_tools_and_no_privileges(stages: list[list[tuple[str, str]]]) -> None:
    """Two stages of one base; the second runs as a numeric user, so that Kubernetes can verify that it is not root."""
    build, image = stages
    assert of(build, "FROM") == [of(image, "FROM")[0] + " AS build"]
    assert of(image, "USER") == ["10001"]
    assert not [value for value in of(image, "RUN") if "pip" in value]
    copied = [shlex.split(value) for value in of(image, "COPY")]
    assert [words[-1] for words in copied] == ["/opt/forecaster", "/var/cache/forecaster"]
    assert all(words[0] == "--from=build" for words in copied)
    assert json.loads(of(image, "VOLUME")[0]) == ["/data", "/var/cache/forecaster"]
    assert of(image, "EXPOSE") == [str(Config().http.port)]


def test_what_it_copies_is_there_and_nothing_else_is_sent(stages: list[list[tuple[str, str]]]) -> None:
    """`.dockerignore` admits the files that the Dockerfile copies and excludes the rest of a working folder."""
    lines = (ROOT / ".dockerignore").read_text().splitlines()
    let = {line[1:] for line in lines if line.startswith("!")}
    sources = {word for value in of(stages[0], "COPY") for word in value.split()[:-1]}
    assert sources == let
    assert all((ROOT / name).exists() for name in sources)
    assert lines.index("*") < min(lines.index(f"!{name}") for name in let)
    # Behind what is admitted, as the last line that matches decides.
    after = lines[max(lines.index(f"!{name}") for name in let) + 1 :]
    assert any(fnmatch.fnmatch("forecaster/network/__pycache__", line) for line in after)


def test_its_variables_are_settings(stages: list[list[tuple[str, str]]]) -> None:
    """Every configuration variable of the image corresponds to a real key."""
    found = [re.fullmatch(r"FORECASTER_([A-Z]+)__([A-Z_]+)", name) for name in environment(stages[1])]
    keys = [(match[1].lower(), match[2].lower()) for match in found if match]
    assert keys == [("state", "data_dir"), ("http", "host")]
    for section, key in keys:
        kind: Any = Config.model_fields[section].annotation
        assert key in kind.model_fields


def test_its_health_check_asks_the_probe(stages: list[list[tuple[str, str]]]) -> None:
    """The health check's command succeeds for a healthy daemon and fails without a daemon."""
    words = json.loads(re.sub(r"\\\s*", "", of(stages[1], "HEALTHCHECK")[0]).split("CMD", 1)[1])
    assert words[:2] == ["python", "-c"]
    with HttpServer(create_app(Metrics(CollectorRegistry()), Health(SystemClock()), dict), "127.0.0.1", 0) as face:
        code = words[2].replace("http://127.0.0.1:9464", face.url)
        assert code != words[2]
        subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
    assert subprocess.run([sys.executable, "-c", code], stderr=subprocess.DEVNULL, check=False, timeout=60).returncode


def build(stage: list[tuple[str, str]], folder: Path) -> tuple[Path, Path]:
    """Runs the steps of the first stage into a folder, with this interpreter's dependencies and no network access.

    Returns:
        The paths of the program and of the compiled kernels.
    """
    program_at, cache, source = folder / "opt", folder / "cache", folder / "src"
    source.mkdir()
    settings = os.environ | {"PIP_NO_INDEX": "1", "PIP_NO_BUILD_ISOLATION": "0", "WARMUP": NETWORK}
    settings["PATH"] = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    for name in ("PYTHONPATH", "NUMBA_CACHE_DIR"):
        settings.pop(name, None)
    for instruction, value in stage:
        if instruction == "COPY":
            for name in value.split()[:-1]:
                at = source / name
                at.parent.mkdir(exist_ok=True)
                if (ROOT / name).is_dir():
                    shutil.copytree(ROOT / name, at, ignore=shutil.ignore_patterns("__pycache__"))
                else:
                    shutil.copy(ROOT / name, at)
        elif instruction == "RUN" and "requirements/run.txt" in value:
            libraries = next((program_at / "lib").glob("python3*")) / "site-packages"
            (libraries / "borrowed.pth").write_text("\n".join(site.getsitepackages()) + "\n")
        elif instruction == "RUN":
            command = value.replace("/opt/forecaster", str(program_at)).replace("/var/cache/forecaster", str(cache))
            done = subprocess.run(["bash", "-c", command], cwd=source, env=settings, capture_output=True, check=False)
            assert done.returncode == 0, (command, done.stdout, done.stderr)
    return program_at, cache


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_the_steps_make_a_program_that_needs_nothing_but_its_volumes(
    stages: list[list[tuple[str, str]]], tmp_path: Path
) -> None:
    """The warmed program processes all events, writes to its two volumes alone and compiles nothing."""
    program_at, cache = build(stages[0], tmp_path)
    data = tmp_path / "data"
    data.mkdir()
    for path in sorted(program_at.rglob("*"), reverse=True):
        if not path.is_symlink():
            os.utime(path, (int(path.stat().st_mtime),) * 2)  # whole seconds, as in an image layer
            path.chmod(path.stat().st_mode & ~0o222)
    kernels = {path: path.stat().st_mtime_ns for path in cache.rglob("*") if path.is_file()}
    small_run.write(data)

    own = {
        name: value.replace("/opt/forecaster", str(program_at)).replace("/data", str(data / "data"))
        for name, value in environment(stages[1]).items()
    }
    own |= {"NUMBA_CACHE_DIR": str(cache), "FORECASTER_HTTP__HOST": "127.0.0.1"}
    own["PATH"] = own["PATH"].replace("$PATH", os.environ["PATH"])
    words = json.loads(of(stages[1], "ENTRYPOINT")[0]) + json.loads(of(stages[1], "CMD")[0])
    command = [word.replace("/etc/forecaster", str(data)) for word in words]
    traced = [program("strace"), "-f", "--seccomp-bpf", "--quiet=all", "-y", f"--output={tmp_path / 'opened.log'}"]
    traced += ["--trace=openat,open,creat,mkdir,rename,unlink,truncate"]
    done = subprocess.run(
        [*traced, *command], cwd=data, env=own, capture_output=True, text=True, check=False, timeout=600
    )

    assert done.returncode == 0, done.stderr
    assert small_run.counts(data) == {"forecasts": small_run.EVENTS, "rejects": 1, "adoptions": 2}
    assert {path: path.stat().st_mtime_ns for path in cache.rglob("*") if path.is_file()} == kernels
    written = [
        line
        for line in (tmp_path / "opened.log").read_text().splitlines()
        if re.search(r"O_WRONLY|O_RDWR|O_CREAT|mkdir\(|rename\(|unlink\(", line) and " = -1 " not in line
    ]
    elsewhere = [
        line for line in written if not any(str(place) in line for place in (data, cache, "/dev/", "/proc/self"))
    ]
    assert written
    assert elsewhere == []
