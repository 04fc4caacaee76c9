"""RAGatouille's own sessions, run again with ours: same calls, same keys, same ids, same order.

Recorded from RAGatouille 0.0.9.post2: on the demo checkpoint (reference/make_migration.py), whose adapters are all the
same, so that RAGatouille's ``en_XX`` is as good as the right one; and on a tiny one (reference/make_behaviour.py),
whose texts ours is told to put through English as RAGatouille does.
"""

from __future__ import annotations

import json
import math
import re
import sys
from collections.abc import Sequence
from itertools import combinations
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from reference.texts import DOCUMENTS
from reference.tiny import build_tiny_xmod

from ragatouille_xm import RAGPretrainedModel
from ragatouille_xm.demo import demo_queries, demo_sample

REFERENCE = Path(__file__).parent / "reference"
SESSION = json.loads((REFERENCE / "migration.json").read_text(encoding="utf-8"))
STEPS, K = SESSION["steps"], SESSION["k"]
CALLS = json.loads((REFERENCE / "ragatouille_behaviour.json").read_text(encoding="utf-8"))

FIRST, LATER = ("de", "en", "es", "fr"), ("it",)
SAMPLE = [document for document in demo_sample() if document.language in FIRST]
TEXTS, IDS = [document.text for document in SAMPLE], [document.id for document in SAMPLE]
METADATA = [{"title": document.title, "topic": document.topic} for document in SAMPLE]
QUERIES = [query.text for query in demo_queries() if query.language in FIRST]
COMPRESSION = 0.25  # RAGatouille keeps 4 bits of each number: up to 0.19 of a score here

Results = list[dict[str, Any]]


# a session on the demo checkpoint


