// Requests to the daemon. Paths are relative, so that the page works behind a proxy under another path.

/**
 * Fetches a path of the API as an object; `options` are query parameters, `sent` is what fetch takes for another method.
 * Throws an Error with the daemon's message and the status.
 */
export async function request(path, options = {}, sent = {}) {
  const query = new URLSearchParams(options).toString();
  const headers = { accept: "application/json", ...sent.headers };
  const answer = await fetch(`api/v1/${path}${query ? `?${query}` : ""}`, { ...sent, headers });
  const body = await answer.json().catch(() => ({}));
  if (!answer.ok) {
    const message = body.error ? body.error.message : `status ${answer.status}`;
    throw Object.assign(new Error(message), { status: answer.status });
  }
  return body;
}

/** Fetches one kind of data of a series. */
export function requestSeries(series, kind, options = {}, sent = {}) {
  return request(`series/${encodeURIComponent(series.id)}/${kind}`, { partition: series.partition, ...options }, sent);
}

/** Fetches the metrics page as text. */
export async function metricsText() {
  return (await fetch("metrics", { headers: { accept: "text/plain" } })).text();
}

/** Returns the scales of a metrics page, each with its name and its metrics without "forecaster_". */
export function scalesOf(text) {
  const found = new Map();
  const line = /^forecaster_(desired_replicas|scale_\w+)\{[^}]*?scale="((?:[^"\\]|\\.)*)"[^}]*\} (\S+)/gm;
  for (const [, metric, name, value] of text.matchAll(line)) found.set(name, { name, ...found.get(name), [metric]: Number(value) });
  return [...found.values()];
}

/** Returns the mean of a histogram of a metrics page in seconds; null while it is empty. */
export function meanSeconds(text, name) {
  const figure = (part) => Number(new RegExp(`^${name}_${part} (\\S+)`, "m").exec(text)?.[1] ?? 0);
  return figure("count") ? figure("sum") / figure("count") : null;
}
