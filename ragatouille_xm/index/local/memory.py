"""Memory that was freed, given back to the system."""

from __future__ import annotations

import ctypes
from contextlib import suppress


def give_back() -> None:
    """Have the C library let go of what lies free between what is in use.

    Small things of the engine come to lie between large ones of torch, so that a long build holds several times what it
    uses. Only glibc does that, and only it has the call.
    """
    with suppress(OSError, AttributeError, TypeError):
        ctypes.CDLL(None).malloc_trim(0)
