"""The training of the demo checkpoint goes on after a kill to what it would have been without, and judges adapters."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
import torch

WORDS = [f"{a}{b}" for a in ("red", "green", "old", "small", "deep") for b in ("river", "garden", "market", "bread")]


class Model:
    """Stands for `halves.Halves`: a text's states are of its letters, and two matrices train."""

    def __init__(self, half: type) -> None:
        generator = torch.Generator().manual_seed(0)
        self.half = half
        self.upper_layers = torch.randn(8, 8, generator=generator).requires_grad_()
        self.head = torch.randn(8, 4, generator=generator).requires_grad_()
        self.encoder = SimpleNamespace(adapters=SimpleNamespace(adapter_for=lambda language: f"{language}_XX"))

    def queries(self, texts: Sequence[str], adapter: str) -> list[Any]:
        def states(text: str) -> torch.Tensor:
            return torch.tensor([[float(ord(letter) >> bit & 1) for bit in range(8)] for letter in text])

        return [self.half(states(text), *[torch.ones(len(text), dtype=torch.bool)] * 2) for text in texts]

    passages = queries

    def upper(self, halves: Sequence[Any], adapter: str) -> tuple[torch.Tensor, torch.Tensor]:
        states, _, scored = (
            torch.nn.utils.rnn.pad_sequence(list(part), batch_first=True) for part in zip(*halves, strict=True)
        )
        return torch.nn.functional.normalize(torch.tanh(states @ self.upper_layers) @ self.head, dim=-1), scored

    def free_encoder(self) -> list[torch.Tensor]:
        return [self.upper_layers, self.head]


def train(scripts: Callable[[str], ModuleType], folder: Path, values: Sequence[float], stop_at: int | None) -> Model:
    """Run the second stage; `values` are what the checks find, and at one of them it is killed."""
    english, record_of, text = scripts("english"), scripts("record"), scripts("text")
    english.STEPS, english.EVERY, english.BATCH, english.NEAR, english.RATE = 12, 3, 6, 2, 1e-2
    model = Model(scripts("halves").Half)
    record = record_of.Record(folder / "log.jsonl")
    sections = [
        text.Section(f"page{i // 4}", f"h{i}", f"the {word}", f"a {word} is here") for i, word in enumerate(WORDS)
    ]

    def check(step: int) -> float:
        if step == stop_at:
            raise KeyboardInterrupt
        record.add(stage="validation", of="english", step=step, mean=values[step // 3])
        return values[step // 3]

    english.train_english(model, sections, check, record, folder / "english.pt", 5)
    return model


@pytest.mark.parametrize("stop_at", [0, 3, 6, 12])
def test_the_second_stage_goes_on_to_the_same_bits_and_ends_with_the_best(
    scripts: Callable[[str], ModuleType], tmp_path: Path, stop_at: int
) -> None:
    values = [0.1, 0.2, 0.5, 0.3, 0.4]
    (whole := tmp_path / "whole").mkdir()
    (killed := tmp_path / "killed").mkdir()
    expected = train(scripts, whole, values, None)
    with pytest.raises(KeyboardInterrupt):
        train(scripts, killed, values, stop_at)
    found = train(scripts, killed, values, None)
    best = torch.load(whole / "english.pt", weights_only=False)
    assert (best["step"], best["best_step"]) == (12, 6)
    for mine, theirs, last, kept in zip(
        found.free_encoder(), expected.free_encoder(), best["tensors"], best["best_tensors"], strict=True
    ):
        assert torch.equal(mine, theirs)
        assert torch.equal(mine, kept)
        assert not torch.equal(mine, last)
    logs = [scripts("record").Record(folder / "log.jsonl").entries for folder in (whole, killed)]
    without_time = [[{k: v for k, v in entry.items() if k != "cpu_s"} for entry in log] for log in logs]
    assert without_time[0] == without_time[1]
    assert [entry["step"] for entry in logs[0] if entry["stage"] == "english"] == list(range(1, 13))


def test_the_second_stage_ends_early_where_nothing_gets_better(
    scripts: Callable[[str], ModuleType], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scripts("english"), "PATIENCE", 2)
    train(scripts, tmp_path, [0.5, 0.1, 0.1, 0.1, 0.1], None)
    entries = scripts("record").Record(tmp_path / "log.jsonl").entries
    assert max(entry["step"] for entry in entries) == 6


@pytest.mark.parametrize(
    ("mrr", "losses", "kept"),
    [(60.1, {"titles": 2.0, "sentences": 9.0}, True), (60.0, {"titles": 1.0, "sentences": 1.0}, False),
     (None, {"titles": 1.5, "sentences": 3.4}, True), (None, {"titles": 1.5, "sentences": 3.6}, False)],
)  # fmt: skip
def test_an_adapter_is_kept_if_validation_or_else_held_out_text_says_so(
    scripts: Callable[[str], ModuleType], mrr: float | None, losses: dict[str, float], kept: bool
) -> None:
    before: dict[str, Any] = {"held-out losses": {"titles": 2.0, "sentences": 3.0}}
    after: dict[str, Any] = {"held-out losses": losses}
    if mrr is not None:
        before["validation"], after["validation"] = {"mrr@10": 60.0}, {"mrr@10": mrr}
    assert scripts("train").helps(before, after) is kept
