"""Encoding in worker processes: the index is as if one process had built it, whatever happens to a worker."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
import torch

from ragatouille_xm import RAGPretrainedModel
from ragatouille_xm.errors import CheckpointError, InputError, WorkerError
from ragatouille_xm.model.workers import Load, Worker, start_workers

pytest.importorskip("ray", reason='workers need: pip install "ragatouille-xm[ray]"')

WORDS = ["der", "Hund", "la", "casa", "the", "house", "家", "дом", "ev", "maison"]
TEXTS = [" ".join(WORDS[(i * j) % len(WORDS)] for j in range(1, 3 + i % 9)) + f" {i}." for i in range(1200)]
IDS = [f"d{i}" for i in range(len(TEXTS))]
LANGUAGES = [("de", "en", "fr")[i % 3] for i in range(len(TEXTS))]


@pytest.fixture(scope="module")
def session() -> Iterator[None]:
    """A session of the user's own, which outlives what is done in it: starting one takes seconds."""
    import ray

    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False, configure_logging=False)
    yield
    assert ray.is_initialized()
    ray.shutdown()


@pytest.fixture(scope="module")
def alone(model: RAGPretrainedModel, tmp_path_factory: pytest.TempPathFactory) -> RAGPretrainedModel:
    """A model of its own root, with an index that this process built."""
    made = RAGPretrainedModel(model.encoder, tmp_path_factory.mktemp("root"), verbose=0)
    made.index(TEXTS, IDS, index_name="alone", languages=LANGUAGES)
    return made


def same_content(rag: RAGPretrainedModel, first: str, second: str) -> bool:
    """Whether two indexes hold the same passages, with vectors that differ by no more than the order of sums does."""
    (one, vectors), (other, others) = (
        next(rag.catalog.get(name).index.scroll(with_vectors=True, batch_size=len(TEXTS))) for name in (first, second)
    )
    assert vectors is not None
    assert others is not None
    return one == other and torch.allclose(vectors.vectors, others.vectors, atol=1e-4)


def test_a_cluster_that_is_not_there_is_named(model: RAGPretrainedModel, tmp_path: Path) -> None:
    rag = RAGPretrainedModel(model.encoder, tmp_path, verbose=0)
    with pytest.raises(WorkerError, match=r"Cannot start the Ray cluster at 'ray://127.0.0.1:1'.*Nothing was encoded"):
        rag.index(["a"], index_name="never", workers="ray://127.0.0.1:1")


@pytest.mark.usefixtures("session")
def test_the_index_is_as_if_one_process_had_built_it(alone: RAGPretrainedModel) -> None:
    alone.index(TEXTS, IDS, index_name="shared", languages=LANGUAGES, workers=2)
    assert same_content(alone, "alone", "shared")
    found, expected = (alone.search("la casa 7", index_name=name, k=3) for name in ("shared", "alone"))
    assert [hit["document_id"] for hit in found] == [hit["document_id"] for hit in expected]


@pytest.mark.usefixtures("session")
def test_what_a_killed_worker_had_is_encoded_again(alone: RAGPretrainedModel) -> None:
    killed: list[int] = []

    def kill_a_worker() -> None:
        workers = [each for each in psutil.process_iter(["cmdline"]) if "ray::Worker" in " ".join(each.info["cmdline"])]
        if workers:
            killed.append(workers[0].pid)
            os.kill(workers[0].pid, signal.SIGKILL)

    def documents() -> Iterator[str]:
        for i, text in enumerate(TEXTS):
            if i == len(TEXTS) - 10:  # the first batches are on their way
                kill_a_worker()
            yield text

    alone.index(documents(), IDS, index_name="killed", languages=LANGUAGES, workers=2)
    assert killed
    assert same_content(alone, "alone", "killed")


@pytest.mark.usefixtures("session")
def test_a_worker_with_another_checkpoint_is_refused(folder: Path) -> None:
    with (
        pytest.raises(CheckpointError, match="another checkpoint on a worker than here"),
        start_workers(1, Load(str(folder), "other", None, None)),
    ):
        pass


def test_a_worker_without_the_checkpoint_names_it(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="no checkpoint folder"):
        Worker(Load(str(tmp_path / "missing"), "", None, None)).device()


@pytest.mark.parametrize("workers", [0, -1, True, 1.5, "two", "", "head:6379", "ray://head"])
def test_what_is_neither_a_number_nor_an_address_is_refused(alone: RAGPretrainedModel, workers: object) -> None:
    with pytest.raises(InputError, match="workers="):
        alone.index(["a"], index_name="never", workers=workers)  # type: ignore[arg-type]
    assert not alone.catalog.has("never", None)
