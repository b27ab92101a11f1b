// The panels below the chart: weights, coverage, models, anomalies, engine.

import { clock, draw, make, picture, short } from "./svg.js";

const WIDTH = 440;
const ROW = 24;
const NAMES = 170;

/** Draws one bar per row { name, share, nominal, text }. */
function bars(element, title, rows) {
  if (!rows.length) {
    element.replaceChildren(make("p", { className: "quiet", textContent: "No data yet." }));
    return;
  }
  const chart = picture(WIDTH, rows.length * ROW, title, rows.map((row) => `${row.name}: ${row.text}`).join("; "));
  rows.forEach((row, i) => {
    const top = i * ROW;
    const room = WIDTH - NAMES - 50;
    chart.append(draw("text", { x: NAMES - 8, y: top + 16, "text-anchor": "end" }, row.name));
    chart.append(draw("rect", { class: "bar", x: NAMES, y: top + 5, height: 14, width: Math.max(0, room * row.share) }));
    if (row.nominal !== undefined) {
      const at = NAMES + room * row.nominal;
      chart.append(draw("path", { class: "nominal", d: `M${at} ${top + 2}v20` }));
    }
    chart.append(draw("text", { x: WIDTH - 2, y: top + 16, "text-anchor": "end" }, row.text));
  });
  element.replaceChildren(chart);
}

const percent = (share) => `${(100 * share).toFixed(0)} %`;

/** Shows the mean ensemble weights over the horizons, largest first. */
export function showWeights(element, found) {
  const rows = found.experts.map((name, i) => {
    const known = found.horizons.map((row) => row.weights[i]).filter((weight) => weight !== null);
    return { name: name.replaceAll("_", " "), share: known.length ? known.reduce((a, b) => a + b) / known.length : NaN };
  }).filter((row) => Number.isFinite(row.share));
  rows.sort((a, b) => b.share - a.share);
  bars(element, "Mean ensemble weights over the steps ahead", rows.map((row) => ({ ...row, text: percent(row.share) })));
}

/** Shows observed and nominal interval coverage at the smallest and the largest horizon. */
export function showReliability(element, found) {
  const scored = found.horizons.filter((row) => row.scored);
  const chosen = scored.length > 1 ? [scored[0], scored[scored.length - 1]] : scored;
  bars(element, "Interval coverage", chosen.flatMap((row) => row.intervals.map((each) => ({
    name: `${percent(each.nominal)}, ${row.horizon} ahead`, share: each.share, nominal: each.nominal,
    text: percent(each.share),
  }))));
}

function entry(ms, text) {
  return make("li", {}, make("time", { dateTime: new Date(ms).toISOString(), textContent: clock(ms, true) }), ` ${text}`);
}

/** Shows the champion and the challenger, then the decisions on models, newest first. */
export function showModels(element, found) {
  const name = (sha256) => (sha256 ? sha256.slice(0, 12) : "none");
  const rows = found.decisions.slice(-12).reverse().map((each) =>
    entry(each.decided_ms, `${each.action} ${name(each.model)}: ${each.reason}`));
  const force = make("li", {}, make("strong", { textContent: `champion ${name(found.champion)}` }),
    found.challenger ? `, challenger ${name(found.challenger)}` : ", no challenger");
  element.replaceChildren(force, ...rows);
}

/** Shows the alerts that last, then those that are over, each with what is known of it. */
export function showAlerts(element, found) {
  const said = { ack: "acknowledged", mute: "muted", confirm: "confirmed" };
  const items = found.alerts.map((each) => {
    const facts = [`${each.name} (${each.severity})`, each.summary];
    if (each.expected_low !== null) facts.push(`expected ${short(each.expected_low)} to ${short(each.expected_high)}`);
    if (each.feedback) facts.push(each.feedback_reason ? `${said[each.feedback]}: ${each.feedback_reason}` : said[each.feedback]);
    if (each.ends_ms !== null) facts.push(`over at ${clock(each.ends_ms, true)}`);
    const item = entry(each.starts_ms, facts.join("; "));
    item.className = each.status;
    return item;
  });
  if (found.more) items.push(make("li", { textContent: `${found.lasting} last, more in the API` }));
  const none = found.kinds.length ? "none" : "none: neither an [[alert]] nor a target of [alerts] is configured";
  element.replaceChildren(...(items.length ? items : [make("li", { textContent: none })]));
}

/** Shows the anomalies of all series, newest first. */
export function showAnomalies(element, rows) {
  const text = (each) => each.kind === "silence" ? `${each.series}: silent` : `${each.series}: ${short(each.value)}, score ${short(each.score)}`;
  const items = rows.slice(0, 12).map((each) => entry(each.timestamp_ms, text(each)));
  element.replaceChildren(...(items.length ? items : [make("li", { textContent: "none" })]));
}

/** Shows the state of the engine: phase, partitions, lag, events per second. */
export function showEngine(element, pill, status, rate, latency) {
  const ready = status.health.ready;
  pill.textContent = ready ? "ready" : status.health.reason;
  pill.className = `pill ${ready ? "good" : "bad"}`;
  const partitions = Object.entries(status.partitions);
  const sum = (key) => partitions.reduce((total, [, each]) => total + (Number(each[key]) || 0), 0);
  const facts = {
    phase: status.phase ?? status.health.phase,
    model: status.model ? status.model.slice(0, 12) : "none",
    partitions: partitions.length,
    series: sum("series"),
    events: sum("events"),
    "events per second": rate === null ? "–" : short(rate),
    "mean time per event": latency === null ? "–" : `${short(1000 * latency)} ms`,
    lag: sum("lag"),
    training: status.training.running ? "running" : "not running",
  };
  element.replaceChildren(...Object.entries(facts).flatMap(([key, value]) =>
    [make("dt", { textContent: key }), make("dd", { textContent: String(value) })]));
}
