// HTML elements, and bars made of them.

/** Creates an HTML element with properties and children. */
export function make(name, properties = {}, ...children) {
  const element = Object.assign(document.createElement(name), properties);
  element.append(...children);
  return element;
}

/** Creates a button that calls a function. */
export function button(text, pressed, properties = {}) {
  const found = make("button", { type: "button", textContent: text, ...properties });
  found.addEventListener("click", pressed);
  return found;
}

/** Creates a paragraph in the quiet colour. */
export function quiet(text) {
  return make("p", { className: "quiet", textContent: text });
}

/** Creates a time element with a text. */
export function moment(ms, text) {
  return make("time", { dateTime: new Date(ms).toISOString(), textContent: text });
}

/** Replaces the content of an element by one bar per row { name, share, nominal, text }; a mark is at `nominal`. */
export function bars(element, rows) {
  if (!rows.length) {
    element.replaceChildren(quiet("No data yet."));
    return;
  }
  element.replaceChildren(make("ul", { className: "bars" }, ...rows.map((row) => {
    const bar = make("span", { className: "bar" });
    bar.style.width = `${100 * Math.min(1, Math.max(0, row.share ?? 0))}%`;
    const track = make("span", { className: "track" }, bar);
    if (row.nominal !== undefined) {
      const mark = make("span", { className: "nominal" });
      mark.style.left = `${100 * row.nominal}%`;
      track.append(mark);
    }
    return make("li", {}, make("span", { textContent: row.name }), track, make("span", { className: "figure", textContent: row.text }));
  })));
}

/** Creates a table with a caption, a head and rows; the first cell of a row is its head. */
export function table(caption, head, rows) {
  return make("table", {}, make("caption", { textContent: caption }),
    make("thead", {}, make("tr", {}, ...head.map((text) => make("th", { scope: "col", textContent: text })))),
    make("tbody", {}, ...rows.map(([first, ...others]) =>
      make("tr", {}, make("th", { scope: "row", textContent: first }), ...others.map((text) => make("td", { textContent: text }))))));
}
