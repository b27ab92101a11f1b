// The list of series: search while typing, pagination, keyboard and pointer.

import { request } from "./api.js";
import { make } from "./svg.js";

const PAGE = 50;
const TYPING = 150; // milliseconds after the last key

/** Starts the picker, which calls `choose(series)` with { id, partition }. Returns { load, mark }. */
export function picker(choose) {
  const search = document.getElementById("search");
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
    const number = requests;
    const options = { limit: PAGE, search: search.value, ...(further && next ? { after: next } : {}) };
    const page = await request("series", options);
    if (number !== requests) return rows; // a newer request was made
    rows = further ? [...rows, ...page.series] : page.series;
    next = page.next;
    more.hidden = next === null;
    found.textContent = page.total ? `${rows.length} of ${page.total}` : "no matching series";
    if (!further) active = -1;
    list.replaceChildren(...rows.map((row, i) => make("li", { id: `series-${i}`, role: "option", textContent: row.id })));
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
    if (event.key === "/" && document.activeElement !== search) {
      search.focus();
      event.preventDefault();
    }
  });
  list.addEventListener("click", (event) => {
    const item = event.target.closest("li");
    if (item) choose(rows[[...list.children].indexOf(item)]);
  });
  more.addEventListener("click", () => load(true).catch(() => {}));
  return { load, mark };
}
