// The panels "Explain" and "What if" of a series. Each fills a given element and fetches what it shows:
//
//   const panel = explainPanel(element, { series, partition });    panel.refresh();    panel.close();
//   const panel = whatIfPanel(element, { series, partition, drawFan });
//
// drawFan(container, { times, lines: [{ values, label }], bands: [{ low, high, line }] }) draws the two fans; a band
// belongs to the line whose index it has.

import { requestSeries } from "./data.js";
import { percent } from "./format.js";

const SHOWN = 8; // horizons in a table
const DELAY = 250; // milliseconds after the last change of an input

function node(name, attributes = {}, ...children) {
  const found = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (value === true) found.setAttribute(key, "");
    else if (value !== false && value !== null) found.setAttribute(key, value);
  }
  found.append(...children);
  return found;
}

/** A number with digits down to a hundredth of the scale of its series. */
export function precise(value, scale) {
  if (value === null || !Number.isFinite(value)) return "–";
  const ratio = scale > 0 ? Math.max(Math.abs(value) / scale, 1) : 1e3;
  return String(Number(value.toPrecision(Math.min(Math.max(Math.floor(Math.log10(ratio)) + 3, 3), 15))));
}

const signed = (value, scale) => (value < 0 ? precise(value, scale) : `+${precise(value, scale)}`);
const time = (ms) => new Date(ms).toISOString().replace(".000Z", "Z").replace("T", " ");

/** The horizons (from 0 on) that a table shows: 1, 2, 4, ... and the last one. */
export function shownHorizons(count) {
  const found = [];
  for (let step = 1; step < count; step *= 2) found.push(step - 1);
  found.push(count - 1);
  return found.length <= SHOWN ? found : [...found.slice(0, SHOWN - 1), count - 1];
}

function table(caption, heads, rows) {
  const body = rows.map((row) =>
    node("tr", {}, ...row.map((cell, at) => node(at ? "td" : "th", at ? {} : { scope: "row" }, String(cell)))),
  );
  return node(
    "div",
    { class: "scroll explain-scroll", tabindex: "0", role: "region", "aria-label": caption },
    node(
      "table",
      { class: "explain-table" },
      node("caption", {}, caption),
      node("thead", {}, node("tr", {}, ...heads.map((head) => node("th", { scope: "col" }, head)))),
      node("tbody", {}, ...body),
    ),
  );
}

/** Fills an element with an answer of /explain. */
export function drawExplanation(element, found) {
  const middle = found.levels.indexOf(0.5);
  const shown = shownHorizons(found.targets_ms.length);
  const heads = ["", ...shown.map((h) => `+${h + 1}`)];
  const row = (name, cell) => [name, ...shown.map(cell)];
  const members = found.members.map((one) =>
    row(one.name.replaceAll("_", " "), (h) => `${precise(one.quantiles[h][middle], found.scale)} · ${percent(one.weights[h])}`),
  );
  members.push(row("calibration of the median", (h) => signed(found.correction[h][middle], found.scale)));
  members.push(row("calibration of the lowest", (h) => signed(found.correction[h][0], found.scale)));
  members.push(row("calibration of the highest", (h) => signed(found.correction[h].at(-1), found.scale)));
  members.push(row("forecast (median)", (h) => precise(found.quantiles[h][middle], found.scale)));
  const parts = [
    node("p", { class: "explain-words" }, found.words),
    table("Forecast of each member and its weight, by steps ahead", heads, members),
  ];
  if (found.left_out.length) {
    const rows = found.left_out.map((one) =>
      row(one.kind === "calendar" ? one.name : `${one.kind} ${one.name}`, (h) => signed(one.effect[h], found.scale)),
    );
    parts.push(table("Effect of each input on the median, by steps ahead", heads, rows));
  }
  if (found.similar.length) {
    const rows = found.similar.map((one) => [time(one.end_ms), ...shown.map((h) => precise(one.followed[h], found.scale))]);
    parts.push(table("Most similar past moments, and what followed", ["", ...heads.slice(1)], rows));
  }
  if (found.as_published === true) parts.push(node("p", { class: "quiet" }, "Equal to the published forecast bit for bit."));
  if (found.as_published === false) {
    const why = found.complete ? "This should not happen: report it." : "Some of its inputs are no longer held.";
    parts.push(node("p", { class: "explain-problem" }, `Not equal to the published forecast. ${why}`));
  }
  element.replaceChildren(...parts);
}

/** The two forecasts of an answer of /whatif as lines and bands: medians and outer quantiles. */
export function fansOf(found) {
  const middle = found.levels.indexOf(0.5);
  const both = [[found.actual, "forecast as published"], [found.quantiles, "with these values"]];
  return {
    times: found.targets_ms,
    lines: both.map(([rows, label]) => ({ label, values: rows.map((row) => row[middle]) })),
    bands: both.map(([rows], line) => ({ line, low: rows.map((row) => row[0]), high: rows.map((row) => row.at(-1)) })),
  };
}

