// The list of series: search while typing, order by quality, pages made by the daemon, keyboard and pointer.

import { request } from "./data.js";
import { make } from "./elements.js";
import { count, percent, skillText, time } from "./format.js";

const PAGE = 50;
const TYPING = 150; // milliseconds after the last key

/** Describes the figure by which the list is ordered. */
export function figure(row, sort) {
  const found = row.quality;
  if (!found) return "";
  if (sort === "newest") return time(found.newest_ms);
  if (sort === "coverage") return found.coverage === null ? "" : `${percent(found.coverage)} of ${percent(found.nominal)}`;
  const skill = found.skill === null ? "" : `skill ${skillText(found.skill)}`;
  if (sort === "skill") return skill;
  const flagged = found.flagged >= 0.0005 ? `${percent(found.flagged, 1)} flagged` : "";
  return sort === "flagged" ? flagged : [flagged, skill].filter(Boolean).join(", ");
}

/** Starts the list, which calls `choose(series)` with { id, partition }. Returns { load, mark, rows }. */
export function seriesList(choose) {
  const search = document.getElementById("search");
  const sort = document.getElementById("sort");
  const list = document.getElementById("series");
  const found = document.getElementById("found");
  const more = document.getElementById("more");
  let rows = [];
  let next = null;
  let active = -1;
  let chosen = "";
  let timer = 0;
  let requests = 0;

  async function load(further = false) {
    requests += 1;
    const mine = requests;
    const options = { limit: PAGE, search: search.value, sort: sort.value, ...(further && next ? { after: next } : {}) };
    const page = await request("series", options);
    if (mine !== requests) return rows; // a newer request was made
    rows = further ? [...rows, ...page.series] : page.series;
    next = page.next;
    more.hidden = next === null;
    found.textContent = page.total ? `${count(rows.length)} of ${count(page.total)}` : "no matching series";
    if (!further) active = -1;
    list.replaceChildren(...rows.map((row, i) => make("li", { id: `series-${i}`, role: "option" },
      make("span", { className: "name", textContent: row.id }), make("span", { className: "figure", textContent: figure(row, sort.value) }))));
    show();
    return rows;
  }

  function show() {
    [...list.children].forEach((item, i) => {
      item.classList.toggle("active", i === active);
      item.setAttribute("aria-selected", String(key(rows[i]) === chosen));
    });
    if (active >= 0) {
      search.setAttribute("aria-activedescendant", `series-${active}`);
      list.children[active].scrollIntoView({ block: "nearest" });
    } else search.removeAttribute("aria-activedescendant");
  }

  const key = (row) => JSON.stringify([row.partition, row.id]);

  function mark(series) {
    chosen = key(series);
    show();
  }

  sort.addEventListener("change", () => load().catch(() => {}));
  search.addEventListener("input", () => {
    clearTimeout(timer);
    timer = setTimeout(() => load().catch(() => {}), TYPING);
  });
  search.addEventListener("keydown", (event) => {
    const move = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    if (move && rows.length) {
      active = (active + move + rows.length) % rows.length;
      show();
      event.preventDefault();
    } else if (event.key === "Enter" && rows.length) {
      choose(rows[Math.max(active, 0)]);
      event.preventDefault();
    } else if (event.key === "Escape") {
      search.value = "";
      load().catch(() => {});
    }
  });
  document.addEventListener("keydown", (event) => {
    if (event.key === "/" && !event.target.closest?.("input, select, textarea")) {
      search.focus();
      event.preventDefault();
    }
  });
  list.addEventListener("click", (event) => {
    const item = event.target.closest("li");
    if (item) choose(rows[[...list.children].indexOf(item)]);
  });
  more.addEventListener("click", () => load(true).catch(() => {}));
  return { load, mark, rows: () => rows };
}
