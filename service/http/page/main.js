// The page: the chosen series, its recorded events, and live updates.

import { meanSeconds, metricsText, request, requestSeries, scalesOf } from "./data.js";
import { make, quiet } from "./elements.js";
import { listen } from "./events.js";
import { columns, drawFan, fillTables, intervalName, median, readout, spanOf } from "./fan.js";
import { duration, number, time, timeOf, unitOf, UNITS, useZone, zoneInUse } from "./format.js";
import { explainer } from "./explained.js";
import { redrawFlow, sampleFlow, showEngine, showIngest } from "./ingest.js";
import { seriesList } from "./lists.js";
import { qualityText, showReliability, showScales, showSkill, showWeights } from "./panels.js";
import { several } from "./several.js";
import { showAlerts, showAnomalies, showModels } from "./timeline.js";

const SLOW = 5000; // milliseconds between two requests for slowly changing data
const CHOSEN = 40; // steps shown before a place that was linked to, and half as many behind it

const $ = (id) => document.getElementById(id);
const state = { series: null, levels: [], events: [], forecast: null, quality: null, anomalies: [], count: null, rate: null, latency: null };
const units = new Map(); // chosen by a person, by identifier
let chart = null;
let shape = "";
let stop = () => {};
let drawing = false;
let beginning = false;

function banner(text) {
  if ($("banner").textContent !== text) $("banner").textContent = text;
  $("banner").hidden = !text;
}

/** Returns what is drawn, with unit and precision. */
function shown() {
  const name = state.series.id;
  const step = state.forecast?.interval_ms || stepOf(state.events);
  return { ...state, name, unit: units.get(name) ?? unitOf(name), span: spanOf(state.events), step, horizon: Number($("horizon").value) || 1 };
}

function stepOf(events) {
  const times = events.map((event) => event.timestamp_ms);
  const gaps = times.slice(1).map((ms, i) => ms - times[i]).filter((gap) => gap > 0);
  return gaps.length ? Math.min(...gaps) : 1000;
}

function draw() {
  if (!state.series) return;
  const found = shown();
  if (!state.events.length && !state.forecast) {
    endChart();
    $("fan").replaceChildren(quiet("No events recorded yet; recording starts with the next one."));
  } else {
    const wanted = JSON.stringify([found.name, state.series.partition, found.unit, found.levels, zoneInUse()]);
    if (chart && shape === wanted) chart.set(columns(found.levels, found.events, found.forecast));
    else {
      endChart();
      $("fan").replaceChildren();
      chart = drawFan($("fan"), found, {
        readout: (index) => {
          $("readout").textContent = index === null ? hint : readout(shown(), index);
        },
        zoomed: (range) => {
          $("whole").hidden = range === null;
        },
      });
      shape = wanted;
    }
  }
  $("fan").dataset.anomalies = state.events.filter((event) => event.flagged && event.value !== null).length;
  $("fan").dataset.intervals = Math.floor(state.levels.length / 2);
  $("unit").value = found.unit;
  fillTables($("ahead"), $("past"), found);
  describe(found);
}

const hint = "Point at the chart, or focus it and use the arrow keys, for values. Drag to zoom.";

function endChart() {
  chart?.end();
  chart = null;
  shape = "";
}

/** Describes the newest value, the next forecast and the quality in words; fills the legend. */
function describe(found) {
  const last = state.events.at(-1);
  const next = state.forecast?.interval_ms ? state.forecast.quantiles[0] : null;
  const text = (value) => number(value, found.unit, found.span);
  const name = found.levels.length > 1 ? intervalName(found.levels[0], found.levels.at(-1)) : "interval";
  const parts = [];
  if (last) parts.push(`Last ${text(last.value)} at ${time(last.timestamp_ms, found.step)}.`);
  else parts.push("No events recorded yet; recording starts with the next one.");
  if (next) parts.push(`Next expected ${text(median(found.levels, next))}; ${name} ${text(next[0])} to ${text(next.at(-1))}.`);
  else if (last) parts.push("The first forecast follows the next event.");
  if (state.forecast?.interval_ms) parts.push(`One step is ${state.forecast.interval ?? duration(state.forecast.interval_ms)}.`);
  $("summary").textContent = parts.join(" ");
  $("quality").textContent = qualityText(state.quality, found.unit);
  const pairs = found.levels.slice(0, Math.floor(found.levels.length / 2)).map((level, j) => intervalName(level, found.levels.at(-1 - j)));
  $("intervals").textContent = pairs.length ? `forecast with its ${pairs.join(", ").replaceAll(" interval", "")} intervals` : "forecast";
  $("past-key").textContent = `forecast made ${found.horizon} ${found.horizon === 1 ? "step" : "steps"} before, with its ${name}`;
}

