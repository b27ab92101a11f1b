// Listens to the daemon, and goes on when it was away.

const FIRST_WAIT = 500; // milliseconds before the first new try; then twice as long, up to the longest
const LONGEST_WAIT = 8000;

/**
 * Server-sent events of one series (or none), for ever.
 * `on` holds functions: open(), away(), and one per kind of message, called with its data.
 * Returns a function that ends it.
 */
export function listen(series, on) {
  let source = null;
  let timer = 0;
  let wait = FIRST_WAIT;
  const query = series ? `?${new URLSearchParams({ series: series.id, partition: series.partition })}` : "";

  function start() {
    source = new EventSource(`api/v1/events${query}`);
    source.onopen = () => {
      wait = FIRST_WAIT;
      on.open();
    };
    source.onerror = () => {
      source.close();
      on.away();
      timer = setTimeout(start, wait);
      wait = Math.min(2 * wait, LONGEST_WAIT);
    };
    for (const kind of ["event", "anomaly", "status", "lost"]) {
      source.addEventListener(kind, (message) => on[kind](JSON.parse(message.data)));
    }
  }

  start();
  return () => {
    clearTimeout(timer);
    source.close();
  };
}
