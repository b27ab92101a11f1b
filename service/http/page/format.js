// Numbers with units and times with their zone, as text. Pure functions, but for the chosen time zone.

const PREFIXES = [[1e12, "T"], [1e9, "G"], [1e6, "M"], [1e3, "k"], [1, ""], [1e-3, "m"], [1e-6, "µ"], [1e-9, "n"]];
const BINARY = [[2 ** 40, "TiB"], [2 ** 30, "GiB"], [2 ** 20, "MiB"], [2 ** 10, "KiB"], [1, "B"]];
const MOST_DECIMALS = 12;
const DAY = 86_400;
const MONTHS = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

/** Units that a person can choose; "" is a plain number. */
export const UNITS = { "": "none", bytes: "bytes", percent: "%", ratio: "ratio as %", seconds: "seconds" };

/** Guesses the unit of a series from its identifier, as Prometheus and most others name them. */
export function unitOf(name) {
  const words = name.split("{")[0].toLowerCase();
  if (/bytes($|[^a-z])/.test(words)) return "bytes";
  if (/(percent|pct)($|[^a-z])|%/.test(words)) return "percent";
  if (/ratio($|[^a-z])/.test(words)) return "ratio";
  if (/(seconds|_s)($|_(sum|mean|p\d+)$)/.test(words)) return "seconds";
  return "";
}

/** Returns divisor and suffix for numbers whose largest size is `top`. */
export function scaleOf(top, unit = "") {
  if (unit === "percent") return { by: 1, suffix: " %" };
  if (unit === "ratio") return { by: 0.01, suffix: " %" };
  const size = Math.abs(top);
  if (unit === "bytes") {
    const [by, suffix] = BINARY.find(([from]) => size >= from) ?? [1, "B"];
    return { by, suffix: ` ${suffix}` };
  }
  const seconds = unit === "seconds" ? "s" : "";
  // 1,234 and 0.05 are read more easily than 1.234 k and 50 m.
  const plain = seconds ? size >= 1 : size >= 1e-3 && size < 1e4;
  if (size === 0 || plain) return { by: 1, suffix: seconds && " s" };
  const [by, prefix] = PREFIXES.find(([from]) => size >= from) ?? PREFIXES.at(-1);
  return { by, suffix: prefix || seconds ? ` ${prefix}${seconds}` : "" };
}

/** Returns the decimals that tell multiples of `step` apart. */
export function decimalsFor(step) {
  if (!(step > 0) || !Number.isFinite(step)) return 0;
  for (let digits = 0; digits < MOST_DECIMALS; digits += 1) {
    const times = step * 10 ** digits;
    if (Math.abs(times - Math.round(times)) < 1e-6 * times) return digits;
  }
  return Math.min(MOST_DECIMALS, Math.max(0, 1 - Math.floor(Math.log10(step))));
}

/** Formats the ticks of an axis: one prefix for all of them, and the decimals that their distance needs. */
export function tickTexts(values, unit = "") {
  if (!values.length) return [];
  const { by, suffix } = scaleOf(Math.max(...values.map(Math.abs)), unit);
  const step = values.length > 1 ? Math.abs(values[1] - values[0]) : Math.abs(values[0]);
  const digits = decimalsFor(step / by);
  return values.map((value) => (value === 0 && !unit ? "0" : `${grouped((value / by).toFixed(digits))}${suffix}`));
}

/**
 * Formats a number with its unit: four digits, or as many as tell a hundredth of `span` apart.
 * null and numbers that are not finite become a dash.
 */
export function number(value, unit = "", span = 0) {
  if (value === null || value === undefined || !Number.isFinite(value)) return "–";
  const { by, suffix } = scaleOf(value, unit);
  const scaled = value / by;
  const whole = scaled === 0 ? 1 : Math.floor(Math.log10(Math.abs(scaled))) + 1;
  const fine = span > 0 ? Math.ceil(-Math.log10(span / by / 200)) : 0;
  const digits = Math.min(MOST_DECIMALS, Math.max(0, 4 - whole, fine));
  const text = scaled.toFixed(digits);
  return `${grouped(text.includes(".") ? text.replace(/\.?0+$/, "") : text)}${suffix}`;
}

/** Formats a skill, with a sign that tells it from a share. */
export function skillText(skill) {
  return skill === null || !Number.isFinite(skill) ? "–" : skill.toFixed(2).replace("-", "−");
}

/** Formats a count in full. */
export function count(value) {
  return Math.round(value).toLocaleString("en");
}

/**
 * Returns the time that a person has written in the zone in use: "2026-12-01", "2026-12-01 14:00" or with seconds.
 * undefined where it is none, null where the text is empty.
 */
