from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any

import pytest
import torch
from reference.tiny import build_tiny_bert
from safetensors.torch import load_file

from ragatouille_xm.encoder import Encoder
from ragatouille_xm.errors import InputError, LanguageError
from ragatouille_xm.model.checkpoint import load_checkpoint
from ragatouille_xm.training import PAIRS, Pair, distil_language_adapter, read_pairs
from ragatouille_xm.training.gradients import cached_gradient, plain_gradient
from ragatouille_xm.training.pairs import PairsValidation, check_languages, hold_out
from ragatouille_xm.training.translation import Translation, translation_loss

SUBJECTS = [
    ("library", "bibliothèque"),
    ("book", "livre"),
    ("river", "rivière"),
    ("bread", "pain"),
    ("garden", "jardin"),
]
PLACES = [("in the old market", "dans le vieux marché"), ("behind the station", "derrière la gare"),
          ("near the winter garden", "près du jardin d'hiver"), ("above the village", "au-dessus du village"),
          ("under the bridges of the city", "sous les ponts de la ville")]  # fmt: skip
ENGLISH = [f"the {a} is {b} this morning" for (a, _), (b, _) in product(SUBJECTS, PLACES)]
FRENCH = [f"ce matin, le {a} est {b}" for (_, a), (_, b) in product(SUBJECTS, PLACES)]
TRANSLATIONS = read_pairs(ENGLISH, FRENCH)
SMALL = replace(PAIRS, batch_size=4, steps=6, learning_rate=3e-3, validate_every=2, save_every=2, log_every=1)


def distil(checkpoint: Path, output: Path, language: str = "fr", pairs: Any = TRANSLATIONS, **options: Any) -> Path:
    config = options.pop("config", SMALL)
    return distil_language_adapter(checkpoint, language, pairs, output, config, device="cpu", progress=False, **options)


def tensors(folder: Path) -> dict[str, torch.Tensor]:
    return load_file(folder / "model.safetensors")


def lines(run: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (run / "log.jsonl").read_text(encoding="utf-8").splitlines()]


def newest(run: Path) -> Path:
    return max(run.glob("step-*"))


# what is trained


def test_only_the_adapter_of_the_language_changes(checkpoint: Path, tmp_path: Path) -> None:
    distil(checkpoint, tmp_path / "run")
    before, after = tensors(checkpoint), tensors(newest(tmp_path / "run"))
    assert before.keys() == after.keys()
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert changed == {name for name in before if ".fr_XX." in name}
    for name in ("config.json", "artifact.metadata"):
        old, new = (json.loads((each / name).read_text()) for each in (checkpoint, newest(tmp_path / "run")))
        assert new == old


def test_a_new_language_comes_in(checkpoint: Path, tmp_path: Path) -> None:
    distil(checkpoint, tmp_path / "run", "oc", start_from="fr")
    path = newest(tmp_path / "run")
    assert Encoder(load_checkpoint(path), device="cpu").adapters.adapter_for("oc") == "oc_XX"
    before, after = tensors(checkpoint), tensors(path)
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert {name for name in after if name not in before} == {
        n.replace("fr_XX", "oc_XX") for n in before if "fr_XX" in n
    }


def test_translations_come_to_score_as_what_they_translate(checkpoint: Path, tmp_path: Path) -> None:
    def divergence(folder: Path) -> float:
        encoder = Encoder(load_checkpoint(folder), device="cpu", dtype="float32")
        objective = Translation(encoder, "fr", "en", None, TRANSLATIONS)
        batch = objective.collate(TRANSLATIONS[:8])
        with torch.no_grad():
            vectors = [objective.module(t.tokens.input_ids, t.tokens.attention_mask, t.adapters)
                       for t in (batch.queries, batch.passages)]  # fmt: skip
            return objective.loss(vectors[0], vectors[1], batch).item()

    distil(checkpoint, tmp_path / "run", config=replace(SMALL, steps=40, batch_size=8))
    assert divergence(newest(tmp_path / "run")) < 0.9 * divergence(checkpoint)


def test_the_loss_is_that_of_three_kinds_of_scores() -> None:
    torch.manual_seed(0)
    scores = torch.randn(6, 6, requires_grad=True)
    teacher = scores[:3, :3].softmax(1)
    kinds = [scores[3:, :3], scores[:3, 3:], scores[3:, 3:]]
    by_hand = [(teacher * (teacher.log() - kind.log_softmax(1))).sum(1).mean() for kind in kinds]
    loss = translation_loss(scores)
    assert loss.item() == pytest.approx(sum(each.item() for each in by_hand) / 3, abs=1e-5)
    loss.backward()
    assert scores.grad is not None
    assert not scores.grad[:3, :3].any(), "the teacher learns nothing"
    assert scores.grad[3:, 3:].any()


def test_the_gradient_cache_gives_the_same_gradient(checkpoint: Path) -> None:
    def gradients(chunk_size: int | None) -> list[torch.Tensor]:
        objective = Translation(Encoder(load_checkpoint(checkpoint), device="cpu", dtype="float32"), "fr", "en", None,
                                TRANSLATIONS)  # fmt: skip
        batch, backward = objective.collate(TRANSLATIONS[:3]), torch.Tensor.backward
        if chunk_size is None:
            plain_gradient(objective.module, batch, objective.loss, backward, 1.0)
        else:
            cached_gradient(objective.module, batch, objective.loss, chunk_size, backward, 1.0)
        return [p.grad for p in objective.module.parameters() if p.grad is not None]

    whole = gradients(None)
    assert whole
    for size in (2, 3, 100):
        assert all(torch.allclose(a, b, atol=1e-5) for a, b in zip(whole, gradients(size), strict=True))


