"""Names that can be typed back."""

from __future__ import annotations

import shutil
import subprocess

import pytest

from ragatouille_xm.shell import quoted, typed

NAMES = [
    "a", "notes/a.txt", "faq.jsonl:7604a77a2304-2", "駅.txt", "café", "my notes.txt", "it's", 'say "so"', "$HOME",
    "a\\b", "two\nlines", "tab\there", "\x1b[31mred", "\x07a", "\u202egnirts", "a\u200b", "\x85", "", " ", "~", "*",
    "#a", "a#b", "\\udce9", "x\x1b1", "\U000e0001", "!x", "{a,b}", "it's\nso", "\u00a0", "é\n駅",
]  # fmt: skip


@pytest.mark.skipif(shutil.which("bash") is None, reason="there is no bash")
def test_bash_reads_back_what_is_shown() -> None:
    for write in (typed, quoted):
        words = " ".join(map(write, NAMES))
        assert words.isprintable()
        script = f"printf '%s\\0' {words}"
        done = subprocess.run(["bash", "-c", script], capture_output=True, check=True, env={"LC_ALL": "C.UTF-8"})
        assert done.stdout.decode("utf-8").split("\0")[:-1] == NAMES


def test_plain_names_are_shown_as_they_are() -> None:
    for name in ("notes/a.txt", "faq.jsonl:7604a77a2304-2", "駅.txt", "日本語/メモ.md", "نص.txt", "a@b+c=d%e"):
        assert typed(name) == name
        assert quoted(name) == f"'{name}'"
