"""The commands that let others search: `serve` and `mcp`."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ..errors import InputError, MissingExtraError
from .app import app, facade
from .index import DevicesOption, parse_devices
from .output import say, say_waiting
from .paths import RootOption, find_index

if TYPE_CHECKING:
    from ..pretrained import RAGPretrainedModel

LOOPBACK = ("127.0.0.1", "::1", "localhost")
IndexesArgument = Annotated[
    list[str], typer.Argument(help="Names or folders of indexes, the default first.", metavar="INDEX")
]
READ_KEYS, WRITE_KEYS = "RAGATOUILLE_XM_READ_KEYS", "RAGATOUILLE_XM_WRITE_KEYS"


@app.command(
    epilog="""
    Examples:

        ragatouille-xm serve mine
        ragatouille-xm serve mine news --port 9000 --read-only
        RAGATOUILLE_XM_WRITE_KEYS=secret ragatouille-xm serve mine --host 0.0.0.0

    Keys are in the environment, where other users of the machine do not see them: RAGATOUILLE_XM_READ_KEYS and
    RAGATOUILLE_XM_WRITE_KEYS, each one key or several with commas between them.
    """
)
def serve(
    indexes: IndexesArgument,
    host: Annotated[str, typer.Option(help="Address to listen on; 0.0.0.0 for all of this machine.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="0 takes a free one.")] = 8000,
    read_only: Annotated[bool, typer.Option("--read-only", help="Refuse to add, update and delete documents.")] = False,
    cors: Annotated[
        list[str] | None, typer.Option(help="Site whose pages may call the service; may be repeated.", metavar="URL")
    ] = None,
    batch_size: Annotated[int, typer.Option(min=1, help="Most queries that are encoded in one pass.")] = 32,
    batch_window: Annotated[float, typer.Option(min=0, help="Milliseconds that a query waits for others.")] = 0.0,
    max_body: Annotated[int, typer.Option(min=1, help="Mebibytes of a request.")] = 16,
    max_requests: Annotated[int, typer.Option(min=1, help="Requests at a time; more are refused.")] = 256,
    timeout: Annotated[float, typer.Option(min=0.1, help="Seconds that a request which reads may take.")] = 60.0,
    root: RootOption = Path(".ragatouille"),
    device: DevicesOption = None,
) -> None:
    """Serve indexes over HTTP: a search page at /, and an API that /openapi.json describes.

    Everything is in one process, with the checkpoint in memory once. Stop it with Ctrl-C: requests under way are
    answered first.
    """
    folders = _folders(indexes, root)
    try:
        from ..server.app import create_app
        from ..server.run import run
        from ..server.settings import ServerSettings
    except ModuleNotFoundError as error:
        raise MissingExtraError("serve", "server") from error
    settings = ServerSettings(
        read_keys=_keys(READ_KEYS),
        write_keys=_keys(WRITE_KEYS),
        read_only=read_only,
        allowed_origins=tuple(cors or ()),
        batch_size=batch_size,
        batch_window=batch_window / 1000,
        max_body=max_body * 2**20,
        max_requests=max_requests,
        timeout=timeout,
    )
    if host not in LOOPBACK and not settings.keys:
        say(
            f"Anybody who reaches {host} may use this service: no key is set ({READ_KEYS}, {WRITE_KEYS}).",
            style="yellow",
        )
    model = _model_of(folders, device)
    try:
        run(create_app(model, [folder.name for folder in folders], settings), host, port, say)
    finally:
        model.close()


@app.command(
    epilog="""
    Example, as a program of a language model starts it:

        ragatouille-xm mcp mine
    """
)
def mcp(
    indexes: IndexesArgument,
    root: RootOption = Path(".ragatouille"),
    device: DevicesOption = None,
) -> None:
    """Offer searching as a tool to a language model, over stdin and stdout (Model Context Protocol)."""
    folders = _folders(indexes, root)
    try:
        from ..server.tools import create_tools
    except ModuleNotFoundError as error:
        raise MissingExtraError("mcp", "mcp") from error

    model = _model_of(folders, device)
    try:
        create_tools(model, [folder.name for folder in folders]).run("stdio")
    finally:
        model.close()


def _folders(indexes: list[str], root: Path) -> list[Path]:
    folders = [find_index(index, root) for index in indexes]
    if len({folder.name for folder in folders}) < len(folders):
        raise InputError("Two of the indexes have the same name. Serve them with two commands, or rename a folder.")
    return folders


def _model_of(folders: list[Path], device: str | None) -> RAGPretrainedModel:
    """Return one model with all of the indexes open."""
    say_waiting("Loading the checkpoint")
    model = facade().from_index(folders[0], verbose=0, device=parse_devices(device))
    from ..opening import open_index

    for folder in folders[1:]:
        model.catalog.register(folder.name, open_index(folder))
    return model


def _keys(variable: str) -> tuple[str, ...]:
    return tuple(key.strip() for key in os.environ.get(variable, "").split(",") if key.strip())
