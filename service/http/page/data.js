// Requests to the daemon. Paths are relative, so that the page works behind a proxy under another path.

/** Fetches a path of the API as an object; `options` are query parameters. Throws an Error with the daemon's message and the status. */
export async function request(path, options = {}) {
  const query = new URLSearchParams(options).toString();
  const answer = await fetch(`api/v1/${path}${query ? `?${query}` : ""}`, { headers: { accept: "application/json" } });
  const body = await answer.json().catch(() => ({}));
  if (!answer.ok) {
    const message = body.error ? body.error.message : `status ${answer.status}`;
    throw Object.assign(new Error(message), { status: answer.status });
  }
  return body;
}

/** Fetches one kind of data of a series. */
export function requestSeries(series, kind, options = {}) {
  return request(`series/${encodeURIComponent(series.id)}/${kind}`, { partition: series.partition, ...options });
}

/** Fetches the mean of a histogram of the metrics page in seconds; null while it is empty. */
export async function meanSeconds(name) {
  const text = await (await fetch("metrics", { headers: { accept: "text/plain" } })).text();
  const figure = (part) => Number(new RegExp(`^${name}_${part} (\\S+)`, "m").exec(text)?.[1] ?? 0);
  return figure("count") ? figure("sum") / figure("count") : null;
}
