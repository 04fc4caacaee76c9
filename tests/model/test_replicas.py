"""Several devices of one encoder. Two replicas on the CPU stand for two GPUs: the code asks no more of a device."""

from __future__ import annotations

import gc
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from reference.tiny import build_tiny_xmod

from ragatouille_xm import RAGPretrainedModel
from ragatouille_xm.cli.index import parse_devices
from ragatouille_xm.encoder import Encoder
from ragatouille_xm.errors import InputError
from ragatouille_xm.model.replicas import Work, encode_on
from ragatouille_xm.text.tokenizer import TokenBatch
from ragatouille_xm.training.module import TrainableColBERT
from ragatouille_xm.training.setup import make_accelerator

SENTENCES = {
    "en": "the library opens in the morning",
    "fr": "le livre de la bibliothèque, et du pain !",
    "zh": "图书馆在东京。今天的天气",
    "de": "der Fluss und das Brot",
    "ja": "図書館は東京にあります",
}
# Very uneven, and not sorted by length.
TEXTS = [(sentence + " ") * (1 + 7 * i % 13) for i in range(8) for sentence in SENTENCES.values()]
LANGUAGES = list(SENTENCES) * 8
TWO, THREE = ["cpu"] * 2, ["cpu"] * 3


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_tiny_xmod(tmp_path_factory.mktemp("tiny"))


@pytest.fixture(scope="module")
def one(folder: Path) -> Encoder:
    return Encoder.from_pretrained(folder, device="cpu")


@pytest.fixture
def two(folder: Path) -> Iterator[Encoder]:
    yield Encoder.from_pretrained(folder, device=TWO)
    gc.collect()
    assert not [thread for thread in threading.enumerate() if "replica" in thread.name]


@pytest.mark.parametrize("devices", [TWO, THREE, ("cpu", torch.device("cpu"))])
def test_vectors_are_those_of_one_device_in_the_order_of_the_texts(
    one: Encoder, folder: Path, devices: list[str]
) -> None:
    several = Encoder.from_pretrained(folder, device=devices)
    passed: list[list[int]] = []
    expected, found = (
        encoder.encode_documents(TEXTS, LANGUAGES, max_length=64, batch_tokens=100, on_batch=passed.append)
        for encoder in (one, several)
    )
    half = len(passed) // 2
    assert half > 10
    assert passed[:half] == passed[half:]
    assert torch.equal(found.lengths, expected.lengths)
    assert torch.equal(found.ids, expected.ids)
    torch.testing.assert_close(found.vectors, expected.vectors, atol=1e-6, rtol=0)
    queries = [encoder.encode_queries(TEXTS, LANGUAGES) for encoder in (one, several)]
    torch.testing.assert_close(queries[1], queries[0], atol=1e-6, rtol=0)


