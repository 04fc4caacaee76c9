from __future__ import annotations

from pathlib import Path
from threading import Thread

import pytest
import torch
from reference.tiny import build_tiny_bert, build_tiny_xmod
from transformers import XmodModel

from ragatouille_xm.encoder import Encoder
from ragatouille_xm.errors import CheckpointError, InputError

TEXTS = [
    "the library opens",
    "le livre de la bibliothèque, et du pain !",
    "图书馆在东京。",
    "der Fluss",
    "a",
    "в книга " * 30,
    "",
]
LANGUAGES = ["en", "fr", "zh", "de", "fr", "ja", "en"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_tiny_xmod(tmp_path_factory.mktemp("tiny"))


@pytest.fixture(scope="module")
def encoder(folder: Path) -> Encoder:
    return Encoder.from_pretrained(folder, device="cpu")


def test_mixed_languages_equal_one_text_at_a_time_through_transformers(encoder: Encoder, folder: Path) -> None:
    reference = XmodModel.from_pretrained(folder, add_pooling_layer=False).eval()
    linear = encoder.checkpoint.weights.get("linear.weight")
    found = encoder.encode_documents(TEXTS, LANGUAGES, max_length=64, batch_tokens=100)
    adapters = [encoder.adapters.adapter_for(language) for language in LANGUAGES]
    for text, adapter, vectors in zip(TEXTS, adapters, found, strict=True):
        (tokens,) = encoder.tokenizer.documents([text], 64)
        with torch.inference_mode():
            hidden = reference(
                input_ids=torch.tensor([tokens.ids]),
                lang_ids=torch.tensor([encoder.checkpoint.adapters.index(adapter)]),
            ).last_hidden_state[0]
        expected = torch.nn.functional.normalize(hidden @ linear.T, dim=-1)[torch.tensor(tokens.scored)]
        torch.testing.assert_close(vectors, expected, atol=1e-5, rtol=0)


def test_vectors_are_unit_and_carry_their_ids(encoder: Encoder) -> None:
    found = encoder.encode_documents(TEXTS, LANGUAGES, max_length=64)
    assert len(found) == len(TEXTS)
    assert found.lengths.sum() == len(found.vectors) == len(found.ids)
    torch.testing.assert_close(found.vectors.norm(dim=1), torch.ones(len(found.vectors)))
    assert found.ids[0] == 0  # <s> is kept


def test_batches_do_not_change_vectors(encoder: Encoder) -> None:
    large, small = (
        encoder.encode_documents(TEXTS, LANGUAGES, max_length=64, batch_tokens=budget) for budget in (10_000, 1)
    )
    torch.testing.assert_close(large.vectors, small.vectors, atol=1e-5, rtol=0)


def test_a_query_is_filled_to_32_and_each_goes_through_its_adapter(encoder: Encoder) -> None:
    french, german = (encoder.encode_queries(["a"], [language]) for language in ("fr", "de"))
    assert french.shape == (1, 32, encoder.dim)
    assert (french - german).abs().max() > 0.1


def test_a_long_query_keeps_its_tokens_and_leaves_its_neighbours_alone(encoder: Encoder) -> None:
    long = "図書館東京" * 20  # no blanks: tokens are counted, not words
    together = encoder.encode_queries(["a", long], ["en", "ja"])
    alone = encoder.encode_queries(["a"], ["en"])
    assert together.shape[1] > 40
    torch.testing.assert_close(together[:1, :32], alone, atol=1e-5, rtol=0)
    assert not together[0, 32:].any()
    assert together[1].norm(dim=1).min() > 0.99


def test_a_query_longer_than_the_model_is_cut(encoder: Encoder) -> None:
    assert encoder.encode_queries(["a b " * 2000], ["en"]).shape[1] == encoder.tokenizer.max_tokens == 512


def test_nothing_to_encode(encoder: Encoder) -> None:
    assert encoder.encode_queries([], []).shape == (0, 32, encoder.dim)
    assert len(encoder.encode_documents([], [])) == 0


@pytest.mark.parametrize("text", ["", " ", "\x00\x01", "🙂" * 50, "\ud800 alone", "</s><mask>", "é" * 5000])
def test_odd_text_is_encoded(encoder: Encoder, text: str) -> None:
    found = encoder.encode_documents([text], ["en"], max_length=32)
    assert 3 <= len(found.vectors) <= 32
    assert torch.isfinite(found.vectors).all()
    assert torch.isfinite(encoder.encode_queries([text], ["en"])).all()


def test_threads_get_what_one_gets(folder: Path, encoder: Encoder) -> None:
    fresh = Encoder.from_pretrained(folder, device="cpu")  # adapters are read while others encode
    expected = encoder.encode_queries(TEXTS[:4], LANGUAGES[:4])
    found: list[torch.Tensor] = []
    threads = [Thread(target=lambda: found.append(fresh.encode_queries(TEXTS[:4], LANGUAGES[:4]))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 8
    for each in found:
        torch.testing.assert_close(each, expected, atol=1e-5, rtol=0)


def test_a_backbone_without_adapters_encodes_every_language(tmp_path: Path) -> None:
    encoder = Encoder.from_pretrained(build_tiny_bert(tmp_path), device="cpu")
    found = encoder.encode_documents(["the library", "la bibliothèque"], ["en", "fr"], max_length=32)
    assert len(found) == 2
    assert encoder.detect(["Где находится ближайшая библиотека?"])[0].language == "ru"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"device": "tpu9"}, "device='tpu9' cannot be used"),
        ({"dtype": "int8"}, "dtype='int8' is not usable"),
        ({"dtype": "float99"}, "dtype='float99' is not usable"),
        ({"language_detector": "crystal ball"}, "crystal ball"),
    ],
)
def test_bad_options(folder: Path, options: dict[str, str], message: str) -> None:
    with pytest.raises(InputError, match=message):
        Encoder.from_pretrained(folder, **options)


@pytest.mark.parametrize("length", [7, 513, True, 12.5])
def test_bad_passage_length(encoder: Encoder, length: object) -> None:
    with pytest.raises(InputError, match="give a whole number from 8 to 512"):
        encoder.encode_documents(["a"], ["en"], max_length=length)


def test_texts_and_languages_must_match(encoder: Encoder) -> None:
    with pytest.raises(InputError, match="2 texts came with 1 languages"):
        encoder.encode_documents(["a", "b"], ["en"])


def test_a_tokeniser_larger_than_the_model_is_refused(tmp_path: Path) -> None:
    folder = build_tiny_xmod(tmp_path, vocab_size=100)
    with pytest.raises(CheckpointError, match=r"tokeniser of .* has \d+ ids, but the model only 100"):
        Encoder.from_pretrained(folder)


def test_a_batch_of_queries_in_all_languages_is_one_forward(encoder: Encoder, monkeypatch: pytest.MonkeyPatch) -> None:
    sizes: list[int] = []
    whole = encoder.model.backbone.forward

    def counted(ids: torch.Tensor, mask: torch.Tensor, adapters: list[str]) -> torch.Tensor:
        sizes.append(len(adapters))
        return whole(ids, mask, adapters)

    monkeypatch.setattr(encoder.model.backbone, "forward", counted)
    encoder.encode_queries(["a"] * 14, (["en", "fr", "zh", "de", "ja"] * 3)[:14])
    encoder.encode_queries(["a"], ["fr"])
    assert sizes == [14, 1]
