"""Prints the alerts that are posted to http://127.0.0.1:8001/: a line for each begin and each end."""

import json
from http.server import BaseHTTPRequestHandler, HTTPServer


class Hook(BaseHTTPRequestHandler):
    """The receiver."""

    def do_POST(self) -> None:
        """Prints the alerts of a post."""
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        for alert in body["alerts"]:
            print(alert["status"], alert["name"], alert["summary"], flush=True)
        self.send_response(204)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Prints nothing else."""


HTTPServer(("127.0.0.1", 8001), Hook).serve_forever()
