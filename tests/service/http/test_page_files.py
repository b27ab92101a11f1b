"""The files of the page: vendored ones are those of the release, and none asks another server for anything."""

from __future__ import annotations

import hashlib
import json
import re
from importlib.resources import files

import httpx

from service.http import HttpServer, create_app, page_routes
from service.lifecycle import SystemClock
from service.monitoring.health import Health
from service.monitoring.metrics import Metrics

PAGE = files("service.http") / "page"
VENDORED = PAGE / "vendor" / "uplot"


def test_vendored_files_are_those_of_the_release() -> None:
    """Every vendored file has the recorded checksum, the licence among them, and no other file is there."""
    said = json.loads((VENDORED / "VENDORED.json").read_text())
    found = {file.name: file.read_bytes() for file in VENDORED.iterdir() if file.name != "VENDORED.json"}
    assert {name: hashlib.sha256(data).hexdigest() for name, data in found.items()} == said["sha256"]
    assert said["licence"] in found["LICENSE"].decode()
    assert f"(v{said['version']})" in found["uPlot.iife.min.js"].decode()[:200]


def test_no_file_asks_another_server() -> None:
    """Addresses in the files are relative, but for comments and namespaces; nothing needs a build step."""
    own = [file for file in PAGE.iterdir() if file.is_file() and not file.name.endswith(".svg")]
    assert len(own) > 10
    for file in own:
        assert re.findall(r"https?://|//[a-z]+\.", file.read_text()) == [], file.name
    index = (PAGE / "index.html").read_text()
    for name in re.findall(r'(?:src|href)="([^"#]+)"', index):
        assert (PAGE / name.removeprefix("page/")).is_file(), name
    assert "style=" not in index  # the content security policy would ignore it


def test_policy() -> None:
    """Every file carries the policy that forbids other sources."""
    app = create_app(Metrics(), Health(SystemClock()), dict, routes=page_routes())
    with HttpServer(app, "127.0.0.1", 0) as server, httpx.Client(base_url=server.url, trust_env=False) as client:
        for path in ("/", "/page/main.js", "/page/vendor/uplot/uPlot.iife.min.js", "/page/vendor/uplot/uPlot.min.css"):
            answer = client.get(path)
            assert answer.status_code == 200
            assert answer.headers["content-security-policy"].startswith("default-src 'none'; script-src 'self'; style")
