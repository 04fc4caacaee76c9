"""What is written for colbert-ai. tests/transfer/test_plaid.py has the record that colbert-ai finds the same in it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from ragatouille_xm.errors import InputError, StorageError
from ragatouille_xm.index.exact import ExactIndex
from ragatouille_xm.index.plaid import export as module
from ragatouille_xm.index.plaid.export import export_plaid
from ragatouille_xm.index.plaid.folder import PlaidFolder

from ...contracts.strategies import METADATA, UNUSUAL, everything, passage, plain, put
from .folders import assert_inverted, exported, filled, unit

OPTIONS: dict[str, Any] = {"checkpoint": "tiny", "max_document_length": 64}


def read(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


@pytest.mark.parametrize(("nbits", "dim", "least"), [(1, 32, 0.7), (2, 32, 0.9), (4, 32, 0.99), (8, 64, 0.9995)])
@pytest.mark.parametrize("chunk", [7, 30, 1000])
def test_what_comes_back(nbits: int, dim: int, least: float, chunk: int, tmp_path: Path) -> None:
    source = filled(dim=dim)
    index = exported(source, tmp_path / "made", nbits=nbits, chunk=chunk)
    before, after = everything(source), everything(index)
    assert [p.pid for p in after] == list(range(60))  # without the gaps
    assert [tuple(row[1:]) for row in plain(after)] == [tuple(row[1:]) for row in plain(before)]
    assert_inverted(PlaidFolder.open(tmp_path / "made"))
    pairs = [
        (a, b)
        for (_, x), (_, y) in zip(source.scroll(with_vectors=True), index.scroll(with_vectors=True), strict=True)
        for a, b in zip(x, y, strict=True)
    ]
    assert all(a.shape == b.shape for a, b in pairs)
    assert np.mean([float((a * b).sum(1).mean()) for a, b in pairs]) > least


def test_the_files_are_colbert_ais(tmp_path: Path) -> None:
    folder = tmp_path / "sub" / "made"
    source = filled()
    assert export_plaid(source, folder, **OPTIONS, chunk=25) == 60
    chunks = [f"{i}.{name}" for i in range(3) for name in ("codes.pt", "residuals.pt", "metadata.json")]
    names = [*chunks, *(f"doclens.{i}.json" for i in range(3)), "ivf.pid.pt", "centroids.pt", "buckets.pt"]
    names += ["avg_residual.pt", "metadata.json", "plan.json", "languages.json"]
    names += ["collection.json", "pid_docid_map.json", "docid_metadata_map.json"]
    assert sorted(path.name for path in folder.iterdir()) == sorted(names)
    tensors = {name: torch.load(folder / name, weights_only=True) for name in names if name.endswith(".pt")}
    assert tensors["centroids.pt"].dtype == torch.float16
    assert tensors["0.codes.pt"].dtype == tensors["ivf.pid.pt"][0].dtype == torch.int32
    assert tensors["ivf.pid.pt"][1].dtype == torch.int64
    assert tensors["avg_residual.pt"].ndim == 0
    assert {each.dtype for each in tensors["buckets.pt"]} == {torch.float32}

    lengths = [n for i in range(3) for n in read(folder / f"doclens.{i}.json")]
    parts = [read(folder / f"{i}.metadata.json") for i in range(3)]
    assert [part["num_passages"] for part in parts] == [25, 25, 10]
    assert [part["passage_offset"] for part in parts] == [0, 25, 50]
    assert [part["num_embeddings"] for part in parts] == [len(tensors[f"{i}.codes.pt"]) for i in range(3)]
    assert [part["embedding_offset"] for part in parts] == [0, sum(lengths[:25]), sum(lengths[:50])]

    metadata, plan = read(folder / "metadata.json"), read(folder / "plan.json")
    assert metadata["num_partitions"] == plan["num_partitions"] == len(tensors["centroids.pt"]) == 256
    assert (metadata["num_embeddings"], metadata["num_chunks"]) == (sum(lengths), 3)
    assert metadata["avg_doclen"] == sum(lengths) / 60
    config = metadata["config"]
    assert config["collection"] == read(folder / "collection.json") == [p.text for p in everything(source)]
    assert (config["dim"], config["nbits"], config["doc_maxlen"]) == (32, 4, 64)
    assert (config["checkpoint"], config["index_name"]) == ("tiny", "made")
    assert read(folder / "pid_docid_map.json")["3"] == "d1"
    assert read(folder / "docid_metadata_map.json") == {f"d{i}": {"n": i} for i in range(0, 30, 2)}


def test_the_same_passages_give_the_same_files(tmp_path: Path) -> None:
    for name in ("a", "b"):
        export_plaid(filled(), tmp_path / name / "made", **OPTIONS)
    for file in (tmp_path / "a" / "made").iterdir():
        assert file.read_bytes() == (tmp_path / "b" / "made" / file.name).read_bytes()


def test_any_text_and_any_metadata(tmp_path: Path) -> None:
    index = ExactIndex(8)
    passages = [passage(i, f"d {i} \0 é", text, "de", METADATA) for i, text in enumerate(UNUSUAL)]
    put(index, *passages)
    assert plain(everything(exported(index, tmp_path / "made", nbits=1))) == plain(passages)


@pytest.mark.parametrize("n", [1, 2, 3])
def test_few_passages(n: int, tmp_path: Path) -> None:
    index = exported(filled(n), tmp_path / "made")
    assert len(index) == n
    assert sorted(index.search(unit(1, 3, 32), 5).pids[0].tolist()) == [-1] * (5 - n) + list(range(n))


def test_no_metadata_at_all(tmp_path: Path) -> None:
    index = ExactIndex(8)
    put(index, passage(4))
    exported(index, tmp_path / "made", nbits=1)
    assert not (tmp_path / "made" / "docid_metadata_map.json").exists()


def test_the_default_number_of_bits_is_ragatouilles(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "FEW", 60)
    assert exported(filled(59), tmp_path / "few")._opened.codec.nbits == 4
    assert exported(filled(60), tmp_path / "many")._opened.codec.nbits == 2


def test_large_indexes_are_sampled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []
    fit = module.ResidualCodec.fit
    monkeypatch.setattr(module.ResidualCodec, "fit", lambda sample, *rest: seen.append(sample) or fit(sample, *rest))
    monkeypatch.setattr(module, "SAMPLED_FOR_EACH", 1)
    export_plaid(filled(600), tmp_path / "made", **OPTIONS)
    [sample] = seen
    assert 256 < len(sample) <= 1024  # of some 3,600 vectors, for which colbert-ai takes 512 centroids
    blocks = [block.half() for _, vectors in filled(600).scroll(with_vectors=True) for block in vectors]
    owners = [i for row in sample for i, block in enumerate(blocks) if (block == row).all(1).any()]
    assert len(owners) == len(sample)
    assert {i % 2 for i in owners} == {0}  # of every second passage, or fewer
    assert max(owners) > 500
    assert len(PlaidFolder.open(tmp_path / "made").records) == 600


# --- Bad input


@pytest.mark.parametrize(
    ("dim", "nbits", "message"),
    [
        (32, 3, r"nbits=3 .* 32 dimensions\. colbert-ai takes: 1, 2, 4\."),
        (32, 8, "colbert-ai takes: 1, 2, 4"),
        (8, None, r"nbits=4 .* takes: 1\."),
        (12, 1, "none, for it wants a multiple of 8 dimensions"),
        (32, "4", "nbits='4'"),
    ],
)
def test_bits_that_do_not_suit(dim: int, nbits: Any, message: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=message):
        export_plaid(filled(dim=dim), tmp_path / "made", **OPTIONS, nbits=nbits)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("kind", ["folder", "file", "dangling"])
def test_what_is_there_stays(kind: str, tmp_path: Path) -> None:
    target = tmp_path / "made"
    {"folder": target.mkdir, "file": target.touch, "dangling": lambda: target.symlink_to(tmp_path / "none")}[kind]()
    with pytest.raises(InputError, match="There is something at"):
        export_plaid(filled(), target, **OPTIONS)
    assert [path.name for path in tmp_path.iterdir()] == ["made"]


def test_an_empty_index(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="has no passages"):
        export_plaid(ExactIndex(32), tmp_path / "made", **OPTIONS)


class _Failing(ExactIndex):
    """Fails while it is read for the second time."""

    reads = 0

    def scroll(self, *args: Any, **options: Any) -> Iterator[Any]:
        self.reads += 1
        for batch in super().scroll(*args, **options, batch_size=10):
            yield batch
            if self.reads == 2:
                raise self.error


@pytest.mark.parametrize(
    ("error", "raised"), [(OSError("disk full"), StorageError), (KeyboardInterrupt(), KeyboardInterrupt)]
)
def test_a_failure_leaves_nothing(error: BaseException, raised: type[BaseException], tmp_path: Path) -> None:
    index = filled()
    index.__class__ = _Failing
    index.error = error
    with pytest.raises(raised):
        export_plaid(index, tmp_path / "made", **OPTIONS)
    assert list(tmp_path.iterdir()) == []
