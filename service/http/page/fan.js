// The chart of one series: observations, their forecasts of one horizon, and the fan of the newest forecast.

import { plot } from "./charts.js";
import { make } from "./elements.js";
import { number, time } from "./format.js";

const HEIGHT = 340;

/** Returns the quantile whose level is nearest to 0.5. */
export function median(levels, row) {
  let best = 0;
  levels.forEach((level, j) => {
    if (Math.abs(level - 0.5) < Math.abs(levels[best] - 0.5)) best = j;
  });
  return row[best];
}

/** Returns the steps of a forecast with their times; empty while the interval is unknown. */
export function steps(forecast) {
  if (!forecast || !forecast.targets_ms.length) return [];
  return forecast.quantiles.map((row, h) => ({ at: forecast.targets_ms[h], row }));
}

/** Names the interval between two levels. */
export function intervalName(low, high) {
  return `${Number((100 * (high - low)).toFixed(2))} % interval`;
}

/** Returns the range of the values, which sets the precision of their texts. */
export function spanOf(events) {
  const values = events.map((event) => event.value).filter((value) => value !== null);
  return values.length ? Math.max(...values) - Math.min(...values) : 0;
}

/** Returns the columns of the chart: time, observed, anomalies, past median, low and high, median ahead, pairs ahead. */
export function columns(levels, events, forecast) {
  const past = [...events].sort((a, b) => a.timestamp_ms - b.timestamp_ms);
  const newest = past.findLast((event) => event.value !== null);
  const ahead = steps(forecast).filter((step) => !past.length || step.at > past.at(-1).timestamp_ms);
  const times = [...past.map((event) => event.timestamp_ms / 1000), ...ahead.map((step) => step.at / 1000)];
  const behind = (pick) => [...past.map(pick), ...ahead.map(() => null)];
  const joined = (pick) => [
    ...past.map((event) => (ahead.length && event === newest && event === past.at(-1) ? event.value : null)),
    ...ahead.map((step) => pick(step.row)),
  ];
  const made = (pick) => (event) => (event.forecasts[0] ? pick(event.forecasts[0]) : null);
  const found = [
    times, behind((event) => event.value), behind((event) => (event.flagged ? event.value : null)),
    behind(made((row) => median(levels, row))), behind(made((row) => row[0])), behind(made((row) => row.at(-1))),
    joined((row) => median(levels, row)),
  ];
  for (let j = 0; j < Math.floor(levels.length / 2); j += 1) {
    found.push(joined((row) => row[levels.length - 1 - j]), joined((row) => row[j]));
  }
  return found;
}

/** Creates the chart of a series; see `plot` of charts.js for what it returns. */
export function drawFan(element, shown, on) {
  const pairs = Math.floor(shown.levels.length / 2);
  const hidden = { width: 0 };
  return plot(element, {
    name: shown.name, unit: shown.unit, height: HEIGHT, readout: on.readout, zoomed: on.zoomed,
    lines: [
      { label: "observed", colour: "text", width: 1.6 },
      { label: "anomaly", colour: "anomaly", dots: true },
      { label: "forecast", colour: "past", width: 1.3, dash: [4, 3] },
      hidden, hidden,
      { label: "ahead", colour: "band", width: 2 },
      ...Array(2 * pairs).fill(hidden),
    ],
    bands: [
      { upper: 5, lower: 4, colour: "past", opacity: 0.14 },
      ...[...Array(pairs).keys()].map((j) => ({ upper: 7 + 2 * j, lower: 8 + 2 * j, colour: "band", opacity: 0.18 })),
    ],
  }, columns(shown.levels, shown.events, shown.forecast));
}

/** Describes one place of the chart in words. */
export function readout(shown, index) {
  const past = [...shown.events].sort((a, b) => a.timestamp_ms - b.timestamp_ms);
  const ahead = steps(shown.forecast).filter((step) => !past.length || step.at > past.at(-1).timestamp_ms);
  const text = (value) => number(value, shown.unit, shown.span);
  const name = shown.levels.length > 1 ? intervalName(shown.levels[0], shown.levels.at(-1)) : "";
  const between = (row) => (name ? `, ${name} ${text(row[0])} to ${text(row.at(-1))}` : "");
  if (index >= past.length) {
    const step = ahead[index - past.length];
    if (!step) return "";
    return `${time(step.at, shown.step)}: ${text(median(shown.levels, step.row))} forecast ${index - past.length + 1} ahead${between(step.row)}`;
  }
  const event = past[index];
  const row = event.forecasts[0];
  const parts = [`${time(event.timestamp_ms, shown.step)}: observed ${text(event.value)}`];
  if (row) parts.push(`forecast ${shown.horizon} before ${text(median(shown.levels, row))}${between(row)}`);
  if (event.anomaly !== null) parts.push(`anomaly score ${number(event.anomaly)}${event.flagged ? ", flagged" : ""}`);
  return parts.join("; ");
}

/** Fills both tables with the values of the chart. */
export function fillTables(ahead, past, shown) {
  const { levels, unit, span } = shown;
  const head = levels.map((level) => make("th", { scope: "col", textContent: `${Number((100 * level).toFixed(2))} %` }));
  ahead.tHead.replaceChildren(make("tr", {}, make("th", { scope: "col", textContent: "time" }), ...head));
  ahead.tBodies[0].replaceChildren(...steps(shown.forecast).map((step) =>
    make("tr", {}, make("th", { scope: "row", textContent: time(step.at, shown.step) }),
      ...step.row.map((value) => cell(value, unit, span)))));
  past.tBodies[0].replaceChildren(...shown.events.slice(-50).reverse().map((event) =>
    make("tr", {}, make("th", { scope: "row", textContent: time(event.timestamp_ms, shown.step) }), cell(event.value, unit, span),
      cell(event.forecasts[0] ? median(levels, event.forecasts[0]) : null, unit, span),
      make("td", { textContent: `${number(event.anomaly)}${event.flagged ? " flagged" : ""}` }))));
}

function cell(value, unit, span) {
  const found = make("td", { textContent: number(value, unit, span) });
  if (value !== null) found.dataset.value = value;
  return found;
}
