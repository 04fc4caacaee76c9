"""The optional packages of training."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from ..errors import MissingExtraError


def import_extra(module: str, feature: str = "Training") -> Any:
    """Import a package of the extra ``train``.

    Raises
    ------
    MissingExtraError
        If it is not installed; `feature` names what needs it.
    """
    try:
        return import_module(module)
    except ImportError as error:
        raise MissingExtraError(feature, "train") from error
