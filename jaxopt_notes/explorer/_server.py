"""The page served to this machine, and its requests answered. Every request is checked before it is read.

The server holds no state besides its compiled programs: a page sends all of its own with each request.
"""

from __future__ import annotations

import json
import secrets
import socket
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, quote

from .. import _checks
from ._answer import answer, opening, reply_to
from ._bundle import module, style
from ._request import LARGEST, decoded, parse
from ._scenes import Scenes, catalogue

if TYPE_CHECKING:
    from starlette.applications import Starlette
    from starlette.requests import Request
    from starlette.responses import Response
    from starlette.websockets import WebSocket

_FOLDER = Path(__file__).parent
_FILES = {"explorer.js": "text/javascript", "page.js": "text/javascript", "explorer.css": "text/css"}
_JOINED = {"explorer.js": module, "explorer.css": style}
_HEADERS = {
    "content-security-policy": "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
    "img-src 'self' data: blob:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cache-control": "no-store",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
}
_LOCAL = ("127.0.0.1", "localhost", "[::1]")


def application(token: str, hosts: Sequence[str], scenes: Scenes | None = None, first: str = "tilted_canyon") -> Any:
    """The web application, an ASGI callable.

    Arguments:
        token: what every request must bring, as the query `token` or in the header X-Explorer-Token.
        hosts: accepted values of the Host header, with their port; requests of other origins are refused.
        scenes: the functions to offer; the catalogue when None.
        first: the one to begin with.

    Returns:
        The application. It answers 403 to whatever comes from elsewhere, 4xx with a message to whatever it does not
        understand, and goes on.

    Example:
        >>> from importlib.util import find_spec
        >>> callable(application("secret", ["127.0.0.1:8000"])) if find_spec("starlette") else True
        True
    """
    from starlette.applications import Starlette
    from starlette.concurrency import run_in_threadpool
    from starlette.responses import Response
    from starlette.routing import Route, WebSocketRoute
    from starlette.websockets import WebSocketDisconnect

    known = catalogue() if scenes is None else scenes
    description = json.dumps(opening(known, first), allow_nan=False)
    page = (_FOLDER / "page.html").read_text(encoding="utf-8").replace("TOKEN", quote(token))

    async def root(request: Request) -> Response:
        return Response(page, media_type="text/html")

    async def file(request: Request) -> Response:
        name = request.url.path[1:]
        text = _JOINED[name]() if name in _JOINED else (_FOLDER / name).read_text(encoding="utf-8")
        return Response(text, media_type=_FILES[name])

    async def described(request: Request) -> Response:
        return Response(description, media_type="application/json")

    async def compute(request: Request) -> Response:
        if request.headers.get("content-type", "").split(";")[0].strip().lower() != "application/json":
            return _refused(415, "send application/json")
        body = b""
        async for part in request.stream():
            body += part
            if len(body) > LARGEST:
                return _refused(413, f"a request has at most {LARGEST} bytes")
        try:
            asked = parse(decoded(body), known)
        except (TypeError, ValueError) as error:
            return _refused(400, str(error))
        # In a thread, since a first answer may compile for a second, in which another tab wants its own.
        reply = await run_in_threadpool(answer, asked)
        return Response(json.dumps(reply, allow_nan=False), media_type="application/json")

    # The same over one connection for all requests of a page, which a drag feels.
    async def converse(socket: WebSocket) -> None:
        await socket.accept()
        try:
            while (message := await socket.receive())["type"] == "websocket.receive":
                body = message.get("bytes") or (message.get("text") or "").encode()
                reply = await run_in_threadpool(reply_to, body, known)
                await socket.send_text(json.dumps(reply, allow_nan=False))
        except WebSocketDisconnect:
            pass  # the page was closed while it waited

    async def failed(request: Request, error: Exception) -> Response:
        return _refused(500, f"{type(error).__name__}: {error}"[:500])

    routes = [
        Route("/", root),
        *(Route(f"/{name}", file) for name in _FILES),
        Route("/opening", described),
        Route("/compute", compute, methods=["POST"]),
        WebSocketRoute("/socket", converse),
    ]
    starlette = Starlette(routes=routes, exception_handlers={Exception: failed})
    return _Guard(starlette, token, frozenset(hosts))


def _refused(status: int, message: str) -> Response:
    from starlette.responses import JSONResponse

    return JSONResponse({"error": message}, status_code=status)


