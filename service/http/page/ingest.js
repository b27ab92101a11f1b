// What becomes of the records: rate and lag while the page is open, events by status, rejected records with examples.

import { plot } from "./charts.js";
import { bars, make, quiet } from "./elements.js";
import { count, number, percent } from "./format.js";

const KEPT = 600; // status messages, one a second
const samples = { at: [], events: [], lag: [] };
let chart = null;

/** Shows the state of the engine, and the health. */
export function showEngine(element, pill, status, rate, latency) {
  const ready = status.health.ready;
  pill.textContent = ready ? "ready" : status.health.reason;
  pill.className = `pill ${ready ? "good" : "bad"}`;
  const partitions = Object.entries(status.partitions);
  const sum = (key) => partitions.reduce((total, [, each]) => total + (Number(each[key]) || 0), 0);
  const waits = partitions.some(([, each]) => each.model && status.model && each.model !== status.model);
  const facts = {
    phase: status.phase ?? status.health.phase,
    model: status.model ? `${status.model.slice(0, 12)}${waits ? ", in force from the next event on" : ""}` : "none",
    partitions: partitions.length,
    series: count(sum("series")),
    events: count(sum("events")),
    "events per second": rate === null ? "–" : number(rate),
    "mean time per event": number(latency, "seconds"),
    "lag (records or bytes)": count(sum("lag")),
    training: status.training.running ? "running" : "not running",
  };
  element.replaceChildren(...Object.entries(facts).flatMap(([key, value]) =>
    [make("dt", { textContent: key }), make("dd", { textContent: String(value) })]));
}

/** Adds the present rate and lag to their chart. */
export function sampleFlow(element, rate, lag) {
  if (rate === null) return;
  samples.at.push(Date.now() / 1000);
  samples.events.push(rate);
  samples.lag.push(lag);
  for (const column of Object.values(samples)) if (column.length > KEPT) column.shift();
  if (samples.at.length < 2) return;
  const data = [samples.at, samples.events];
  if (chart) chart.set(data);
  else {
    element.replaceChildren();
    chart = plot(element, { name: "events per second", unit: "", height: 110, small: true, lines: [{ label: "events per second", colour: "band", width: 1.5 }] }, data);
  }
}

/** Draws the chart of the flow anew, after a change of colours or of the zone. */
export function redrawFlow() {
  chart?.redraw();
}

/** Shows events by status, and rejected records by reason with examples. */
export function showIngest(statuses, rejected, found) {
  const total = Object.values(found.events).reduce((a, b) => a + b, 0) + found.rejected.reduce((a, row) => a + row.count, 0) + found.filtered;
  const share = (times) => (total ? times / total : 0);
  const row = (name, times) => ({ name, share: share(times), text: `${count(times)} (${percent(share(times), 1)})` });
  bars(statuses, total ? [
    ...Object.entries(found.events).filter(([name, times]) => times || name === "ok" || name === "late").map(([name, times]) => row(name, times)),
    row("rejected", found.rejected.reduce((a, each) => a + each.count, 0)),
    ...(found.filtered ? [row("filtered", found.filtered)] : []),
  ] : []);
  const open = new Set([...rejected.querySelectorAll("details[open]")].map((each) => each.dataset.reason));
  rejected.replaceChildren(...(found.rejected.length ? found.rejected.map((each) => {
    const details = make("details", { open: open.has(each.reason) },
      make("summary", { textContent: `${count(each.count)} ${each.reason}: ${each.meaning}` }),
      make("ul", {}, ...each.examples.map((one) => make("li", { textContent: `${one.partition} at ${one.position}: ${one.detail}` }))));
    details.dataset.reason = each.reason;
    return details;
  }) : [quiet("No record was rejected.")]));
}
