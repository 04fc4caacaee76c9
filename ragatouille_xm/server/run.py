"""Running an application until it is stopped."""

from __future__ import annotations

import signal
import socket
from collections.abc import Callable

import uvicorn
from fastapi import FastAPI

from ..errors import InputError


def run(app: FastAPI, host: str, port: int, say: Callable[[str], object]) -> None:
    """Serve an application until SIGINT or SIGTERM; requests under way are answered first.

    Parameters
    ----------
    app : FastAPI
    host : str
    port : int
        0 for any that is free.
    say : callable
        Told the address, once the service listens.

    Raises
    ------
    InputError
        If the address cannot be listened on.
    """
    listening = _listen(host, port)
    name, taken = listening.getsockname()[:2]
    shown = f"[{name}]" if ":" in name else name
    config = uvicorn.Config(app, log_level="warning", access_log=False, server_header=False)
    server = uvicorn.Server(config)
    for number in (signal.SIGINT, signal.SIGTERM):  # uvicorn heeds them, and then passes them on
        signal.signal(number, _nothing)
    say(f"Serving at http://{shown}:{taken} (API: /openapi.json). Stop with Ctrl-C.")
    server.run(sockets=[listening])
    say("Stopped.")


def _nothing(number: int, frame: object) -> None:
    """Ignore a signal that was heeded already."""


def _listen(host: str, port: int) -> socket.socket:
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        listening = socket.socket(family, kind, protocol)
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind(address)
        listening.listen(2048)
    except (OSError, OverflowError) as error:
        raise InputError(f"{host}:{port} cannot be listened on: {error}. Choose another --port or --host.") from error
    return listening
