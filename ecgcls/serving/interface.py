"""The page of the interface for programs: Swagger UI from a package on this machine, without the internet."""

from importlib.util import find_spec
from pathlib import Path

from fastapi import FastAPI
from fastapi.responses import HTMLResponse, PlainTextResponse, Response
from starlette.staticfiles import StaticFiles

_PACKAGE = "fastapi_offline"  # carries the files of Swagger UI
_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>ecgcls: interface for programs</title>
<link rel="icon" href="data:,"><link rel="stylesheet" href="/docs/files/swagger-ui.css"></head>
<body><div id="swagger-ui"></div>
<script src="/docs/files/swagger-ui-bundle.js"></script><script src="/docs/start.js"></script></body></html>
"""
_START = 'SwaggerUIBundle({url: "/openapi.json", dom_id: "#swagger-ui", deepLinking: true, validatorUrl: null});\n'


def find_files() -> Path | None:
    """Return the folder with the files of Swagger UI; None if the package is not installed."""
    found = find_spec(_PACKAGE)
    if found is None or found.origin is None:
        return None
    folder = Path(found.origin).parent / "static"
    return folder if (folder / "swagger-ui-bundle.js").is_file() else None


def add_page(app: FastAPI, files: Path | None) -> None:
    """Add ``/docs`` to an application; without the files it says where the same stands as JSON."""

    @app.get("/docs", include_in_schema=False)
    def show() -> Response:
        if files is None:
            return PlainTextResponse("pip install fastapi-offline brings this page; as JSON it is /openapi.json\n")
        return HTMLResponse(_PAGE)

    @app.get("/docs/start.js", include_in_schema=False)
    def start() -> Response:
        return Response(_START, media_type="text/javascript")

    if files is not None:
        app.mount("/docs/files", StaticFiles(directory=files))
