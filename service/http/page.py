"""The page at /: static files of this package; the page reads all its data from the API.

All files are local, so that the page works without internet access; its content security policy forbids other sources.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from importlib.resources import files
from importlib.resources.abc import Traversable
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
    """Creates a route per file of the folder `page`; `index.html` is the page itself. The files are read once."""
    found = dict(_files(files("service.http") / "page", "/page"))
    return [
        _file("/" if path == "/page/index.html" else path, _TYPES[path[path.rfind(".") :]], data)
        for path, data in sorted(found.items())
    ]


def _files(folder: Traversable, path: str) -> Iterator[tuple[str, bytes]]:
    """Yields the paths and contents of the files of a folder and of those in it, as far as they have a type."""
    for file in folder.iterdir():
        if file.is_dir():
            yield from _files(file, f"{path}/{file.name}")
        elif file.name[file.name.rfind(".") :] in _TYPES:
            yield f"{path}/{file.name}", file.read_bytes()


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
