// What happened: trainings and decisions on models as a timeline, alerts, anomalies with links to their places.

import { button, make, moment, quiet } from "./elements.js";
import { number, time, unitOf } from "./format.js";

const KINDS = {
  initial: ["start", "first model"], promoted: ["good", "training: promoted"], shadow: ["trial", "training: on trial as shadow"],
  kept: ["refused", "training: refused"], nothing_to_learn: ["refused", "training: nothing to learn"], failed: ["bad", "training: failed"],
  confirmed: ["good", "promotion confirmed"], restored: ["bad", "former model restored"], promote: ["good", "promoted by hand"],
  rollback: ["bad", "rolled back by hand"], reshaped: ["shape", "shape of the network changed"],
};
const SHOWN = 14;

/** Shows the champion and the decisions on models: a strip in time, and a list, newest first. */
export function showModels(strip, list, found) {
  const name = (sha256) => (sha256 ? sha256.slice(0, 12) : "none");
  const decisions = found.decisions.slice(-60);
  const from = decisions[0]?.decided_ms ?? 0;
  const span = (decisions.at(-1)?.decided_ms ?? 0) - from || 1;
  const ends = (ms) => moment(ms, time(ms));
  strip.replaceChildren(...(decisions.length > 1 ? [
    make("div", { className: "track" }, ...decisions.map((each) => {
      const [kind, text] = KINDS[each.action] ?? ["refused", each.action];
      const dot = make("span", { className: `dot ${kind}`, title: `${time(each.decided_ms)}: ${text} ${name(each.model)}` });
      dot.style.left = `${2 + (96 * (each.decided_ms - from)) / span}%`;
      return dot;
    })),
    make("p", { className: "ends quiet" }, ends(from), ends(decisions.at(-1).decided_ms)),
  ] : []));
  const rows = decisions.slice(-SHOWN).reverse().map((each) => {
    const [kind, text] = KINDS[each.action] ?? ["refused", each.action];
    return make("li", { className: kind }, make("strong", { textContent: text }), ` ${name(each.model)} `, moment(each.decided_ms, time(each.decided_ms)),
      make("span", { className: "reason", textContent: each.reason }));
  });
  const force = make("li", {}, make("strong", { textContent: `champion ${name(found.champion)}` }),
    found.challenger ? `, challenger ${name(found.challenger)}` : ", no challenger");
  list.replaceChildren(force, ...rows);
}

/** Shows the alerts that last, then those that are over, each with what is known of it; `go(series, ms)` leads there. */
export function showAlerts(element, found, go) {
  const said = { ack: "acknowledged", mute: "muted", confirm: "confirmed" };
  const items = found.alerts.map((each) => {
    const facts = [`${each.name} (${each.severity})`, each.summary];
    if (each.expected_low !== null) facts.push(`expected ${number(each.expected_low, unitOf(each.series))} to ${number(each.expected_high, unitOf(each.series))}`);
    if (each.feedback) facts.push(each.feedback_reason ? `${said[each.feedback]}: ${each.feedback_reason}` : said[each.feedback]);
    if (each.ends_ms !== null) facts.push(`over at ${time(each.ends_ms)}`);
    const link = each.series ? [" ", place({ id: each.series, partition: each.partition }, each.starts_ms, go)] : [];
    return make("li", { className: each.status }, moment(each.starts_ms, time(each.starts_ms)), ` ${facts.join("; ")}`, ...link);
  });
  if (found.more) items.push(make("li", { textContent: `${found.lasting} last, more in the API` }));
  const none = found.kinds.length ? "none" : "none: neither an [[alert]] nor a target of [alerts] is configured";
  element.replaceChildren(...(items.length ? items : [make("li", { textContent: none })]));
}

function place(series, ms, go) {
  return button("show", () => go(series, ms), { className: "link", ariaLabel: `show ${series.id} at ${time(ms)}` });
}

/** Shows the anomalies of all series, newest first, with the expected range. */
export function showAnomalies(element, rows, go) {
  const items = rows.slice(0, SHOWN).map((each) => {
    const text = (value) => number(value, unitOf(each.series));
    const facts = each.kind === "silence" ? ["silent"] : [text(each.value), `score ${number(each.score)}`];
    if (each.kind === "silence" && each.expected_ms) facts.push(`expected at ${time(each.expected_ms)}`);
    if (each.expected_low !== null && each.expected_low !== undefined) facts.splice(1, 0, `expected ${text(each.expected_low)} to ${text(each.expected_high)}`);
    const link = button(each.series, () => go({ id: each.series, partition: each.partition }, each.timestamp_ms), { className: "link" });
    return make("li", {}, moment(each.timestamp_ms, time(each.timestamp_ms)), " ", link, ` ${facts.join(", ")}`);
  });
  element.replaceChildren(...(items.length ? items : [make("li", {}, quiet("none"))]));
}
