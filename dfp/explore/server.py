"""A Bokeh server for one person: on the loopback address, behind a random token, deaf to pages of other sites.

Whoever has not the URL gets 403, and so does a request whose ``Host`` or ``Origin`` is another: a page elsewhere can
neither read what is shown (same-origin policy), nor talk to the WebSocket, nor reach it under a name of its own (DNS
rebinding). The page loads nothing from anywhere else, and a content security policy makes browsers see to that.
"""

import asyncio
import logging
import secrets
import socket
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from bokeh.application import Application
from bokeh.application.handlers.function import FunctionHandler
from bokeh.server.server import BaseServer
from bokeh.server.tornado import BokehTornado
from tornado.httpserver import HTTPServer
from tornado.httputil import HTTPHeaders, HTTPServerRequest
from tornado.ioloop import IOLoop
from tornado.web import ErrorHandler, OutputTransform

from dfp.errors import DFPError

ADDRESS = "127.0.0.1"


class _Sealed(OutputTransform):
    """Headers that keep the page, its token and its data where they are."""

    def transform_first_chunk(
        self, status_code: int, headers: HTTPHeaders, chunk: bytes, finishing: bool
    ) -> tuple[int, HTTPHeaders, bytes]:
        host = self.host
        headers["Content-Security-Policy"] = (
            "default-src 'none'; script-src 'self' 'unsafe-inline'; style-src 'self' 'unsafe-inline'; "
            f"img-src 'self' data: blob:; font-src 'self' data:; connect-src 'self' ws://{host}; "
            "frame-ancestors 'none'; base-uri 'none'; form-action 'none'"
        )
        headers["Referrer-Policy"] = "no-referrer"
        headers["X-Content-Type-Options"] = "nosniff"
        headers["Cache-Control"] = "no-store"
        return status_code, headers, chunk

    def __init__(self, request: HTTPServerRequest) -> None:
        self.host = request.host


class _Guarded(BokehTornado):  # type: ignore[misc]
    """Bokeh's application, for requests with the token, from here."""

    def __init__(self, application: Application, token: str, hosts: frozenset[str]) -> None:
        self.token, self.hosts = token, hosts
        super().__init__(
            {"/": application},
            prefix=token,
            extra_websocket_origins=sorted(hosts),
            use_index=False,
            redirect_root=False,
        )
        self.transforms.append(_Sealed)

    def find_handler(self, request: HTTPServerRequest, **arguments: Any) -> Any:
        """Return the handler of a request, or one that answers 403."""
        if not self._welcome(request):
            return self.get_handler_delegate(request, ErrorHandler, {"status_code": 403})
        return super().find_handler(request, **arguments)

    def _welcome(self, request: HTTPServerRequest) -> bool:
        given = request.path.lstrip("/").split("/", 1)[0]
        if not secrets.compare_digest(given.encode(), self.token.encode()):
            return False
        if request.headers.get_list("Host") != [request.host] or request.host not in self.hosts:
            return False
        # Browsers name the origin of every WebSocket; what has none is no page, and knows the token.
        return all(origin in {f"http://{host}" for host in self.hosts} for origin in request.headers.get_list("Origin"))


@dataclass(frozen=True)
class Running:
    """A server that listens.

    Attributes
    ----------
    url
        Where the page is, token included.
    server
        Bokeh's server, in the event loop that started it.
    http
        What listens for it.
    """

    url: str
    server: BaseServer
    http: HTTPServer

    def stop(self) -> None:
        """Close all sessions and sockets."""
        self.server.stop(wait=False)  # from its own event loop, which waiting would block
        self.http.stop()


def start(document: Callable[[Any], None], port: int = 0) -> Running:
    """Listen on the loopback address, in the running event loop.

    Parameters
    ----------
    document
        Fills a Bokeh document, once for every browser window.
    port
        0 for any that is free.

    Raises
    ------
    DFPError
        If the port cannot be had.
    """
    try:
        listening = socket.create_server((ADDRESS, port))
    except OSError as error:
        raise DFPError(f"--port={port}: {error.strerror}; choose another, or 0 for any that is free.") from None
    listening.setblocking(False)
    bound = listening.getsockname()[1]
    token = secrets.token_urlsafe(24)
    hosts = frozenset(f"{name}:{bound}" for name in (ADDRESS, "localhost"))
    application = _Guarded(Application(FunctionHandler(document)), token, hosts)
    http = HTTPServer(application)
    http.add_socket(listening)
    server = BaseServer(IOLoop.current(), application, http)
    server.start()
    return Running(f"http://{ADDRESS}:{bound}/{token}/", server, http)


def serve(document: Callable[[Any], None], port: int, ready: Callable[[str], None]) -> None:
    """Show a document until the process is interrupted; ``ready`` is told the URL."""

    async def forever() -> None:
        running = start(document, port)
        ready(running.url)
        try:
            await asyncio.Event().wait()
        finally:
            running.stop()

    # What is refused, such as a browser's request for an icon, is nothing to the terminal.
    logging.getLogger("tornado.access").setLevel(logging.ERROR)
    asyncio.run(forever())
