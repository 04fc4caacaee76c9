"""The cache folder."""

from __future__ import annotations

import os
import sys
from pathlib import Path

_ENVIRONMENT_VARIABLE = "RAGATOUILLE_XM_CACHE"


def cache_dir() -> Path:
    """Return the cache folder: ``$RAGATOUILLE_XM_CACHE``, else the platform's user cache.

    It need not exist yet. Deleting it is safe.

    Examples
    --------
    >>> cache_dir().is_absolute()
    True
    """
    if chosen := os.environ.get(_ENVIRONMENT_VARIABLE):
        return Path(chosen).expanduser().absolute()
    return _platform_dir() / "ragatouille_xm"


def _platform_dir() -> Path:
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local")
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches"
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
