// Several series at once: one small chart each, or all of them in one chart.

import { requestSeries } from "./data.js";
import { plot } from "./charts.js";
import { button, make, quiet } from "./elements.js";
import { columns } from "./fan.js";
import { unitOf } from "./format.js";

const MOST = 8;
const EVENTS = 120;
const COLOURS = ["band", "past", "good", "anomaly", "accent2", "accent3", "quiet", "text"];

/** Starts the part of the page. Returns { add(series), update(), redraw() }. */
export function several(choose, candidates) {
  const section = document.getElementById("several");
  const grid = document.getElementById("small");
  const mode = document.getElementById("several-mode");
  let pinned = [];
  let charts = [];
  let requests = 0;

  const same = (a, b) => a.id === b.id && a.partition === b.partition;
  const shown = () => (pinned.length ? pinned : candidates().slice(0, 6).map(({ id, partition }) => ({ id, partition })));

  async function update() {
    if (!section.open) return;
    requests += 1;
    const mine = requests;
    const found = await Promise.all(shown().map(async (series) => {
      const [past, now] = await Promise.all([
        requestSeries(series, "history", { limit: EVENTS }), requestSeries(series, "forecast"),
      ]).catch(() => [null, null]);
      return past && { series, levels: now.forecast?.levels ?? past.levels, events: past.events, forecast: now.forecast };
    }));
    if (mine === requests) draw(found.filter(Boolean));
  }

  function draw(found) {
    charts.forEach((chart) => chart.end());
    charts = [];
    grid.replaceChildren();
    if (!found.length) grid.append(quiet("No series yet."));
    else if (mode.value === "one") together(found);
    else for (const each of found) small(each);
  }

  function head(series, className) {
    const title = button(series.id, () => choose(series), { className: `link ${className}` });
    const remove = pinned.some((one) => same(one, series)) ? [button("×", () => {
      pinned = pinned.filter((one) => !same(one, series));
      update();
    }, { ariaLabel: `remove ${series.id} from the comparison` })] : [];
    return make("p", { className: "head" }, title, ...remove);
  }

  function small(each) {
    const place = make("div", { className: "chart" });
    grid.append(make("figure", {}, head(each.series, ""), place));
    const data = columns(each.levels, each.events, each.forecast);
    if (!data[0].length) {
      place.append(quiet("No events recorded yet; recording starts with the next one."));
      return;
    }
    charts.push(plot(place, {
      name: each.series.id, unit: unitOf(each.series.id), height: 130, small: true,
      lines: [{ colour: "text", width: 1.3 }, { colour: "anomaly", dots: true }, { colour: "past", width: 1, dash: [3, 3] }, {}, {},
        { colour: "band", width: 1.6 }, {}, {}],
      bands: [{ upper: 7, lower: 8, colour: "band", opacity: 0.25 }],
    }, data.slice(0, 9)));
  }

  function together(found) {
    const times = [...new Set(found.flatMap((each) => each.events.map((event) => event.timestamp_ms)))].sort((a, b) => a - b);
    const units = new Set(found.map((each) => unitOf(each.series.id)));
    const place = make("div", { className: "chart wide" });
    const keys = found.map((each, i) => {
      const key = head(each.series, "key");
      key.style.setProperty("--key", `var(--${COLOURS[i % COLOURS.length]})`);
      return key;
    });
    grid.append(make("div", { className: "keys wide" }, ...keys), place);
    if (!times.length) return;
    charts.push(plot(place, {
      name: found.map((each) => each.series.id).join(", "), unit: units.size === 1 ? [...units][0] : "", height: 300,
      lines: found.map((_, i) => ({ colour: COLOURS[i % COLOURS.length], width: 1.6, spanGaps: true })),
    }, [times.map((ms) => ms / 1000), ...found.map((each) => {
      const value = new Map(each.events.map((event) => [event.timestamp_ms, event.value]));
      return times.map((ms) => value.get(ms) ?? null);
    })]));
  }

  section.addEventListener("toggle", () => update().catch(() => {}));
  mode.addEventListener("change", () => update().catch(() => {}));
  return {
    add(series) {
      if (!pinned.some((one) => same(one, series))) pinned = [...pinned, series].slice(-MOST);
      section.open = true;
      update().catch(() => {});
    },
    update,
    redraw: () => charts.forEach((chart) => chart.redraw()),
  };
}
