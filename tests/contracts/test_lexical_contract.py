"""What engines with lexical search promise of it: after any life, the scores of an index that is built freshly."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from contextlib import ExitStack
from math import log

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule, run_state_machine_as_test

from ragatouille_xm.corpus.filters import matches, parse_filter
from ragatouille_xm.errors import InputError
from ragatouille_xm.index.base import LexicalIndex
from ragatouille_xm.index.exact import ExactIndex
from ragatouille_xm.index.lexical import K1, B, PieceCounts, listed
from ragatouille_xm.index.local.index import LocalIndex
from ragatouille_xm.types import Passage

from ..index.scratch import scratch
from . import strategies as some
from .strategies import DIM, encode, passage, query, scores_of

TOLERANCE = {"exact": 1e-5, "local": 1e-3, "local-int8": 0.1}
CREATED = {"dim": DIM, "checkpoint": "", "fingerprint": "", "settings": {}}
WORDS = list("abcdefgh")


def pieces_of(text: str) -> list[int]:
    """Return a piece for each word, or for each part of a word that has digits."""
    return [1000 + sum(map(ord, word)) % 700 for word in text.split()]


def counted(texts: Sequence[str]) -> PieceCounts:
    return PieceCounts.of([pieces_of(text) for text in texts])


def bm25(text: str, passages: Sequence[Passage]) -> dict[int, float]:
    """Return the score of each passage by the formula."""
    bags = {p.pid: Counter(pieces_of(p.text)) for p in passages}
    mean = sum(sum(bag.values()) for bag in bags.values()) / max(len(bags), 1)
    scores = dict.fromkeys(bags, 0.0)
    for piece, times in Counter(pieces_of(text)).items():
        having = sum(piece in bag for bag in bags.values())
        idf = log(1 + (len(bags) - having + 0.5) / (having + 0.5))
        for pid, bag in bags.items():
            long = K1 * (1 - B + B * sum(bag.values()) / mean) if mean else 1.0
            scores[pid] += times * idf * bag[piece] / (bag[piece] + long)
    return scores


def put(index: LexicalIndex, *passages: Passage, replace: bool = False) -> list[Passage]:
    index.add(passages, encode(passages), counted([p.text for p in passages]), replace=replace)
    return list(passages)


def assert_hybrid(index, text, k, weight, passages, tolerance, filter=None) -> None:
    """Check a hybrid search of less than `listed(k)` passages against both scores by hand."""
    condition = parse_filter(filter)
    admitted = [p for p in passages if matches(condition, p)]
    assert len(admitted) <= listed(k)
    found = index.search_hybrid(query(text), counted([text]), k, weight=weight, filter=condition)
    pids = [pid for pid in found.pids[0].tolist() if pid >= 0]
    maxsim, lexical = scores_of(query(text), admitted), bm25(text, passages)
    assert len(pids) == len(set(pids)) == min(k, len(admitted))
    np.testing.assert_allclose(found.maxsim[0][: len(pids)], [maxsim[pid] for pid in pids], atol=tolerance)
    np.testing.assert_allclose(found.lexical[0][: len(pids)], [lexical[pid] for pid in pids], rtol=1e-5, atol=1e-6)
    if not pids:
        return

    def scaled(scores: dict[int, float]) -> dict[int, float]:
        here = {p.pid: scores[p.pid] for p in admitted}
        low, high = min(here.values()), max(here.values())
        return {pid: (each - low) / (high - low) if high > low else float(high != 0) for pid, each in here.items()}

    parts = scaled(maxsim), scaled(lexical)
    spread = max(maxsim[p.pid] for p in admitted) - min(maxsim[p.pid] for p in admitted)
    close = min(3 * tolerance / spread, 1.0) if spread > 1e-6 else 1.0
    expected = {pid: (1 - weight) * parts[0][pid] + weight * parts[1][pid] for pid in parts[0]}
    got = found.scores[0][: len(pids)].tolist()
    assert got == sorted(got, reverse=True)
    np.testing.assert_allclose(got, [expected[pid] for pid in pids], atol=close + 1e-5)
    left_out = [score for pid, score in expected.items() if pid not in pids]
    assert max(left_out, default=0.0) <= got[-1] + 2 * close + 1e-5


@pytest.fixture(params=TOLERANCE)
def lexical(request, tmp_path):
    with ExitStack() as stack:
        if request.param == "exact":
            index = ExactIndex(DIM, lexical=True)
        else:
            storage = "int8" if request.param == "local-int8" else "int16"
            index = LocalIndex.create(tmp_path / "index", **CREATED, storage=storage, lexical=True)
        stack.callback(index.close)
        yield index, TOLERANCE[request.param]


def test_the_engine_is_a_lexical_index(lexical):
    index, _ = lexical
    assert isinstance(index, LexicalIndex)
    assert index.lexical


def test_both_scores_by_their_definition(lexical):
    index, tolerance = lexical
    passages = put(
        index, *(passage(i, text=f"{WORDS[i % 5] * 2} {WORDS[i % 3]} w{i} {'long ' * (i % 7)}") for i in range(60))
    )
    for text in ("aa b", "w7 long long", "nothing", "cc aa w3 w4"):
        for weight in (0.0, 0.3, 1.0):
            assert_hybrid(index, text, 30, weight, passages, tolerance)
            assert_hybrid(index, text, 70, weight, passages, tolerance, {"language": "fr"})


def test_a_passage_that_maxsim_does_not_name_is_found_by_its_words(lexical):
    index, _ = lexical
    n = 3 * listed(1)
    put(index, *(passage(i, text=f"common {i // 3} {i}") for i in range(n)))
    alone = put(index, passage(n, text="rarest"))[0]
    worst = -torch.from_numpy(some.rows("rarest"))[None]  # as far from the passage as can be
    maxsim = index.search(worst, n + 1).pids[0].tolist()
    assert maxsim.index(alone.pid) >= listed(1)
    found = index.search_hybrid(worst, counted(["rarest common"]), 1, weight=1.0)
    assert found.pids.tolist() == [[alone.pid]]
    assert found.lexical[0, 0] == pytest.approx(bm25("rarest common", [*some.everything(index)])[alone.pid], rel=1e-5)


def test_each_names_its_best_and_all_these_are_ranked_by_both(lexical):
    index, tolerance = lexical
    passages = put(index, *(passage(i, text=f"{WORDS[i % 8]} {WORDS[i % 3]} {i}") for i in range(200)))
    maxsim, by_words = scores_of(query("a b 7"), passages), bm25("a b 7", passages)
    named = [sorted(scores, key=lambda pid: (-scores[pid], pid))[: listed(5)] for scores in (maxsim, by_words)]
    found = index.search_hybrid(query("a b 7"), counted(["a b 7"]), 5, weight=1.0)
    assert found.pids[0].tolist() == sorted({*named[0], *named[1]}, key=lambda pid: (-by_words[pid], pid))[:5]
    if tolerance < 0.01:  # others may have another at the end of the list
        candidates = {*named[0], *named[1]}
        low, high = (pick(maxsim[pid] for pid in candidates) for pick in (min, max))
        found = index.search_hybrid(query("a b 7"), counted(["a b 7"]), 5, weight=0.0)
        assert found.scores[0].tolist() == pytest.approx(
            [(maxsim[pid] - low) / (high - low) for pid in found.pids[0].tolist()], abs=0.01
        )


def test_filters_come_before_both(lexical):
    index, tolerance = lexical
    passages = put(
        index, *(passage(i, text=f"word {'odd' if i % 2 else 'even'} {i}", metadata={"i": i}) for i in range(90))
    )
    assert_hybrid(index, "odd word", 5, 0.5, passages, tolerance, {"i": {"$gte": 80}})
    assert_hybrid(index, "odd word", 5, 0.5, passages, tolerance, {"i": {"$lt": 0}})


def test_ties_go_to_the_smaller_pid(lexical):
    index, _ = lexical
    put(index, *(passage(pid, text="same words") for pid in (8, 2, 5, 11)))
    found = index.search_hybrid(query("same"), counted(["same"]), 3, weight=0.4)
    assert found.pids.tolist() == [[2, 5, 8]]
    assert found.scores.tolist() == [[1.0, 1.0, 1.0]]


def test_texts_without_pieces(lexical):
    index, _ = lexical
    index.add([passage(0, text="x")], encode([passage(0, text="x")]), PieceCounts.of([[]]))
    found = index.search_hybrid(query("q"), PieceCounts.of([[]]), 2, weight=0.3)
    assert found.pids.tolist() == [[0, -1]]
    assert found.lexical.tolist() == [[0.0, -np.inf]]


def test_an_empty_index_and_no_queries(lexical):
    index, _ = lexical
    assert index.search_hybrid(query("q"), counted(["q"]), 3, weight=0.3).pids.tolist() == [[-1, -1, -1]]
    put(index, passage(0))
    assert index.search_hybrid(torch.empty(0, 4, DIM), PieceCounts.of([]), 2, weight=0.3).scores.shape == (0, 2)


def test_several_queries_are_as_each_alone(lexical):
    index, _ = lexical
    put(index, *(passage(i, text=f"{WORDS[i % 5]} {WORDS[i % 3]} {i}") for i in range(50)))
    texts = ["a", "b c", "e 7"]
    together = index.search_hybrid(
        torch.nn.utils.rnn.pad_sequence([query(t)[0] for t in texts], batch_first=True), counted(texts), 5, weight=0.3
    )
    for i, text in enumerate(texts):
        alone = index.search_hybrid(query(text), counted([text]), 5, weight=0.3)
        for column, row in zip(alone, together, strict=True):
            assert row[i].tolist() == column[0].tolist()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"weight": 1.5}, "weight of lexical scores is 1.5"),
        ({"pieces": PieceCounts.of([])}, "1 queries were given with the pieces of 0"),
        ({"k": 0}, "k must be an int"),
    ],
)
def test_bad_searches_are_refused(lexical, change, message):
    given = {"queries": query("q"), "pieces": counted(["q"]), "k": 3, "weight": 0.3} | change
    with pytest.raises(InputError, match=message):
        lexical[0].search_hybrid(**given)


def test_pieces_belong_to_passages(lexical):
    index, _ = lexical
    passages = [passage(0), passage(1)]
    with pytest.raises(InputError, match="give the pieces of the passages"):
        index.add(passages, encode(passages))
    with pytest.raises(InputError, match="2 passages were given with the pieces of 1"):
        index.add(passages, encode(passages), counted(["one"]))
    assert len(index) == 0


@pytest.mark.parametrize("make", [lambda path: ExactIndex(DIM), lambda path: LocalIndex.create(path, **CREATED)])
def test_an_index_without_pieces_refuses_them(make, tmp_path):
    index = make(tmp_path / "index")
    assert not index.lexical
    with pytest.raises(InputError, match="without lexical search"):
        put(index, passage(0))
    with pytest.raises(InputError, match="without lexical search: .* again with lexical=True"):
        index.search_hybrid(query("q"), counted(["q"]), 1, weight=0.3)
    index.close()


texts = st.lists(st.sampled_from(WORDS), max_size=8).map(" ".join)
documents = st.sampled_from(["a", "b", "c", "d"])
parts = st.lists(st.tuples(documents, texts), min_size=1, max_size=6)


class LexicalMachine(RuleBasedStateMachine):
    """`self.model` is what the index should hold. Segments are small, so that merges and deletes meet."""

    def __init__(self) -> None:
        super().__init__()
        self.stack = ExitStack()
        self.model: dict[int, Passage] = {}

    @initialize()
    def open(self):
        patch = self.stack.enter_context(pytest.MonkeyPatch.context())
        patch.setattr("ragatouille_xm.index.local.writer.BUFFER_TOKENS", 10)
        self.folder = self.stack.enter_context(scratch())
        self.index = LocalIndex.create(self.folder / "index", **CREATED, lexical=True)

    def teardown(self) -> None:
        if hasattr(self, "index"):
            self.index.close()
        self.stack.close()

    def store(self, passages: list[Passage], replace: bool) -> None:
        put(self.index, *passages, replace=replace)
        if replace:
            names = {p.document_id for p in passages}
            self.model = {pid: p for pid, p in self.model.items() if p.document_id not in names}
        self.model |= {p.pid: p for p in passages}

    @rule(parts=parts, replace=st.booleans())
    def add(self, parts, replace):
        first = self.index.reserve(len(parts))
        self.store([Passage(first + i, d, f"{t} p{first + i}", "fr") for i, (d, t) in enumerate(parts)], replace)

    @precondition(lambda self: self.model)
    @rule(data=st.data(), text=texts, replace=st.booleans())
    def overwrite(self, data, text, replace):
        pid = data.draw(st.sampled_from(sorted(self.model)))
        self.store([Passage(pid, self.model[pid].document_id, f"{text} again", "de")], replace)

    @rule(names=st.lists(documents, max_size=2))
    def delete(self, names):
        self.index.delete(names)
        self.model = {pid: p for pid, p in self.model.items() if p.document_id not in names}

    @rule(text=texts, k=st.integers(1, 8), weight=st.sampled_from([0.0, 0.3, 1.0]), code=st.sampled_from([None, "de"]))
    def search(self, text, k, weight, code):
        passages = [self.model[pid] for pid in sorted(self.model)]
        k = max(k, len(passages) // 2 + 1)  # all of them are candidates
        among = code and {"language": code}
        assert_hybrid(self.index, f"{text} q", k, weight, passages, TOLERANCE["local"], among)

    @precondition(lambda self: self.model)
    @rule(text=texts)
    def is_as_if_built_freshly(self, text):
        fresh = ExactIndex(DIM, lexical=True)
        put(fresh, *(self.model[pid] for pid in sorted(self.model)))
        asked = query(text), counted([text]), len(self.model)
        mine, other = (each.search_hybrid(*asked, weight=1.0) for each in (self.index, fresh))
        scores = [dict(zip(each.pids[0].tolist(), each.lexical[0].tolist(), strict=True)) for each in (mine, other)]
        assert scores[0] == pytest.approx(scores[1], rel=1e-5, abs=1e-6)

    @rule(refit=st.booleans())
    def optimize(self, refit):
        self.index.optimize(refit=refit)

    @rule()
    def reopen(self):
        self.index.close()
        self.index = LocalIndex.open(self.folder / "index")


def test_scores_after_any_life_are_those_of_a_fresh_index():
    run_state_machine_as_test(
        LexicalMachine,
        settings=settings(
            max_examples=30, stateful_step_count=30, suppress_health_check=list(HealthCheck), deadline=None
        ),
    )
