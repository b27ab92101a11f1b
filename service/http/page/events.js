// Receives server-sent events, and reconnects after failures.

const FIRST_WAIT = 500; // milliseconds before the first retry; doubled for every further one, up to the longest
const LONGEST_WAIT = 8000;

/**
 * Subscribes to the server-sent events of one series (or of none), until it is ended.
 * `on` has the functions open(), disconnected(), and one per kind of message, called with its data.
 * Returns a function that ends the subscription.
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
      on.disconnected();
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
