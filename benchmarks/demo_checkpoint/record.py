"""The log of a run that may be killed: what is not kept yet is done again."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

Entry = dict[str, Any]


class Record:
    """Entries in memory, and those in the file as of the last `keep`; each has the CPU seconds of all processes.

    Parameters
    ----------
    path : Path
        JSONL; read if it is there.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        lines = path.read_text(encoding="utf-8").splitlines() if path.is_file() else []
        self.entries: list[Entry] = [json.loads(line) for line in lines]
        self._since = time.process_time() - max((entry["cpu_s"] for entry in self.entries), default=0.0)

    def add(self, **entry: Any) -> None:
        rounded = {name: round(value, 4) if isinstance(value, float) else value for name, value in entry.items()}
        self.entries.append(rounded | {"cpu_s": round(time.process_time() - self._since, 1)})

    def find(self, **wanted: Any) -> Entry | None:
        """Return the first entry with these values."""
        return next((e for e in self.entries if all(e.get(name) == value for name, value in wanted.items())), None)

    def drop(self, which: Callable[[Entry], bool]) -> None:
        """Forget what was logged beyond the state that the run goes on from."""
        self.entries = [entry for entry in self.entries if not which(entry)]

    def keep(self) -> None:
        """Write all entries, in one step."""
        aside = self.path.with_suffix(".part")
        aside.write_text("".join(json.dumps(entry) + "\n" for entry in self.entries), encoding="utf-8")
        aside.replace(self.path)