# what is kept


def test_the_best_by_held_out_pairs_is_kept(checkpoint: Path, tmp_path: Path) -> None:
    path = distil(checkpoint, tmp_path / "run")
    measured = {entry["step"]: entry["validation"] for entry in lines(tmp_path / "run") if "validation" in entry}
    assert list(measured) == [0, 2, 4, 6]
    assert path.name == f"step-{max(measured, key=lambda step: (measured[step], -step)):06d}"


def test_the_start_is_kept_if_no_step_is_better(
    checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    falling = iter([0.5, 0.4, 0.3, 0.2])
    monkeypatch.setattr(PairsValidation, "__call__", lambda self, encoder: next(falling))
    path = distil(checkpoint, tmp_path / "run")
    assert path.name == "step-000000"
    before, after = tensors(checkpoint), tensors(path)
    assert all(torch.equal(before[name].float(), after[name].float()) for name in before)


def test_held_out_pairs_are_not_trained_on() -> None:
    train, held_out = hold_out(TRANSLATIONS, 0)
    assert len(held_out) == 2
    assert sorted(train + held_out, key=str) == sorted(TRANSLATIONS, key=str)
    assert hold_out(TRANSLATIONS, 0) == (train, held_out) != hold_out(TRANSLATIONS, 1)


def test_a_run_that_was_killed_ends_in_the_same_bits(
    checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = distil(checkpoint, tmp_path / "whole")
    calls = iter(range(100))

    def killed(self: Translation, examples: Any) -> Any:
        if next(calls) == 3:
            raise KeyboardInterrupt
        return collate(self, examples)

    collate = Translation.collate
    with monkeypatch.context() as patched:
        patched.setattr(Translation, "collate", killed)
        with pytest.raises(KeyboardInterrupt):
            distil(checkpoint, tmp_path / "run")
    with pytest.raises(InputError, match="resume=True"):
        distil(checkpoint, tmp_path / "run")
    again = distil(checkpoint, tmp_path / "run", resume=True)
    assert again.name == whole.name
    ours, theirs = tensors(newest(tmp_path / "run")), tensors(newest(tmp_path / "whole"))
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)


# what cannot be used


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda a, b: (a, b[:-1]), "en.txt has 25 and fr.txt has 24"),
        (lambda a, b: (a, [*b[:4], "  ", *b[5:]]), "Text 5 of fr.txt is empty"),
        (lambda a, b: (["", *a[1:]], b), "Text 1 of en.txt is empty"),
        (lambda a, b: (a, [*b[:4], None, *b[5:]]), "fr.txt has None: give a list of strings"),
        (lambda a, b: ("ab", b), "en.txt has 1 and fr.txt has 25"),
        (lambda a, b: (a, a), "25 of 25 texts are the same in en.txt and fr.txt"),
    ],
)
def test_pairs_that_cannot_be_used(change: Callable[[Any, Any], tuple[Any, Any]], message: str) -> None:
    with pytest.raises(InputError, match=message):
        read_pairs(*change(ENGLISH, FRENCH), ("en.txt", "fr.txt"))


@pytest.mark.parametrize(
    ("language", "turned", "message"),
    [
        ("fr", True, "should be in 'en' are in 'fr'"),
        ("de", False, "should be in 'de' are in 'fr'"),
        ("yo", True, "should be in 'en' are in 'fr'"),
    ],
)
def test_texts_in_another_language(checkpoint: Path, language: str, turned: bool, message: str) -> None:
    encoder = Encoder(load_checkpoint(checkpoint), device="cpu")
    pairs = [Pair(pair.new, pair.known) for pair in TRANSLATIONS] if turned else TRANSLATIONS
    with pytest.raises(InputError, match=message):
        check_languages(pairs, encoder, "en", language)
    check_languages(TRANSLATIONS, encoder, "en", "oc")  # which it does not know: taken for French


def test_a_new_language_that_is_english(checkpoint: Path) -> None:
    pairs = [Pair(pair.known, f"again {pair.known}") for pair in TRANSLATIONS]
    with pytest.raises(InputError, match="should be in 'yo' are in 'en'"):
        check_languages(pairs, Encoder(load_checkpoint(checkpoint), device="cpu"), "en", "yo")


def test_other_bad_input(checkpoint: Path, tmp_path: Path) -> None:
    bert = build_tiny_bert(tmp_path / "bert")
    with pytest.raises(LanguageError, match="'bert' checkpoint, which has no language adapters"):
        distil(bert, tmp_path / "out")
    with pytest.raises(LanguageError, match="'klingonese' is not a language"):
        distil(checkpoint, tmp_path / "out", "klingonese")
    with pytest.raises(InputError, match="different pairs"):
        distil(checkpoint, tmp_path / "out", pairs=TRANSLATIONS[:5])
    with pytest.raises(InputError, match="There are 7 different pairs, and 20 is the least"):
        distil(checkpoint, tmp_path / "out", pairs=read_pairs(ENGLISH[:7] * 3, FRENCH[:7] * 3))
    with pytest.raises(InputError, match="is not a Pair. Give what read_pairs returns"):
        distil(checkpoint, tmp_path / "out", pairs=list(zip(ENGLISH, FRENCH, strict=True)))
    with pytest.raises(InputError, match="There are 0 different pairs"):
        distil(checkpoint, tmp_path / "out", pairs=[])
    assert not (tmp_path / "out").exists()
