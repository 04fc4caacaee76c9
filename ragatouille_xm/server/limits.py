"""Requests that are too large, too slow, or too many are refused before anything reads them."""

from __future__ import annotations

import anyio
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from .problems import RETRY, Problem
from .settings import ServerSettings

ALWAYS = ("/health/live", "/health/ready", "/metrics")  # also answered by a service that is busy


class Limits:
    """ASGI middleware that refuses requests beyond the limits of `ServerSettings`."""

    def __init__(self, app: ASGIApp, settings: ServerSettings) -> None:
        self._app = app
        self._settings = settings
        self._requests = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        if scope["type"] != "http" or scope["path"].removeprefix(scope.get("root_path", "")) in ALWAYS:
            await self._app(scope, receive, send)
            return
        if self._requests >= self._settings.max_requests:
            await Problem(503, "The service is busy. Try again later.", RETRY).response()(scope, receive, send)
            return
        self._requests += 1
        try:
            body = await self._body(scope, receive)
            await self._app(scope, _replayed(body, receive), send)
        except Problem as problem:
            await problem.response()(scope, receive, send)
        finally:
            self._requests -= 1

    async def _body(self, scope: Scope, receive: Receive) -> list[Message]:
        """Return the body of a request, in the pieces in which it came."""
        most = self._settings.max_body
        too_large = Problem(
            413, f"The request is larger than this service takes: {most} bytes.", {"Connection": "close"}
        )
        announced = next((value for name, value in scope["headers"] if name == b"content-length"), b"0")
        if int(announced) > most:
            raise too_large
        messages: list[Message] = []
        size = 0
        with anyio.move_on_after(self._settings.timeout) as waiting:
            while not messages or messages[-1].get("more_body", False):
                messages.append(await receive())
                size += len(messages[-1].get("body", b""))
                if size > most:
                    raise too_large
        if waiting.cancelled_caught:
            raise Problem(408, f"The request was not complete after {self._settings.timeout:g} seconds.")
        return messages


def _replayed(messages: list[Message], receive: Receive) -> Receive:
    """Return what gives these messages first."""
    pieces = iter(messages)

    async def replay() -> Message:
        return next(pieces, None) or await receive()

    return replay
