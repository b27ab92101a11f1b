// The page: the chosen series, its recorded events, and live updates.

import { request, requestSeries, meanSeconds } from "./api.js";
import { listen } from "./events.js";
import { drawFan, fillTables, median, spanOf } from "./fan.js";
import { showAlerts, showAnomalies, showEngine, showModels, showReliability, showWeights } from "./panels.js";
import { picker } from "./picker.js";
import { clock, short } from "./svg.js";

const SHOWN = 200; // events in the chart
const SLOW = 5000; // milliseconds between two requests for slowly changing data

const $ = (id) => document.getElementById(id);
const state = { series: null, levels: [], events: [], forecast: null, anomalies: [], count: null, rate: null, latency: null };
let stop = () => {};
let drawing = false;

function banner(text) {
  if ($("banner").textContent !== text) $("banner").textContent = text;
  $("banner").hidden = !text;
}

function draw() {
  if (!state.series) return;
  drawFan($("fan"), state.series.id, state.levels, state.events, state.forecast);
  fillTables($("ahead"), $("past"), state.levels, state.events, state.forecast);
  const last = state.events.at(-1);
  const next = state.forecast?.interval_ms ? state.forecast.quantiles[0] : null;
  const span = spanOf(state.levels, state.events, state.forecast);
  $("summary").textContent = last
    ? `Last ${short(last.value, span)} at ${clock(last.timestamp_ms, true)}.${next ? ` Next expected ${short(median(state.levels, next), span)}, between ${short(next[0], span)} and ${short(next.at(-1), span)}.` : " The first forecast follows the next event."}`
    : "No events recorded yet; recording starts with the next one.";
}

function redraw() {
  if (drawing) return; // at most one redraw per animation frame
  drawing = true;
  requestAnimationFrame(() => {
    drawing = false;
    draw();
  });
}

async function load(series) {
  const [past, now] = await Promise.all([
    requestSeries(series, "history", { limit: SHOWN, horizon: 1 }),
    requestSeries(series, "forecast"),
  ]);
  if (state.series !== series) return;
  state.events = past.events;
  state.forecast = now.forecast;
  state.levels = now.forecast?.levels ?? past.levels;
  redraw();
  await updateSlow();
}

/** Updates slowly changing data: models, anomalies, weights, coverage. */
async function updateSlow() {
  const series = state.series;
  const [models, anomalies, alerts, latency] = await Promise.all([
    request("models", { limit: 100 }), request("anomalies", { limit: 20 }), request("alerts", { limit: 20 }),
    meanSeconds("forecaster_event_duration_seconds"),
  ]);
  state.latency = latency;
  showModels($("models"), models);
  showAlerts($("alerts"), alerts);
  state.anomalies = anomalies.anomalies;
  showAnomalies($("anomalies"), state.anomalies);
  if (!series) return;
  const [weights, reliability] = await Promise.all([requestSeries(series, "weights"), requestSeries(series, "calibration")]);
  if (state.series !== series) return;
  showWeights($("weights"), weights);
  showReliability($("reliability"), reliability);
}

const handlers = {
  open() {
    banner("");
    list.load().then((rows) => {
      if (!state.series && rows.length) choose(fromHash() ?? rows[0]);
    }).catch(() => {});
    // A daemon that has just started has no recorded events of a series before its next event; the chart stays until then.
    if (state.series) load(state.series).catch((error) => error.status === 404 || banner(error.message));
  },
  disconnected() {
    banner("The daemon does not answer. Reconnecting …");
    $("health").textContent = "disconnected";
    $("health").className = "pill bad";
  },
  event(event) {
    const wanted = state.series;
    if (!wanted || event.series !== wanted.id || event.partition !== wanted.partition) return;
    const one = state.forecast?.interval_ms ? state.forecast.quantiles[0] : null;
    state.events = [...state.events, { ...event, forecasts: [one] }].slice(-SHOWN);
    state.forecast = event.forecast;
    if (event.forecast) state.levels = event.forecast.levels;
    redraw();
  },
  anomaly(row) {
    state.anomalies = [row, ...state.anomalies].slice(0, 20);
    showAnomalies($("anomalies"), state.anomalies);
  },
  status(status) {
    const events = Object.values(status.partitions).reduce((sum, each) => sum + (Number(each.events) || 0), 0);
    const now = performance.now();
    if (state.count && now > state.count.at) state.rate = Math.max(0, (1000 * (events - state.count.events)) / (now - state.count.at));
    state.count = { events, at: now };
    showEngine($("engine"), $("health"), status, state.rate, state.latency);
    if (!state.series) list.load().then((rows) => rows.length && choose(fromHash() ?? rows[0])).catch(() => {});
  },
  lost() {
    if (state.series) load(state.series).catch(() => {});
  },
};

function choose(series) {
  if (state.series && state.series.id === series.id && state.series.partition === series.partition) return;
  state.series = { id: series.id, partition: series.partition };
  Object.assign(state, { events: [], forecast: null, levels: [] });
  $("title").textContent = series.id;
  draw(); // clears the chart of the previous series
  document.title = `${series.id} – forecaster`;
  list.mark(series);
  history.replaceState(null, "", `#${new URLSearchParams({ series: series.id, partition: series.partition })}`);
  stop();
  stop = listen(state.series, handlers);
}

function fromHash() {
  const hash = new URLSearchParams(location.hash.slice(1));
  return hash.get("series") ? { id: hash.get("series"), partition: hash.get("partition") ?? "" } : null;
}

function theme(dark) {
  document.documentElement.dataset.theme = dark ? "dark" : "light";
  $("theme").setAttribute("aria-pressed", String(dark));
}

const preferred = matchMedia("(prefers-color-scheme: dark)");
theme(localStorage.getItem("theme") ? localStorage.getItem("theme") === "dark" : preferred.matches);
preferred.addEventListener("change", () => localStorage.getItem("theme") || theme(preferred.matches));
$("theme").addEventListener("click", () => {
  const dark = document.documentElement.dataset.theme !== "dark";
  localStorage.setItem("theme", dark ? "dark" : "light");
  theme(dark);
});
addEventListener("hashchange", () => {
  const wanted = fromHash();
  if (wanted) choose(wanted);
});
addEventListener("resize", redraw);
const list = picker(choose);
stop = listen(null, handlers);
setInterval(() => document.hidden || updateSlow().catch(() => {}), SLOW);
