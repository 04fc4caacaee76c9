from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from reference.tiny import build_tiny_bert, build_tiny_xmod
from safetensors.torch import load_file

from ragatouille_xm import RAGPretrainedModel
from ragatouille_xm.errors import InputError, LanguageError
from ragatouille_xm.training import AdapterConfig, train_language_adapters
from ragatouille_xm.training.masking import hide_tokens

TEXTS = ["the library opens the book", "the river is in the garden and the bread", "a book of the library"]
SMALL = AdapterConfig(steps=2, batch_size=2, learning_rate=1e-3, log_every=1)


def add(checkpoint: Path, output: Path, texts: Any = None, config: AdapterConfig = SMALL, **options: Any) -> Path:
    given = {"yo": TEXTS} if texts is None else texts
    return train_language_adapters(checkpoint, given, output, config, device="cpu", progress=False, **options)


def tensors(folder: Path) -> dict[str, torch.Tensor]:
    return load_file(folder / "model.safetensors")


def of(folder: Path, adapter: str) -> list[torch.Tensor]:
    return [value for name, value in sorted(tensors(folder).items()) if f".{adapter}." in name]


def losses(folder: Path) -> list[float]:
    lines = (folder / "adapter_log.jsonl").read_text(encoding="utf-8").splitlines()
    return [json.loads(line)["loss"] for line in lines]


def test_a_new_language_comes_in_and_all_else_stays(checkpoint: Path, tmp_path: Path) -> None:
    path = add(checkpoint, tmp_path / "out")
    before, after = tensors(checkpoint), tensors(path)
    assert all(torch.equal(before[name], after[name]) for name in before)
    new = {name for name in after.keys() - before.keys() if not name.startswith("lm_head.")}
    assert new == {name.replace("en_XX", "yo_XX") for name in before if "en_XX" in name}
    config = json.loads((path / "config.json").read_text(encoding="utf-8"))
    assert config["languages"][-1] == "yo_XX"
    assert config["languages"][:-1] == json.loads((checkpoint / "config.json").read_text())["languages"]


def test_the_new_language_is_searched_through_its_own_adapter(checkpoint: Path, tmp_path: Path) -> None:
    path = add(checkpoint, tmp_path / "out", config=replace(SMALL, learning_rate=0.1))
    model = RAGPretrainedModel.from_pretrained(path, verbose=0, index_root=str(tmp_path), device="cpu")
    assert model.encoder.adapters.adapter_for("yo") == "yo_XX"
    model.index(TEXTS, index_name="yo", languages="yo")
    found = model.search("the library", k=1, language="yo")
    assert found[0]["language"] == "yo"
    yo, en = (model.encoder.encode_queries(["the library"], [language]) for language in ("yo", "en"))
    assert not torch.allclose(yo, en, atol=1e-3)


def test_the_loss_falls(checkpoint: Path, tmp_path: Path) -> None:
    config = AdapterConfig(steps=60, batch_size=3, learning_rate=3e-3, log_every=1)
    found = losses(add(checkpoint, tmp_path / "out", config=config))
    assert sum(found[-10:]) < 0.8 * sum(found[:10])


def test_languages_take_turns_and_existing_adapters_are_trained(checkpoint: Path, tmp_path: Path) -> None:
    path = add(checkpoint, tmp_path / "out", {"fr": ["le livre est la bibliothèque"], "yo_NG": TEXTS})
    lines = (path / "adapter_log.jsonl").read_text(encoding="utf-8").splitlines()
    assert [json.loads(line)["language"] for line in lines] == ["fr_XX", "yo_NG"] * 2
    changed = {name for name, value in tensors(checkpoint).items() if not torch.equal(value, tensors(path)[name])}
    assert changed
    assert all(".fr_XX." in name for name in changed)
    assert of(path, "yo_NG")


def test_the_same_seed_gives_the_same_bits(checkpoint: Path, tmp_path: Path) -> None:
    one, two, other = (
        of(add(checkpoint, tmp_path / str(i), config=replace(SMALL, seed=seed)), "yo_XX")
        for i, seed in enumerate((4, 4, 5))
    )
    assert all(torch.equal(a, b) for a, b in zip(one, two, strict=True))
    assert not all(torch.equal(a, b) for a, b in zip(one, other, strict=True))


@pytest.mark.parametrize(("start_from", "origin"), [(None, "en_XX"), ("de", "de_DE"), ("zeros", None)])
def test_where_a_new_adapter_begins(
    checkpoint: Path, tmp_path: Path, start_from: str | None, origin: str | None
) -> None:
    still = replace(SMALL, learning_rate=1e-12, weight_decay=0.0)
    path = add(checkpoint, tmp_path / "out", config=still, start_from=start_from)
    if origin is not None:
        pairs = zip(of(path, "yo_XX"), of(checkpoint, origin), strict=True)
        assert all(torch.allclose(a, b, atol=1e-6) for a, b in pairs)
    else:
        up = [value for name, value in tensors(path).items() if ".yo_XX.dense2." in name]
        assert max(value.abs().max().item() for value in up) < 1e-6


