// The chart of one series: observations, their 1-step-ahead forecasts, and the fan of the newest forecast.

import { clock, draw, make, path, picture, scale, short, ticks } from "./svg.js";

const NARROWEST = 300;
const HEIGHT = 320;
const LEFT = 56; // minimum; longer tick labels need more
const DIGIT = 7; // width of a digit of a tick label
const RIGHT = 12;
const TOP = 10;
const BOTTOM = 26;

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

/** Returns the range of the values in the chart, which sets the precision of its numbers. */
export function spanOf(levels, events, forecast) {
  const numbers = shown(levels, events, steps(forecast));
  return numbers.length ? Math.max(...numbers) - Math.min(...numbers) : 0;
}

function shown(levels, events, ahead) {
  return [
    ...events.map((event) => event.value),
    ...events.map((event) => (event.forecasts[0] ? median(levels, event.forecasts[0]) : null)),
    ...ahead.flatMap((step) => [step.row[0], step.row[step.row.length - 1]]),
  ].filter((value) => value !== null && Number.isFinite(value));
}

/** Replaces the content of the element by the chart. */
export function drawFan(element, name, levels, events, forecast) {
  const ahead = steps(forecast);
  const numbers = shown(levels, events, ahead);
  if (!numbers.length) {
    element.replaceChildren(make("p", { className: "quiet", textContent: "No events recorded yet." }));
    return;
  }
  const width = Math.max(NARROWEST, element.clientWidth); // one unit is one pixel, so that text stays readable on a phone
  const times = [...events.map((event) => event.timestamp_ms), ...ahead.map((step) => step.at)];
  const low = Math.min(...numbers);
  const high = Math.max(...numbers);
  const span = high - low;
  const pad = 0.05 * (span || Math.abs(high) || 1);
  const grid = ticks(low - pad, high + pad, 5);
  const left = Math.max(LEFT, 12 + DIGIT * Math.max(0, ...grid.map((tick) => short(tick, span).length)));
  const x = scale(Math.min(...times), Math.max(...times), left, width - RIGHT);
  const y = scale(low - pad, high + pad, HEIGHT - BOTTOM, TOP);
  const chart = picture(width, HEIGHT, `History and forecast of ${name}`, "The table below has the same values");

  for (const tick of grid) {
    chart.append(draw("path", { class: "grid", d: `M${left} ${y(tick)}H${width - RIGHT}` }));
    chart.append(draw("text", { x: left - 6, y: y(tick) + 4, "text-anchor": "end" }, short(tick, span)));
  }
  const first = Math.min(...times);
  const last = Math.max(...times);
  const marks = Math.max(1, Math.min(4, Math.floor(width / 180)));
  for (let i = 0; i <= marks; i += 1) {
    const at = first + ((last - first) * i) / marks;
    const anchor = i === 0 ? "start" : i === marks ? "end" : "middle";
    chart.append(draw("text", { x: x(at), y: HEIGHT - 8, "text-anchor": anchor }, clock(at)));
  }
  if (ahead.length) {
    const newest = events.findLast((event) => event.value !== null);
    const from = newest ? [{ at: newest.timestamp_ms, row: levels.map(() => newest.value) }] : [];
    const fan = [...from, ...ahead];
    for (let j = 0; j < Math.floor(levels.length / 2); j += 1) {
      const upper = fan.map((step) => [x(step.at), y(step.row[levels.length - 1 - j])]);
      const lower = fan.map((step) => [x(step.at), y(step.row[j])]).reverse();
      chart.append(draw("path", { class: "band", d: `${path([...upper, ...lower])}Z` }));
    }
    chart.append(draw("path", { class: "ahead-line", d: path(fan.map((step) => [x(step.at), y(median(levels, step.row))])) }));
  }
  const past = events.map((event) => (event.forecasts[0] ? [x(event.timestamp_ms), y(median(levels, event.forecasts[0]))] : null));
  chart.append(draw("path", { class: "past-line", d: path(past) }));
  const observed = events.map((event) => (event.value === null ? null : [x(event.timestamp_ms), y(event.value)]));
  chart.append(draw("path", { class: "observed-line", d: path(observed) }));
  for (const event of events.filter((each) => each.flagged && each.value !== null)) {
    chart.append(draw("circle", { class: "anomaly-dot", r: 5, cx: x(event.timestamp_ms), cy: y(event.value) },
      draw("title", {}, `anomaly ${short(event.anomaly)}, ${short(event.value, span)} at ${clock(event.timestamp_ms, true)}`)));
  }
  element.replaceChildren(chart);
}

/** Fills both tables with the values of the chart. */
export function fillTables(ahead, past, levels, events, forecast) {
  const span = spanOf(levels, events, forecast);
  const head = levels.map((level) => make("th", { scope: "col", textContent: `${short(100 * level)} %` }));
  ahead.tHead.replaceChildren(make("tr", {}, make("th", { scope: "col", textContent: "time" }), ...head));
  ahead.tBodies[0].replaceChildren(...steps(forecast).map((step) =>
    make("tr", {}, make("th", { scope: "row", textContent: clock(step.at, true) }),
      ...step.row.map((value) => numbered(value, span)))));
  past.tBodies[0].replaceChildren(...events.slice(-50).reverse().map((event) =>
    make("tr", {}, make("th", { scope: "row", textContent: clock(event.timestamp_ms, true) }), numbered(event.value, span),
      numbered(event.forecasts[0] ? median(levels, event.forecasts[0]) : null, span),
      make("td", { textContent: `${short(event.anomaly)}${event.flagged ? " flagged" : ""}` }))));
}

function numbered(value, span) {
  const cell = make("td", { textContent: short(value, span) });
  if (value !== null) cell.dataset.value = value;
  return cell;
}
