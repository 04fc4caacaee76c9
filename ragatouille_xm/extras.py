"""Optional packages: each belongs to an extra of the distribution."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from .errors import MissingExtraError


def import_extra(module: str, feature: str, extra: str) -> Any:
    """Import a module of an optional package.

    Parameters
    ----------
    module : str
    feature : str
        What needs it, as the message begins.
    extra : str
        What to install, as in ``pip install "ragatouille-xm[extra]"``.

    Raises
    ------
    MissingExtraError
        If it is not installed.

    Examples
    --------
    >>> import_extra("json", "Reading JSON", "json").loads("[1]")
    [1]
    """
    try:
        return import_module(module)
    except ImportError as error:
        raise MissingExtraError(feature, extra) from error
