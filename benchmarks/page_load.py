"""First paint of the page with many series, in a real browser, and the time of the API's pages of the list.

    python benchmarks/page_load.py [SERIES [LOADS]]

Real state: a forecaster that has observed 40 events of every series, behind the daemon's API and page. Every load is
one of a new browser context, with nothing cached. In turns with it, a page of one line of text from the same server is
loaded: what the browser and the machine need for anything. Processor times are those of the page's main thread.
"""

from __future__ import annotations

import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import httpx
import numpy as np
from playwright.sync_api import Browser, sync_playwright
from starlette.requests import Request
from starlette.responses import HTMLResponse
from starlette.routing import Route

from forecaster import Forecaster, ModelConfig
from service.http import Api, HttpServer, Hub, api_routes, create_app, page_routes, status_of
from service.lifecycle import SystemClock
from service.messages.decode import Decoded
from service.monitoring.health import Health
from service.monitoring.metrics import Metrics
from service.recent import RecentStore
from service.registry.models import Registry

EVENTS = 40  # of every series; figures of a series count in the order of the list from 30 on
SORTS = ("interest", "skill", "coverage", "name")
WATCH = """
new MutationObserver((_, observer) => {
  if (!document.querySelector("#fan canvas, #fan .quiet") || !document.querySelector("#series li")) return;
  window.drawnAt = performance.now();
  observer.disconnect();
}).observe(document, { childList: true, subtree: true });
"""
PAINTED = "performance.getEntriesByName('first-contentful-paint')[0]"


@contextmanager
def served(series: int) -> Iterator[str]:
    """Serves page and API over a forecaster with so many series; yields the address."""
    config = ModelConfig(hidden_size=16, head_size=16, horizon=8, seasons=(8,), calendar=False, interval_ms=60_000)
    forecaster, live = Forecaster(config, max_series=series, history_events=0), RecentStore(200, 500)
    live.serve({"0": {"": forecaster}})
    names = [f"shop{at % 97}.item{at:06d}.sold" for at in range(series)]
    rng, at = np.random.default_rng(1), np.arange(series)
    for step in range(EVENTS):
        values = 100 + at % 50 + 10 * np.sin((step + at) * np.pi / 4) + rng.normal(0, 1 + at % 7, series)
        values[rng.random(series) < 0.002] += 500
        times = np.full(series, 1_800_000_000_000 + step * 60_000)
        decoded = Decoded(names, times, values, None, at.tolist(), list(range(series)), [], 0)
        live.record("0", decoded, forecaster.observe(decoded.batch), forecaster)
    clock, metrics = SystemClock(), Metrics()
    health = Health(clock)
    status = {"partitions": {"0": {"events": series * EVENTS, "series": series, "lag": 0}}, "training": {}}
    hub = Hub(live, lambda: status_of(status, health), 16, metrics)
    with tempfile.TemporaryDirectory() as folder:
        api = Api(live, Registry(Path(folder), clock), health, lambda: status, hub)
        routes = [*page_routes(), *api_routes(api.endpoints()), Route("/line", _line)]
        app = create_app(metrics, health, lambda: status, routes=routes)
        with HttpServer(app, "127.0.0.1", 0) as server:
            yield server.url
        hub.close()


async def _line(_request: Request) -> HTMLResponse:
    return HTMLResponse('<!doctype html><link rel="icon" href="data:,"><p>One line of text.')


def load(browser: Browser, url: str, *, drawn: bool) -> tuple[float, float, float]:
    """Loads a page; returns milliseconds until its first paint, until the list is shown, and of its main thread."""
    context = browser.new_context(viewport={"width": 1280, "height": 900})
    context.add_init_script(WATCH)
    page = context.new_page()
    session = context.new_cdp_session(page)
    session.send("Performance.enable", {"timeDomain": "threadTicks"})
    page.goto(url)
    # Not wait_for_function, which the content security policy of the page forbids.
    while not page.evaluate(f"Boolean({PAINTED} && (window.drawnAt || {int(not drawn)}))"):
        page.wait_for_timeout(20)
    busy = {one["name"]: one["value"] for one in session.send("Performance.getMetrics")["metrics"]}
    found = page.evaluate(f"[{PAINTED}.startTime, window.drawnAt ?? 0]")
    if drawn:
        assert 0 < page.locator("#series li").count() <= 50
    context.close()
    return found[0], found[1], 1e3 * busy["TaskDuration"]


def table(series: int, loads: int) -> str:
    """Returns a table: milliseconds to the first paint, to list and chart, and of the first page of each order."""
    rows = ["| measured | median ms | slowest ms |", "|---|--:|--:|"]
    with served(series) as url, sync_playwright() as playwright:
        program = shutil.which("chromium") or shutil.which("chromium-browser")
        browser = playwright.chromium.launch(executable_path=program, args=["--no-sandbox", "--disable-dev-shm-usage"])
        load(browser, f"{url}/line", drawn=False)  # the first load of a browser starts its processes
        pairs = [
            (load(browser, f"{url}/line", drawn=False), load(browser, f"{url}/", drawn=True)) for _ in range(loads)
        ]
        browser.close()
        line, whole = (list(zip(*one, strict=True)) for one in zip(*pairs, strict=True))
        rows += [
            _row("first paint of one line of text", line[0]),
            _row("first paint of the page", whole[0]),
            _row(
                "first paint of the page beyond that of the line",
                [b - a for a, b in zip(line[0], whole[0], strict=True)],
            ),
            _row("list of series and the first of them shown", whole[1]),
            _row("processor time until then", whole[2]),
        ]
        with httpx.Client(base_url=url, trust_env=False, timeout=60) as client:
            for sort in SORTS:
                spent = list[float]()
                for _ in range(loads):
                    before = time.perf_counter()
                    answer = client.get("/api/v1/series", params={"sort": sort, "limit": 50})
                    spent.append(1e3 * (time.perf_counter() - before))
                    assert answer.json()["total"] == series
                rows.append(_row(f"first 50 of {series:,} by {sort}", spent))
    return "\n".join(rows)


def _row(name: str, spent: Sequence[float]) -> str:
    return f"| {name} | {statistics.median(spent):.0f} | {max(spent):.0f} |"


if __name__ == "__main__":
    numbers = [int(one) for one in sys.argv[1:]]
    print(table(*(numbers + [100_000, 10][len(numbers) :])))
