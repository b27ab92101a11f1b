// The panels about one series: skill beside seasonal naive, interval coverage, ensemble weights.

import { bars, make, quiet, table } from "./elements.js";
import { count, number, percent, skillText } from "./format.js";

/** Shows the errors of the forecasts beside those of seasonal naive, by horizon. */
export function showSkill(element, found, unit) {
  const rows = found.horizons.filter((row) => row.paired);
  if (!rows.length) {
    element.replaceChildren(quiet("No forecast has been compared yet."));
    return;
  }
  element.replaceChildren(make("div", { className: "scroll", tabIndex: 0, role: "region", ariaLabel: "Skill by horizon" },
    table(`Mean absolute errors over the ${Math.max(...rows.map((row) => row.paired))} recorded events`,
      ["ahead", "forecast", "seasonal naive", "skill"],
      rows.map((row) => [row.horizon, number(row.error, unit), number(row.naive_error, unit),
        skillText(row.naive_error > 0 ? 1 - row.error / row.naive_error : null)]))));
}

/** Shows observed and nominal interval coverage at the smallest and the largest horizon. */
export function showReliability(element, found) {
  const scored = found.horizons.filter((row) => row.scored);
  const chosen = scored.length > 1 ? [scored[0], scored.at(-1)] : scored;
  bars(element, chosen.flatMap((row) => row.intervals.map((each) => ({
    name: `${percent(each.nominal)} interval, ${row.horizon} ahead`, share: each.share, nominal: each.nominal, text: percent(each.share),
  }))));
}

/** Shows the mean ensemble weights over the horizons, largest first. */
export function showWeights(element, found) {
  const rows = found.experts.map((name, i) => {
    const known = found.horizons.map((row) => row.weights[i]).filter((weight) => weight !== null);
    return { name: name.replaceAll("_", " "), share: known.length ? known.reduce((a, b) => a + b) / known.length : NaN };
  }).filter((row) => Number.isFinite(row.share));
  rows.sort((a, b) => b.share - a.share);
  bars(element, rows.map((row) => ({ ...row, text: percent(row.share) })));
}

/** Shows the replicas that each scale wants; hides the section where there is none. */
export function showScales(section, element, scales) {
  section.hidden = !scales.length;
  element.replaceChildren(table("Wanted now, and how often the load exceeded the capacity", ["scale", "replicas", "load forecast", "exceeded"],
    scales.map((one) => [one.name, number(one.desired_replicas ?? null), number(one.scale_load_forecast ?? null),
      one.scale_events_total ? `${percent(one.scale_under_provisioned_total / one.scale_events_total, 1)} of ${count(one.scale_events_total)}` : "–"])));
}

/** Describes in one line how good the forecasts of a series are. */
export function qualityText(quality, unit) {
  if (!quality || !quality.scored) return "";
  const parts = [];
  if (quality.skill !== null) {
    parts.push(`1 step ahead: mean error ${number(quality.error, unit)}, seasonal naive ${number(quality.naive_error, unit)}: skill ${skillText(quality.skill)}`);
  }
  if (quality.coverage !== null) parts.push(`${percent(quality.coverage)} of the values inside the ${percent(quality.nominal)} interval`);
  parts.push(`${percent(quality.flagged, 1)} flagged`);
  return `${parts.join("; ")} (about the last ${Math.min(200, quality.scored)} events).`;
}
