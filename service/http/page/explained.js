// The panels "why the newest forecast" and "what if": they load when they are opened.

import { plot } from "./charts.js";
import { request } from "./data.js";
import { make, quiet } from "./elements.js";
import { number, time } from "./format.js";

const PAUSE = 1000; // milliseconds between two refreshes at least
const HINT = "Point at the chart, or focus it and use the arrow keys, for values.";

/** Starts the panels. Returns { of(series), newEvent(), redraw() }. */
export function explainer() {
  const parts = [["explained", "explain", "explainPanel"], ["supposed", "whatif", "whatIfPanel"]].map(([id, place, draw]) => ({
    box: document.getElementById(id), place: document.getElementById(place), draw, panel: null, at: 0,
  }));
  let series = null;
  let module = null;

  function open(part) {
    if (!module || !series || !part.box.open || part.panel) return;
    part.place.replaceChildren();
    part.panel = module[part.draw](part.place, { series: series.id, partition: series.partition, drawFan: fanOf });
    part.at = performance.now();
  }

  function close(part) {
    part.panel?.close();
    part.panel = null;
    part.place.replaceChildren();
  }

  async function start() {
    const { input } = await request("config");
    module = await import("./explain.js");
    for (const part of parts) {
      if (part.draw === "whatIfPanel" && !input.future_covariates.length) continue; // nothing can be supposed
      part.box.hidden = false;
      part.box.addEventListener("toggle", () => (part.box.open ? open(part) : close(part)));
      open(part);
    }
  }

  (window.requestIdleCallback ?? setTimeout)(() => start().catch(() => {}));
  return {
    of(chosen) {
      series = chosen;
      parts.forEach((part) => {
        close(part);
        open(part);
      });
    },
    redraw() {
      parts.forEach((part) => part.panel?.refresh());
    },
    newEvent() {
      for (const part of parts) {
        if (part.panel && performance.now() - part.at > PAUSE) {
          part.at = performance.now();
          part.panel.refresh();
        }
      }
    },
  };
}

const drawn = new WeakMap(); // the chart in each container

/** Draws fans and lines that start at the same time: { times, bands: [{ low, high }], lines: [{ values, label }] }. */
export function fanOf(container, found) {
  drawn.get(container)?.end();
  const names = ["quiet", "accent"]; // as the legend of explain.css has them
  const place = make("div");
  const said = quiet(HINT);
  said.setAttribute("role", "status");
  container.replaceChildren(said, place);
  const all = found.lines.flatMap((line) => line.values);
  const span = Math.max(...all) - Math.min(...all);
  const first = 1 + found.lines.length;
  const chart = plot(place, {
    name: found.lines.map((line) => line.label).join(" and "), unit: "", height: 260,
    lines: [
      ...found.lines.map((line, i) => ({ label: line.label, colour: names[i], width: 1.8, dash: i ? undefined : [4, 3] })),
      ...found.bands.flatMap(() => [{}, {}]),
    ],
    bands: found.bands.map((band, i) => ({ upper: first + 2 * i, lower: first + 2 * i + 1, colour: names[band.line ?? i], opacity: 0.16 })),
    readout: (index) => {
      said.textContent = index === null ? HINT : reading(found, index, span);
    },
  }, [found.times.map((ms) => ms / 1000), ...found.lines.map((line) => line.values), ...found.bands.flatMap((band) => [band.high, band.low])]);
  drawn.set(container, chart);
  return chart;
}

/** Describes one step of the fans in words. */
function reading(found, index, span) {
  const step = found.times.length > 1 ? found.times[1] - found.times[0] : 1000;
  const parts = found.lines.map((line, i) => {
    const band = found.bands[i];
    return `${line.label} ${number(line.values[index], "", span)} (${number(band.low[index], "", span)} to ${number(band.high[index], "", span)})`;
  });
  return `${time(found.times[index], step)}: ${parts.join("; ")}`;
}
