"""The live page in a real browser, served by a real daemon, shows the values of the API."""

from __future__ import annotations

import json
import math
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, ConsoleMessage, Page, expect, sync_playwright

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

START_MS, STEPS = 1_700_000_000_000, 120
SERIES = ["cpu.host1", "cpu.host2/a b#ü", "requests"]
CONFIG = """
[input]
push = true
[model]
hidden_size = 16
head_size = 16
horizon = 4
seasons = [12]
interval = "1m"
[state]
data_dir = "data"
[http]
port = {port}
[[alert]]
name = "RequestsHigh"
match = ["requests"]
above = 1.0
severity = "critical"
"""
PICTURES = os.environ.get("PAGE_PICTURES", "")  # folder for the pictures of the documentation


def events(first: int, last: int) -> bytes:
    """Returns steps of all series as JSON lines; one value of `requests` is an outlier."""
    lines = [
        json.dumps({
            "series": series, "timestamp": START_MS + step * 60_000,
            "value": round(50 + 20 * math.sin(step * math.pi / 6 + at) + step % 3 + 200 * (at == 2 and step == 110), 3),
        })
        for step in range(first, last)
        for at, series in enumerate(SERIES)
    ]  # fmt: skip
    return "\n".join(lines).encode() + b"\n"


class Served:
    """A daemon process and its client."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.port, self.url = folder, 0, ""
        self._process: subprocess.Popen[bytes] | None = None
        self.runs = 0

    def start(self) -> None:
        """Starts the daemon, at its previous port if any, and waits until it is ready."""
        (self.folder / "config.toml").write_text(CONFIG.format(port=self.port))
        self.runs += 1
        log = self.folder / f"daemon{self.runs}.log"
        command = [sys.executable, "-m", "service.cli", "run", "--config", "config.toml"]
        with log.open("wb") as file:
            self._process = subprocess.Popen(command, cwd=self.folder, stdout=file, stderr=file)
        self.until(lambda: re.search(r"http://127\.0\.0\.1:(\d+)", log.read_text()))
        self.port = int(re.findall(r"http://127\.0\.0\.1:(\d+)", log.read_text())[0])
        self.url = f"http://127.0.0.1:{self.port}"
        self.until(lambda: self.get("/-/ready").status_code == 200)

    def until(self, true: Any) -> Any:
        """Waits for a condition, up to the time that a slow machine needs."""
        assert self._process is not None
        ends = time.monotonic() + 300
        while True:
            try:
                if found := true():
                    return found
            except httpx.HTTPError:
                pass
            assert time.monotonic() < ends, "nothing came of it"
            assert self._process.poll() is None, (self.folder / f"daemon{self.runs}.log").read_text()[-2000:]
            time.sleep(0.05)

    def get(self, path: str, **options: Any) -> httpx.Response:
        """Sends a GET request."""
        with httpx.Client(base_url=self.url, trust_env=False, timeout=30) as client:
            return client.get(path, **options)

    def push(self, first: int, last: int) -> None:
        """Sends steps and waits for the forecast from the last one."""
        with httpx.Client(base_url=self.url, trust_env=False, timeout=30) as client:
            headers = {"content-type": "application/x-ndjson"}
            assert client.post("/api/v1/events", content=events(first, last), headers=headers).status_code == 200
        wanted = START_MS + (last - 1) * 60_000
        self.until(lambda: (self.of(SERIES[-1], "forecast")["forecast"] or {}).get("origin_ms") == wanted)

    def of(self, series: str, kind: str, **options: Any) -> Any:
        """Returns the API's data of a series."""
        quoted = "".join(f"%{byte:02X}" for byte in series.encode())
        answer = self.get(f"/api/v1/series/{quoted}/{kind}", params=options)
        return answer.json() if answer.status_code == 200 else {"forecast": None}

    def feedback(self, verdict: str, series: str, reason: str) -> None:
        """Gives feedback on a series."""
        command = [sys.executable, "-m", "service.cli", "anomalies", verdict, series, "--reason", reason]
        subprocess.run([*command, "--data-dir", "data"], cwd=self.folder, check=True, capture_output=True)

    def stop(self) -> None:
        """Ends the daemon in order."""
        if self._process is not None:
            self._process.terminate()
            self._process.wait(60)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """The system's Chromium, headless."""
    program = shutil.which("chromium") or shutil.which("chromium-browser")
    if program is None:
        assert not os.environ.get("CI"), "got no chromium under CI, expected the Debian package: run `make system`"
        pytest.skip("no chromium here: `make system` installs it")
    with sync_playwright() as playwright:
        # Its sandbox needs rights that root in a container lacks; it loads only the daemon's page.
        found = playwright.chromium.launch(executable_path=program, args=["--no-sandbox", "--disable-dev-shm-usage"])
        yield found
        found.close()


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory, browser: Browser) -> Iterator[Served]:
    """A daemon that has observed some events of three series."""
    daemon = Served(tmp_path_factory.mktemp("page"))
    daemon.start()
    daemon.push(0, STEPS)
    yield daemon
    daemon.stop()


