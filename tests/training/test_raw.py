"""RAGatouille's raw data, and negatives for it."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import pytest

from ragatouille_xm.encoder import Encoder
from ragatouille_xm.errors import InputError
from ragatouille_xm.model.checkpoint import load_checkpoint
from ragatouille_xm.training import TrainingExample, read_examples
from ragatouille_xm.training.mining import draw_negatives, mine_hard_negatives
from ragatouille_xm.training.raw import CORPUS, QUERIES, TRIPLES, export, make_triplets, read_raw

WORDS = ["river", "train", "bread", "garden", "morning", "winter", "market", "library"]
PASSAGES = [f"the {a} and the {b}" for a in WORDS for b in WORDS if a != b]


def triplets(raw: Any, **options: Any) -> list[tuple[str, str, str]]:
    return [(each.query, each.positive, each.negatives[0]) for each in make_triplets(read_raw(raw, **options), None)]


def test_triplets_of_strings_and_lists() -> None:
    assert triplets([("q", "yes", "no"), ["q", "yes", ["no", "never"]]]) == [("q", "yes", "no"), ("q", "yes", "never")]
    assert triplets([("q", {"content": "yes"}, ["no"])]) == [("q", "yes", "no")]


def test_labelled_pairs() -> None:
    raw = [("q", "yes", "good"), ("q", "no", "bad"), ("r", "alone", "good")]
    found = triplets(raw, pairs_with_labels=True, positive_label="good", negative_label="bad")
    assert found == [("q", "yes", "no")]


def test_what_answers_is_never_a_negative() -> None:
    assert triplets([("q", "a", "b"), ("q", "b", "c")]) == [("q", "a", "c"), ("q", "b", "c")]


def test_pairs_get_new_negatives() -> None:
    judged = read_raw([("q", "a"), ("r", "b")])
    seen = {}

    def new(queries: Any, known: Any) -> dict[str, list[str]]:
        seen.update(known)
        return {"q": ["x", "y"], "r": ["a"]}

    found = make_triplets(judged, new)
    assert [(e.query, e.positive, e.negatives) for e in found] == [
        ("q", "a", ("x",)),
        ("q", "a", ("y",)),
        ("r", "b", ("a",)),
    ]
    assert seen == {"q": {"a"}, "r": {"b"}}


def test_many_positives_are_all_used_and_no_more_than_twenty_triplets_come_of_it() -> None:
    found = triplets([("q", [f"p{i}" for i in range(6)], [f"n{i}" for i in range(30)])])
    assert {positive for _, positive, _ in found} == {f"p{i}" for i in range(6)}
    assert len(set(found)) == len(found) == 18
    assert found == triplets([("q", [f"p{i}" for i in range(6)], [f"n{i}" for i in range(30)])])


@pytest.mark.parametrize(
    ("raw", "options", "message"),
    [
        ([], {}, "raw_data is empty"),
        (None, {}, "raw_data is empty"),
        ("ab", {}, "raw_data is a str"),
        (iter([("q", "a")]), {}, "raw_data is a list_iterator"),
        (["ab"], {}, "Record 0 of raw_data is 'ab'"),
        ([("q", "a"), {"query": "q", "positive": "a"}], {}, "Record 1 of raw_data is {'query'"),
        ([()], {}, r"Record 0 of raw_data is \(\)"),
        ([("q",)], {}, "Record 0 of raw_data has 1 items"),
        ([("q", "a"), ("q", "a", "b")], {}, "Record 1 of raw_data has 3 items, and the first has 2"),
        ([("q", "a")], {"pairs_with_labels": True}, r"Give \(query, passage, label\)"),
        ([("q", "a", 2)], {"pairs_with_labels": True}, "label of record 0 of raw_data is 2: neither positive_label=1"),
        ([("q", "a", 1)], {}, "passage of record 0 of raw_data is 1.*pairs_with_labels=True"),
        ([("q", "  ", "b")], {}, "passage of record 0 of raw_data is '  '"),
        ([(3, "a", "b")], {}, "query of record 0 of raw_data is 3"),
        ([("q", "a")], {}, "No query has both"),
        ([("q", "a", "a")], {}, "No query has both"),
    ],
)
def test_raw_data_that_is_wrong(raw: Any, options: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        triplets(raw, **options)


def test_what_is_exported_can_be_read(tmp_path: Path) -> None:
    examples = [TrainingExample("a\tquery", "yes\nit is", ("no",)), TrainingExample("b", "no", ("never",))]
    export(examples, ["unused"], tmp_path / "data")
    assert sorted(p.name for p in (tmp_path / "data").iterdir()) == sorted([QUERIES, CORPUS, TRIPLES])
    folder = tmp_path / "data"
    found = read_examples(folder / TRIPLES, queries=folder / QUERIES, collection=folder / CORPUS)
    assert list(found) == [TrainingExample("a query", "yes it is", ("no",)), TrainingExample("b", "no", ("never",))]
    assert "unused" in (folder / CORPUS).read_text(encoding="utf-8")
    assert [json.loads(line) for line in (folder / TRIPLES).read_text().splitlines()] == [[0, 1, 2], [1, 2, 3]]


def test_a_failed_export_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "data").write_text("")
    with pytest.raises(InputError, match="cannot be written"):
        export([TrainingExample("q", "yes", ("no",))], [], tmp_path / "data")
    (tmp_path / "other" / TRIPLES).mkdir(parents=True)
    with pytest.raises(InputError, match="cannot be written"):
        export([TrainingExample("q", "yes", ("no",))], [], tmp_path / "other")
    assert not list((tmp_path / "other").glob("*.tmp"))


# negatives


@pytest.fixture(scope="module")
def encoder(checkpoint: Path) -> Encoder:
    return Encoder(load_checkpoint(checkpoint), device="cpu")


def ranking(encoder: Encoder, query: str) -> list[str]:
    from ragatouille_xm.scoring import maxsim

    vectors = encoder.encode_documents(PASSAGES, ["en"] * len(PASSAGES))
    scores = maxsim(encoder.encode_queries([query], ["en"]), vectors.vectors.half(), vectors.lengths)[0]
    return [PASSAGES[i] for i in scores.argsort(descending=True, stable=True).tolist()]


def test_hard_negatives_come_from_the_ranks_asked_for(encoder: Encoder) -> None:
    known = {"the river": frozenset(PASSAGES[:3]), "winter": frozenset()}
    found = mine_hard_negatives(
        encoder, list(known), PASSAGES, known, 4, minimum_rank=5, maximum_rank=12, language="en"
    )
    for query, negatives in found.items():
        ranked = [text for text in ranking(encoder, query) if text not in known[query]]
        assert len(set(negatives)) == 4
        assert set(negatives) <= set(ranked[5:12])
        assert negatives == sorted(negatives, key=ranked.index)


def test_few_passages_are_made_up_for_at_random(encoder: Encoder, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        found = mine_hard_negatives(encoder, ["q"], PASSAGES[:6], {"q": frozenset(PASSAGES[:2])}, 10, language="en")
    assert sorted(found["q"]) == sorted(PASSAGES[2:6])
    assert "for 1 of 1 queries fewer than 10 passages rank from 10 to 110" in caplog.text


def test_random_negatives() -> None:
    found = draw_negatives(["q", "r"], PASSAGES, {"q": frozenset(PASSAGES[:50])}, 5)
    assert len(set(found["r"])) == 5
    assert set(found["q"]) <= set(PASSAGES[50:])
    assert len(found["q"]) == 5
    assert found == draw_negatives(["q", "r"], PASSAGES, {"q": frozenset(PASSAGES[:50])}, 5)


@pytest.mark.parametrize(("n", "rank"), [(0, 10), (5, -1), (5, 110), (5, "x"), (5, 1.5)])
def test_numbers_that_are_wrong(encoder: Encoder, n: int, rank: Any) -> None:
    with pytest.raises(InputError, match=r"negatives|Negatives"):
        mine_hard_negatives(encoder, ["q"], PASSAGES, {}, n, minimum_rank=rank)
