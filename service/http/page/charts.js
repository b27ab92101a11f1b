// Charts of uPlot in the colours of the page: axes with units and zone, zoom, a readout for pointer and keyboard.

/* global uPlot */

import { tickTexts, timeTexts, zoneInUse, zoneName } from "./format.js";

const FONT = "12px system-ui, sans-serif";
const BINARY_STEPS = [...Array(50).keys()].map((power) => 2 ** power);
const LETTER = 7; // pixels of a letter of a tick
const NARROWEST = 240;

/** Returns a colour of the style sheet, with an opacity. */
export function colour(name, opacity = 1) {
  const hex = getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();
  return `${hex}${Math.round(255 * opacity).toString(16).padStart(2, "0")}`;
}

/**
 * Draws a chart into an element.
 * spec: { name, unit, height, lines: [{ label, colour, width, dash, dots, opacity }], bands: [{ upper, lower, colour, opacity }],
 * small, readout(index, chart), zoomed(from, to) }; lines and bands count the columns of the data from 1.
 * Returns { set(data), zoom(from, to), whole(), hover(index), end() }; times are seconds.
 */
export function plot(element, spec, data) {
  let range = null;
  const axis = { stroke: () => colour("quiet"), font: FONT, grid: { stroke: () => colour("line", 0.6), width: 1 }, ticks: { show: false } };
  const chart = new uPlot({
    width: width(element), height: spec.height, padding: [8, 30, 0, 0], tzDate: (second) => uPlot.tzDate(new Date(second * 1000), zoneInUse()),
    ms: 1e-3, legend: { show: false },
    cursor: { y: false, drag: { x: !spec.small, y: false, setScale: true }, points: { show: !spec.small, size: 7 }, ...(spec.small ? { show: false } : {}) },
    scales: { x: { time: true }, y: { range: (_, low, high) => padded(low, high) } },
    axes: [
      { ...axis, space: spec.small ? 80 : 66, values: (_, splits, __, ___, step) => timeTexts(splits, step), size: spec.small ? 34 : 40,
        ...(spec.small ? {} : { label: `time (${zoneName(last(data))})`, labelFont: FONT, labelSize: 18 }) },
      { ...axis, space: spec.small ? 36 : 40, values: (_, splits) => tickTexts(splits, spec.unit),
        size: (_, texts) => 14 + LETTER * Math.max(3, ...(texts ?? []).map((text) => text.length)),
        ...(spec.unit === "bytes" ? { incrs: BINARY_STEPS } : {}) },
    ],
    series: [{}, ...spec.lines.map((line) => ({
      label: line.label, stroke: line.colour ? () => colour(line.colour, line.opacity) : undefined, width: line.width ?? 0, dash: line.dash, spanGaps: line.spanGaps ?? false,
      ...(line.dots ? { paths: () => null, points: { show: true, size: 10, fill: () => colour(line.colour), stroke: () => colour("back"), width: 1.5 } }
        : { points: { show: line.sparse ?? false, size: 5 } }),
    }))],
    bands: spec.bands?.map((band) => ({ series: [band.upper, band.lower], fill: () => colour(band.colour, band.opacity) })) ?? [],
    hooks: {
      setCursor: [(u) => spec.readout?.(u.cursor.idx ?? null, u)],
      setScale: [(u, key) => {
        if (key !== "x") return;
        const { min, max } = u.scales.x;
        const times = u.data[0];
        range = min > times[0] || max < times.at(-1) ? [min, max] : null;
        spec.zoomed?.(range);
      }],
    },
  }, data, element);
  chart.over.setAttribute("aria-hidden", "true");
  const sized = new ResizeObserver(() => chart.setSize({ width: width(element), height: spec.height }));
  sized.observe(element);
  if (!spec.small) keys(element, chart, spec);
  const zoom = (from, to) => chart.setScale("x", { min: from, max: to });
  const whole = () => zoom(chart.data[0][0], chart.data[0].at(-1));
  return {
    set(next) {
      const kept = range;
      chart.setData(next, !kept);
      if (kept) zoom(...kept);
    },
    zoom, whole,
    hover: (index) => chart.setCursor({ left: chart.valToPos(chart.data[0][index], "x"), top: 10 }),
    redraw: () => chart.redraw(false, true),
    end() {
      sized.disconnect();
      chart.destroy();
    },
  };
}

function width(element) {
  return Math.max(NARROWEST, Math.floor(element.clientWidth));
}

function last(data) {
  return 1000 * (data[0].at(-1) ?? 0);
}

function padded(low, high) {
  if (low === null || !Number.isFinite(low) || !Number.isFinite(high)) return [0, 1];
  const pad = 0.06 * (high - low || Math.abs(high) || 1);
  return [low >= 0 && low - pad < 0 ? 0 : low - pad, high + pad];
}

/** Lets the keyboard move the readout (arrows, Home, End) and zoom (+, -, 0). */
function keys(element, chart, spec) {
  Object.assign(element, { tabIndex: 0 });
  element.setAttribute("role", "application");
  element.setAttribute("aria-label", `Chart of ${spec.name}: arrow keys read values, plus and minus zoom, 0 shows all`);
  element.onkeydown = (event) => {
    const times = chart.data[0];
    const at = chart.cursor.idx ?? times.length - 1;
    const moves = { ArrowLeft: at - 1, ArrowRight: at + 1, PageUp: at - 10, PageDown: at + 10, Home: 0, End: times.length - 1 };
    const { min, max } = chart.scales.x;
    if (event.key in moves) {
      const to = Math.min(times.length - 1, Math.max(0, moves[event.key]));
      if (times[to] < min || times[to] > max) {
        const shift = times[to] < min ? times[to] - min : times[to] - max;
        chart.setScale("x", { min: min + shift, max: max + shift });
      }
      chart.setCursor({ left: chart.valToPos(times[to], "x"), top: 10 });
    } else if (event.key === "+" || event.key === "-") {
      const middle = times[at] >= min && times[at] <= max ? times[at] : (min + max) / 2;
      const factor = event.key === "+" ? 0.5 : 2;
      chart.setScale("x", {
        min: Math.max(times[0], middle - (middle - min) * factor), max: Math.min(times.at(-1), middle + (max - middle) * factor),
      });
    } else if (event.key === "0") {
      chart.setScale("x", { min: times[0], max: times.at(-1) });
    } else return;
    event.preventDefault();
  };
}
