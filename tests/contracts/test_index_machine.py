"""Random lives of an index, compared at every step with a plain dictionary of passages."""

from __future__ import annotations

from contextlib import ExitStack

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from ragatouille_xm.corpus.filters import matches, parse_filter
from ragatouille_xm.types import Passage

from .conftest import ENGINES, examples, opened
from .strategies import assert_search, encode, everything, languages, plain, put, query

NAMES = ["a", "b", "c", "é/日", "d 1"]
documents = st.sampled_from(NAMES)
# Few and small, so that Hypothesis has room for long lives; the contract suite draws them from all there are.
metadatas = st.sampled_from(
    [None, {}, {"n": 1}, {"n": 2.5, "tags": ["x", "y"]}, {"n": None}, {"by": {"name": "Ada"}, "n": -3}]
)
filters = st.sampled_from(
    [
        None,
        {"n": 1},
        {"n": {"$gte": 1}},
        {"n": None},
        {"tags": "y", "language": "fr"},
        {"document_id": {"$in": ["a", "b"]}},
        {"by.name": {"$ne": "Ada"}},
        {"$or": [{"language": "de"}, {"$not": {"document_id": "c"}}]},
    ]
)
parts = st.lists(st.tuples(documents, languages, metadatas), min_size=1, max_size=6)
seeds = st.integers(0, 99)


class IndexMachine(RuleBasedStateMachine):
    """`self.model` is what the index should hold."""

    def __init__(self, name: str) -> None:
        super().__init__()
        self.name = name
        self.stack = ExitStack()
        self.model: dict[int, Passage] = {}
        self.next_pid = 0

    def teardown(self) -> None:
        self.stack.close()

    @initialize(parts=parts)
    def open(self, parts):
        self.engine = self.stack.enter_context(opened(self.name))
        self.store_new(parts, False, 0)

    def expected(self, condition=None) -> list[Passage]:
        return [self.model[pid] for pid in sorted(self.model) if matches(condition, self.model[pid])]

    def store(self, passages: list[Passage], replace: bool) -> None:
        put(self.engine.index, *passages, replace=replace)
        if replace:
            names = {p.document_id for p in passages}
            self.model = {pid: p for pid, p in self.model.items() if p.document_id not in names}
        self.model |= {p.pid: p for p in passages}

    def store_new(self, parts, replace: bool, seed: int) -> None:
        first = self.engine.index.reserve(len(parts))
        assert first >= self.next_pid
        self.next_pid = first + len(parts)
        pids = range(first, self.next_pid)
        new = zip(pids, parts, strict=True)
        self.store([Passage(pid, d, f"{seed} {pid}", code, metadata) for pid, (d, code, metadata) in new], replace)

    @rule(parts=parts, replace=st.booleans(), seed=seeds)
    def add(self, parts, replace, seed):
        self.store_new(parts, replace, seed)

    @precondition(lambda self: self.model)
    @rule(data=st.data(), document=documents, code=languages, metadata=metadatas, replace=st.booleans(), seed=seeds)
    def overwrite(self, data, document, code, metadata, replace, seed):
        pid = data.draw(st.sampled_from(sorted(self.model)))
        self.store([Passage(pid, document, f"{seed}", code, metadata)], replace)

    @rule(names=st.lists(documents | st.just("nobody"), max_size=2))
    def delete(self, names):
        gone = [pid for pid, p in self.model.items() if p.document_id in names]
        assert self.engine.index.delete(names) == len(gone)
        for pid in gone:
            del self.model[pid]

    @rule(k=st.integers(1, 12), filter=filters, seed=seeds)
    def search(self, k, filter, seed):
        assert_search(self.engine.index, query(f"{seed}"), k, self.expected(), self.engine.tolerance, filter)

    @rule(filter=filters, batch_size=st.integers(1, 9))
    def scroll(self, filter, batch_size):
        condition = parse_filter(filter)
        found = [p for batch, _ in self.engine.index.scroll(condition, batch_size=batch_size) for p in batch]
        assert plain(found) == plain(self.expected(condition))

    @precondition(lambda self: self.model)
    @rule(data=st.data())
    def fetch(self, data):
        pids = data.draw(st.lists(st.sampled_from(sorted(self.model)), max_size=5))
        expected = [self.model[pid] for pid in pids]
        assert plain(self.engine.index.fetch(pids)) == plain(expected)
        assert self.engine.index.vectors(pids).lengths.tolist() == encode(expected).lengths.tolist()

    @rule(pids=st.lists(st.integers(-1, 30), max_size=4), n=st.integers(0, 3))
    def around(self, pids, n):
        expected = {}
        for pid in self.model.keys() & set(pids):
            own = sorted(p for p in self.model if self.model[p].document_id == self.model[pid].document_id)
            place = own.index(pid)
            expected[pid] = plain(self.model[p] for p in own[max(place - n, 0) : place + n + 1])
        assert {pid: plain(near) for pid, near in self.engine.index.around(pids, n).items()} == expected

    @rule(data=st.data())
    def fetch_missing(self, data):
        pid = data.draw(st.integers(0, self.next_pid + 3).filter(lambda pid: pid not in self.model))
        with pytest.raises(KeyError):
            self.engine.index.fetch([pid])
        with pytest.raises(KeyError):
            self.engine.index.vectors([pid])

    @rule()
    def optimize(self):
        self.engine.index.optimize()

    @precondition(lambda self: self.engine.persistent)
    @rule()
    def reopen(self):
        self.engine.reopen()
        assert plain(everything(self.engine.index)) == plain(self.expected())

    @invariant()
    def counts_agree(self):
        index = self.engine.index
        codes = [p.language for p in self.model.values()]
        assert len(index) == len(self.model)
        assert list(index.languages().items()) == sorted(
            {code: codes.count(code) for code in codes}.items(), key=lambda pair: (-pair[1], pair[0])
        )
        assert index.contains([*NAMES, "nobody"]) == {p.document_id for p in self.model.values()}


@pytest.mark.parametrize("name", ENGINES)
def test_an_index_lives_like_a_dictionary(name):
    run_state_machine_as_test(
        lambda: IndexMachine(name),
        settings=settings(
            max_examples=examples(name, 40),
            stateful_step_count=25,
            suppress_health_check=list(HealthCheck),
        ),
    )
