"""colbert-ai's format: ``artifact.metadata`` beside an encoder whose weights include ``linear.weight``."""

from __future__ import annotations

import logging
import os
from pathlib import Path

from ...errors import CheckpointError
from ...text.token_settings import TokenSettings
from ..settings import read_fields
from .layout import Dense, Layout, read_object

logger = logging.getLogger(__name__)

MARK = "artifact.metadata"


def read(folder: Path) -> Layout:
    """Read a folder; without ``artifact.metadata``, ColBERT's default settings are taken."""
    path = folder / MARK
    settings, raw = TokenSettings(), b""
    if os.path.lexists(path):
        stored, raw = read_object(path)
        try:
            settings = TokenSettings(**read_fields(TokenSettings, stored))
        except CheckpointError as error:
            raise CheckpointError(f"{path}: {error}") from error
        if stored.get("similarity", "cosine") != "cosine":
            raise CheckpointError(
                f'{path}: similarity={str(stored["similarity"])[:80]!r} is not supported: "cosine" is.'
            )
    else:
        logger.warning("%s has no artifact.metadata: using ColBERT's default settings", folder)
    return Layout("colbert-ai", folder, settings, path, raw, (Dense(),), {})
