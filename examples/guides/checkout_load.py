"""A checkout that Prometheus can scrape, four minutes of which stand for a day, and its history.

    python examples/guides/checkout_load.py history.om

writes the samples of the last half hour in the OpenMetrics format, and serves the load at http://127.0.0.1:8000/metrics.
The load is at half of its morning now.
"""

import math
import random
import sys
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

PORT, DAY, HISTORY = 8000, 240, 1800
BEGIN = int(time.time())
LABELS = f'{{instance="127.0.0.1:{PORT}",job="shop"}}'


def load(at: float) -> float:
    """Returns the requests per second at a time: 50 at night, 550 at noon."""
    noise = random.Random(int(at)).gauss(0.0, 6.0)
    return 300 - 250 * math.cos(2 * math.pi * (at - BEGIN + 44) / DAY) + noise


class Metrics(BaseHTTPRequestHandler):
    """The page that Prometheus scrapes."""

    def do_GET(self) -> None:
        """Answers with the load of this second."""
        self.send_response(200)
        self.send_header("Content-Type", "text/plain; version=0.0.4")
        self.end_headers()
        self.wfile.write(f"# TYPE checkout_requests gauge\ncheckout_requests {load(time.time()):.1f}\n".encode())

    def log_message(self, *_: object) -> None:
        """Prints nothing."""


lines = [f"checkout_requests{LABELS} {load(at):.1f} {at}" for at in range(BEGIN - HISTORY, BEGIN)]
Path(sys.argv[1]).write_text("\n".join(["# TYPE checkout_requests gauge", *lines, "# EOF", ""]))
ThreadingHTTPServer(("127.0.0.1", PORT), Metrics).serve_forever()
