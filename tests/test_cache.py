from __future__ import annotations

from pathlib import Path

import pytest

from ragatouille_xm.cache import cache_dir


def test_the_environment_decides(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("RAGATOUILLE_XM_CACHE", str(tmp_path / "mine"))
    assert cache_dir() == tmp_path / "mine"
    assert not cache_dir().exists()  # asking makes nothing


def test_a_relative_folder_does_not_move_with_the_working_directory(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("RAGATOUILLE_XM_CACHE", "mine")
    assert cache_dir() == tmp_path / "mine"


@pytest.mark.parametrize(
    ("platform", "variable", "expected"),
    [
        ("linux", None, "home/.cache/ragatouille_xm"),
        ("linux", "XDG_CACHE_HOME", "chosen/ragatouille_xm"),
        ("darwin", None, "home/Library/Caches/ragatouille_xm"),
        ("win32", None, "home/AppData/Local/ragatouille_xm"),
        ("win32", "LOCALAPPDATA", "chosen/ragatouille_xm"),
    ],
)
def test_each_platform_has_its_place(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, platform: str, variable: str | None, expected: str
) -> None:
    for name in ("RAGATOUILLE_XM_CACHE", "XDG_CACHE_HOME", "LOCALAPPDATA"):
        monkeypatch.delenv(name, raising=False)
    if variable:
        monkeypatch.setenv(variable, str(tmp_path / "chosen"))
    monkeypatch.setattr("sys.platform", platform)
    monkeypatch.setattr(Path, "home", lambda: tmp_path / "home")
    assert cache_dir() == tmp_path / expected
