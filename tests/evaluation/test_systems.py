"""Each system on a tiny checkpoint of its architecture, against transformers called directly, text by text."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from reference.tiny import build_tiny_bert, build_tiny_xlmr, build_tiny_xmod

from ragatouille_xm.encoder import Encoder
from ragatouille_xm.errors import CheckpointError, InputError, MissingExtraError
from ragatouille_xm.evaluation.dataset import Dataset
from ragatouille_xm.evaluation.datasets import load_dataset
from ragatouille_xm.evaluation.systems.base import Found, Settings, System
from ragatouille_xm.evaluation.systems.registry import SYSTEMS, make_system
from ragatouille_xm.evaluation.systems.words import words
from ragatouille_xm.scoring import maxsim

from .conftest import COLLECTION, write_folder
from .tiny import tiny_classifier, tiny_mt5, tiny_xmod_classifier

pytest.importorskip("bm25s")

FIRST = {"en/1": ["en/d", "en/a", "fr/a"], "en/2": ["fr/b", "en/c"], "fr/1": ["fr/b", "fr/a"]}


@pytest.fixture
def dataset(mixed: Path) -> Dataset:
    return load_dataset(str(mixed))


@pytest.fixture(scope="session")
def built(tmp_path_factory: pytest.TempPathFactory) -> Callable[[Callable[..., Path]], Path]:
    """Return a function that makes a checkpoint once."""
    folders: dict[Callable[..., Path], Path] = {}

    def get(make: Callable[..., Path]) -> Path:
        if make not in folders:
            folders[make] = make(tmp_path_factory.mktemp(make.__name__))
        return folders[make]

    return get


def search(system: System, dataset: Dataset, folder: Path, k: int = 10) -> dict[str, Found]:
    searcher = system.prepare(dataset, folder, FIRST if system.first_stage else {})
    try:
        found = searcher.search(dataset.queries, k)
    finally:
        searcher.close()
    return {query.query_id: hits for query, hits in zip(dataset.queries, found, strict=True)}


def check(found: dict[str, Found], expected: dict[str, dict[str, float]], tolerance: float = 1e-4) -> None:
    """Check that each query found exactly the expected documents, by falling scores."""
    assert found.keys() == expected.keys()
    for query, hits in found.items():
        assert dict(hits) == pytest.approx(expected[query], abs=tolerance), query
        scores = [score for _, score in hits]
        assert scores == sorted(scores, reverse=True)
    # random weights that do not tell texts apart would let anything pass
    assert len({round(score, 4) for hits in found.values() for _, score in hits}) > 2


def texts_of(dataset: Dataset) -> dict[str, str]:
    return {document.document_id: document.text for document in dataset.documents()}


# BM25


def test_bm25_by_the_formula(english: Path, tmp_path: Path) -> None:
    dataset = load_dataset(str(english))
    found = search(make_system("bm25", Settings(k1=1.2, b=0.75)), dataset, tmp_path / "index")
    lengths = {i: len(words(text)) for i, text in COLLECTION.items()}
    average = np.mean(list(lengths.values()))
    expected: dict[str, dict[str, float]] = {}
    for query in dataset.queries:
        scores = dict.fromkeys(COLLECTION, 0.0)
        for term in words(query.text):
            holders = [i for i, text in COLLECTION.items() if term in words(text)]
            idf = np.log(1 + (len(COLLECTION) - len(holders) + 0.5) / (len(holders) + 0.5))
            for i in holders:
                tf = words(COLLECTION[i]).count(term)
                scores[i] += idf * tf / (tf + 1.2 * (1 - 0.75 + 0.75 * lengths[i] / average))
        expected[query.query_id] = {i: score for i, score in scores.items() if score > 0}
    check(found, expected)
    assert found["3"] == []  # no document has the word


def test_bm25_takes_the_published_settings(dataset: Dataset) -> None:
    assert make_system("bm25").parameters(dataset)["k1"] == 0.9
    tuned = replace(dataset, bm25=(0.82, 0.68))
    assert [make_system("bm25").parameters(tuned)[name] for name in ("k1", "b")] == [0.82, 0.68]
    assert [make_system("bm25", Settings(b=0.3)).parameters(tuned)[name] for name in ("k1", "b")] == [0.82, 0.3]


def test_bm25_keeps_equals_in_order_and_stops_at_k(tmp_path: Path) -> None:
    same = {f"d{i}": "bread" for i in range(6)} | {"e": "bread bread bread and more bread"}
    dataset = load_dataset(str(write_folder(tmp_path / "en", same, {"1": "bread"}, {"1": {"e": 1}})))
    found = search(make_system("bm25"), dataset, tmp_path / "index", k=4)["1"]
    assert [i for i, _ in found] == ["e", "d0", "d1", "d2"]
    assert len(search(make_system("bm25"), dataset, tmp_path / "index", k=100)["1"]) == 7


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Don't PANIC_now, 42!", ["don", "t", "panic", "now", "42"]),
        ("図書館 OPEN", ["図書", "書館", "open"]),
        ("도서관", ["도서", "서관"]),
        ("本", ["本"]),
        ("বাংলা ভাষা", ["বাংলা", "ভাষা"]),
        ("తెలుగు", ["తెలుగు"]),
        ("كِتَاب", ["كِتَاب"]),
        ("… — !", []),
    ],
)
def test_words_of_every_script(text: str, expected: list[str]) -> None:
    assert words(text) == expected


# Single vectors


def plain_vectors(model: Any, tokenizer: Any, texts: Sequence[str], pooling: str, **options: Any) -> torch.Tensor:
    rows = []
    for text in texts:
        batch = tokenizer(text, return_tensors="pt", **options)
        hidden = model(**batch).last_hidden_state[0]
        rows.append(hidden[0] if pooling == "cls" else hidden.mean(0))
    return torch.stack(rows)


@pytest.mark.parametrize(
    ("name", "pooling", "prefixes", "normalised"),
    [
        ("dpr-x", None, ("", ""), False),
        ("dpr-x", "cls", ("", ""), False),
        ("me5-base", None, ("query: ", "passage: "), True),
    ],
)
@torch.no_grad()
def test_single_vectors(
    dataset: Dataset, tmp_path: Path, built: Any, name: str, pooling: str | None, prefixes: Any, normalised: bool
) -> None:
    from transformers import AutoModel, AutoTokenizer

    folder = built(build_tiny_xlmr)
    settings = Settings(checkpoint=str(folder), device="cpu", pooling=pooling)
    found = search(make_system(name, settings), dataset, tmp_path / "index")
    model, tokenizer = AutoModel.from_pretrained(folder).eval(), AutoTokenizer.from_pretrained(folder)
    texts = texts_of(dataset)
    queries = [prefixes[0] + query.text for query in dataset.queries]
    q = plain_vectors(model, tokenizer, queries, pooling or "mean")
    d = plain_vectors(model, tokenizer, [prefixes[1] + text for text in texts.values()], pooling or "mean")
    if normalised:
        q, d = torch.nn.functional.normalize(q, dim=1), torch.nn.functional.normalize(d, dim=1)
    scores = (q @ d.T).tolist()
    expected = {
        query.query_id: dict(zip(texts, row, strict=True)) for query, row in zip(dataset.queries, scores, strict=True)
    }
    check(found, expected)


def xmod_vectors(folder: Path, texts: Sequence[str], adapters: Sequence[str]) -> torch.Tensor:
    from transformers import AutoModel, AutoTokenizer

    model, tokenizer = AutoModel.from_pretrained(folder).eval(), AutoTokenizer.from_pretrained(folder)
    rows = []
    for text, adapter in zip(texts, adapters, strict=True):
        language = torch.tensor([model.config.languages.index(adapter)])
        hidden = model(**tokenizer(text, return_tensors="pt"), lang_ids=language).last_hidden_state[0]
        rows.append(torch.nn.functional.normalize(hidden.mean(0), dim=0))
    return torch.stack(rows)


@pytest.mark.parametrize(
    ("document_language", "query_language", "of_documents", "of_queries"),
    [
        ("dataset", "dataset", {"en": "en_XX", "fr": "fr_XX"}, {"en": "en_XX", "fr": "fr_XX"}),
        ("de", "en", {"en": "de_DE", "fr": "de_DE"}, {"en": "en_XX", "fr": "en_XX"}),
    ],
)
@torch.no_grad()
def test_dpr_xm_goes_through_the_adapters(
    dataset: Dataset, tmp_path: Path, built: Any, document_language: str, query_language: str,
    of_documents: dict[str, str], of_queries: dict[str, str],
) -> None:  # fmt: skip
    folder = built(build_tiny_xmod)
    settings = Settings(str(folder), document_language, query_language, device="cpu")
    found = search(make_system("dpr-xm", settings), dataset, tmp_path / "index")
    texts = texts_of(dataset)
    q = xmod_vectors(folder, [x.text for x in dataset.queries], [of_queries[str(x.language)] for x in dataset.queries])
    d = xmod_vectors(folder, list(texts.values()), [of_documents[i[:2]] for i in texts])
    scores = (q @ d.T).tolist()
    check(
        found,
        {x.query_id: dict(zip(texts, row, strict=True)) for x, row in zip(dataset.queries, scores, strict=True)},
    )


def test_a_detected_language_is_one_of_the_documents(dataset: Dataset, tmp_path: Path, built: Any) -> None:
    from ragatouille_xm.evaluation.systems.single_xmod import XmodTextEncoder

    settings = Settings(str(built(build_tiny_xmod)), "detected", "detected", device="cpu")
    seen: list[list[str]] = []
    original = XmodTextEncoder._encode

    def spy(self: Any, texts: Sequence[str], languages: Sequence[str]) -> torch.Tensor:
        seen.append(list(languages))
        return original(self, texts, languages)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(XmodTextEncoder, "_encode", spy)
        search(make_system("dpr-xm", settings), dataset, tmp_path / "index")
    documents, queries = seen
    assert documents == ["en"] * 4 + ["fr"] * 2
    assert set(queries) <= {"en", "fr"}


def test_vectors_are_not_made_twice(dataset: Dataset, tmp_path: Path, built: Any) -> None:
    from ragatouille_xm.evaluation.systems import single

    settings = Settings(str(built(build_tiny_xlmr)), device="cpu")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(single, "DOCUMENT_BATCH", 2)
        whole = search(make_system("dpr-x", settings), dataset, tmp_path / "whole")
        folder = tmp_path / "cut"
        encode, calls = single.PlainEncoder.documents, []

        def dies(self: Any, documents: Sequence[Any]) -> Any:
            if len(calls) == 2:
                raise KeyboardInterrupt
            calls.append([document.document_id for document in documents])
            return encode(self, documents)

        patch.setattr(single.PlainEncoder, "documents", dies)
        with pytest.raises(KeyboardInterrupt):
            search(make_system("dpr-x", settings), dataset, folder)
        calls.append([])
        found = search(make_system("dpr-x", settings), dataset, folder)
    assert calls == [["en/a", "en/b"], ["en/c", "en/d"], [], ["fr/a", "fr/b"]]
    assert found == whole


# Cross-encoders


def first_pairs(dataset: Dataset) -> list[tuple[str, str, str, str]]:
    texts = texts_of(dataset)
    return [(q.query_id, q.text, i, texts[i]) for q in dataset.queries for i in FIRST.get(q.query_id, [])]


@pytest.mark.parametrize("n_labels", [1, 2])
@torch.no_grad()
def test_mono_mminilm(dataset: Dataset, tmp_path: Path, n_labels: int) -> None:
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    folder = tiny_classifier(tmp_path / "model", n_labels)
    found = search(make_system("mono-mminilm", Settings(str(folder), device="cpu")), dataset, tmp_path / "index")
    model = AutoModelForSequenceClassification.from_pretrained(folder).eval()
    tokenizer = AutoTokenizer.from_pretrained(folder)
    expected: dict[str, dict[str, float]] = {query.query_id: {} for query in dataset.queries}
    for query, query_text, document, text in first_pairs(dataset):
        logits = model(**tokenizer(query_text, text, return_tensors="pt")).logits[0]
        expected[query][document] = float(logits[0] if n_labels == 1 else logits[1] - logits[0])
    check(found, expected)
    assert found["en/3"] == []  # the first stage found nothing


@torch.no_grad()
def test_mono_mt5(dataset: Dataset, tmp_path: Path) -> None:
    from transformers import AutoModelForSeq2SeqLM, AutoTokenizer

    folder = tiny_mt5(tmp_path / "model")
    found = search(make_system("mono-mt5", Settings(str(folder), device="cpu")), dataset, tmp_path / "index")
    model = AutoModelForSeq2SeqLM.from_pretrained(folder).eval()
    tokenizer = AutoTokenizer.from_pretrained(folder)
    yes, no = tokenizer.convert_tokens_to_ids("▁yes"), tokenizer.convert_tokens_to_ids("▁no")
    expected: dict[str, dict[str, float]] = {query.query_id: {} for query in dataset.queries}
    for query, query_text, document, text in first_pairs(dataset):
        batch = tokenizer(f"Query: {query_text} Document: {text} Relevant:", return_tensors="pt")
        generated = model.generate(
            **batch, max_new_tokens=1, min_new_tokens=1, do_sample=False, output_logits=True,
            return_dict_in_generate=True,
        )  # fmt: skip
        logits = generated.logits[0][0]
        expected[query][document] = float(torch.log_softmax(logits[[no, yes]], 0)[1])
    check(found, expected)


def test_mono_mt5_refuses_a_tokeniser_without_the_answers(dataset: Dataset, tmp_path: Path) -> None:
    folder = tiny_mt5(tmp_path / "model")
    file = folder / "tokenizer.json"
    file.write_text(file.read_text(encoding="utf-8").replace("▁yes", "▁oui"), encoding="utf-8")
    with pytest.raises(CheckpointError, match="lacks ▁no or ▁yes: it is not an mT5 of mMARCO"):
        search(make_system("mono-mt5", Settings(str(folder), device="cpu")), dataset, tmp_path / "index")


@pytest.mark.parametrize("choice", ["dataset", "de"])
@torch.no_grad()
def test_mono_xm_goes_through_the_passages_adapter(dataset: Dataset, tmp_path: Path, built: Any, choice: str) -> None:
    from transformers import AutoTokenizer, XmodForSequenceClassification

    folder = built(tiny_xmod_classifier)
    found = search(make_system("mono-xm", Settings(str(folder), choice, device="cpu")), dataset, tmp_path / "index")
    model = XmodForSequenceClassification.from_pretrained(folder).eval()
    tokenizer = AutoTokenizer.from_pretrained(folder)
    expected: dict[str, dict[str, float]] = {query.query_id: {} for query in dataset.queries}
    for query, query_text, document, text in first_pairs(dataset):
        adapter = "de_DE" if choice == "de" else {"en": "en_XX", "fr": "fr_XX"}[document[:2]]
        language = torch.tensor([model.config.languages.index(adapter)])
        expected[query][document] = float(
            model(**tokenizer(query_text, text, return_tensors="pt"), lang_ids=language).logits[0, 0]
        )
    check(found, expected)


def test_only_the_best_of_the_first_stage(dataset: Dataset, tmp_path: Path) -> None:
    folder = tiny_classifier(tmp_path / "model")
    found = search(make_system("mono-mminilm", Settings(str(folder), device="cpu")), dataset, tmp_path / "index", k=2)
    assert {document for document, _ in found["en/1"]} == {"en/d", "en/a"}


# Late interaction


def late_scores(folder: Path, dataset: Dataset, of: Callable[[str], str]) -> dict[str, dict[str, float]]:
    """Return MaxSim of float32 vectors; the encoder is held to transformers and colbert-ai elsewhere."""
    encoder = Encoder.from_pretrained(folder, device="cpu")
    texts = texts_of(dataset)
    vectors = encoder.encode_documents(list(texts.values()), [of(i) for i in texts])
    queries = encoder.encode_queries([q.text for q in dataset.queries], [of(q.query_id) for q in dataset.queries])
    scores = maxsim(queries, vectors.vectors, vectors.lengths).tolist()
    return {q.query_id: dict(zip(texts, row, strict=True)) for q, row in zip(dataset.queries, scores, strict=True)}


@pytest.mark.parametrize("choice", ["dataset", "de"])
def test_colbert_xm(dataset: Dataset, tmp_path: Path, built: Any, choice: str) -> None:
    folder = built(build_tiny_xmod)
    found = search(make_system("colbert-xm", Settings(str(folder), choice, choice, "cpu")), dataset, tmp_path / "index")
    check(found, late_scores(folder, dataset, lambda i: "de" if choice == "de" else i[:2]), tolerance=2e-2)


def test_mcolbert(dataset: Dataset, tmp_path: Path, built: Any, caplog: pytest.LogCaptureFixture) -> None:
    folder = built(build_tiny_bert)
    with caplog.at_level(logging.WARNING):
        found = search(make_system("mcolbert", Settings(str(folder), device="cpu")), dataset, tmp_path / "index")
    check(found, late_scores(folder, dataset, lambda i: i[:2]), tolerance=2e-2)


def test_an_index_that_was_cut_off_is_filled_up(dataset: Dataset, tmp_path: Path, built: Any) -> None:
    from ragatouille_xm.evaluation.systems import late

    folder = built(build_tiny_xmod)
    settings = Settings(str(folder), device="cpu")
    encode, calls = Encoder.encode_documents, []

    def dies(self: Encoder, texts: Sequence[str], *args: Any, **options: Any) -> Any:
        if len(calls) == 2:
            raise KeyboardInterrupt
        calls.append(len(texts))
        return encode(self, texts, *args, **options)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(late, "DOCUMENT_BATCH", 2)
        patch.setattr(Encoder, "encode_documents", dies)
        with pytest.raises(KeyboardInterrupt):
            search(make_system("colbert-xm", settings), dataset, tmp_path / "cut")
        calls.append(0)
        found = search(make_system("colbert-xm", settings), dataset, tmp_path / "cut")
    assert calls == [2, 2, 0, 2, 15]  # at last the texts by which relevance is measured
    check(found, late_scores(folder, dataset, lambda i: i[:2]), tolerance=2e-2)


# By name


def test_every_system_tells_what_it_was_run_with(dataset: Dataset, built: Any) -> None:
    folder = str(built(build_tiny_xmod))
    for name, entry in SYSTEMS.items():
        settings = Settings(folder if entry.needs_checkpoint else None, "detected", "en")
        parameters = make_system(name, settings).parameters(dataset)
        assert ("document_language" in parameters) == (entry.routed or entry.kind == "multi-vector"), name
        assert ("weights" in parameters) == entry.needs_checkpoint
        assert parameters == make_system(name, settings).parameters(dataset)


@pytest.mark.parametrize("name", [name for name, entry in SYSTEMS.items() if entry.checkpoint])
def test_a_published_checkpoint_goes_by_its_id(dataset: Dataset, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")  # a finished run is recognised without fetching anything
    assert make_system(name).parameters(dataset)["checkpoint"] == SYSTEMS[name].checkpoint


def test_other_weights_are_other_parameters(dataset: Dataset, tmp_path: Path) -> None:
    first, second = (build_tiny_xmod(tmp_path / "model", seed=seed) and
                     make_system("colbert-xm", Settings(str(tmp_path / "model"))).parameters(dataset)
                     for seed in (0, 1))  # fmt: skip
    assert first != second


def test_a_checkpoint_that_moved_is_the_same(dataset: Dataset, tmp_path: Path) -> None:
    first = make_system("colbert-xm", Settings(str(build_tiny_xmod(tmp_path / "model")))).parameters(dataset)
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "model").rename(tmp_path / "elsewhere" / "model")
    assert make_system("colbert-xm", Settings(str(tmp_path / "elsewhere" / "model"))).parameters(dataset) == first


@pytest.mark.parametrize(
    ("name", "settings", "message"),
    [
        ("bm52", Settings(), "There is no system 'bm52'. There are: bm25, mono-mt5"),
        ("mcolbert", Settings(), "mcolbert needs a checkpoint, since none is known to be published"),
        ("bm25", Settings("demo"), "bm25 has no checkpoint: leave out 'demo'"),
        ("me5-base", Settings(pooling="max"), "pooling='max' is not known. Use one of: mean, cls"),
    ],
)
def test_bad_settings(name: str, settings: Settings, message: str) -> None:
    with pytest.raises(InputError, match=message):
        make_system(name, settings)


@pytest.mark.parametrize("name", ["me5-base", "mono-mt5", "mono-mminilm", "mono-xm", "dpr-xm", "colbert-xm"])
def test_a_checkpoint_of_another_kind(dataset: Dataset, tmp_path: Path, name: str) -> None:
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "config.json").write_text('{"model_type": "gpt2"}')
    system = make_system(name, Settings(str(tmp_path / "model"), device="cpu"))
    with pytest.raises(CheckpointError):
        search(system, dataset, tmp_path / "index")
    with pytest.raises(CheckpointError, match="There is no checkpoint folder"):
        make_system(name, Settings("./nowhere")).parameters(dataset)
    with pytest.raises(CheckpointError, match="has no weights"):
        system.parameters(dataset)


def test_a_device_that_is_not_there(dataset: Dataset, tmp_path: Path, built: Any) -> None:
    with pytest.raises(InputError, match="device='tpu:9' cannot be used here"):
        search(make_system("dpr-x", Settings(str(built(build_tiny_xlmr)), device="tpu:9")), dataset, tmp_path / "index")


def test_without_bm25s(dataset: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "bm25s", None)
    with pytest.raises(MissingExtraError, match=r'pip install "ragatouille-xm\[evaluate\]"'):
        search(make_system("bm25"), dataset, tmp_path / "index")
