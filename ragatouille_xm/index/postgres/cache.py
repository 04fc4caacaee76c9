"""Where replicas are on this machine, and how many of them stay."""

from __future__ import annotations

import logging
import os
import shutil
import time
from contextlib import suppress
from pathlib import Path

from filelock import FileLock, Timeout

from ...cache import cache_dir
from ...errors import InputError
from ..local.folder import LOCK

logger = logging.getLogger(__name__)

LIMIT_VARIABLE, LIMIT_GB = "RAGATOUILLE_XM_REPLICAS_GB", 100.0
IN_USE = 3600.0  # seconds since a replica was read last
STAMP = "used"


def replica_folder(database: str, index: int) -> Path:
    """Return the folder for the replica of an index, shared by all processes of this user."""
    return cache_dir() / "postgresql" / f"{database}-{index}"


def note_use(folder: Path) -> None:
    """Note that a replica is in use."""
    with suppress(OSError):
        (folder / STAMP).touch()


def make_room(keep: Path) -> None:
    """Remove replicas, least recently used first, until the rest is within the limit; none that is in use.

    Parameters
    ----------
    keep : Path
        One that stays in any case.

    Raises
    ------
    InputError
        If the limit is no number.
    """
    value = os.environ.get(LIMIT_VARIABLE, LIMIT_GB)
    try:
        limit = float(value) * 1e9
    except ValueError as error:
        raise InputError(
            f"{LIMIT_VARIABLE}={value!r} is not a number of gigabytes. Set one, or leave it out."
        ) from error
    sizes = {folder: _bytes(folder) for folder in keep.parent.iterdir() if folder.is_dir()}
    total = sum(sizes.values())
    for folder in sorted(sizes, key=_used_at):
        if total <= limit:
            return
        if folder != keep and time.time() - _used_at(folder) > IN_USE and _remove(folder):
            total -= sizes[folder]


def _remove(folder: Path) -> bool:
    """Remove a replica, unless somebody builds an index in it."""
    try:
        with FileLock(folder / LOCK, timeout=0):
            logger.info("removing the replica at %s", folder)
            shutil.rmtree(folder, ignore_errors=True)
    except (OSError, Timeout):
        return False
    return True


def _used_at(folder: Path) -> float:
    with suppress(OSError):
        return (folder / STAMP).stat().st_mtime
    return time.time()


def _bytes(folder: Path) -> int:
    total = 0
    for path in folder.iterdir():
        with suppress(OSError):
            total += path.stat().st_size
    return total
