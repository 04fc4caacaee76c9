"""One language's encoder as an ONNX file."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from reference.tiny import build_tiny_xlmr, build_tiny_xmod
from tokenizers import Tokenizer

from ragatouille_xm.encoder import Encoder
from ragatouille_xm.errors import CheckpointError, InputError, LanguageError, MissingExtraError
from ragatouille_xm.transfer import onnx

runtime = pytest.importorskip("onnxruntime")
pytest.importorskip("onnxscript")
TEXTS = ["Le livre est dans le jardin, au bord de la rivière.", "图书馆。", "a " * 300]


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> Encoder:
    return Encoder.from_pretrained(build_tiny_xmod(tmp_path_factory.mktemp("tiny")), device="cpu")


@pytest.fixture(scope="module")
def french(encoder: Encoder, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("onnx") / "fr"
    assert onnx.write_onnx(encoder, folder, "fr") < 1e-5
    return folder


def run(folder: Path, ids: list[list[int]], attended: list[list[int]]) -> Any:
    session = runtime.InferenceSession(folder / "model.onnx")
    [vectors] = session.run(["vectors"], {"input_ids": np.array(ids), "attention_mask": np.array(attended)})
    return torch.from_numpy(vectors)


def test_any_program_makes_our_vectors_of_the_files(french: Path, encoder: Encoder) -> None:
    assert sorted(path.name for path in french.iterdir()) == ["model.onnx", "tokenizer.json", "tokens.json"]
    tokenizer = Tokenizer.from_file(str(french / "tokenizer.json"))
    tokens = json.loads((french / "tokens.json").read_text())
    assert (tokens["adapter"], tokens["dim"]) == ("fr_XX", 32)

    passage = tokens["passage"]
    inside = [tokenizer.encode(text, add_special_tokens=False).ids for text in TEXTS]
    room = passage["most_tokens"] - len(passage["before"]) - len(passage["after"])
    ids = [passage["before"] + each[:room] + passage["after"] for each in inside]
    width = max(map(len, ids))
    vectors = run(
        french,
        [each + [tokens["pad"]] * (width - len(each)) for each in ids],
        [[1] * len(each) + [0] * (width - len(each)) for each in ids],
    )
    kept = [
        row[torch.tensor([i not in passage["without_vector"] for i in each])]
        for row, each in zip(vectors, (torch.tensor(each).tolist() for each in ids), strict=True)
        for row in [row[: len(each)]]
    ]
    ours = encoder.encode_documents(TEXTS, ["fr"] * 3)
    assert [len(block) for block in kept] == ours.lengths.tolist()
    torch.testing.assert_close(torch.cat(kept), ours.vectors, atol=1e-4, rtol=0)
    english = encoder.encode_documents(TEXTS, ["en"] * 3).vectors
    assert not torch.allclose(english, ours.vectors, atol=1e-2), "the adapter matters"
    torch.testing.assert_close(torch.cat(kept).norm(dim=1), torch.ones(len(english)))

    query = tokens["query"]
    asked = query["before"] + inside[0] + query["after"]
    fill = query["fill_to"] - len(asked)
    found = run(french, [asked + [query["fill"]] * fill], [[1] * len(asked) + [int(query["attend_to_fill"])] * fill])
    torch.testing.assert_close(found, encoder.encode_queries(TEXTS[:1], ["fr"]), atol=1e-4, rtol=0)


def test_a_backbone_without_adapters(tmp_path: Path) -> None:
    encoder = Encoder.from_pretrained(build_tiny_xlmr(tmp_path / "tiny"), device="cpu")
    with pytest.raises(InputError, match="has no adapters: leave out the language"):
        onnx.write_onnx(encoder, tmp_path / "new", "fr")
    assert onnx.write_onnx(encoder, tmp_path / "new") < 1e-5
    [first] = encoder.tokenise(["The book."])
    found = run(tmp_path / "new", [first.ids], [[1] * len(first.ids)])[0][torch.tensor(first.scored)]
    torch.testing.assert_close(found, encoder.encode_documents(["The book."], ["en"]).vectors, atol=1e-4, rtol=0)


def test_nothing_is_written_where_something_is_wrong(
    encoder: Encoder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    new = tmp_path / "new"
    with pytest.raises(LanguageError, match="klingon"):
        onnx.write_onnx(encoder, new, "klingon")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "a").touch()
    with pytest.raises(InputError, match="There is something at"):
        onnx.write_onnx(encoder, tmp_path / "full")
    with monkeypatch.context() as patch:
        patch.setitem(sys.modules, "onnxscript", None)
        with pytest.raises(MissingExtraError, match=r"ragatouille-xm\[onnx\]"):
            onnx.write_onnx(encoder, new)
    with monkeypatch.context() as patch:
        patch.setattr(onnx, "_export", lambda *given: None)
        patch.setattr(onnx, "_largest_difference", lambda *given: float("nan"))
        with pytest.raises(CheckpointError, match="makes vectors that differ from ours by nan"):
            onnx.write_onnx(encoder, new)
    with monkeypatch.context() as patch:
        patch.setattr("torch.onnx.export", lambda *given, **options: 1 / 0)
        with pytest.raises(CheckpointError, match=r"cannot be written as ONNX .*ZeroDivisionError"):
            onnx.write_onnx(encoder, new)
    assert [path.name for path in tmp_path.iterdir()] == ["full"]
