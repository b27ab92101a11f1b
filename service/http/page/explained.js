// The panels "why this forecast" and "what if", where the daemon has them: they load when they are opened.

import { colour, plot } from "./charts.js";

const PAUSE = 1000; // milliseconds between two refreshes at least
const PATH = "/api/v1/series/{id}/explain";

/** Starts the panels. Returns { of(series), newEvent() }. */
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

  async function detect() {
    const described = await (await fetch("api/v1/openapi.json")).json();
    if (!(PATH in described.paths)) return;
    module = await import("./explain.js");
    for (const part of parts) {
      part.box.hidden = false;
      part.box.addEventListener("toggle", () => (part.box.open ? open(part) : close(part)));
      open(part);
    }
  }

  (window.requestIdleCallback ?? setTimeout)(() => detect().catch(() => {}));
  return {
    of(chosen) {
      series = chosen;
      parts.forEach((part) => {
        close(part);
        open(part);
      });
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
  container.replaceChildren();
  const names = ["band", "past", "accent2", "good"].filter((name) => colour(name));
  const lines = found.lines.map((line, i) => ({ label: line.label, colour: names[i % names.length], width: 1.8 }));
  const first = 1 + lines.length;
  const chart = plot(container, {
    name: found.lines.map((line) => line.label).join(" and "), unit: "", height: 260,
    lines: [...lines, ...found.bands.flatMap(() => [{}, {}])],
    bands: found.bands.map((band, i) => ({ upper: first + 2 * i, lower: first + 2 * i + 1, colour: names[(band.line ?? i) % names.length], opacity: 0.16 })),
  }, [found.times.map((ms) => ms / 1000), ...found.lines.map((line) => line.values), ...found.bands.flatMap((band) => [band.high, band.low])]);
  drawn.set(container, chart);
  return chart;
}
