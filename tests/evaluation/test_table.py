"""Tables: measured rows, significance, and the published rows beside them."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
import pytest

from ragatouille_xm.corpus.passages import Document
from ragatouille_xm.evaluation.catalogue import FAMILIES
from ragatouille_xm.evaluation.dataset import Dataset, Query
from ragatouille_xm.evaluation.published import published_rows, source
from ragatouille_xm.evaluation.runner import Measured
from ragatouille_xm.evaluation.systems.registry import SYSTEMS
from ragatouille_xm.evaluation.table import as_json, make_tables


def dataset_of(name: str, family: str, queries: Mapping[str, str | None]) -> Dataset:
    def none() -> Iterator[Document]:
        return iter(())

    listed = tuple(Query(query, "text", language) for query, language in queries.items())
    return Dataset(name, family, listed, {q: {"d": 1} for q in queries}, none, lambda ids: [], {})


def measured(dataset: Dataset, system: str, value: float, name: str = "MRR@10") -> Measured:
    return Measured(dataset, system, {name: {q.query_id: value for q in dataset.queries}}, Path("x.trec"), {})


def many(language: str | None, n: int = 30) -> dict[str, str | None]:
    return {f"{language}{i}": language for i in range(n)}


def test_a_column_a_language_in_the_published_order() -> None:
    french, english = (dataset_of(f"mmarco/{x}", "mmarco", many(x)) for x in ("fr", "en"))
    [table] = make_tables([measured(french, "mine", 0.25), measured(english, "mine", 0.5)])
    assert table.columns == ("en", "fr")
    mine, *published = table.rows
    assert (mine.system, mine.published, mine.values, mine.average) == ("mine", False, (50.0, 25.0), 37.5)
    assert [(row.system, row.values) for row in published][-1] == ("ColBERT-XM", (37.2, 26.9))
    assert published[-1].average == pytest.approx((37.2 + 26.9) / 2)
    assert len(published) == 8


def test_a_system_that_was_not_run_everywhere_has_no_average() -> None:
    french, english = (dataset_of(f"mmarco/{x}", "mmarco", many(x)) for x in ("fr", "en"))
    [table] = make_tables([measured(french, "a", 0.25), measured(english, "a", 0.5), measured(english, "b", 0.5)])
    assert [(row.values, row.average) for row in table.rows[:2]] == [((50.0, 25.0), 37.5), ((50.0, None), None)]


def test_letters_of_significance() -> None:
    english = dataset_of("x/en", "x", many("en"))
    [table] = make_tables(
        [measured(english, "good", 0.9), measured(english, "bad", 0.1), measured(english, "same", 0.9)]
    )
    assert [row.better_than for row in table.rows] == [(("bad",),), ((),), (("bad",),)]
    assert {(p.first, p.second, p.significant) for p in table.comparisons["en"]} == {
        ("good", "bad", True),
        ("good", "same", False),
        ("bad", "same", True),
    }
    json.dumps(as_json([table]))


def test_a_mixed_collection_has_a_column_for_each_language() -> None:
    both = dataset_of("/data/both", "both, one collection", many("en", 2) | many("fr", 2))
    values = {"en0": 1.0, "en1": 0.5, "fr0": 0.0, "fr1": 0.5}
    [table] = make_tables([Measured(both, "a", {"R@10": values}, Path("x"), {})])
    assert table.columns == ("en", "fr")
    assert table.rows[0].values == (75.0, 25.0)
    assert table.rows[0].average == 50.0


def test_datasets_without_languages_go_by_their_names() -> None:
    [table] = make_tables([measured(dataset_of("/data/docs", "data", many(None)), "a", 0.5)])
    assert table.columns == ("docs",)


def test_families_and_measures_have_tables_of_their_own() -> None:
    tydi = dataset_of("mr-tydi/sw", "mr-tydi", many("sw"))
    tables = make_tables(
        [measured(dataset_of("mmarco/fr", "mmarco", many("fr")), "a", 0.5), measured(tydi, "a", 0.5, "MRR@100")]
    )
    assert [(table.family, table.measure) for table in tables] == [("mmarco", "MRR@10"), ("mr-tydi", "MRR@100")]
    assert [row.values for row in tables[1].rows if row.system == "BM25"] == [(38.9,)]


# The published numbers


@pytest.mark.parametrize(
    ("family", "measure", "n_rows"),
    [
        ("mmarco", "MRR@10", 8),
        ("mmarco", "R@10", 1),
        ("mmarco", "R@100", 1),
        ("mmarco", "R@1000", 1),
        ("mr-tydi", "MRR@100", 4),
        ("mr-tydi", "R@100", 4),
        ("miracl", "nDCG@10", 0),
    ],
)
def test_published_rows_are_whole(family: str, measure: str, n_rows: int) -> None:
    rows = published_rows(family, measure)
    assert len(rows) == n_rows
    for row in rows:
        assert SYSTEMS[row.system].title == row.model
        assert SYSTEMS[row.system].kind == row.kind
        languages = set(FAMILIES[family].ids)
        assert set(row.values) == (languages if family == "mmarco" else languages - {"th"})
        if row.average is not None:  # as printed, over values that were rounded since
            assert np.mean(list(row.values.values())) == pytest.approx(row.average, abs=0.1)


def test_the_source_is_named() -> None:
    assert "antoinelouis/colbert-xm" in source()
    assert "2402.15059" in source()
