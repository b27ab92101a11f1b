"""The page at /: static files of this package; the page reads all its data from the API.

All files are local, so that the page works without internet access; its content security policy forbids other sources.
"""

from __future__ import annotations

import hashlib
from importlib.resources import files
from typing import Final

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

_TYPES: Final = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}
_POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; base-uri 'none'; "
    "form-action 'none'; frame-ancestors 'none'"
)


def page_routes() -> list[Route]:
    """Creates a route per file; `index.html` is the page itself. The files are read once."""
    folder = files("service.http") / "page"
    found = {file.name: file.read_bytes() for file in folder.iterdir() if file.name[file.name.rfind(".") :] in _TYPES}
    return [
        _file("/" if name == "index.html" else f"/page/{name}", _TYPES[name[name.rfind(".") :]], data)
        for name, data in sorted(found.items())
    ]


def _file(path: str, media_type: str, data: bytes) -> Route:
    tag = f'"{hashlib.sha256(data).hexdigest()[:32]}"'
    headers = {
        "etag": tag,
        "cache-control": "no-cache",  # revalidated each time, 304 while unchanged
        "content-security-policy": _POLICY,
        "referrer-policy": "no-referrer",
    }

    async def answering(request: Request) -> Response:
        if request.headers.get("if-none-match") == tag:
            return Response(status_code=304, headers=headers)
        return Response(data, headers=headers, media_type=media_type)

    return Route(path, answering)
