"""save-pretrained and export-onnx, as users type them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import Result

from .test_commands import error, good

Run = Callable[..., Result]


def test_save_pretrained(run: Run, checkpoint: Path, tmp_path: Path) -> None:
    arguments = ("save-pretrained", checkpoint, tmp_path / "new", "--format", "sentence-transformers")
    result = good(run(*arguments, "--language", "fr"))
    assert f"Written: {tmp_path / 'new'}." in result.stderr
    assert result.stdout == ""
    assert (tmp_path / "new" / "modules.json").is_file()
    assert "There is something at" in error(run(*arguments))
    assert "format='onnx' is not known" in error(
        run("save-pretrained", checkpoint, tmp_path / "other", "--format", "onnx")
    )


def test_export_onnx(run: Run, checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []
    monkeypatch.setattr(
        "ragatouille_xm.transfer.onnx.write_onnx", lambda encoder, *given: asked.append(given) or 2.5e-7
    )
    result = good(run("export-onnx", checkpoint, tmp_path / "fr", "--language", "fr"))
    assert f"Written: {tmp_path / 'fr'}. Vectors of onnxruntime differ from ours by 2.5e-07 at most." in result.stderr
    assert asked == [(tmp_path / "fr", "fr")]
