"""colbert-ai's usage, on a tiny checkpoint; its own answers are in reference/colbert.json (make_colbert.py there)."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
import torch
from reference.tiny import build_tiny_xmod

from ragatouille_xm import RAGPretrainedModel
from ragatouille_xm.colbert import (
    Checkpoint,
    ColBERTConfig,
    Collection,
    Indexer,
    Queries,
    Ranking,
    Run,
    RunConfig,
    Searcher,
)
from ragatouille_xm.colbert.data import Queries as QueriesOfData
from ragatouille_xm.colbert.infra import Run as RunOfInfra
from ragatouille_xm.errors import CheckpointError, IndexFormatError, IndexNotFoundError, InputError
from ragatouille_xm.transfer.plaid import export_index

RECORDED = json.loads((Path(__file__).parent / "reference" / "colbert.json").read_text(encoding="utf-8"))
DOCUMENTS = [
    "The library opens in the morning and the book is in the garden.",
    "La bibliothèque est au bord de la rivière, et le livre est dans le jardin.",
    "图书馆在北京市，今天有水和火，明年有雨雪。",
    "Das Buch ist in der Bibliothek und das Brot ist im Garten am Fluss.",
    "図書館は東京にあります。今日の天気は雨です。",
]


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_tiny_xmod(tmp_path_factory.mktemp("tiny"), metadata={"marker": "insert"})


@pytest.fixture(scope="module")
def root(checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a root with the index ``mine`` of the experiment ``colbert``, for tests that only read it."""
    folder = tmp_path_factory.mktemp("root")
    with Run().context(RunConfig(root=str(folder), experiment="colbert")):
        Indexer(checkpoint, verbose=0).index(name="mine", collection=DOCUMENTS)
    return folder


@pytest.fixture
def searcher(root: Path) -> Iterator[Searcher]:
    with Run().context(RunConfig(root=str(root), experiment="colbert")):
        opened = Searcher(index="mine")
    yield opened
    opened.close()


@pytest.fixture
def inside(tmp_path: Path) -> Iterator[Path]:
    """Let the test run inside an experiment of its own; return the folder of its indexes."""
    with Run().context(RunConfig(root=str(tmp_path), experiment="colbert")):
        yield tmp_path / "colbert" / "indexes"


# the model card


