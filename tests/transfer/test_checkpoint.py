"""Checkpoints written for other libraries, which have read these very folders (reference/make_saved.py)."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from reference.saved import CHECKPOINTS, FORMATS, written
from reference.tiny import build_tiny_bert, build_tiny_xlmr, build_tiny_xmod
from safetensors import safe_open
from tokenizers import Tokenizer

from ragatouille_xm import RAGPretrainedModel
from ragatouille_xm.encoder import Encoder
from ragatouille_xm.errors import InputError, LanguageError
from ragatouille_xm.transfer.checkpoint import write_checkpoint

HERE = Path(__file__).parents[1] / "reference"
RECORDED = json.loads((HERE / "saved.json").read_text(encoding="utf-8"))
PASSAGES, ASKED = RECORDED["passages"], RECORDED["queries"]
BUILDERS = {"xmod": build_tiny_xmod, "xlmr": build_tiny_xlmr, "bert": build_tiny_bert}
FORMS = ("colbert-ai", "sentence-transformers")
TEXTS = [*PASSAGES, "Les livres, l’été (1999): « 12 % » — voilà!", "a", "图书馆。"]


def build(name: str, folder: Path) -> Encoder:
    made = BUILDERS[name.split()[0]](folder, metadata=CHECKPOINTS[name])
    return Encoder.from_pretrained(made, device="cpu")


def vectors(encoder: Encoder, texts: list[str], language: str) -> torch.Tensor:
    return encoder.encode_documents(texts, [language] * len(texts)).vectors


@pytest.mark.parametrize("library", FORMATS)
@pytest.mark.parametrize("name", CHECKPOINTS)
def test_the_library_has_made_our_ids_and_vectors(name: str, library: str, tmp_path: Path) -> None:
    found: dict[str, Any] = {
        key.removeprefix(f"{name} "): value for key, value in np.load(HERE / f"saved_{library}.npz").items()
    }
    encoder = build(name, tmp_path)
    queries, passages = encoder.tokenizer.queries(ASKED), encoder.tokenise(PASSAGES)
    assert [i for each in queries for i in each.ids] == found["query ids"].tolist()
    assert [i for each in passages for i in each.ids] == found["passage ids"].tolist()
    assert [sum(each.scored) for each in passages] == found["passage lengths"].tolist()
    asked = encoder.encode_queries(ASKED, ["en"] * len(ASKED)).flatten(0, 1)
    torch.testing.assert_close(asked, torch.from_numpy(found["query vectors"]), atol=1e-5, rtol=0)
    given = vectors(encoder, PASSAGES, "en")
    torch.testing.assert_close(given, torch.from_numpy(found["passage vectors"]), atol=1e-5, rtol=0)


@pytest.mark.parametrize("name", CHECKPOINTS)
def test_a_folder_for_sentence_transformers_is_the_same_checkpoint_here(name: str, tmp_path: Path) -> None:
    encoder = build(name, tmp_path / "base")
    back = Encoder.from_pretrained(write_checkpoint(encoder, tmp_path / "new", "sentence-transformers"), device="cpu")
    for made, expected in ((back.tokenise(TEXTS), encoder.tokenise(TEXTS)),
                           (back.tokenizer.queries(ASKED), encoder.tokenizer.queries(ASKED))):  # fmt: skip
        assert made == expected
    torch.testing.assert_close(vectors(back, TEXTS, "en"), vectors(encoder, TEXTS, "en"))


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("name", CHECKPOINTS)
def test_the_folder_is_the_one_that_the_libraries_have_read(name: str, form: str, tmp_path: Path) -> None:
    encoder = build(name, tmp_path / "base")
    folder = write_checkpoint(encoder, tmp_path / "new", form)
    assert written(folder) == RECORDED["files"][f"{name}, {form}"]
    own = {key: encoder.checkpoint.weights.get(key) for key in encoder.checkpoint.weights.names}
    with safe_open(folder / "model.safetensors", "pt") as file:
        kept = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 (it is no mapping)
    if form == "sentence-transformers":
        with safe_open(folder / "1_Dense" / "model.safetensors", "pt") as file:
            kept["linear.weight"] = file.get_tensor("linear.weight")
    assert kept.keys() == own.keys()
    assert all(torch.equal(kept[key], own[key]) for key in own)
    assert [path.name for path in folder.parent.iterdir() if path.name.startswith("new")] == ["new"]


@pytest.mark.parametrize("name", CHECKPOINTS)
def test_the_tokeniser_puts_its_frame_around_texts(name: str, tmp_path: Path) -> None:
    encoder = build(name, tmp_path / "base")
    folder = write_checkpoint(encoder, tmp_path / "new", "sentence-transformers")
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    marker = json.loads((folder / "config_sentence_transformers.json").read_text())["document_prefix"]
    inserted = [tokenizer.token_to_id(marker)] if marker else []
    for text, tokens in zip(TEXTS, encoder.tokenise(TEXTS), strict=True):
        first, *others = tokenizer.encode(text).ids
        assert [first, *inserted, *others] == tokens.ids


@pytest.mark.parametrize("name", CHECKPOINTS)
def test_we_read_colbert_ais_form_ourselves(name: str, tmp_path: Path) -> None:
    before = build(name, tmp_path / "base")
    after = Encoder.from_pretrained(write_checkpoint(before, tmp_path / "new"), device="cpu")
    assert after.tokenise(TEXTS) == before.tokenise(TEXTS)
    assert torch.equal(vectors(after, TEXTS, "en"), vectors(before, TEXTS, "en"))
    queries = [encoder.encode_queries(TEXTS, ["en"] * len(TEXTS)) for encoder in (before, after)]
    assert torch.equal(*queries)


@pytest.mark.parametrize("form", FORMS)
def test_one_language_for_a_library_that_knows_only_one(form: str, tmp_path: Path) -> None:
    model = RAGPretrainedModel.from_pretrained(build_tiny_xmod(tmp_path / "base"), verbose=0, device="cpu")
    path = model.save_pretrained(tmp_path / "new", format=form, language="fr-CA")
    assert path == str(tmp_path / "new")
    assert json.loads((tmp_path / "new" / "config.json").read_text())["default_language"] == "fr_XX"


def test_what_cannot_be_written(tmp_path: Path) -> None:
    encoder = Encoder.from_pretrained(build_tiny_bert(tmp_path / "base"), device="cpu")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "a").touch()
    for folder in (tmp_path / "full", tmp_path / "full" / "a"):
        with pytest.raises(InputError, match="There is something at"):
            write_checkpoint(encoder, folder)
    with pytest.raises(InputError, match="format='onnx' is not known. Use one of 'colbert-ai'"):
        write_checkpoint(encoder, tmp_path / "new", "onnx")
    with pytest.raises(InputError, match="has no adapters: leave out the language"):
        write_checkpoint(encoder, tmp_path / "new", language="fr")
    multilingual = Encoder.from_pretrained(build_tiny_xmod(tmp_path / "xmod"), device="cpu")
    with pytest.raises(LanguageError, match="klingon"):
        write_checkpoint(multilingual, tmp_path / "new", language="klingon")
    assert not (tmp_path / "new").exists()
    (tmp_path / "new").mkdir()
    write_checkpoint(encoder, tmp_path / "new")  # an empty folder is as good as none