function redraw() {
  if (drawing) return; // at most one redraw per animation frame
  drawing = true;
  requestAnimationFrame(() => {
    drawing = false;
    draw();
  });
}

/** Returns the query for the history: the newest events, or those of the entered times. */
function historyOptions(at) {
  const options = { limit: $("range").value, horizon: $("horizon").value || 1 };
  for (const id of ["from", "to"]) {
    const ms = timeOf($(id).value);
    $(id).setAttribute("aria-invalid", String(ms === undefined));
    if (Number.isFinite(ms)) options[id] = ms;
  }
  if (at) return { limit: 20_000, horizon: options.horizon };
  return options;
}

async function load(series, at = 0) {
  const [past, now] = await Promise.all([
    requestSeries(series, "history", historyOptions(at)).catch((error) => {
      if (error.status !== 400) throw error;
      $("horizon").value = 1; // of a series with other horizons
      return requestSeries(series, "history", { ...historyOptions(at), horizon: 1 });
    }),
    requestSeries(series, "forecast"),
  ]);
  if (state.series !== series) return;
  Object.assign(state, { events: past.events, forecast: now.forecast, levels: now.forecast?.levels ?? past.levels, quality: now.quality });
  fillHorizons(past.remembered);
  draw();
  if (at) showPlace(at);
  await updateSlow();
}

function fillHorizons(horizons) {
  const field = $("horizon");
  const before = field.value;
  if (horizons.length && [...field.options].map((one) => one.value).join() !== horizons.join()) {
    field.replaceChildren(...horizons.map((h) => make("option", { value: h, textContent: h })));
    field.value = horizons.includes(Number(before)) ? before : horizons[0];
  }
}

/** Zooms to a time, and reads the value there. */
function showPlace(ms) {
  const index = state.events.findIndex((event) => event.timestamp_ms === ms);
  if (!chart || index < 0) return;
  const step = stepOf(state.events) / 1000;
  chart.zoom(ms / 1000 - CHOSEN * step, ms / 1000 + (CHOSEN / 2) * step);
  requestAnimationFrame(() => chart?.hover(index));
}

/** Updates slowly changing data: models, anomalies, alerts, ingest; weights, skill and coverage of the series. */
async function updateSlow() {
  await Promise.all([
    ...(state.series ? aboutSeries(state.series) : []),
    request("anomalies", { limit: 20 }).then((found) => {
      state.anomalies = found.anomalies;
      showAnomalies($("anomalies"), state.anomalies, go);
    }),
    request("alerts", { limit: 20 }).then((found) => showAlerts($("alerts"), found, go)),
    request("models", { limit: 100 }).then((found) => showModels($("decisions"), $("models"), found)),
    request("ingest").then((found) => showIngest($("statuses"), $("rejected"), found)),
    metricsText().then((text) => {
      state.latency = meanSeconds(text, "forecaster_event_duration_seconds");
      showScales($("scales-section"), $("scales"), scalesOf(text));
    }),
  ]);
}

/** Updates the panels about one series; returns the promises. */
function aboutSeries(series) {
  const current = (showing) => (found) => state.series === series && showing(found);
  return [
    requestSeries(series, "calibration").then(current((found) => {
      showReliability($("reliability"), found);
      showSkill($("skill"), found, shown().unit);
    })),
    requestSeries(series, "weights").then(current((found) => showWeights($("weights"), found))),
    requestSeries(series, "forecast").then(current((found) => {
      state.quality = found.quality;
      describe(shown());
    })),
  ];
}

