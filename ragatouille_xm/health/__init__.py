"""The checks of `ragatouille-xm doctor`: the installation, a checkpoint, an index.

Importing it imports neither torch nor transformers.
"""

from __future__ import annotations

from .checkpoint import examine_checkpoint
from .index import examine_index
from .installation import examine_caches, examine_devices, examine_packages
from .report import FAULT, NOTE, OK, Check, collect_checks

__all__ = [
    "FAULT",
    "NOTE",
    "OK",
    "Check",
    "collect_checks",
    "examine_caches",
    "examine_checkpoint",
    "examine_devices",
    "examine_index",
    "examine_packages",
]
