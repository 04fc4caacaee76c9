"""Writing files and reading them as documents."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from ragatouille_xm.cli.files.options import ReadingOptions
from ragatouille_xm.cli.files.reader import FileReader
from ragatouille_xm.corpus.passages import Document
from ragatouille_xm.errors import InputError


def reader(*paths: Path | str, base: Path | str = ".", **options: Any) -> FileReader:
    return FileReader(paths, ReadingOptions(**options), base)


def read(*paths: Path | str, base: Path | str = ".", **options: Any) -> list[Document]:
    return list(reader(*paths, base=base, **options))


def write(path: Path, content: str | bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def refusal(*paths: Path | str, **options: Any) -> str:
    with pytest.raises(InputError) as caught:
        read(*paths, **options)
    return str(caught.value)
