"""Every Python block of the README runs, in order."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

pytest.importorskip("langchain_classic", reason="one block of the README uses it")


def test_the_readme_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = (Path(__file__).parents[1] / "README.md").read_text(encoding="utf-8")
    blocks = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    assert len(blocks) == 3
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {}
    for block in blocks:
        exec(block, names)
    assert names["chain"].invoke("Quand ?") == "At nine."  # type: ignore[attr-defined]
    assert [document.page_content for document in names["retriever"].invoke("Wann ist das Museum zu?", k=1)] == [  # type: ignore[attr-defined]
        "Das Museum ist montags zu."
    ]
