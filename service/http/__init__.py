"""The HTTP face: metrics, probes and status, in one ASGI application, served from a thread."""

from service.http.app import create_app
from service.http.guard import Guard
from service.http.server import HttpServer
from service.http.web import Web

__all__ = ["Guard", "HttpServer", "Web", "create_app"]