@pytest.fixture
def page(browser: Browser, served: Served, request: pytest.FixtureRequest) -> Iterator[Page]:
    """The page with its first series drawn; afterwards the console must have no messages but the expected ones."""
    wanted = getattr(request, "param", {})
    context = browser.new_context(viewport={"width": 1200, "height": 900}, timezone_id="UTC", locale="en-GB", **wanted)
    found = context.new_page()
    found.set_default_timeout(120_000)
    expect.set_options(timeout=120_000)
    said: list[str] = []

    def heard(message: ConsoleMessage) -> None:
        # The browser reports connections that a stopped daemon refused, and the 404s of a restarted daemon that has
        # no series yet.
        expected = "net::ERR_" in message.text or ("404" in message.text and served.runs > 1)
        if message.type in {"error", "warning"} and not expected:
            said.append(message.text)

    found.on("console", heard)
    found.on("pageerror", lambda error: said.append(str(error)))
    found.goto(f"{served.url}/")
    found.wait_for_selector("#fan svg")
    found.wait_for_selector("#weights svg")
    yield found
    context.close()
    assert said == []


def choose(page: Page, text: str) -> None:
    """Selects a series by keyboard."""
    page.keyboard.press("/")
    page.keyboard.type(text)
    expect(page.locator("#series li")).to_have_count(1)
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Enter")


def numbers(page: Page, selector: str) -> list[float]:
    """Returns the unrounded numbers of a table's cells."""
    found: list[float] = page.locator(selector).evaluate_all("cells => cells.map(cell => Number(cell.dataset.value))")
    return found


def test_shows_what_the_api_says(page: Page, served: Served) -> None:
    """For a series selected by keyboard, the tables show the API's numbers, and the chart has all its parts."""
    choose(page, "ü")
    expect(page.locator("#title")).to_have_text(SERIES[1])
    expect(page.locator("#past tbody tr")).to_have_count(50)
    expect(page.locator("#weights rect").first).to_be_attached()

    said = served.of(SERIES[1], "forecast")["forecast"]
    assert numbers(page, "#ahead tbody td") == [value for row in said["quantiles"] for value in row]
    past = served.of(SERIES[1], "history", limit=50)["events"]
    assert numbers(page, "#past tbody tr td:nth-of-type(1)") == [event["value"] for event in reversed(past)]
    assert page.locator("#fan .band").count() == len(said["levels"]) // 2
    assert page.locator("#fan .observed-line, #fan .past-line, #fan .ahead-line").count() == 3
    weights = served.of(SERIES[1], "weights")
    assert page.locator("#weights rect").count() == len(weights["experts"])
    assert page.locator("#reliability .nominal").count() > 0
    expect(page.locator("#health")).to_have_text("ready")
    expect(page.locator("#engine")).to_contain_text("mean time per event")


def test_anomalies_are_marked(page: Page, served: Served) -> None:
    """Anomalies of the API are dots in the chart and entries of the list."""
    choose(page, "requests")
    expect(page.locator("#title")).to_have_text("requests")
    flagged = [event for event in served.of("requests", "history", limit=200)["events"] if event["flagged"]]

    assert flagged, "the outlier is not flagged"
    expect(page.locator("#fan .anomaly-dot")).to_have_count(len(flagged))
    expect(page.locator("#anomalies")).to_contain_text("requests")


