"""Every Python block of the README runs, in order."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

pytest.importorskip("langchain_classic", reason="two blocks of the README use it")
pytest.importorskip("lark", reason="LangChain's self-query retriever needs it")


def test_the_readme_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = (Path(__file__).parents[1] / "README.md").read_text(encoding="utf-8")
    blocks = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    assert len(blocks) == 4
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {}
    for block in blocks:
        exec(block, names)
    assert names["chain"].invoke("Quand ?") == "At nine."  # type: ignore[attr-defined]
    assert [document.page_content for document in names["retriever"].invoke("Wann ist das Museum zu?", k=1)] == [  # type: ignore[attr-defined]
        "Das Museum ist montags zu."
    ]
    assert [document.id for document in names["asking"].invoke("What?")] == ["museum"]  # type: ignore[attr-defined]
