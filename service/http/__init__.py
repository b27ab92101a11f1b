"""The HTTP face: metrics, probes and status, in one ASGI application, served from a thread."""

from service.http.app import create_app
from service.http.server import HttpServer

__all__ = ["HttpServer", "create_app"]
