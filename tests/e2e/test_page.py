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
future_covariates = ["price"]
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
[[scale]]
name = "web"
series = "cpu.host1"
capacity = 10
lead = "2m"
"""
PICTURES = os.environ.get("PAGE_PICTURES", "")  # folder for the pictures of the documentation


def events(first: int, last: int) -> bytes:
    """Returns steps of all series as JSON lines; one value of `requests` is an outlier."""
    lines = [
        json.dumps({
            "series": series, "timestamp": START_MS + step * 60_000,
            "value": round(
                50 + 20 * math.sin(step * math.pi / 6 + at) + (step * 7919 + at * 104_729) % 997 / 150
                + 200 * (at == 2 and step == 110), 3,
            ),
            "future": {"price": [2.0, 2.0, 2.2, 2.2]},
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
    expect.set_options(timeout=30_000)
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
    found.wait_for_selector("#fan canvas")
    found.wait_for_selector("#weights li")
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
    expect(page.locator("#skill tbody tr")).to_have_count(3)

    said = served.of(SERIES[1], "forecast")["forecast"]
    assert numbers(page, "#ahead tbody td") == [value for row in said["quantiles"] for value in row]
    past = served.of(SERIES[1], "history", limit=50)["events"]
    assert numbers(page, "#past tbody tr td:nth-of-type(1)") == [event["value"] for event in reversed(past)]
    assert page.locator("#fan").get_attribute("data-intervals") == str(len(said["levels"]) // 2)
    assert painted(page) > 100
    weights = served.of(SERIES[1], "weights")
    expect(page.locator("#weights li")).to_have_count(len(weights["experts"]))
    assert page.locator("#reliability .nominal").count() > 0
    expect(page.locator("#health")).to_have_text("ready")
    expect(page.locator("#engine")).to_contain_text("mean time per event")


def painted(page: Page) -> int:
    """Returns the number of pixels of the chart that are not empty."""
    script = """() => {
      const canvas = document.querySelector("#fan canvas");
      const all = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data;
      return all.filter((one, i) => i % 4 === 3 && one).length;
    }"""
    found: int = page.evaluate(script)
    return found


def test_it_opens_on_the_most_interesting_series(page: Page, served: Served) -> None:
    """The list begins with the series that has anomalies; the first one is shown, with its skill in figures."""
    rows = served.get("/api/v1/series", params={"sort": "interest"}).json()["series"]
    assert rows[0]["id"] == "requests"
    expect(page.locator("#title")).to_have_text("requests")
    expect(page.locator("#series .name")).to_have_text([row["id"] for row in rows])
    expect(page.locator("#series .figure").first).to_contain_text("flagged")
    expect(page.locator("#quality")).to_contain_text("seasonal naive")

    page.locator("#sort").select_option("-skill")
    rows = served.get("/api/v1/series", params={"sort": "-skill"}).json()["series"]
    expect(page.locator("#series .name")).to_have_text([row["id"] for row in rows])
    expect(page.locator("#series .figure").first).to_contain_text(f"skill {rows[0]['quality']['skill']:.2f}")


def test_anomalies_lead_to_their_place(page: Page, served: Served) -> None:
    """Anomalies of the API are dots in the chart and entries of the list, with the expected range and a link."""
    choose(page, "host1")
    expect(page.locator("#title")).to_have_text(SERIES[0])
    flagged = [event for event in served.of("requests", "history", limit=200)["events"] if event["flagged"]]
    assert flagged, "the outlier is not flagged"
    (said,) = [one for one in served.get("/api/v1/anomalies").json()["anomalies"] if one["value"] > 200]
    entry = page.locator("#anomalies li", has_text=number(page, said["value"])).first
    expect(entry).to_contain_text(
        f"expected {number(page, said['expected_low'])} to {number(page, said['expected_high'])}"
    )

    entry.locator("button").click()
    expect(page.locator("#title")).to_have_text("requests")
    expect(page.locator("#fan")).to_have_attribute("data-anomalies", str(len(flagged)))
    expect(page.locator("#readout")).to_contain_text("flagged")
    expect(page.locator("#readout")).to_contain_text(f"observed {number(page, said['value'])}")
    page.locator("#whole").click()
    expect(page.locator("#whole")).to_be_hidden()


def number(page: Page, value: float) -> str:
    """Returns a number as the page writes it."""
    found: str = page.evaluate("value => import('./page/format.js').then(texts => texts.number(value))", value)
    return found


def test_values_are_read_by_pointer_and_keyboard(page: Page, served: Served) -> None:
    """The readout has time with seconds where needed, value, forecast of the chosen horizon and its interval."""
    choose(page, "requests")
    expect(page.locator("#past tbody tr")).to_have_count(50)
    chart = page.locator("#fan")
    chart.hover(position={"x": 400, "y": 100})
    expect(page.locator("#readout")).to_contain_text("observed")
    chart.focus()
    page.keyboard.press("Home")
    first = served.of("requests", "history", limit=200)["events"][0]
    at = datetime.fromtimestamp(first["timestamp_ms"] / 1000, UTC)
    expect(page.locator("#readout")).to_contain_text(f"{at:%Y-%m-%d %H:%M:%S}: observed {number(page, first['value'])}")
    page.keyboard.press("End")
    expect(page.locator("#readout")).to_contain_text("forecast 4 ahead, 90 % interval")
    page.keyboard.press("+")
    expect(page.locator("#whole")).to_be_visible()
    page.keyboard.press("0")
    expect(page.locator("#whole")).to_be_hidden()

    page.locator("#horizon").select_option("4")
    expect(page.locator("#past-key")).to_contain_text("made 4 steps before")
    said = served.of("requests", "history", limit=50, horizon=4)["events"]
    middle = len(said[-1]["forecasts"][0]) // 2
    expect(page.locator("#past tbody tr").first.locator("td").nth(1)).to_have_attribute(
        "data-value", str(said[-1]["forecasts"][0][middle])
    )
    page.locator("#from").fill(f"{datetime.fromtimestamp(said[-10]['timestamp_ms'] / 1000, UTC):%Y-%m-%d %H:%M:%S}")
    page.locator("#from").blur()
    expect(page.locator("#past tbody tr")).to_have_count(10)
    page.locator("#from").fill("yesterday")
    page.locator("#from").blur()
    expect(page.locator("#from")).to_have_attribute("aria-invalid", "true")


def test_several_series_at_once(page: Page) -> None:
    """Small charts of the first of the list; then those that were added, in one chart."""
    page.locator("#several summary").click()
    expect(page.locator("#small figure canvas")).to_have_count(len(SERIES))
    page.locator("#compare").click()
    expect(page.locator("#small figure canvas")).to_have_count(1)
    choose(page, "ü")
    page.locator("#compare").click()
    expect(page.locator("#small figure canvas")).to_have_count(2)
    page.locator("#several-mode").select_option("one")
    expect(page.locator("#small canvas")).to_have_count(1)
    expect(page.locator("#small .key")).to_have_text(["requests", SERIES[1]])


def test_ingest_is_a_picture(page: Page, served: Served) -> None:
    """Events by status with their shares, and the decisions on models."""
    found = served.get("/api/v1/ingest").json()
    expect(page.locator("#statuses")).to_contain_text(f"{found['events']['ok']:,} ")
    expect(page.locator("#models li")).to_contain_text(["champion", "first model"])


def test_why_this_forecast(page: Page, served: Served) -> None:
    """The panel has the words of the API for the chosen step, a row per member, and says that the forecast is equal."""
    choose(page, "host1")
    page.locator("#explained summary").click()
    said = served.of(SERIES[0], "explain")
    expect(page.locator("#explain .explain-words")).to_have_text(said["words"])
    expect(page.locator("#explain")).to_contain_text("Equal to the published forecast bit for bit")
    members = page.locator("#explain table").first.locator("tbody tr")
    expect(members).to_have_count(len(said["members"]) + 4)
    expect(members.last).to_contain_text("forecast (median)")
    page.locator("#explain select").select_option("4")
    expect(page.locator("#explain .explain-words")).to_have_text(served.of(SERIES[0], "explain", horizon=4)["words"])


def test_what_if(page: Page) -> None:
    """Other known future values are drawn beside the actual ones and can be read; what is no number draws nothing."""
    page.locator("#supposed summary").click()
    field, said = page.locator("#whatif input"), page.locator("#whatif [role=status]").last
    expect(field).to_have_attribute("placeholder", "2, 2, 2.2, 2.2")
    expect(page.locator("#whatif canvas")).to_have_count(1)
    field.fill("4.4")
    expect(said).to_contain_text("4 of 4 steps have another value.")
    expect(said).to_contain_text("The forecasts of the daemon stay as they are.")
    field.fill(", 2.4")
    expect(said).to_contain_text("1 of 4 steps have another value.")
    page.locator("#whatif [role=application]").focus()
    page.keyboard.press("Home")
    expect(page.locator("#whatif .whatif-fan [role=status]")).to_contain_text("with these values")
    page.locator("#theme").click()
    expect(page.locator("#whatif canvas")).to_have_count(1)
    page.locator("#theme").click()
    field.fill("x2")
    expect(page.locator("#whatif .explain-problem")).to_contain_text("x2")
    expect(page.locator("#whatif canvas")).to_have_count(0)


def test_replicas(page: Page) -> None:
    """A scale shows the replicas that it wants."""
    expect(page.locator("#scales tbody tr")).to_contain_text(["web"])


TEXTS = """
import('./page/format.js').then((f) => {
  f.useZone('Europe/Berlin');
  const day = Date.UTC(2026, 10, 30, 22, 30);
  const found = {
    bytes: f.tickTexts([18, 19, 20].map((half) => half * 2 ** 31), 'bytes'),
    far: f.tickTexts([4e10, 4.00002e10, 4.00004e10]),
    large: f.tickTexts([0, 2e6, 4e6]), fine: f.tickTexts([0.1, 0.15, 0.2]), below: f.tickTexts([-2000, -1000]),
    share: f.tickTexts([0, 0.25, 0.5], 'ratio'), wait: f.tickTexts([0.001, 0.002], 'seconds'),
    numbers: [
      f.number(null), f.number(0), f.number(1234.5), f.number(-0.05), f.number(12345678), f.number(4.0e10, 'bytes'),
      f.number(0.5, 'ratio'), f.number(1e9 + 0.25, '', 1), f.number(97.25, 'percent'), f.number(0.0025, 'seconds'),
    ],
    units: ['used_bytes{host="a"}', 'cpu_percent', 'hit_ratio', 'duration_seconds', 'orders', 'bytesize'].map(f.unitOf),
    seconds: f.timeTexts([day / 1000, day / 1000 + 5], 5), hours: f.timeTexts([day / 1000, day / 1000 + 3600], 3600),
    days: f.timeTexts([day / 1000, day / 1000 + 86400], 86400), tenths: f.timeTexts([day / 1000 + 0.5], 0.5),
    times: [f.time(day, 60000), f.time(day + 5000, 1000), f.time(day + 5250, 250), f.time(day + 1800000, 86400000)],
    zone: [
      f.zoneName(day), f.timeOf('2026-11-30 23:30'), f.timeOf('2026-07-01'), f.timeOf(''), f.timeOf('2026-1') ?? 'none',
    ],
    lengths: [1000, 60000, 5400000, 86400000, 250].map(f.duration), day,
  };
  f.useZone('UTC');
  return found;
})
"""


def test_texts_of_numbers_and_times(page: Page) -> None:
    """Ticks share a prefix and have the decimals of their distance; times are of 24 hours, with zone and date."""
    found = page.evaluate(TEXTS)
    day = found["day"]
    assert found["bytes"] == ["36 GiB", "38 GiB", "40 GiB"]
    assert found["far"] == ["40.0000 G", "40.0002 G", "40.0004 G"]
    assert found["large"] == ["0", "2 M", "4 M"]
    assert found["fine"] == ["0.10", "0.15", "0.20"]
    assert found["share"] == ["0 %", "25 %", "50 %"]
    assert found["wait"] == ["1 ms", "2 ms"]
    assert found["below"] == ["\u22122000", "\u22121000"]
    assert found["numbers"] == [
        "\u2013", "0", "1235", "\u22120.05", "12.35 M", "37.25 GiB", "50 %", "1.00000000025 G", "97.25 %", "2.5 ms",
    ]  # fmt: skip
    assert found["units"] == ["bytes", "percent", "ratio", "seconds", "", ""]
    assert found["seconds"] == ["23:30:00\n30 Nov 2026", "23:30:05"]
    assert found["hours"] == ["23:30\n30 Nov 2026", "00:30\n1 Dec"]
    assert found["days"] == ["30 Nov\n2026", "1 Dec"]
    assert found["tenths"] == ["23:30:00.500\n30 Nov 2026"]
    assert found["times"] == ["2026-11-30 23:30", "2026-11-30 23:30:05", "2026-11-30 23:30:05.250", "2026-12-01"]
    assert found["zone"] == ["Europe/Berlin, UTC+01:00", day, 1782856800000, None, "none"]
    assert found["lengths"] == ["1 s", "1 min", "90 min", "1 d", "250 ms"]


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
    expect(page.locator("#fan canvas")).to_be_visible()
    page.locator("#several summary").click()
    expect(page.locator("#small canvas").first).to_be_visible()
    theme = page.evaluate("document.documentElement.dataset.theme")
    for name, width in ((theme, 1200), (f"narrow-{theme}", 360)):
        page.set_viewport_size({"width": width, "height": 900 if width > 400 else 1500})
        found = Axe().run(page)
        assert [(each["id"], each["impact"]) for each in found.response["violations"]] == []
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        if PICTURES and name != "narrow-dark":
            page.locator("#search").press("Escape")
            expect(page.locator("#series li")).to_have_count(len(SERIES))
            page.evaluate("document.activeElement.blur()")
            page.screenshot(path=str(Path(PICTURES) / f"page-{name}.png"), full_page=width > 400)


def newest_of(served: Served) -> str:
    """Returns the newest value of the first series, as JavaScript writes it."""
    return str(served.of(SERIES[0], "history", limit=1)["events"][0]["value"]).removesuffix(".0")


def test_lives_through_a_restart(page: Page, served: Served) -> None:
    """The page shows new events without a reload, announces a stopped daemon, and continues after its restart."""
    choose(page, "host1")
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
    for path in ("/", "/page/main.js", "/page/style.css", "/page/icon.svg", "/page/vendor/uplot/uPlot.iife.min.js"):
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