def test_every_replica_encodes_at_the_same_time(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    encoder = Encoder.from_pretrained(folder, device=THREE)
    meeting = threading.Barrier(3, timeout=30)  # breaks where fewer than three are in it at once
    first = [True] * 3

    for i, replica in enumerate(encoder.replicas):

        def meet(*args: object, i: int = i, forward=replica.backbone.forward) -> torch.Tensor:  # type: ignore[no-untyped-def]
            if first[i]:
                first[i] = False
                meeting.wait()
            return forward(*args)

        monkeypatch.setattr(replica.backbone, "forward", meet)
    encoder.encode_documents(TEXTS, LANGUAGES, batch_tokens=64)
    assert not any(first)


def test_one_batch_runs_on_the_first_device_in_the_callers_thread(
    two: Encoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[threading.Thread] = []
    forward = two.model.backbone.forward

    def noted(*args: object) -> torch.Tensor:
        seen.append(threading.current_thread())
        return forward(*args)

    monkeypatch.setattr(two.model.backbone, "forward", noted)
    two.encode_queries(["a"], ["fr"])
    assert seen == [threading.current_thread()]


def test_an_error_of_one_replica_surfaces_and_leaves_the_encoder_usable(
    one: Encoder, two: Encoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> torch.Tensor:
        raise RuntimeError("out of memory")

    with monkeypatch.context() as broken:
        broken.setattr(two.replicas[1].backbone, "forward", fail)
        with pytest.raises(RuntimeError, match="^out of memory$"):
            two.encode_documents(TEXTS, LANGUAGES, batch_tokens=64)
    with pytest.raises(InputError, match="2 texts came with 1 languages"):
        two.encode_documents(["a", "b"], ["en"])
    found, expected = (encoder.encode_documents(TEXTS, LANGUAGES, batch_tokens=64) for encoder in (two, one))
    torch.testing.assert_close(found.vectors, expected.vectors, atol=1e-6, rtol=0)


def test_languages_do_not_depend_on_the_number_of_devices(
    one: Encoder, two: Encoder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("text.collection.BATCH", "indexing.DOCUMENT_BATCH"):
        monkeypatch.setattr(f"ragatouille_xm.{name}", 2)
    texts = ["RTX 4090", "", "Das Buch ist im Garten.", "Die Bibliothek öffnet am Morgen.", "RTX 4090"]
    found = []
    for name, encoder in (("one", one), ("two", two)):
        rag = RAGPretrainedModel(encoder, tmp_path / name, verbose=0)
        rag.index(texts, list("abcde"))
        found.append([passage["language"] for passage in rag.get_passages(list("abcde"))])
    assert found[0] == found[1] == ["en", "de", "de", "de"]


def test_a_caller_that_stops_leaves_no_threads(two: Encoder) -> None:
    def interrupt(_: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        two.encode_documents(TEXTS, LANGUAGES, batch_tokens=64, on_batch=interrupt)


def test_batches_are_laid_out_as_they_are_wanted(two: Encoder) -> None:
    laid = 0

    def work() -> Iterator[Work]:
        nonlocal laid
        for _ in range(20):
            laid += 1
            ids = torch.full((1, 8), 5)
            yield TokenBatch(ids, torch.ones_like(ids), torch.ones_like(ids)), ["en_XX"]

    done = encode_on(two.replicas, work())
    for n in range(1, 21):
        next(done)
        assert laid <= n + 2 * 2
    assert list(done) == []


def test_two_threads_share_the_replicas(one: Encoder, two: Encoder) -> None:
    expected = one.encode_documents(TEXTS, LANGUAGES, batch_tokens=64).vectors
    found: list[torch.Tensor] = []

    def encode() -> None:
        found.append(two.encode_documents(TEXTS, LANGUAGES, batch_tokens=64).vectors)

    threads = [threading.Thread(target=encode) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 2
    for each in found:
        torch.testing.assert_close(each, expected, atol=1e-6, rtol=0)


def test_replicas_on_the_cpu_share_the_words(two: Encoder, folder: Path) -> None:
    maps = Path("/proc/self/maps")
    if not maps.exists():
        pytest.skip("only Linux tells what is mapped")
    tables = [replica.backbone.words.weight.data_ptr() for replica in two.replicas]  # type: ignore[attr-defined]
    ranges = []
    for line in maps.read_text().splitlines():
        start, end = (int(each, 16) for each in line.split()[0].split("-"))
        ranges += [line for table in tables if start <= table < end]
    assert len(ranges) == 2
    assert all(str(folder) in line for line in ranges)


def test_index_and_search_find_what_one_device_finds(folder: Path, tmp_path: Path) -> None:
    ids = [str(i) for i in range(len(TEXTS))]
    found = []
    for name, device in (("one", "cpu"), ("two", TWO)):
        root = str(tmp_path / name)
        model = RAGPretrainedModel.from_pretrained(folder, verbose=0, index_root=root, device=device)
        path = model.index(TEXTS, ids, index_name="demo", languages=LANGUAGES, bsize=1, split_documents=False)
        found.append(model.search(["le livre", "図書館"], k=5))
    reopened = RAGPretrainedModel.from_index(path, verbose=0, device=TWO).search(["le livre", "図書館"], k=5)
    for others in (found[1], reopened):
        for mine, theirs in zip(found[0], others, strict=True):
            assert [each["document_id"] for each in mine] == [each["document_id"] for each in theirs]
            assert [each["score"] for each in mine] == pytest.approx([each["score"] for each in theirs], abs=1e-4)


@pytest.mark.parametrize(
    ("devices", "message"),
    [
        ([], "a sequence of none; it takes one or more"),
        (["cpu", "tpu9"], "device='tpu9' cannot be used"),
        (["cpu", None], "device='None' cannot be used"),
        (["cpu", "meta"], "a sequence of cpu, meta; it takes one or more devices of one kind"),
        (object(), "cannot be used"),
    ],
)
def test_bad_devices(folder: Path, devices: object, message: str) -> None:
    with pytest.raises(InputError, match=message):
        Encoder.from_pretrained(folder, device=devices)


def test_training_uses_one_device() -> None:
    with pytest.raises(InputError, match=r"device=\['cpu', 'cpu'\] cannot be used here. Give \"cpu\" or \"cuda\""):
        make_accelerator(None, TWO)


def test_the_command_line_takes_several_devices_with_commas() -> None:
    assert [parse_devices(each) for each in (None, "cpu", "cuda:0,cuda:1")] == [None, "cpu", ["cuda:0", "cuda:1"]]


def test_a_model_on_several_devices_is_not_trained(two: Encoder) -> None:
    with pytest.raises(InputError, match="one device"):
        TrainableColBERT(two)
