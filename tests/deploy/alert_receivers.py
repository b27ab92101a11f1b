"""A real Alertmanager and a webhook, for tests of alerts."""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import shipped


class Receiver:
    """A server that keeps what is posted to it.

    Attributes:
        posts: headers and JSON body of every request, in the order of arrival.
        status: what it answers.
    """

    def __init__(self, port: int = 0) -> None:
        self.posts: list[tuple[dict[str, str], Any, bytes]] = []
        self.status = 200
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                if receiver.status == 200:
                    receiver.posts.append(({**self.headers}, json.loads(body), body))
                self.send_response(receiver.status)
                self.end_headers()

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}/hook"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self) -> None:
        """Ends the server."""
        self._server.shutdown()
        self._server.server_close()

    def alerts(self) -> list[dict[str, Any]]:
        """Returns the alerts of all posts, in the order of arrival."""
        return [alert for _, body, _ in self.posts for alert in body["alerts"]]


def free_port() -> int:
    """Returns a port that nobody listens on."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


@contextmanager
def alertmanager(folder: Path, hook: str, port: int = 0) -> Iterator[str]:
    """Runs an Alertmanager that sends its notifications, one for each alert, to a webhook; yields its address."""
    folder.mkdir(exist_ok=True)
    (folder / "alertmanager.yml").write_text(
        f"""
route:
  receiver: hook
  group_by: ["..."]
  group_wait: 100ms
  group_interval: 500ms
  repeat_interval: 4h
receivers:
  - name: hook
    webhook_configs: [{{url: "{hook}", send_resolved: true}}]
"""
    )
    port = port or free_port()
    name = "prometheus-alertmanager"
    command = [
        shutil.which(name) or shipped.program("alertmanager"), "--config.file=alertmanager.yml", "--storage.path=data",
        f"--web.listen-address=127.0.0.1:{port}", "--cluster.listen-address=",
    ]  # fmt: skip
    with (folder / "log").open("a") as log, subprocess.Popen(command, cwd=folder, stderr=log) as process:
        try:
            url = f"http://127.0.0.1:{port}"
            ends = time.monotonic() + 120
            while time.monotonic() < ends:
                assert process.poll() is None, (folder / "log").read_text()
                try:
                    if httpx.get(f"{url}/-/ready", timeout=5, trust_env=False).status_code == 200:
                        break
                except httpx.TransportError:
                    pass
                time.sleep(0.05)
            yield url
        finally:
            process.terminate()


def wait_for(condition: Callable[[], bool], expected: object = "", seconds: float = 120.0) -> None:
    """Waits until a condition holds; `expected` is shown where it does not."""
    ends = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < ends, f"the condition did not come true: {expected}"
        time.sleep(0.05)
