"""Which files does one document pass through, from `add_to_index` to the disk, and on how many floors are they?

    PYTHONPATH=CHECKOUT python benchmarks/walk.py

A file counts if one of its functions is called while the second document is added to an index of the demo checkpoint.
A floor is the longest chain of imports from a file down to one that imports none of the others.
"""

from __future__ import annotations

import json
import sys
import tempfile
import threading
from collections.abc import Callable
from functools import cache
from pathlib import Path
from types import FrameType
from typing import Any

import grimp

import ragatouille_xm
from ragatouille_xm import RAGPretrainedModel

PACKAGE = Path(ragatouille_xm.__file__).parent


def files_entered(call: Callable[[], Any]) -> list[str]:
    """Return the package's files whose functions a call enters, in that order."""
    entered: dict[str, None] = {}

    def note(frame: FrameType, event: str, _: Any) -> None:
        path = Path(frame.f_code.co_filename)
        if event == "call" and frame.f_code.co_name != "<module>" and path.is_relative_to(PACKAGE):
            entered[path.relative_to(PACKAGE).as_posix()] = None

    threading.setprofile(note)
    sys.setprofile(note)
    try:
        call()
    finally:
        sys.setprofile(None)
        threading.setprofile(None)  # type: ignore[arg-type]
    return list(entered)


def floors(files: list[str]) -> dict[str, int]:
    """Return the floor of each file, from 1."""
    graph = grimp.build_graph("ragatouille_xm")
    modules = {
        ".".join(("ragatouille_xm", *Path(file).with_suffix("").parts)).removesuffix(".__init__"): file
        for file in files
    }

    @cache
    def floor(module: str) -> int:
        below = graph.find_modules_directly_imported_by(module) & modules.keys() - {module}
        return 1 + max(map(floor, below), default=0)

    return {file: floor(module) for module, file in modules.items()}


def main() -> None:
    """Add a document, and print where it has been."""
    with tempfile.TemporaryDirectory() as root:
        model = RAGPretrainedModel.from_pretrained("demo", index_root=root, verbose=0, device="cpu")
        model.index(["La gare est à gauche."], ["a"], index_name="walk")
        model.add_to_index(["Le port est loin."], ["b"])
        files = files_entered(lambda: model.add_to_index(["Die Bibliothek ist offen."], ["c"]))
    of_index = [file for file in files if file.startswith("index/")]
    on = floors(files)
    print(json.dumps({"files": len(files), "floors": max(on.values()), "files_of_index": len(of_index)}))
    for file in files:
        print(f"{on[file]:3}  {file}")


if __name__ == "__main__":
    main()