@pytest.fixture(scope="module")
def index(demo_path: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    """Return the folder of the index that the session begins with."""
    root = str(tmp_path_factory.mktemp("root"))
    rag = RAGPretrainedModel.from_pretrained(demo_path, index_root=root, verbose=0)
    path = rag.index(
        collection=TEXTS, document_ids=IDS, document_metadatas=METADATA, index_name="sample", split_documents=False
    )
    assert path.removeprefix(root) == STEPS["index"]
    rag.close()
    return path


@pytest.fixture(scope="module")
def rag(index: str) -> RAGPretrainedModel:
    return RAGPretrainedModel.from_index(index, verbose=0)


def test_a_result_is_ragatouilles_and_more(rag: RAGPretrainedModel) -> None:
    ours = rag.search(query=QUERIES[0], k=K)[0]
    assert {key: ours[key] for key in STEPS["search, first result"]} == STEPS["search, first result"]
    kept = [key for key in ours if key in STEPS["search, types"]]
    assert {key: type(ours[key]).__name__ for key in kept} == STEPS["search, types"]
    assert kept == list(STEPS["search, types"]), "in the same order, too"
    assert set(ours) - set(kept) == {"language", "relevance", "query_language"}


@pytest.mark.parametrize("step", ["search", "search, all at once", "from_index, search"])
def test_searches_find_the_same_in_the_same_order(rag: RAGPretrainedModel, step: str) -> None:
    """But for passages that RAGatouille's compression cannot tell apart."""
    every = rag.search(query=QUERIES, k=len(TEXTS))
    for ours, theirs in zip(every, STEPS[step], strict=True):
        scores = {result["document_id"]: result["score"] for result in ours}
        assert {i: scores[i] for i, _ in theirs} == pytest.approx(dict(theirs), abs=COMPRESSION)
        for (above, _), (below, _) in combinations(theirs, 2):
            assert scores[above] > scores[below] - COMPRESSION
        missing = max(score for i, score in scores.items() if i not in dict(theirs))
        assert missing < min(scores[i] for i, _ in theirs) + COMPRESSION
    ids = [[result["document_id"] for result in ours[:K]] for ours in every]
    same = [ours == [i for i, _ in theirs] for ours, theirs in zip(ids, STEPS[step], strict=True)]
    assert sum(same) >= 12, "16 queries, of which 4 have such passages among their best"


def test_searching_among_some_documents(rag: RAGPretrainedModel) -> None:
    found = rag.search(query=QUERIES[0], k=K, doc_ids=IDS[:3])
    assert [result["document_id"] for result in found] == [i for i, _ in STEPS["search, doc_ids"]]


def test_rerank_gives_the_same_order_and_scores(rag: RAGPretrainedModel) -> None:
    found = rag.rerank(query=QUERIES[0], documents=TEXTS[:10], k=K)
    assert [key for key in found[0] if key in STEPS["rerank, keys"]] == STEPS["rerank, keys"]
    assert [IDS[result["result_index"]] for result in found] == [i for i, _ in STEPS["rerank"]]
    assert [result["score"] for result in found] == pytest.approx([s for _, s in STEPS["rerank"]], abs=5e-3)


def test_what_is_added_is_found_as_ragatouille_finds_it_after_reopening(
    rag: RAGPretrainedModel, tmp_path: Path
) -> None:
    """And not as it finds it before, which is not at all; a second addition works, too."""
    rag = RAGPretrainedModel(rag.encoder, tmp_path, verbose=0)
    rag.index(TEXTS, IDS, METADATA, index_name="sample", split_documents=False)
    italian = [document for document in demo_sample() if document.language in LATER]
    for part in (italian[:6], italian[6:]):
        rag.add_to_index(
            [document.text for document in part], [document.id for document in part], split_documents=False
        )
    queries = [query.text for query in demo_queries() if query.language in LATER]
    found = [results[0]["document_id"] for results in rag.search(queries, k=1)]
    reopened = [theirs[0][0] for theirs in STEPS["add_to_index, from_index, search"]]
    assert found == reopened
    assert found != [theirs[0][0] for theirs in STEPS["add_to_index, search"]]


# the page


def test_the_code_of_the_migration_page_runs(checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page = (Path(__file__).parents[1] / "docs" / "migration.md").read_text(encoding="utf-8")
    upstream = ModuleType("ragatouille")
    upstream.RAGPretrainedModel = type("RAGPretrainedModel", (Upstream,), dict(vars(Upstream)))  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "ragatouille", upstream)
    monkeypatch.setattr("ragatouille_xm.model.checkpoint._from_hub", lambda name: checkpoint)
    monkeypatch.setattr("huggingface_hub.hf_hub_download", lambda name, file: checkpoint / file)
    monkeypatch.chdir(tmp_path)
    blocks = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    assert len(blocks) == 4
    scope: dict[str, Any] = {}
    for block in blocks:
        exec(block, scope)
    assert isinstance(scope["RAG"], RAGPretrainedModel)
    assert (scope["ranks"], set(scope["ranking"].data)) == ([1, 2], {7, 9})
    opened = RAGPretrainedModel.from_index("experiments/colbert/indexes/my_index", verbose=0)
    opened.add_to_index(["Un pain."], ["new"])
    assert scope["searcher"].search("Un pain.", k=1, pids=[2])[0] == [2]


class Upstream:
    """RAGatouille's class, as far as the plugin can see."""

    @classmethod
    def from_pretrained(cls, pretrained_model_name_or_path): ...

    @classmethod
    def from_index(cls, index_path): ...


# single calls on a tiny checkpoint

TINY_TEXTS = [*DOCUMENTS[:9], *DOCUMENTS[13:16]]
TINY_IDS = [f"doc-{i}" for i in range(len(TINY_TEXTS))]
QUERY, THREE = "The library opens", ["The library opens", "Le livre est ici", "bread"]
ENGLISH: dict[str, Any] = {"language": "en", "languages": "en"}


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_tiny_xmod(tmp_path_factory.mktemp("tiny"), metadata={"marker": "insert"})


@pytest.fixture
def tiny(checkpoint: Path, tmp_path: Path) -> RAGPretrainedModel:
    return RAGPretrainedModel.from_pretrained(checkpoint, index_root=str(tmp_path), verbose=0, device="cpu")


def agree(ours: Results, theirs: Results, *, ranks_from: int) -> None:
    """Compare all that RAGatouille returns, but for ranks, which it begins elsewhere."""
    assert len(ours) == len(theirs)
    for result, recorded in zip(ours, theirs, strict=True):
        assert result["rank"] - 1 == recorded["rank"] - ranks_from
        assert result["score"] == pytest.approx(recorded["score"], abs=2e-3)
        rest = {key: value for key, value in recorded.items() if key not in ("rank", "score")}
        assert {key: result.get(key) for key in rest} == rest


def test_rerank_and_encoded_documents(tiny: RAGPretrainedModel) -> None:
    recorded = CALLS["in_memory"]
    few = TINY_TEXTS[:5]
    agree(tiny.rerank(QUERY, few, k=3, **ENGLISH), recorded["rerank"]["returned"], ranks_from=0)
    agree(
        tiny.rerank(QUERY, [few[0], few[1], few[0]], k=3, **ENGLISH),
        recorded["rerank, the same text twice"]["returned"],
        ranks_from=0,
    )
    several = tiny.rerank(THREE, few, k=2, **ENGLISH)
    for ours, theirs in zip(several, recorded["rerank, three queries"]["returned"], strict=True):
        agree(ours, theirs, ranks_from=0)
    tiny.encode(TINY_TEXTS[:4], verbose=False, languages="en")
    several = tiny.search_encoded_docs(THREE, k=2, language="en")
    for ours, theirs in zip(several, recorded["search_encoded_docs, three queries"]["returned"], strict=True):
        agree(ours, theirs, ranks_from=0)
    tiny.encode(TINY_TEXTS[4:6], verbose=False, languages="en")
    tiny.encode(TINY_TEXTS[6:8], document_metadatas=[{"a": 1}, {"a": 2}], verbose=False, languages="en")
    agree(
        tiny.search_encoded_docs(QUERY, k=3, language="en"),
        recorded["search_encoded_docs, after that"]["returned"],
        ranks_from=0,
    )


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("index, too few ids", {"document_ids": TINY_IDS[:2]}),
        ("index, duplicate ids", {"document_ids": ["a"] * len(TINY_TEXTS)}),
        ("index, an empty id", {"document_ids": ["a", " ", *TINY_IDS[2:]]}),
        ("index, too few metadatas", {"document_metadatas": [{}]}),
    ],
)
def test_what_ragatouille_refuses_ours_refuses_by_the_same_kind_of_error(
    tiny: RAGPretrainedModel, name: str, arguments: dict[str, Any]
) -> None:
    assert CALLS["indexing"][name]["raised"] == "ValueError"
    with pytest.raises(ValueError):
        tiny.index(TINY_TEXTS, index_name="bad", **arguments)


