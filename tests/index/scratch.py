"""Folders for indexes under test, in memory where there is enough: a commit waits for the disk some forty times."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

MEMORY = Path("/dev/shm")


@contextmanager
def scratch() -> Iterator[Path]:
    in_memory = MEMORY.is_dir() and shutil.disk_usage(MEMORY).free > 2**30
    with TemporaryDirectory(dir=MEMORY if in_memory else None, ignore_cleanup_errors=True) as folder:
        yield Path(folder)
