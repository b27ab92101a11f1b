// Helpers for charts: elements, scales, ticks, formatted numbers and times.

const SVG = "http://www.w3.org/2000/svg";

/** Creates an SVG element with attributes and children. */
export function draw(name, attributes = {}, ...children) {
  const element = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  element.append(...children);
  return element;
}

/** Creates an HTML element with properties and children. */
export function make(name, properties = {}, ...children) {
  const element = Object.assign(document.createElement(name), properties);
  element.append(...children);
  return element;
}

/** Creates an SVG image of this size with a name and a description for screen readers. */
export function picture(width, height, title, description) {
  return draw("svg", { viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": `${title}. ${description}` });
}

/** Creates a linear scale from [low, high] to [from, to]. */
export function scale(low, high, from, to) {
  const span = high - low || 1;
  return (value) => from + ((value - low) / span) * (to - from);
}

/** Returns about `count` round numbers between low and high. */
export function ticks(low, high, count) {
  const rough = (high - low || 1) / count;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].map((factor) => factor * power).find((each) => each >= rough);
  const found = [];
  for (let tick = Math.ceil(low / step) * step; tick <= high + step * 1e-9; tick += step) found.push(tick);
  return found;
}

/** Returns the d attribute of a path through points; null interrupts the path. */
export function path(points) {
  let pen = "M";
  let d = "";
  for (const point of points) {
    if (point === null) {
      pen = "M";
      continue;
    }
    d += `${pen}${point[0].toFixed(1)} ${point[1].toFixed(1)}`;
    pen = "L";
  }
  return d;
}

/** Formats a number with four digits, or with as many as resolve a hundredth of `span`. */
export function short(value, span = 0) {
  if (value === null || value === undefined || !Number.isFinite(value)) return "–";
  const digits = span > 0 && value !== 0 ? 3 + Math.ceil(Math.log10(Math.abs(value) / span)) : 4;
  if (digits > 4) return String(Number(value.toPrecision(Math.min(17, digits))));
  return Math.abs(value) >= 1e6 || (value !== 0 && Math.abs(value) < 1e-3) ? value.toExponential(2) : String(Number(value.toPrecision(4)));
}

/** Formats a time in the browser's time zone. */
export function clock(ms, long = false) {
  const style = long ? { dateStyle: "medium", timeStyle: "medium" } : { month: "2-digit", day: "2-digit", hour: "2-digit", minute: "2-digit" };
  return new Intl.DateTimeFormat(undefined, style).format(ms);
}