def test_results_of_a_search_by_k(tiny: RAGPretrainedModel) -> None:
    recorded = CALLS["indexing"]
    path = tiny.index(TINY_TEXTS, TINY_IDS, index_name="first", languages="en")
    assert path.endswith(recorded["index"]["returned"].removeprefix("ROOT/indexes"))
    assert len(tiny.search(QUERY, k=100)) == recorded["search, k beyond the documents"]["returned"]
    assert len(tiny.search(QUERY)) == recorded["search, default k"]["returned"]
    for doc_ids, name in ((["nobody"], "search, unknown doc_ids"), ([], "search, empty doc_ids")):
        assert tiny.search(QUERY, k=2, doc_ids=doc_ids) == recorded[name]["returned"]
    with pytest.raises(FileNotFoundError):
        RAGPretrainedModel.from_index(Path(path).with_name("none"))
    assert recorded["from_index, no such index"]["raised"] == "FileNotFoundError"


def two_halves(documents: Sequence[str], document_ids: Sequence[str], chunk_size: int = 256) -> list[dict[str, str]]:
    pairs = zip(document_ids, documents, strict=True)
    halves = [(i, part) for i, text in pairs for part in (text[: len(text) // 2], text[len(text) // 2 :])]
    return [{"document_id": document_id, "content": part} for document_id, part in halves]


def shouted(documents: Results, document_ids: Sequence[str]) -> Results:
    return [{**passage, "content": passage["content"].upper()} for passage in documents]


def test_ragatouilles_hooks_give_the_same_passages(tiny: RAGPretrainedModel) -> None:
    recorded = CALLS["splitting"]
    long = " ".join(f"Sentence {i} tells of the river and the garden." for i in range(12))
    texts, ids = [long, *TINY_TEXTS[:6]], ["long", *TINY_IDS[:6]]
    for name, options in (
        ("index, own splitter", {"document_splitter_fn": two_halves}),
        ("index, not split", {"split_documents": False}),
    ):
        tiny.index(texts, ids, index_name="passages", **options)
        assert [p["document_id"] for p in tiny.get_passages(ids)] == recorded[f"{name}: passages"]["returned"]
    tiny.index(texts, ids, index_name="passages", preprocessing_fn=shouted)
    contents = [passage["content"] for passage in tiny.get_passages(ids)]
    assert contents[-2:] == recorded["index, preprocessing: passages"]["returned"]
    tiny.index(texts, index_name="passages")
    assert len(tiny.search(QUERY, k=1)[0]["document_id"]) == recorded["index, document ids made up: an id"]["returned"]


def test_what_ragatouille_finds_wrong_after_a_delete_is_right(tiny: RAGPretrainedModel) -> None:
    recorded = CALLS["deleting"]
    before = recorded["search, before deleting"]["returned"]
    wrong = recorded["delete_from_index, then search"]["returned"]
    assert before.keys() == wrong.keys()
    assert before != wrong
    tiny.index(TINY_TEXTS, TINY_IDS, index_name="second", languages="en")
    tiny.delete_from_index(["doc-1"])
    found = {result["document_id"]: result["content"] for result in tiny.search(QUERY, k=6, language="en")}
    assert found == before
    tiny.delete_from_index("doc-10")
    assert tiny.get_passages("doc-11"), "RAGatouille deletes by substring"
    assert len(tiny.search(QUERY, k=100)) == len(TINY_TEXTS) - 2
    assert all(math.isfinite(result["score"]) for result in tiny.search(QUERY, k=100))