/** Reads an input: one number for all steps, or one per step between commas; an empty place or "-" leaves a step as it is. */
export function readValues(text) {
  const parts = /[,;]/.test(text) ? text.split(/[,;]/).map((part) => part.trim()) : text.trim().split(/\s+/);
  const values = parts.map((part) => (["", "-", "–"].includes(part) ? null : Number(part)));
  if (values.some((value) => Number.isNaN(value))) throw new Error(`got ${text.slice(0, 80)}, expected numbers`);
  return values.length === 1 && values[0] !== null ? values[0] : values;
}

/** Links the style of the panels, once. */
function style() {
  const href = new URL("./explain.css", import.meta.url).href;
  if (![...document.styleSheets].some((sheet) => sheet.href === href)) {
    document.head.append(node("link", { rel: "stylesheet", href }));
  }
}

function problem(element, error) {
  element.replaceChildren(node("p", { class: "explain-problem", role: "alert" }, error.message));
}

/** Fills an element with the explanation of the newest forecast of a series. */
export function explainPanel(element, { series, partition = "" }) {
  style();
  let number = 0;
  const steps = node("select", {});
  const choice = node("label", { class: "quiet", hidden: true }, "In words for ", steps, " steps ahead");
  const body = node("div", {});
  element.replaceChildren(choice, body);
  steps.addEventListener("change", () => refresh());

  async function refresh() {
    const mine = ++number;
    try {
      const found = await requestSeries({ id: series, partition }, "explain", { horizon: steps.value || 1 });
      if (mine !== number) return;
      if (!steps.options.length) {
        steps.append(...shownHorizons(found.targets_ms.length).map((h) => node("option", { value: h + 1 }, String(h + 1))));
        choice.hidden = false;
      }
      drawExplanation(body, found);
    } catch (error) {
      if (mine === number) problem(body, error);
    }
  }

  const done = refresh();
  return {
    done,
    refresh,
    close() {
      number += 1;
      element.replaceChildren();
    },
  };
}

/** Fills an element with an input per known future covariate, and the forecast that follows from them. */
export function whatIfPanel(element, { series, partition = "", drawFan }) {
  style();
  let number = 0;
  let timer = 0;
  const inputs = new Map();
  const fan = node("div", { class: "chart whatif-fan" });
  const said = node("p", { class: "quiet", role: "status" });

  async function refresh() {
    const mine = ++number;
    try {
      const values = {};
      for (const [name, input] of inputs) if (input.value.trim()) values[name] = readValues(input.value);
      const headers = { "content-type": "application/json" };
      const found = await requestSeries({ id: series, partition }, "whatif", {}, { method: "POST", headers, body: JSON.stringify({ values }) });
      if (mine !== number) return;
      if (!inputs.size) begin(found);
      const fans = fansOf(found);
      drawFan(fan, fans);
      const [before, after] = fans.lines.map(({ values }) => values.reduce((sum, one) => sum + one, 0) / values.length);
      const scale = Math.abs(before) / 1000;
      const change = before > 0 ? ` (${(100 * (after / before - 1)).toFixed(1).replace("-", "−")} %)` : "";
      const steps = found.targets_ms.filter((_, h) => Object.keys(found.known).some((name) => found.known[name][h] !== found.known_actual[name][h]));
      said.className = "quiet";
      said.textContent = `${steps.length} of ${found.targets_ms.length} steps have another value. Mean of the medians: ${precise(after, scale)}${change}, as published ${precise(before, scale)}. The forecasts of the daemon stay as they are.`;
    } catch (error) {
      if (mine !== number) return;
      if (!inputs.size) problem(element, error);
      else {
        fan.replaceChildren(); // what was drawn answers other values
        said.className = "explain-problem";
        said.textContent = error.message;
      }
    }
  }

  const short = (value) => (value === null ? "–" : String(Number(value.toPrecision(6)))); // without the digits of float32

  function begin(found) {
    const fields = Object.entries(found.known_actual).map(([name, values]) => {
      const input = node("input", { type: "text", inputmode: "decimal", autocomplete: "off", placeholder: values.slice(0, 6).map(short).join(", ") });
      input.addEventListener("input", () => {
        clearTimeout(timer);
        timer = setTimeout(refresh, DELAY);
      });
      inputs.set(name, input);
      return node("label", {}, `${name} `, input);
    });
    const hint = node("p", { class: "quiet" }, "A number for all steps ahead, or one for each of the first steps, between commas; an empty place stays as it is.");
    const legend = node("p", { class: "legend" }, node("span", { class: "key whatif-actual" }, "forecast as published"), node("span", { class: "key whatif-other" }, "with these values"));
    element.replaceChildren(node("div", { class: "whatif-inputs" }, ...fields), hint, fan, legend, said);
  }

  const done = refresh();
  return {
    done,
    refresh,
    close() {
      clearTimeout(timer);
      number += 1;
      inputs.clear();
      element.replaceChildren();
    },
  };
}
