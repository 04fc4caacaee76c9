"""The optional packages of the evaluation."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from ..errors import MissingExtraError


def import_extra(module: str, feature: str) -> Any:
    """Import a package of the extra ``evaluate``.

    Raises
    ------
    MissingExtraError
        If it is not installed; `feature` names what needs it.
    """
    try:
        return import_module(module)
    except ImportError as error:
        raise MissingExtraError(feature, "evaluate") from error