def test_the_cards_code_runs_with_its_imports_changed(
    checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The calls of the card of antoinelouis/colbert-xm, with the same arguments; the texts are ours."""
    monkeypatch.chdir(tmp_path)
    hub_id = "antoinelouis/colbert-xm"
    monkeypatch.setattr("ragatouille_xm.model.checkpoint._from_hub", lambda name: {hub_id: checkpoint}[name])
    scope: dict[str, Any] = {}
    block = f"""
from ragatouille_xm.colbert import Indexer as CustomIndexer, Searcher as CustomSearcher
from ragatouille_xm.colbert.infra import Run, RunConfig
n_gpu: int = 1
experiment: str = "colbert"
index_name: str = "my_index"
documents: list = {DOCUMENTS!r}
with Run().context(RunConfig(nranks=n_gpu,experiment=experiment)):
    indexer = CustomIndexer(checkpoint="{hub_id}")
    indexer.index(name=index_name, collection=documents)
with Run().context(RunConfig(nranks=n_gpu,experiment=experiment)):
    searcher = CustomSearcher(index=index_name)
    results = searcher.search(query="{DOCUMENTS[1]}", k=10)
"""
    exec(block, scope)
    pids, ranks, scores = scope["results"]
    assert (pids[0], ranks) == (1, [1, 2, 3, 4, 5])
    assert scores == sorted(scores, reverse=True)
    opened = RAGPretrainedModel.from_index("experiments/colbert/indexes/my_index", verbose=0)
    assert opened.search(DOCUMENTS[1], k=1)[0]["content"] == DOCUMENTS[1]
    languages = {result["document_id"]: result["language"] for result in opened.search("book", k=5)}
    assert languages == {"0": "en", "1": "fr", "2": "zh", "3": "de", "4": "ja"}


# against colbert-ai


def form(value: Any) -> Any:
    if isinstance(value, (tuple, list)):
        first = [form(each) for each in value] if isinstance(value, tuple) else form(value[0])
        return {type(value).__name__: first}
    return type(value).__name__


def test_answers_have_colbert_ais_form_and_order(checkpoint: Path, inside: Path) -> None:
    path = Indexer(checkpoint, verbose=0).index("mine", RECORDED["texts"], languages="en")
    assert path == str(inside / "mine")
    assert path.endswith(RECORDED["index"])
    searcher = Searcher("mine")
    expected = RECORDED["search"]
    queries = dict(RECORDED["queries"])
    for qid, query in queries.items():
        pids, ranks, scores = answer = searcher.search(query, k=3)
        assert form(answer) == expected["form"]
        assert (pids, ranks) == (expected["pids"][str(qid)], expected["ranks"])
        assert scores == pytest.approx(expected["scores"][str(qid)], abs=0.5)  # theirs are compressed to 4 bits
    assert searcher.search(queries[7], k=3, pids=[4, 1])[0] == RECORDED["search, pids"]
    assert len(searcher.search(queries[7], k=100)[0]) == RECORDED["search, k beyond the collection"][0]
    ranking = searcher.search_all(Queries(data=queries), k=3)
    assert form(ranking.data[7]) == RECORDED["search_all"]["form"]
    assert list(ranking.data) == RECORDED["search_all"]["order"]
    assert form(ranking.tolist()[0]) == RECORDED["search_all"]["flat"]
    assert searcher.collection[2] == RECORDED["collection[2]"]


# searching


def test_every_text_goes_through_its_own_adapter(searcher: Searcher) -> None:
    for pid, text in enumerate(DOCUMENTS):
        assert searcher.search(text, k=1)[0] == [pid]
    german, french = (searcher.search("Buch", k=1, language=language)[2] for language in ("de", "fr"))
    assert german != french


def test_search_all_gives_what_search_gives(searcher: Searcher, tmp_path: Path) -> None:
    ranking = searcher.search_all({"x": DOCUMENTS[3], 9: "Où est le livre ?"}, k=2)
    pids, ranks, scores = searcher.search(DOCUMENTS[3], k=2)
    assert [row[:2] for row in ranking.data["x"]] == list(zip(pids, ranks, strict=True))
    assert [row[2] for row in ranking.data["x"]] == pytest.approx(scores, abs=1e-3)
    assert (pids[0], ranks) == (3, [1, 2])
    assert [row[0] for row in ranking.tolist()] == ["x", "x", 9, 9]
    assert ranking.todict() == dict(ranking.items()) == ranking.data
    assert list(searcher.search_all([DOCUMENTS[0]], k=1).data) == [0]
    only = searcher.search_all({1: DOCUMENTS[0], 2: DOCUMENTS[0]}, k=3, qid_to_pids={1: [4, 2], 2: None})
    assert {pid for pid, _, _ in only.data[1]} == {2, 4}
    assert only.data[2][0][0] == 0


def test_searching_with_queries_encoded_beforehand(searcher: Searcher) -> None:
    one = searcher.encode("Où est le livre ?")
    assert (one.shape, one.dtype) == ((1, 32, searcher.model.encoder.dim), torch.float32)
    assert searcher.dense_search(one, k=3) == searcher.search("Où est le livre ?", k=3)
    assert searcher.dense_search(one, 5, lambda pids: pids[pids > 2], [1, 3]) == searcher.search(
        "Où est le livre ?", 5, lambda pids: pids[pids > 2], pids=[1, 3]
    )
    both = searcher.encode([DOCUMENTS[2], DOCUMENTS[4]], full_length_search=True)
    assert [searcher.dense_search(query[None], k=1)[0] for query in both] == [[2], [4]]
    german = searcher.dense_search(searcher.encode("Buch", language="de"), k=2)
    assert german == searcher.search("Buch", k=2, language="de")
    for wrong in (both, one[0], "Buch"):
        with pytest.raises(InputError, match=r"give one query as encode\(text\) makes it"):
            searcher.dense_search(wrong)


def test_restricting_to_some_passages(searcher: Searcher) -> None:
    assert set(searcher.search("book", k=10, pids=[3, 1])[0]) == {1, 3}
    assert searcher.search("book", k=1, pids=[4])[:2] == ([4], [1])
    assert searcher.search("book", pids=[]) == ([], [], [])
    seen: list[torch.Tensor] = []

    def odd(pids: torch.Tensor) -> torch.Tensor:
        seen.append(pids)
        return pids[pids % 2 == 1]

    everything = searcher.search("book", k=5)[0]
    assert searcher.search("book", k=5, filter_fn=odd)[0] == [pid for pid in everything if pid % 2]
    assert seen[0].dtype == torch.int32
    assert searcher.search("book", k=5, filter_fn=odd, pids=[0, 1])[0] == [1]
    assert set(searcher.search("book", pids=torch.tensor([3, 1], dtype=torch.int32))[0]) == {1, 3}
    with pytest.raises(InputError, match="pids count from 0"):
        searcher.search("book", pids=[99])
    for wrong in (["0"], 5, [1.5]):
        with pytest.raises(InputError, match="give a list of whole numbers"):
            searcher.search("book", pids=wrong)


def test_k_larger_than_the_collection(searcher: Searcher) -> None:
    assert searcher.search("book", k=10**11) == searcher.search("book", k=5)
    assert searcher.search("book", k=10**11, pids=[1, 3]) == searcher.search("book", k=2, pids=[1, 3])


def test_a_filter_finds_what_is_far_down(checkpoint: Path, inside: Path) -> None:
    many = [f"the book {i}" for i in range(300)]
    Indexer(checkpoint, verbose=0).index("many", many, languages="en")
    searcher = Searcher("many")
    last = searcher.search("book", k=300)[0][-2:]
    found = searcher.search("book", k=5, filter_fn=lambda pids: pids[torch.isin(pids, torch.tensor(last))])
    assert found[:2] == (last, [1, 2])


@pytest.mark.parametrize(
    "call",
    [
        lambda s: s.search(),
        lambda s: s.search("a", query="b"),
        lambda s: s.search(" "),
        lambda s: s.search("a", k=0),
        lambda s: s.search("a", k="3", pids=[0]),
        lambda s: s.search("a\ud800"),
        lambda s: s.encode(5),
        lambda s: s.encode([""]),
        lambda s: Searcher(None),
        lambda s: s.search_all(5),
        lambda s: s.search_all({"a", "b"}),
        lambda s: s.search_all(b"a"),
        lambda s: s.search_all(["", " "]),
        lambda s: s.search_all(["", " "], qid_to_pids={0: [1]}),
        lambda s: s.search("a", language="klingon"),
        lambda s: s.configure(query_maxlen=1),
        lambda s: s.configure(dim=128),
    ],
)
def test_bad_input_to_a_searcher(searcher: Searcher, call: Any) -> None:
    with pytest.raises(InputError):
        call(searcher)


def test_the_collection_is_read_from_the_index_or_given(root: Path, searcher: Searcher) -> None:
    assert len(searcher.collection) == 5
    assert list(searcher.collection) == DOCUMENTS
    with pytest.raises(IndexError):
        searcher.collection[5]
    titles = Searcher(root / "colbert" / "indexes" / "mine", collection=["a", "b"]).collection
    assert titles[1] == "b"


def test_blank_passages_keep_their_pids_and_blank_queries_find_nothing(checkpoint: Path, inside: Path) -> None:
    path = Indexer(checkpoint, verbose=0).index("gaps", ["", DOCUMENTS[0], " ", DOCUMENTS[1]])
    assert path == str(inside / "gaps")
    searcher = Searcher("gaps")
    assert [searcher.search(text, k=1)[0] for text in DOCUMENTS[:2]] == [[1], [3]]
    assert sorted(searcher.search("book", k=10)[0]) == [1, 3]
    for options in ({}, {"qid_to_pids": {0: [1], 2: [3]}}):
        found = searcher.search_all(["book", " ", "livre"], k=1, **options).data
        assert [len(found[qid]) for qid in range(3)] == [1, 0, 1]
    searcher.close()


@pytest.mark.parametrize("collection", [{0: "a"}, {"a", "b"}, b"a", 5])
def test_what_is_no_collection(checkpoint: Path, inside: Path, collection: Any) -> None:
    with pytest.raises(InputError, match="The collection is a"):
        Indexer(checkpoint, verbose=0).index("never", collection)
    with pytest.raises(InputError, match="Document 600 is a float, not a string: nan"):
        Indexer(checkpoint, verbose=0).index("never", ["text"] * 600 + [float("nan")])


def test_an_experiment_stays_where_it_was_opened(
    checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path)
    path = Indexer(checkpoint, verbose=0).index("mine", DOCUMENTS)
    assert path == str(tmp_path / "experiments" / "default" / "indexes" / "mine")
    searcher = Searcher("mine")
    monkeypatch.chdir("elsewhere")
    searcher.model.close()  # which opens the index again
    assert searcher.index == path
    assert searcher.model.search("book", k=1)[0]["document_id"] == "0"


# indexes: where they are, replacing them


def test_an_index_by_name_by_folder_and_by_root(
    root: Path, searcher: Searcher, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = root / "colbert" / "indexes" / "mine"
    monkeypatch.chdir(root)
    ways = (
        Searcher(folder),
        Searcher(str(folder.relative_to(root))),
        Searcher("mine", index_root=folder.parent),
        Searcher("mine", config=ColBERTConfig(root=str(root), experiment="colbert")),
    )
    for each in ways:
        assert each.search("book", k=5) == searcher.search("book", k=5)
        each.close()
    with pytest.raises(IndexNotFoundError, match="absent"):
        Searcher("absent")


def test_an_index_that_ragatouilles_names_have_built(checkpoint: Path, tmp_path: Path) -> None:
    model = RAGPretrainedModel.from_pretrained(checkpoint, verbose=0, index_root=str(tmp_path))
    model.index(DOCUMENTS, ["en", "fr", "zh", "de", "ja"], index_name="theirs")
    model.delete_from_index("en")
    with Run().context(RunConfig(root=str(tmp_path), experiment="colbert")):
        searcher = Searcher("theirs")
    assert searcher.search(DOCUMENTS[2], k=1)[0] == [2]
    assert searcher.search("book", k=9, pids=[3, 4])[0] == [
        r["passage_id"] for r in model.search("book", k=9, doc_ids=["de", "ja"])
    ]
    assert searcher.collection[1] == DOCUMENTS[1]


def test_a_folder_of_colbert_ai(root: Path, tmp_path: Path) -> None:
    folder = tmp_path / "theirs"
    export_index(root / "colbert" / "indexes" / "mine", folder)
    (folder / "collection.json").unlink(missing_ok=True)  # colbert-ai itself writes none
    opened = Searcher(folder, collection=DOCUMENTS)
    for pid, text in enumerate(DOCUMENTS):
        assert opened.search(text, k=1)[0] == [pid]
    assert opened.search("book", k=5, pids=[4, 2])[1] == [1, 2]
    assert opened.collection[3] == DOCUMENTS[3]
    opened.close()


def test_replacing_an_index_begins_again_at_pid_0(checkpoint: Path, inside: Path) -> None:
    indexer = Indexer(checkpoint, verbose=0)
    assert indexer.get_index() is None
    indexer.index("mine", DOCUMENTS)
    with pytest.raises(InputError, match="Give overwrite=True"):
        indexer.index("mine", DOCUMENTS[:2])
    for overwrite in ("reuse", "resume"):
        assert indexer.index("mine", DOCUMENTS[:1], overwrite=overwrite) == indexer.get_index() == str(inside / "mine")
    assert len(Searcher("mine").collection) == 5
    indexer.index("mine", DOCUMENTS[::-1], overwrite=True)
    searcher = Searcher("mine")
    assert searcher.search(DOCUMENTS[0], k=1)[0] == [4]
    assert searcher.search(DOCUMENTS[0], k=9, pids=[4, 0])[0][0] == 4
    assert searcher.collection[4] == DOCUMENTS[0]
    indexer.index("mine", DOCUMENTS[:2], overwrite="force_silent_overwrite")
    assert len(searcher.collection) == 2, "an open searcher sees the new index"
    assert searcher.search(DOCUMENTS[1], k=1)[0] == [1]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("a", DOCUMENTS, "maybe"), "overwrite='maybe' is not known"),
        ((" ", DOCUMENTS), "name=' ' cannot be an index's name"),
        (("a", "absent.tsv"), "'absent.tsv' cannot be read"),
        (("a", ["fine", 5]), "Document 1 is a int"),
        (("a", 5), "The collection is a int"),
    ],
)
def test_bad_input_to_an_indexer_leaves_nothing(
    checkpoint: Path, inside: Path, arguments: tuple[Any, ...], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        Indexer(checkpoint, verbose=0).index(*arguments)
    assert not (inside / "a").exists()


def test_another_checkpoint(root: Path, checkpoint: Path, tmp_path: Path) -> None:
    folder = root / "colbert" / "indexes" / "mine"
    assert Searcher(folder, checkpoint=checkpoint).search(DOCUMENTS[1], k=1)[0] == [1]
    with pytest.raises(IndexFormatError, match="was filled by the checkpoint"):
        Searcher(folder, checkpoint=build_tiny_xmod(tmp_path / "other", seed=1))
    with pytest.raises(CheckpointError):
        Indexer(tmp_path / "absent")


# options


def test_doc_maxlen_cuts_passages_off(checkpoint: Path, inside: Path, caplog: pytest.LogCaptureFixture) -> None:
    long, short = "the book " * 100, "the book " * 20
    with caplog.at_level(logging.WARNING, "ragatouille_xm"):
        Indexer(checkpoint, ColBERTConfig(doc_maxlen=24), verbose=0).index("cut", [long, short], languages="en")
    assert "2 of 2 texts longer than 24 tokens" in caplog.text
    searcher = Searcher("cut")
    scores = searcher.search("book", k=2)[2]
    assert scores[0] == pytest.approx(scores[1], abs=1e-3), "what was cut off does not count"
    assert searcher.collection[0] == long
    with pytest.raises(InputError, match="from 8 to 512"):
        Indexer(checkpoint, ColBERTConfig(doc_maxlen=5), verbose=0).index("bad", [short])


def test_query_maxlen_says_how_far_queries_are_filled(searcher: Searcher) -> None:
    [(_, _, usual)] = searcher.search_all(["book"], k=1).data[0]
    searcher.configure(query_maxlen=64)
    [(_, _, longer)] = searcher.search_all(["book"], k=1).data[0]
    assert longer > 1.5 * usual
    long = "the book " * 40
    searcher.configure(query_maxlen=8)
    assert searcher.search(long, k=1)[2][0] > 40, "a longer query keeps all of its tokens"


def test_ndocs_and_ncells_reach_the_first_stage(checkpoint: Path, inside: Path) -> None:
    asked = []
    Indexer(checkpoint, verbose=0).index("mine", DOCUMENTS)
    searcher = Searcher("mine", config=ColBERTConfig(ndocs=7))
    searcher.configure(ncells=3)
    original = searcher._retriever.index.search
    searcher._retriever.index.search = lambda *args, **options: (  # type: ignore[method-assign]
        asked.append(options["config"]) or original(*args, **options)
    )
    searcher.search("book", k=2)
    assert [(config.candidates, config.probes) for config in asked] == [(7, 3)]


def test_options_that_change_nothing_are_taken_and_others_are_not(checkpoint: Path, inside: Path) -> None:
    config = ColBERTConfig(nbits=2, kmeans_niters=4, nranks=4, index_bsize=2, dim=32, mask_punctuation=True, gpus=0)
    Indexer(checkpoint, config, verbose=0).index("mine", DOCUMENTS)
    assert Searcher("mine", config=config, verbose=0).search(DOCUMENTS[1], k=1)[0] == [1]
    for wrong in ({"mask_punctuation": False}, {"attend_to_mask_tokens": False}, {"similarity": "l2"}, {"dim": 128}):
        with pytest.raises(InputError, match=f"{next(iter(wrong))}=.* is not what the checkpoint"):
            Indexer(checkpoint, ColBERTConfig(**wrong))  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="'nbitz'"):
        ColBERTConfig(nbitz=2)  # type: ignore[call-arg]
    with pytest.raises(InputError, match="give a ColBERTConfig"):
        Indexer(checkpoint, {"nbits": 2})  # type: ignore[arg-type]


def test_configurations_are_changed_joined_and_read(checkpoint: Path, root: Path, tmp_path: Path) -> None:
    config = ColBERTConfig(nbits=2)
    config.configure(nbits=4, ncells=3)
    assert config == ColBERTConfig(nbits=4, ncells=3)
    with pytest.raises(TypeError, match="'nbitz'"):
        config.configure(nbitz=2)
    both = ColBERTConfig.from_existing(config, None, RunConfig(experiment="x"), ColBERTConfig(ncells=5))
    assert both == ColBERTConfig(nbits=4, ncells=5, experiment="x")
    assert ColBERTConfig.load_from_checkpoint(checkpoint) == ColBERTConfig(
        checkpoint=str(checkpoint), dim=32, doc_maxlen=256, query_maxlen=32, mask_punctuation=True,
        attend_to_mask_tokens=True, similarity="cosine",
    )  # fmt: skip
    folder = root / "colbert" / "indexes" / "mine"
    export_index(folder, tmp_path / "theirs")
    for index in (folder, tmp_path / "theirs"):
        assert ColBERTConfig.load_from_index(index) == ColBERTConfig(checkpoint=str(checkpoint), dim=32)
    with pytest.raises(IndexNotFoundError):
        ColBERTConfig.load_from_index(tmp_path / "absent")
    with pytest.raises(CheckpointError):
        ColBERTConfig.load_from_checkpoint(tmp_path / "absent")


# Checkpoint


def test_a_checkpoint_encodes_as_the_model_does(checkpoint: Path) -> None:
    texts = [DOCUMENTS[1], "Das Buch, das Brot."]
    ours = Checkpoint(checkpoint, ColBERTConfig(doc_maxlen=16))
    expected = ours.encoder.encode_documents(texts, ["fr", "de"], max_length=16)
    kept = ours.docFromText(texts, keep_dims=False)
    assert [block.tolist() for block in kept] == [block.tolist() for block in expected]
    (padded,) = ours.docFromText(texts, bsize=2)
    assert padded.shape == (2, 16, 32)
    for tokens, row, block in zip(ours.encoder.tokenise(texts, 16), padded, expected, strict=True):
        assert [bool(vector.any()) for vector in row[: len(tokens.ids)]] == tokens.scored
        torch.testing.assert_close(row[row.any(dim=1)], block)
    assert torch.equal(ours.docFromText(texts), padded)
    flat, lengths = ours.docFromText(texts, bsize=1, keep_dims="flatten", languages=["fr", "de"])
    torch.testing.assert_close(flat, expected.vectors)
    assert lengths == expected.lengths.tolist()
    german = ours.docFromText(texts, languages="de")
    assert not torch.allclose(german[0], padded[0])
    assert ours.docFromText([]).shape == (0, 0, 32)
    queries = ours.queryFromText(["Où est le livre ?", "Buch"], languages=["fr", "de"], to_cpu=True)
    torch.testing.assert_close(queries, ours.encoder.encode_queries(["Où est le livre ?", "Buch"], ["fr", "de"]))
    ours.configure(query_maxlen=40)
    assert ours.queryFromText("Buch").shape == (1, 40, 32)
    with pytest.raises(InputError, match="dim=128 is not what the checkpoint"):
        ours.configure(dim=128)
    assert ours.colbert_config.dim is None
    for wrong in (lambda: ours.docFromText(texts, keep_dims="flatten"), lambda: ours.docFromText(texts, keep_dims=3)):
        with pytest.raises(InputError, match="keep_dims="):
            wrong()
    for blank in ([" "], [5]):
        with pytest.raises(InputError):
            ours.queryFromText(blank)


def test_a_searchers_checkpoint_makes_what_it_searches_with(searcher: Searcher) -> None:
    query = searcher.checkpoint.queryFromText([DOCUMENTS[2]])
    assert searcher.dense_search(query, k=1)[0] == [2]
    assert searcher.checkpoint.encoder is searcher.model.encoder
    assert searcher.checkpoint.colbert_config == searcher.config


# Run


def test_contexts_nest_and_end() -> None:
    assert RunOfInfra is Run
    with Run().context(RunConfig(root="/a", experiment="x")):
        with Run().context(RunConfig(experiment="y")):
            assert Run().config.index_folder == Path("/a/y/indexes")
        with Run().context(RunConfig(experiment="y"), inherit_config=False):
            assert Run().config.index_folder == Path("experiments/y/indexes")
        with pytest.raises(InputError), Run().context(RunConfig(index_root="/b")):
            Ranking(data={}).save("all.json")
        assert Run().config.index_folder == Path("/a/x/indexes")
    assert Run().config == RunConfig()


def test_a_context_belongs_to_its_thread() -> None:
    seen: list[Path] = []
    with Run().context(RunConfig(experiment="x")):
        thread = Thread(target=lambda: seen.append(Run().config.folder))
        thread.start()
        thread.join()
        assert Run().config.folder == Path("experiments/x")
    assert seen == [Path("experiments/default")]


# files


def test_a_collection_from_a_file(checkpoint: Path, inside: Path, tmp_path: Path) -> None:
    file = tmp_path / "collection.tsv"
    file.write_text("0\tThe book.\n1\tLe livre.\tTitre\n", encoding="utf-8")
    assert list(Collection.cast(str(file))) == ["The book.", "Titre | Le livre."]
    Indexer(checkpoint, verbose=0).index("tsv", str(file))
    assert list(Searcher("tsv").collection) == ["The book.", "Titre | Le livre."]
    same = Collection(path=file)
    assert Collection.cast(same) is same
    assert list(Collection.cast(text for text in ("a", "b"))) == ["a", "b"]


@pytest.mark.parametrize("content", ["1\tThe book.\n", "The book.\n", "0\ta\n2\tb\n", "0\ta\n\n"])
def test_a_collection_whose_pids_are_not_positions(tmp_path: Path, content: str) -> None:
    (tmp_path / "c.tsv").write_text(content, encoding="utf-8")
    with pytest.raises(InputError, match=r"c\.tsv, line [12]: expected '[01]<tab>passage'"):
        Collection(path=tmp_path / "c.tsv")


def test_queries_from_files(tmp_path: Path) -> None:
    assert QueriesOfData is Queries
    (tmp_path / "q.tsv").write_text("7\tOù est le livre ?\n3\tbook\tmore\n", encoding="utf-8")
    (tmp_path / "q.json").write_text('{"qid": "a", "question": "book", "answers": []}\n', encoding="utf-8")
    assert dict(Queries.cast(tmp_path / "q.tsv")) == {7: "Où est le livre ?", 3: "book"}
    queries = Queries.cast(str(tmp_path / "q.json"))
    assert (list(queries.keys()), list(queries.values()), queries["a"], len(queries)) == (["a"], ["book"], "book", 1)
    assert Queries(data={1: {"question": "book"}})[1] == "book"
    assert Queries.cast(queries) is queries
    (tmp_path / "twice.tsv").write_text("7\ta\n7\tb\n", encoding="utf-8")
    (tmp_path / "bad.tsv").write_text("seven\ta\n", encoding="utf-8")
    (tmp_path / "bad.json").write_text('{"id": 1}\n', encoding="utf-8")
    (tmp_path / "latin.tsv").write_bytes(b"7\tcaf\xe9\n")
    for name, message in [
        ("twice.tsv", "7 is used twice"),
        ("bad.tsv", "line 1: expected 'number<tab>query'"),
        ("bad.json", "line 1: .* an object with qid and question"),
        ("latin.tsv", "cannot be read"),
        ("absent.tsv", "cannot be read"),
    ]:
        with pytest.raises(InputError, match=message):
            Queries(path=tmp_path / name)
    for nothing in (Queries, Collection):
        with pytest.raises(InputError, match="neither a path nor"):
            nothing()


def test_collections_queries_and_rankings_are_read_as_they_were_saved(inside: Path) -> None:
    texts = ["The book.", "a tab\tand\r\na line"]
    path = Collection(data=texts).save("texts.tsv")
    assert list(Collection(path)) == ["The book.", "a tab and  a line"]
    assert Collection(path).provenance() == path
    queries = Queries(data={7: {"question": "Où ?", "answers": ["là"]}, 3: "Quand ?"})
    assert dict(Queries(queries.save("queries.tsv"))) == dict(queries) == {7: "Où ?", 3: "Quand ?"}
    assert queries.qas() == {7: {"question": "Où ?", "answers": ["là"]}}
    (inside.parent / "q.json").write_text('{"qid": 1, "question": "Où ?", "answers": ["là"]}\n', encoding="utf-8")
    assert Queries(inside.parent / "q.json").qas() == {1: {"qid": 1, "question": "Où ?", "answers": ["là"]}}
    ranking = Ranking(data={7: [(3, 1, 21.5), (0, 2, 19.0)], "x": [(1, 1, -0.25)]})
    again = Ranking.cast(ranking.save("all.tsv"))
    assert again.todict() == ranking.todict() == Ranking.cast(ranking.tolist()).todict()
    assert again.provenance() == str(inside.parent / "all.tsv")
    assert Ranking.cast(again) is again
    (inside.parent / "bad.tsv").write_text("7\t3\n", encoding="utf-8")
    with pytest.raises(InputError, match="line 1: expected 'query id<tab>pid<tab>rank<tab>score'"):
        Ranking(inside.parent / "bad.tsv")
    for wrong in (lambda: Ranking({7: []}), lambda: Ranking.cast(5), Ranking):
        with pytest.raises(InputError, match="The ranking is"):
            wrong()


def test_a_ranking_says_where_it_comes_from(searcher: Searcher) -> None:
    provenance = {"source": "Searcher.search_all", "index": searcher.index, "queries": None, "k": 2}
    assert searcher.search_all([DOCUMENTS[0]], k=2).provenance() == provenance
    assert searcher.search_all([DOCUMENTS[0]], k=2, qid_to_pids={0: [1]}).provenance() == provenance


def test_passages_are_dealt_to_ranks_in_chunks() -> None:
    passages = [str(i) for i in range(7)]
    collection = Collection(data=passages)
    assert list(collection.enumerate(rank=0)) == list(enumerate(passages))
    assert Collection(data=[]).get_chunksize() == 1
    with Run().context(RunConfig(nranks=2)):
        assert list(collection.enumerate_batches(1, chunksize=2)) == [(1, 2, ["2", "3"]), (3, 6, ["6"])]
        dealt = [pair for rank in (0, 1) for pair in collection.enumerate(rank)]
        assert collection.get_chunksize() == 4
    assert sorted(dealt) == list(enumerate(passages))


def test_files_of_an_experiment(inside: Path) -> None:
    assert (Run().root, Run().experiment) == (str(inside.parents[1]), "colbert")
    with Run().open("notes/a.txt", "w") as file:
        file.write("été")
    with Run().open("notes/a.txt") as file:
        assert file.read() == "été"
    with Run().open("notes/a.txt", "rb") as file:
        assert file.name == str(inside.parent / "notes" / "a.txt")
    for mode in ("w", "a", "x", "r+"):
        with pytest.raises(InputError, match="There is a file"):
            Run().open("notes/a.txt", mode)
    with Run().context(RunConfig(overwrite=True)), Run().open("notes/a.txt", "w") as file:
        file.write("")
    for path, mode in (("absent.txt", "r"), ("notes", "r"), ("notes/b.txt", "?")):
        with pytest.raises(InputError, match="cannot be opened"):
            Run().open(path, mode)


def test_a_ranking_is_saved_beside_the_indexes(inside: Path) -> None:
    path = Ranking(data={7: [(3, 1, 21.5), (0, 2, 19.0)], 8: []}).save("rankings/all.tsv")
    assert path == str(inside.parent / "rankings" / "all.tsv")
    assert Path(path).read_text(encoding="utf-8") == "7\t3\t1\t21.5\n7\t0\t2\t19.0\n"
    with pytest.raises(InputError, match="There is a file"):
        Ranking(data={}).save("rankings/all.tsv")
    with pytest.raises(InputError, match=r"saved as \.tsv"):
        Ranking(data={}).save("all.json")