export function timeOf(text) {
  const trimmed = text.trim();
  if (!trimmed) return null;
  const found = /^(\d{4})-(\d{1,2})-(\d{1,2})(?:[T ](\d{1,2}):(\d{2})(?::(\d{2}))?)?$/.exec(trimmed);
  if (!found) return undefined;
  const [year, month, day, hour, minute, second] = found.slice(1).map((part) => Number(part ?? 0));
  const wanted = Date.UTC(year, month - 1, day, hour, minute, second);
  let ms = wanted;
  for (let round = 0; round < 2; round += 1) { // the second round where a change of the clock lies between
    const at = fields(ms);
    ms += wanted - Date.UTC(at.year, at.month - 1, at.day, at.hour, at.minute, at.second);
  }
  return ms;
}

/** Formats a share as per cent. */
export function percent(share, digits = 0) {
  return share === null || share === undefined || !Number.isFinite(share) ? "–" : `${(100 * share).toFixed(digits)} %`;
}

function grouped(text) {
  const [whole, part] = text.replace(/^-(?=0(\.0*)?$)/, "").split(".");
  const spaced = whole.length > 4 + whole.startsWith("-") ? whole.replace(/\B(?=(\d{3})+$)/g, ",") : whole;
  return (part === undefined ? spaced : `${spaced}.${part}`).replace("-", "−");
}

// Times ------------------------------------------------------------------------------------------------------------

let zone = Intl.DateTimeFormat().resolvedOptions().timeZone || "UTC";
let parts = formatter(zone);

function formatter(timeZone) {
  return new Intl.DateTimeFormat("en-GB", {
    timeZone, hourCycle: "h23", year: "numeric", month: "2-digit", day: "2-digit", hour: "2-digit", minute: "2-digit",
    second: "2-digit",
  });
}

/** Sets the time zone of all texts. */
export function useZone(name) {
  zone = name;
  parts = formatter(name);
}

/** Returns the time zone. */
export function zoneInUse() {
  return zone;
}

/** Names the time zone, with its distance from UTC at a time. */
export function zoneName(ms) {
  if (zone === "UTC") return "UTC";
  const style = new Intl.DateTimeFormat("en-GB", { timeZone: zone, timeZoneName: "longOffset" });
  const offset = style.formatToParts(ms).find((part) => part.type === "timeZoneName").value.replace("GMT", "UTC");
  return zone === offset ? zone : `${zone}, ${offset}`;
}

function fields(ms) {
  return Object.fromEntries(parts.formatToParts(ms).map((part) => [part.type, part.value]));
}

/** Formats a time, 24 hours, with as much precision as steps of `step` milliseconds need. */
export function time(ms, step = 1000) {
  const at = fields(ms);
  const day = `${at.year}-${at.month}-${at.day}`;
  if (step >= 1000 * DAY && at.hour === "00" && at.minute === "00") return day;
  const clock = `${at.hour}:${at.minute}`;
  if (step >= 60_000 && at.second === "00") return `${day} ${clock}`;
  const fine = step < 1000 ? `.${String(((ms % 1000) + 1000) % 1000).padStart(3, "0")}` : "";
  return `${day} ${clock}:${at.second}${fine}`;
}

/** Formats a length of time. */
export function duration(ms) {
  const seconds = ms / 1000;
  for (const [size, name] of [[DAY, "d"], [3600, "h"], [60, "min"]]) {
    if (seconds >= 2 * size || seconds === size) return `${Number((seconds / size).toFixed(1))} ${name}`;
  }
  return seconds >= 1 ? `${Number(seconds.toFixed(1))} s` : `${Math.round(ms)} ms`;
}

/**
 * Formats the ticks of a time axis, given in seconds and `step` seconds apart.
 * The date stands on a second line of the first tick and of every one that begins another day.
 */
export function timeTexts(seconds, step) {
  let day = "";
  let year = "";
  return seconds.map((second) => {
    const at = fields(Math.round(second * 1000));
    const date = `${Number(at.day)} ${MONTHS[Number(at.month) - 1]}`;
    const newYear = at.year === year ? "" : ` ${at.year}`;
    if (step >= 360 * DAY) return at.year;
    if (step >= DAY) {
      year = at.year;
      return step >= 28 * DAY ? `${MONTHS[Number(at.month) - 1]}${newYear}` : newYear ? `${date}\n${at.year}` : date;
    }
    const fine = step < 1 ? `.${String(Math.round(second * 1000) % 1000).padStart(3, "0")}` : "";
    const clock = `${at.hour}:${at.minute}${step < 60 ? `:${at.second}${fine}` : ""}`;
    const changed = date !== day;
    day = date;
    year = at.year;
    return changed ? `${clock}\n${date}${newYear}` : clock;
  });
}
