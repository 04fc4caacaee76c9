"""Where an index is copied from, and where to: what may stand there."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from ..errors import InputError
from ..index.local.index import LocalIndex
from ..index.plaid.folder import PlaidFolder
from ..index.servers import IndexServer
from ..index.validation import is_index_name
from ..opening import open_index


@contextmanager
def own_index(source: str | Path, way_out: str) -> Iterator[LocalIndex]:
    """Open an index of ours in a folder, and close it. Raise `InputError`, with a way out, for one of colbert-ai's."""
    with closing(open_index(source)) as index:
        if isinstance(index, PlaidFolder):
            raise InputError(f"The index at {str(source)!r} is of colbert-ai's format{way_out}")
        yield index


def check_folder(target: str | Path, overwrite: bool) -> None:
    """Raise `InputError` if there is an index in a folder, unless it may be overwritten."""
    if not overwrite and LocalIndex.exists(target):
        raise InputError(f"There is an index at {str(target)!r} already. Choose another folder, or overwrite it.")


def check_name(server: IndexServer, name: str, overwrite: bool) -> None:
    """Raise `InputError` if no index can have that name, or a server has one, unless it may be overwritten."""
    if not is_index_name(name):
        raise InputError(f"index_name={name!r} cannot be a name of an index. Use letters, digits, '-' and '_'.")
    if not overwrite and name in server.names():
        raise InputError(f"There is an index {name!r} at {server.url} already. Choose another name, or overwrite it.")