const handlers = {
  open() {
    if (!$("banner").hidden) begin(); // the list of a daemon that has started again
    banner("");
    // A daemon that has just started has no recorded events of a series before its next event; the chart stays until then.
    if (state.series) load(state.series, state.at).catch((error) => error.status === 404 || banner(error.message));
    state.at = 0;
  },
  disconnected() {
    banner("The daemon does not answer. Reconnecting …");
    $("health").textContent = "disconnected";
    $("health").className = "pill bad";
  },
  event(event) {
    const wanted = state.series;
    if (!wanted || event.series !== wanted.id || event.partition !== wanted.partition) return;
    const one = state.forecast?.interval_ms && $("horizon").value === "1" ? state.forecast.quantiles[0] : null;
    state.forecast = event.forecast;
    if (event.forecast) state.levels = event.forecast.levels;
    explained.newEvent();
    if (!$("to").value) state.events = [...state.events, { ...event, forecasts: [one] }].slice(-Number($("range").value));
    redraw();
  },
  anomaly(row) {
    state.anomalies = [row, ...state.anomalies].slice(0, 20);
    showAnomalies($("anomalies"), state.anomalies, go);
  },
  status(status) {
    const sum = (key) => Object.values(status.partitions).reduce((total, each) => total + (Number(each[key]) || 0), 0);
    const events = sum("events");
    const now = performance.now();
    if (state.count && now > state.count.at) state.rate = Math.max(0, (1000 * (events - state.count.events)) / (now - state.count.at));
    state.count = { events, at: now };
    showEngine($("engine"), $("health"), status, state.rate, state.latency);
    sampleFlow($("flow"), state.rate, sum("lag"));
    if (!state.series) begin();
  },
  lost() {
    if (state.series) load(state.series).catch(() => {});
  },
};

/** Loads the list, and chooses the series of the address, or the first of the list: the most interesting one. */
function begin() {
  if (beginning) return; // a newer request would replace one that takes longer than the time between two messages
  beginning = true;
  list.load().then((rows) => {
    if (!state.series && (fromHash() ?? rows[0])) choose(fromHash() ?? rows[0]);
  }).catch(() => {}).finally(() => {
    beginning = false;
  });
}

function choose(series, at = 0) {
  if (state.series && state.series.id === series.id && state.series.partition === series.partition) {
    if (at) load(state.series, at).catch(() => {});
    return;
  }
  state.series = { id: series.id, partition: series.partition };
  Object.assign(state, { events: [], forecast: null, levels: [], quality: null, at });
  $("title").textContent = series.id;
  $("readout").textContent = hint;
  $("tools").hidden = false;
  endChart();
  $("fan").replaceChildren();
  document.title = `${series.id} – forecaster`;
  list.mark(series);
  explained.of(state.series);
  history.replaceState(null, "", `#${new URLSearchParams({ series: series.id, partition: series.partition })}`);
  stop();
  stop = listen(state.series, handlers);
}

/** Leads to a series at a time. */
function go(series, ms) {
  $("main").scrollIntoView({ block: "start" });
  choose(series, ms);
}

function fromHash() {
  const hash = new URLSearchParams(location.hash.slice(1));
  return hash.get("series") ? { id: hash.get("series"), partition: hash.get("partition") ?? "" } : null;
}

function theme(dark) {
  document.documentElement.dataset.theme = dark ? "dark" : "light";
  $("theme").setAttribute("aria-pressed", String(dark));
  chart?.redraw();
  redrawFlow();
  compared.redraw();
  explained.redraw();
}

const list = seriesList(choose);
const compared = several(choose, list.rows);
const explained = explainer();
const preferred = matchMedia("(prefers-color-scheme: dark)");
theme(localStorage.getItem("theme") ? localStorage.getItem("theme") === "dark" : preferred.matches);
preferred.addEventListener("change", () => localStorage.getItem("theme") || theme(preferred.matches));
$("theme").addEventListener("click", () => {
  const dark = document.documentElement.dataset.theme !== "dark";
  localStorage.setItem("theme", dark ? "dark" : "light");
  theme(dark);
});

const local = zoneInUse();
$("zone").replaceChildren(...[...new Set([local, "UTC"])].map((name) => make("option", { value: name, textContent: name })));
$("zone").addEventListener("change", () => {
  useZone($("zone").value);
  redraw();
  list.load().catch(() => {});
  updateSlow().catch(() => {});
  compared.update().catch(() => {});
});
$("unit").replaceChildren(...Object.entries(UNITS).map(([value, textContent]) => make("option", { value, textContent })));
$("unit").addEventListener("change", () => {
  units.set(state.series.id, $("unit").value);
  redraw();
  updateSlow().catch(() => {});
});
for (const id of ["range", "horizon", "from", "to"]) {
  $(id).addEventListener("change", () => state.series && load(state.series).catch((error) => banner(error.message)));
}
$("whole").addEventListener("click", () => chart?.whole());
$("compare").addEventListener("click", () => state.series && compared.add(state.series));
addEventListener("hashchange", () => {
  const wanted = fromHash();
  if (wanted) choose(wanted);
});
stop = listen(null, handlers);
begin(); // not after the stream of events is open: the list and the first chart need no events
setInterval(() => document.hidden || updateSlow().catch(() => {}), SLOW);
