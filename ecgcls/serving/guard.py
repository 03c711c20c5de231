"""What stands before every route: whom the server answers, how a browser may use the answers, and how it fails."""

import json
from collections.abc import Sequence
from ipaddress import ip_address
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

_LOCAL = ("localhost", "127.0.0.1", "::1")
_POLICY = {
    "": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; connect-src 'self'; "
    "font-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'",
    # Swagger UI sets styles on its elements.
    "/docs": "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; "
    "connect-src 'self'; font-src 'self' data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
}
_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
}


def is_loopback(host: str) -> bool:
    """Whether an address can be reached from this machine alone."""
    try:
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        return False


class Guard:
    """Wraps an application.

    Where the server is bound to loopback it answers only requests for a local name (or one of `hosts`): another site
    whose name is pointed at this machine (DNS rebinding) reads nothing. There is no CORS, so that other sites cannot
    read answers. A form that another site sends changes nothing, for nothing is kept; that it costs time is refused
    where the browser tells that it comes from another site.
    """

    def __init__(self, app: ASGIApp, *, hosts: Sequence[str] = (), is_local: bool = True) -> None:
        self._app = app
        self._hosts = {*_LOCAL, *(host.lower() for host in hosts)} if is_local or hosts else None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer, refuse, or fail with one line."""
        if scope["type"] != "http":
            if scope["type"] == "lifespan":
                await self._app(scope, receive, send)
            return
        has_started = False

        async def send_guarded(message: Message) -> None:
            nonlocal has_started
            if message["type"] == "http.response.start":
                has_started = True
                _add_headers(scope["path"], MutableHeaders(scope=message))
            await send(message)

        if refusal := self._refuse(scope):
            await _send_line(send_guarded, *refusal)
            return
        try:
            await self._app(scope, receive, send_guarded)
        except Exception:  # already told, and answered if it could be: its text and traceback may quote what was sent
            if not has_started:
                raise

    def _refuse(self, scope: Scope) -> tuple[int, str] | None:
        headers = Headers(scope=scope)
        if self._hosts is not None and _name_host(headers.get("host", "")) not in self._hosts:
            return 421, "this server answers for a local name only, such as 127.0.0.1 or localhost, or those of hosts="
        if scope["method"] not in ("GET", "HEAD") and headers.get("sec-fetch-site") == "cross-site":
            return 403, "refused: sent by another site"
        return None


def _name_host(host: str) -> str:
    """Return the name in a Host header, without its port."""
    try:
        return (urlsplit(f"//{host}").hostname or "").rstrip(".")
    except ValueError:
        return ""


def _add_headers(path: str, headers: MutableHeaders) -> None:
    for name, value in _HEADERS.items():
        headers[name] = value
    headers["Content-Security-Policy"] = _POLICY["/docs" if path.startswith("/docs") else ""]
    headers.setdefault("Cache-Control", "no-cache" if path.startswith(("/static/", "/docs")) else "no-store")


async def _send_line(send: Send, status: int, error: str) -> None:
    body = json.dumps({"error": error}).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