class _Guard:
    """Lets through what has the right Host, Origin and token, and adds the headers of security to what it gets."""

    def __init__(self, inner: Starlette, token: str, hosts: frozenset[str]) -> None:
        self._inner, self._token, self._hosts = inner, token, hosts

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            await self._inner(scope, receive, send)
            return
        reason = self._reason(scope)

        async def send_with_headers(message: Any) -> None:
            if message["type"] == "http.response.start":
                given = [(name.encode(), value.encode()) for name, value in _HEADERS.items()]
                message = {**message, "headers": [*message.get("headers", []), *given]}
            await send(message)

        if reason and scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1008, "reason": reason})  # which the browser sees as a 403
        elif reason:
            await _refused(403, reason)(scope, receive, send_with_headers)
        else:
            await self._inner(scope, receive, send_with_headers)

    def _reason(self, scope: Any) -> str:
        """Why a request is refused; empty for one that is let through."""
        headers = [(name.decode("latin-1").lower(), value.decode("latin-1")) for name, value in scope["headers"]]
        given = {name: [value for other, value in headers if other == name] for name, _ in headers}
        hosts, origins = given.get("host", []), given.get("origin", [])
        if len(hosts) != 1 or hosts[0].lower() not in self._hosts:
            return "unknown Host: open the address that the command printed"
        # A page of this server sends its own origin with every POST and socket; with a GET of its scripts perhaps none.
        if (origins or scope.get("method") not in ("GET", "HEAD")) and origins != [f"http://{hosts[0]}"]:
            return "unknown Origin: only the explorer's own page may ask"
        query = parse_qs(scope["query_string"].decode("latin-1")).get("token", [])
        brought = given.get("x-explorer-token", []) or query
        if len(brought) != 1 or not secrets.compare_digest(brought[0].encode(), self._token.encode()):
            return "missing or wrong token: open the address that the command printed"
        return ""


def serve(
    ready: Callable[[str], None],
    *,
    host: str = "127.0.0.1",
    port: int = 0,
    scenes: Scenes | None = None,
    first: str = "tilted_canyon",
) -> None:
    """Serve the explorer until interrupted.

    Arguments:
        ready: called with the address, token included, once the first picture is compiled and the port listens.
        host: address to bind; only this machine reaches the default.
        port: TCP port; 0 for any that is free.
        scenes, first: as for `application`.

    Raises:
        ModuleNotFoundError: starlette or uvicorn is missing. OSError: the address cannot be bound.
    """
    try:
        import uvicorn
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError("the explorer needs a web server: pip install 'jaxopt-notes[explorer]'") from error
    _checks.count("port", port, low=0, high=65535)
    known = catalogue() if scenes is None else scenes
    _checks.choice("function", first, known)
    listener = _listening(host, port)
    with listener:
        bound = listener.getsockname()[1]
        named = f"[{host}]" if ":" in host else host
        token = secrets.token_urlsafe(24)
        hosts = {f"{name}:{bound}" for name in (*_LOCAL, named, *(_own_names() if _is_open(host) else ()))}
        app = application(token, sorted(hosts), known, first)
        warm(known, first)
        shown = "127.0.0.1" if _is_open(host) else named
        ready(f"http://{shown}:{bound}/?token={token}")
        quiet: dict[str, Any] = {"log_level": "error", "access_log": False, "lifespan": "off"}
        # Compressing a reply for a page on this machine takes longer than to hand it over.
        sockets: dict[str, Any] = {"ws_max_size": LARGEST, "ws_per_message_deflate": False}
        config = uvicorn.Config(app, timeout_keep_alive=120, **quiet, **sockets)
        uvicorn.Server(config).run(sockets=[listener])


def warm(scenes: Scenes, first: str) -> None:
    """Compile what the first picture needs, as the page will ask for it."""
    started: dict[str, Any] = {"gradient_descent": {}, "momentum": {}, "adam": {}}
    for asked in ({"kind": "survey", "function": first}, {"function": first, "optimizers": started}):
        answer(parse(asked, scenes))


def _listening(host: str, port: int) -> socket.socket:
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
    except socket.gaierror as error:
        raise OSError(f"cannot bind {host}: {error.strerror}") from None
    listener = socket.socket(family, kind, protocol)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen(64)
    except OSError as error:
        listener.close()
        raise OSError(f"cannot bind {host}:{port}: {error.strerror}; --port 0 takes any free port") from None
    return listener


def _is_open(host: str) -> bool:
    return host in ("0.0.0.0", "::", "")


def _own_names() -> list[str]:
    """By what names other machines may call this one, when all of its addresses are bound."""
    name = socket.gethostname()
    try:
        return [name, *socket.gethostbyname_ex(name)[2]]
    except OSError:
        return [name]
