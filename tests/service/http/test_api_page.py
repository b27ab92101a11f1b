"""The commands of the API page run against a real daemon; every response matches the OpenAPI document."""

from __future__ import annotations

import re
import shutil
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import jsonschema
import orjson
import pytest
from parts import MODEL

from service.cli._daemon import Daemon
from service.config.sections import Config

PAGE = (Path(__file__).parents[3] / "docs" / "api.md").read_text()
BLOCKS = re.findall(r"^```sh\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URL of a daemon that accepts pushed events and is ready."""
    folder, stop = tmp_path_factory.mktemp("daemon"), threading.Event()
    settings = {"input": {"push": True}, "model": MODEL, "state": {"data_dir": str(folder)}, "http": {"port": 0}}
    daemon = Daemon(Config.model_validate(settings))
    running = threading.Thread(target=daemon.run, args=(stop,))
    running.start()
    try:
        ends = time.monotonic() + 240
        while not daemon._http.url or httpx.get(f"{daemon._http.url}/readyz", trust_env=False).status_code != 200:
            assert time.monotonic() < ends
            time.sleep(0.01)
        yield daemon._http.url
    finally:
        stop.set()
        running.join()


@pytest.mark.skipif(shutil.which("curl") is None, reason="the page uses curl")
def test_page(url: str) -> None:
    """The page's commands run and do what the page states; every path responds as the document describes."""

    def typed(block: str) -> list[dict[str, object]]:
        text = block.replace("http://127.0.0.1:9464", url).replace("host1.cpu", "cpu").replace(",24", ",3")
        done = subprocess.run(["bash", "-euo", "pipefail", "-c", text], capture_output=True, check=True, timeout=60)
        return [orjson.loads(part) for part in re.split(rb"(?<=\})(?=\{)", done.stdout)]

    reading, pushing = BLOCKS
    assert typed(pushing) == [{"accepted": 2, "filtered": 0}]
    ends = time.monotonic() + 120
    with httpx.Client(base_url=url, trust_env=False, timeout=30) as client:
        document = client.get("/api/v1/openapi.json").json()
        while (last := client.get("/api/v1/series/cpu/forecast").json().get("last")) is None or last["value"] != 0.44:
            assert time.monotonic() < ends
            time.sleep(0.01)
        series, ordered, forecast, history = typed(reading)
        for rows in (series, ordered):
            assert [row["id"] for row in rows["series"]] == ["cpu"]  # type: ignore[attr-defined]
        assert forecast["last"] == last
        assert [one["value"] for one in history["events"]] == [0.42, 0.44]  # type: ignore[attr-defined]
        for path, methods in document["paths"].items():
            kinds = methods.get("get", {}).get("responses", {}).get("200", {}).get("content", {})
            if "application/json" not in kinds:
                continue
            schema = kinds["application/json"]["schema"] | {"components": document["components"]}
            answer = client.get(path.replace("{id}", "cpu"))
            assert answer.status_code == 200, path
            jsonschema.Draft202012Validator(schema).validate(answer.json())
