"""Keep pytest from importing the package's modules by their paths: in a namespace it gets their names wrong."""

from __future__ import annotations

collect_ignore = ["llama_index"]
