"""The HTTP server: metrics, probes, the JSON API and the page in one ASGI application, served from a thread."""

from service.http.alert_views import AlertViews
from service.http.api import Api, status_of
from service.http.app import create_app
from service.http.explanations import Explanations
from service.http.guard import Guard
from service.http.openapi import api_routes, openapi_document
from service.http.otlp_push import OtlpPush
from service.http.page import page_routes
from service.http.push import Push
from service.http.server import HttpServer
from service.http.stream import Hub
from service.http.tls_reload import ReloadableTls

__all__ = [
    "AlertViews",
    "Api",
    "Explanations",
    "Guard",
    "HttpServer",
    "Hub",
    "OtlpPush",
    "Push",
    "ReloadableTls",
    "api_routes",
    "create_app",
    "openapi_document",
    "page_routes",
    "status_of",
]