def test_alerts_are_listed(page: Page, served: Served) -> None:
    """Those that last with what the API says of them: since when, what was expected, feedback; then those over."""
    found = served.get("/api/v1/alerts").json()
    assert found["lasting"] > 0
    firing = page.locator("#alerts li.firing")
    expect(firing).to_have_count(found["lasting"])
    breach = page.locator("#alerts li.firing", has_text="RequestsHigh (critical)")
    (said,) = [one for one in found["alerts"] if one["rule"] == "RequestsHigh" and one["status"] == "firing"]
    expect(breach).to_contain_text(said["summary"])
    since = page.locator("#alerts li.firing time").first.get_attribute("datetime")
    assert since in {time_of(one["starts_ms"]) for one in found["alerts"]}
    anomalies = [one for one in found["alerts"] if one["kind"] == "anomaly" and one["expected_low"] is not None]
    assert anomalies, "the outlier began no alert"
    expect(page.locator("#alerts li", has_text="SeriesAnomalous").first).to_contain_text("expected ")
    assert len(found["alerts"]) == page.locator("#alerts li").count()

    served.feedback("confirm", "requests", "a deploy")
    expect(breach).to_contain_text("confirmed: a deploy")
    served.feedback("ack", "requests", "seen")
    expect(breach).to_contain_text("acknowledged: seen")  # taken by the daemon; the next event ends the alert
    served.push(STEPS, STEPS + 1)
    expect(page.locator("#alerts li.resolved", has_text="acknowledged: seen").first).to_contain_text("over at")


def time_of(ms: int) -> str:
    """Returns a time as JavaScript writes it."""
    return datetime.fromtimestamp(ms / 1000, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def test_a_link_leads_to_its_series(page: Page, served: Served) -> None:
    """The address identifies the series, and opening it elsewhere shows that series."""
    choose(page, "requests")
    expect(page).to_have_url(re.compile(r"#series=requests&partition="))
    other = page.context.new_page()
    other.goto(page.url)
    expect(other.locator("#title")).to_have_text("requests")
    assert served.get("/").headers["content-security-policy"].startswith("default-src 'none'")


@pytest.mark.parametrize(
    "page", [{"color_scheme": "light"}, {"color_scheme": "dark"}], indirect=True, ids=["light", "dark"]
)
def test_anybody_can_read_it(page: Page) -> None:
    """The accessibility scan has no finding, on wide and narrow screens, and nothing is cut off on a narrow screen."""
    choose(page, "requests")
    expect(page.locator("#fan .anomaly-dot").first).to_be_attached()
    theme = page.evaluate("document.documentElement.dataset.theme")
    for name, width in ((theme, 1200), (f"narrow-{theme}", 360)):
        page.set_viewport_size({"width": width, "height": 900})
        found = Axe().run(page)
        assert [(each["id"], each["impact"]) for each in found.response["violations"]] == []
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        if PICTURES:
            page.evaluate("document.activeElement.blur()")
            page.screenshot(path=str(Path(PICTURES) / f"page-{name}.png"))


def newest_of(served: Served) -> str:
    """Returns the newest value of the first series, as JavaScript writes it."""
    return str(served.of(SERIES[0], "history", limit=1)["events"][0]["value"]).removesuffix(".0")


def test_lives_through_a_restart(page: Page, served: Served) -> None:
    """The page shows new events without a reload, announces a stopped daemon, and continues after its restart."""
    expect(page.locator("#title")).to_have_text(SERIES[0])
    served.push(STEPS + 1, STEPS + 2)
    newest = page.locator("#past tbody tr").first.locator("td").first
    expect(newest).to_have_attribute("data-value", newest_of(served))

    served.stop()
    expect(page.locator("#banner")).to_be_visible()
    served.start()
    expect(page.locator("#banner")).to_be_hidden()
    expect(page.locator("#summary")).to_contain_text("The first forecast follows the next event.")
    served.push(STEPS + 2, STEPS + 3)
    expect(newest).to_have_attribute("data-value", newest_of(served))


def test_files_are_kept_by_the_browser(served: Served) -> None:
    """Each file has a content type and an entity tag, and an unchanged file is not sent again."""
    for path in ("/", "/page/main.js", "/page/style.css", "/page/icon.svg"):
        first = served.get(path)
        assert first.status_code == 200
        assert first.headers["content-type"].partition(";")[0] in {
            "text/html",
            "text/javascript",
            "text/css",
            "image/svg+xml",
        }
        again = served.get(path, headers={"if-none-match": first.headers["etag"]})
        assert (again.status_code, again.content) == (304, b"")
    assert served.get("/page/../app.py").status_code == 404
