"""MRR@10 as the validation of a training run."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from reference.tiny import build_tiny_xmod

from ragatouille_xm.encoder import Encoder
from ragatouille_xm.errors import InputError
from ragatouille_xm.evaluation.measure import mean, measure
from ragatouille_xm.evaluation.validation import RankingValidation
from ragatouille_xm.model.checkpoint import load_checkpoint
from ragatouille_xm.scoring import maxsim
from ragatouille_xm.training import TrainingConfig, TrainingExample, train

WORDS = ["river", "train", "bread", "garden", "morning", "winter", "market", "library", "book", "small", "old", "opens"]
PASSAGES = {f"p{i}": f"the {word} is in the {WORDS[i - 3]}" for i, word in enumerate(WORDS)}
QUERIES = {f"q{i}": f"the {word}" for i, word in enumerate(WORDS[:5])}
QRELS = {"q0": {"p0": 1, "p1": 0}, "q1": {"p1": 2, "p2": 1}, "q2": {"p7": 1}, "q3": {"p3": 1}, "q4": {"p11": 1}}


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> Encoder:
    torch.set_num_threads(1)
    return Encoder(load_checkpoint(build_tiny_xmod(tmp_path_factory.mktemp("tiny"))), device="cpu")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write(tmp_path / "en", PASSAGES)


def write(folder: Path, passages: dict[str, str]) -> Path:
    folder.mkdir()
    judged = [f"{q} 0 {p} {grade}\n" for q, grades in QRELS.items() for p, grade in grades.items()]
    (folder / "qrels.tsv").write_text("".join(judged), encoding="utf-8")
    for name, rows in (("collection", passages), ("queries", QUERIES)):
        (folder / f"{name}.tsv").write_text("".join(f"{k}\t{v}\n" for k, v in rows.items()), encoding="utf-8")
    return folder


def test_it_is_the_mrr_of_an_exact_search(encoder: Encoder, folder: Path) -> None:
    queries = encoder.encode_queries(list(QUERIES.values()), ["en"] * len(QUERIES))
    found = encoder.encode_documents(list(PASSAGES.values()), ["en"] * len(PASSAGES))
    order = maxsim(queries, found.vectors, found.lengths).argsort(dim=1, descending=True, stable=True).tolist()
    ranking = {query: [f"p{i}" for i in row] for query, row in zip(QUERIES, order, strict=True)}
    expected = mean(measure(ranking, QRELS, ["MRR@10"])["MRR@10"])
    assert 0 < expected < 1
    assert RankingValidation(folder)(encoder) == pytest.approx(expected, abs=1e-9)


def test_equal_passages_are_ranked_in_their_order(encoder: Encoder, tmp_path: Path) -> None:
    same = dict.fromkeys(PASSAGES, "the garden")  # the best relevant ones are p0, p1, p7, p3, p11
    expected = (1 + 1 / 2 + 1 / 8 + 1 / 4 + 0) / 5
    assert RankingValidation(write(tmp_path / "en", same))(encoder) == pytest.approx(expected)


def test_the_language_is_the_folders_else_the_one_given(encoder: Encoder, tmp_path: Path) -> None:
    values = {}
    for name, language in (("fr", None), ("fr", "en"), ("docs", "fr"), ("docs", "en")):
        (tmp_path / f"{name}-{language}").mkdir()
        folder = write(tmp_path / f"{name}-{language}" / name, PASSAGES)
        seen: list[str] = []
        RankingValidation(folder, language)(_Spy(encoder, seen))  # type: ignore[arg-type]
        values[name, language] = set(seen)
    assert values == {("fr", None): {"fr"}, ("fr", "en"): {"fr"}, ("docs", "fr"): {"fr"}, ("docs", "en"): {"en"}}


class _Spy:
    """An encoder that notes the languages of what it encodes."""

    def __init__(self, encoder: Encoder, seen: list[str]) -> None:
        self.encoder, self.seen, self.adapters, self.detect = encoder, seen, encoder.adapters, encoder.detect

    def encode_queries(self, texts: list[str], languages: list[str]) -> torch.Tensor:
        self.seen += languages
        return self.encoder.encode_queries(texts, languages)

    def encode_documents(self, texts: list[str], languages: list[str]) -> object:
        self.seen += languages
        return self.encoder.encode_documents(texts, languages)


def test_a_judged_passage_that_is_missing_is_named(tmp_path: Path) -> None:
    passages = {pid: text for pid, text in PASSAGES.items() if pid != "p7"}
    with pytest.raises(InputError, match="judges the passage 'p7'"):
        RankingValidation(write(tmp_path / "en", passages))


def test_a_run_logs_it_and_keeps_the_best(folder: Path, tmp_path: Path) -> None:
    examples = [
        TrainingExample(q, t, (PASSAGES["p5"],)) for q, t in zip(QUERIES.values(), PASSAGES.values(), strict=False)
    ]
    config = TrainingConfig(batch_size=4, steps=4, learning_rate=1e-3, log_every=1, validate_every=2, save_every=2)
    checkpoint = build_tiny_xmod(tmp_path / "tiny")
    path = train(checkpoint, examples, tmp_path / "run", config, language="en", device="cpu", progress=False,
                 validation=RankingValidation(folder))  # fmt: skip
    log = [json.loads(line) for line in (tmp_path / "run" / "log.jsonl").read_text(encoding="utf-8").splitlines()]
    found = {entry["step"]: entry["validation"] for entry in log if entry.get("measure") == "MRR@10"}
    assert list(found) == [2, 4]
    best = max(found, key=lambda step: (found[step], -step))
    assert path.name == f"step-{best:06d}"
    trained = Encoder(load_checkpoint(path), device="cpu")
    assert RankingValidation(folder)(trained) == pytest.approx(found[best], abs=1e-6)