def test_a_relative_is_taken_over_the_default(tmp_path: Path) -> None:
    checkpoint = build_tiny_xmod(tmp_path / "base", languages=["en_XX", "de_DE"])
    still = replace(SMALL, learning_rate=1e-12, weight_decay=0.0)
    path = add(checkpoint, tmp_path / "out", {"lb": TEXTS}, still)
    pairs = zip(of(path, "lb_XX"), of(checkpoint, "de_DE"), strict=True)
    assert all(torch.allclose(a, b, atol=1e-6) for a, b in pairs)


def test_the_head_is_kept_for_the_next_language(checkpoint: Path, tmp_path: Path) -> None:
    first = add(checkpoint, tmp_path / "first", config=replace(SMALL, steps=20))
    second = add(first, tmp_path / "second", {"ig": TEXTS})
    heads = [{k: v for k, v in tensors(path).items() if k.startswith("lm_head.")} for path in (first, second)]
    assert len(heads[0]) == 5
    assert all(torch.equal(heads[0][name], heads[1][name]) for name in heads[0])
    assert losses(second)[0] < losses(add(checkpoint, tmp_path / "fresh", {"ig": TEXTS}))[0]


@pytest.mark.parametrize(
    ("texts", "error", "message"),
    [
        ({}, InputError, "no texts to train on"),
        ({"yo": []}, InputError, "'yo' has no text"),
        ({"yo": ["", "  "]}, InputError, "'yo' has no text"),
        ({"yo": "one string"}, InputError, "one string; give a list"),
        ({"yo": [*TEXTS, 5]}, InputError, r"texts\['yo'\] has 5: give a list of strings"),
        ({None: TEXTS}, LanguageError, "None is not a language"),
        ({"klingonese": TEXTS}, LanguageError, "'klingonese' is not a language"),
    ],
)
def test_texts_that_cannot_be_used(
    checkpoint: Path, tmp_path: Path, texts: Any, error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        add(checkpoint, tmp_path / "out", texts)
    assert list(tmp_path.iterdir()) == []


def test_other_bad_input(checkpoint: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="exists already"):
        add(checkpoint, tmp_path)
    bert = build_tiny_bert(tmp_path / "bert")
    with pytest.raises(LanguageError, match="'bert' checkpoint, which has no language adapters"):
        add(bert, tmp_path / "out")
    with pytest.raises(LanguageError):
        add(checkpoint, tmp_path / "out", start_from="klingonese")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"steps": 0}, "steps=0 is not usable"),
        ({"batch_size": 0}, "batch_size=0 is not usable"),
        ({"log_every": 0}, "log_every=0 is not usable"),
        ({"share": 1.5}, "share=1.5 is not usable"),
        ({"share": "x"}, "share='x' is not usable"),
        ({"learning_rate": 0}, "learning_rate=0 trains nothing"),
        ({"precision": "fp8"}, "precision='fp8' is not known"),
        ({"seed": "x"}, "seed='x' is not usable"),
        ({"weight_decay": "x"}, "weight_decay='x' is not usable"),
    ],
)
def test_settings_that_are_wrong(wrong: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        AdapterConfig(**wrong)


@pytest.mark.parametrize("place", ["file/out", "file"])
def test_a_folder_that_cannot_be_written_is_found_before_the_work(
    checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setattr("ragatouille_xm.training.language.load_checkpoint", None)
    with pytest.raises(InputError, match="cannot be written to|exists already"):
        add(checkpoint, tmp_path / place)


# masking


@settings(max_examples=30)
@given(st.integers(1, 5), st.integers(1, 12), st.integers(0, 2**31))
def test_only_text_is_hidden_and_something_always_is(b: int, length: int, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    ids = torch.randint(5, 90, (b, length), generator=generator)
    text = torch.rand(b, length, generator=generator) < 0.5
    text[0, 0] = True
    masked = hide_tokens(ids, text, 99, torch.arange(100, 110), generator)
    assert masked.chosen.any()
    assert not (masked.chosen & ~text).any()
    assert torch.equal(masked.input_ids[~masked.chosen], ids[~masked.chosen])


def test_the_shares() -> None:
    ids = torch.full((100, 1000), 7)
    masked = hide_tokens(ids, torch.ones_like(ids).bool(), 99, torch.arange(100, 110), torch.Generator().manual_seed(0))
    assert masked.chosen.float().mean().item() == pytest.approx(0.15, abs=0.005)
    chosen = masked.input_ids[masked.chosen]
    shares = [
        (chosen == 99).float().mean().item(),
        (chosen >= 100).float().mean().item(),
        (chosen == 7).float().mean().item(),
    ]
    assert shares == pytest.approx([0.8, 0.1, 0.1], abs=0.015)
