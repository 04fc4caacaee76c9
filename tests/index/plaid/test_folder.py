"""Folders that colbert-ai and RAGatouille have written, and folders that are damaged or hostile."""

from __future__ import annotations

import json
import logging
import os
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from ragatouille_xm.errors import IndexDamagedError, IndexNotFoundError, InputError
from ragatouille_xm.index.plaid.engine import PlaidIndex
from ragatouille_xm.index.plaid.folder import PlaidFolder

from .folders import ANSWERS, NAMES, RECORDED, assert_inverted

PASSAGES = ANSWERS["passages"]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A copy of RAGatouille's folder, to be damaged."""
    return Path(shutil.copytree(RECORDED / "ragatouille", tmp_path / "damaged"))


def texts_of(name: str) -> list[str] | None:
    """Return the texts to give where the folder does not have them: its configuration names a file that is gone."""
    return PASSAGES if name == "nbits-1" else None


# --- As written by the others


@pytest.mark.parametrize("name", NAMES)
def test_vectors_are_decoded_as_colbert_ai_decodes_them(name: str) -> None:
    answer = ANSWERS["folders"][name]
    opened = PlaidFolder.open(RECORDED / name, texts_of(name))
    assert opened.codec.nbits == answer["nbits"]
    assert opened.lengths.tolist() == answer["lengths"]
    vectors = opened.vectors(torch.arange(len(opened.lengths))).vectors
    np.testing.assert_allclose(vectors.numpy() @ np.cos(np.arange(opened.codec.dim)), answer["projections"], atol=2e-5)


@pytest.mark.parametrize("name", NAMES)
def test_the_inverted_lists_are_those_of_the_codes(name: str) -> None:
    assert_inverted(PlaidFolder.open(RECORDED / name, texts_of(name)))


@pytest.mark.parametrize("name", [name for name in NAMES if name.startswith("nbits")])
def test_colbert_ais_texts_are_in_its_configuration(name: str) -> None:
    texts = PASSAGES[::2] if name == "nbits-8" else PASSAGES
    index = PlaidIndex(PlaidFolder.open(RECORDED / name, texts_of(name)), "en")
    passages = index.fetch(range(len(index)))
    assert [(p.text, p.document_id, p.language, p.metadata) for p in passages] == [
        (text, str(i), "en", None) for i, text in enumerate(texts)
    ]
    assert index.checkpoint.startswith("/nowhere/tiny")


def test_ragatouilles_ids_and_metadata() -> None:
    passages = PlaidIndex(PlaidFolder.open(RECORDED / "ragatouille"), "en").fetch(range(9))
    assert [(p.text, p.document_id, p.metadata) for p in passages] == [
        (text, f"doc-{i}", {"number": i}) for i, text in enumerate(PASSAGES[::2])
    ]


def test_ragatouilles_texts_come_before_those_of_the_configuration(folder: Path) -> None:
    change(folder / "metadata.json", lambda content: content["config"].update(collection=["another"] * 9))
    passages = PlaidIndex(PlaidFolder.open(folder), "en").fetch(range(9))
    assert [p.text for p in passages] == PASSAGES[::2]


def test_what_ragatouille_deleted_is_gone_and_the_others_keep_their_texts() -> None:
    index = PlaidIndex(PlaidFolder.open(RECORDED / "ragatouille-deleted"), "en")
    found = {p.pid: p for passages, _ in index.scroll() for p in passages}
    assert sorted(found) == [0, 1, 3, 4, 6, 7, 8]
    assert {pid: p.text for pid, p in found.items()} == {pid: PASSAGES[2 * pid] for pid in found}
    assert {pid: p.document_id for pid, p in found.items()} == {pid: f"doc-{pid}" for pid in found}
    with pytest.raises(KeyError):
        index.fetch([2])


def test_shifted_texts_are_set_right_where_only_they_are_left(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    copy = Path(shutil.copytree(RECORDED / "ragatouille-deleted", tmp_path / "copy"))
    change(copy / "metadata.json", lambda content: content["config"].update(collection=None))
    with caplog.at_level(logging.WARNING):
        passages = PlaidIndex(PlaidFolder.open(copy), "en").fetch([0, 1, 3, 4, 6, 7, 8])
    assert [p.text for p in passages] == [PASSAGES[2 * p.pid] for p in passages]
    assert "RAGatouille has deleted 2 passages" in caplog.text


def test_ids_that_are_numbers_and_gaps_in_their_keys(folder: Path) -> None:
    ids = {str(key): value for key, value in zip([0, 1, 2, 5, 6, 7, 10, 11, 12], [*range(8), "nine"], strict=True)}
    (folder / "pid_docid_map.json").write_text(json.dumps(ids))
    passages = PlaidIndex(PlaidFolder.open(folder), "en").fetch(range(9))
    assert [p.document_id for p in passages] == ["0", "1", "2", "3", "4", "5", "6", "7", "nine"]


# --- Texts given


def test_texts_from_a_file_that_the_configuration_names(tmp_path: Path) -> None:
    copy = Path(shutil.copytree(RECORDED / "nbits-1", tmp_path / "copy"))
    file = tmp_path / "texts.tsv"
    file.write_text("".join(f"{i}\t{text}\n" for i, text in enumerate(PASSAGES)), encoding="utf-8")
    change(copy / "metadata.json", lambda content: content["config"].update(collection=str(file)))
    assert PlaidIndex(PlaidFolder.open(copy), "en").fetch([3])[0].text == PASSAGES[3]


@pytest.mark.parametrize("kind", ["tsv", "titles", "json", "path", "list"])
def test_texts_that_are_given(kind: str, tmp_path: Path) -> None:
    file = tmp_path / ("texts.json" if kind == "json" else "texts.tsv")
    title = "\tTitle" if kind == "titles" else ""
    lines = "".join(f"{i}\t{text}{title}\n" for i, text in enumerate(PASSAGES))
    file.write_text(json.dumps(PASSAGES) if kind == "json" else lines, encoding="utf-8")
    given: Any = {"path": str(file), "list": PASSAGES}.get(kind, file)
    text = PlaidIndex(PlaidFolder.open(RECORDED / "nbits-1", given), "en").fetch([3])[0].text
    assert text == ("Title | " if kind == "titles" else "") + PASSAGES[3]


@pytest.mark.parametrize("given", [set(PASSAGES), dict(enumerate(PASSAGES)), b"text"])
def test_texts_without_an_order_are_refused(given: Any) -> None:
    with pytest.raises(InputError, match=r"The collection (is a set, which has no order|must be a list of strings)"):
        PlaidFolder.open(RECORDED / "nbits-1", given)


def test_no_texts_and_how_to_give_them() -> None:
    with pytest.raises(IndexDamagedError, match=r"no texts.*'/nowhere/collection\.tsv'.*--collection"):
        PlaidFolder.open(RECORDED / "nbits-1")


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (PASSAGES[:5], "has 5 texts; the index .* has 18"),
        ([1, 2], "list of strings"),
        ("missing.tsv", r"'missing\.tsv' cannot be read"),
        ("0\tone\n2\ttwo\n", "line 2: this is not 1, a tab and a text"),
        ("0 one\n", "line 1"),
        (b"0\t\xff\n", "cannot be read"),
        ('{"no": "list"}', "cannot be read"),
    ],
)
def test_texts_that_are_not_usable(given: Any, message: str, tmp_path: Path) -> None:
    if isinstance(given, bytes) or (isinstance(given, str) and given != "missing.tsv"):
        content = given if isinstance(given, bytes) else given.encode()
        given = tmp_path / ("texts.json" if content.startswith(b"{") else "texts.tsv")
        given.write_bytes(content)
    with pytest.raises(InputError, match=message):
        PlaidFolder.open(RECORDED / "nbits-1", given)


# --- Damaged


def change(path: Path, how: Callable[[Any], Any]) -> None:
    """Change a JSON file; `how` may change its content in place or return another."""
    content = json.loads(path.read_text(encoding="utf-8"))
    path.write_text(json.dumps(how(content) or content), encoding="utf-8")


def resave(path: Path, how: Callable[[Any], Any]) -> None:
    """Change a file of tensors."""
    torch.save(how(torch.load(path, weights_only=True)), path)


def expect_damaged(folder: Path, name: str) -> str:
    """Check that opening blames the file `name` and says what to do."""
    with pytest.raises(IndexDamagedError) as caught:
        PlaidFolder.open(folder)
    message = str(caught.value)
    assert repr(str(folder / name)) in message
    assert "Restore the folder from a copy, or index the documents again." in message
    return message


NEEDED = ["metadata.json", "centroids.pt", "buckets.pt", "0.codes.pt", "0.residuals.pt", "ivf.pid.pt", "doclens.0.json"]


@pytest.mark.parametrize("name", NEEDED)
def test_a_missing_file(folder: Path, name: str) -> None:
    (folder / name).unlink()
    assert "is missing" in expect_damaged(folder, name)


@pytest.mark.parametrize("name", [*NEEDED, "collection.json", "pid_docid_map.json", "docid_metadata_map.json"])
@pytest.mark.parametrize("how", ["half", "empty", "zeros", "folder"])
def test_a_file_of_other_bytes(folder: Path, name: str, how: str) -> None:
    content = (folder / name).read_bytes()
    (folder / name).unlink()
    if how == "folder":
        (folder / name).mkdir()
    else:
        (folder / name).write_bytes({"half": content[: len(content) // 2], "empty": b"", "zeros": bytes(99)}[how])
    expect_damaged(folder, name)


class _Hostile:
    """Runs a command when it is unpickled."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> Any:
        return os.system, (f"echo > {self.marker}",)


@pytest.mark.parametrize("form", ["torch", "pickle"])
@pytest.mark.parametrize("name", [name for name in NEEDED if name.endswith(".pt")])
def test_code_in_a_file_is_never_run(folder: Path, name: str, form: str, tmp_path: Path) -> None:
    marker = tmp_path / "ran"
    if form == "torch":
        torch.save([_Hostile(marker)], folder / name)
        torch.load(folder / name, weights_only=False)  # whoever trusts it is lost
        assert marker.exists()
        marker.unlink()
    else:
        (folder / name).write_bytes(pickle.dumps(_Hostile(marker), protocol=2))
    assert "holds code" in expect_damaged(folder, name)
    assert not marker.exists()


DISAGREEMENTS: list[tuple[str, str, Callable[[Any], Any]]] = [
    ("metadata.json", "metadata.json", lambda m: m.pop("config") and None),
    ("metadata.json", "metadata.json", lambda m: m["config"].update(nbits=3)),
    ("metadata.json", "metadata.json", lambda m: m["config"].update(dim="wide")),
    ("metadata.json", "metadata.json", lambda m: m.update(num_chunks=0)),
    ("metadata.json", "metadata.json", lambda m: m.update(config=[])),
    ("metadata.json", "metadata.json", lambda m: [m]),
    ("metadata.json", "buckets.pt", lambda m: m["config"].update(nbits=2)),
    ("metadata.json", "centroids.pt", lambda m: m["config"].update(dim=64)),
    ("metadata.json", "doclens.1.json", lambda m: m.update(num_chunks=2)),
    ("doclens.0.json", "0.codes.pt", lambda d: d[:-1]),
    ("doclens.0.json", "doclens.0.json", lambda d: [-1, *d]),
    ("doclens.0.json", "doclens.0.json", lambda d: ["many", *d]),
    ("doclens.0.json", "doclens.0.json", lambda d: {"0": 1}),
    ("doclens.0.json", "doclens.0.json", lambda d: [d]),
    ("doclens.0.json", "doclens.0.json", lambda d: 7),
    ("collection.json", "collection.json", lambda c: [*c, 7]),
    ("collection.json", "collection.json", lambda c: {"0": c}),
    ("pid_docid_map.json", "pid_docid_map.json", lambda m: m.pop("3") and None),
    ("pid_docid_map.json", "pid_docid_map.json", lambda m: m.update({"3": None})),
    ("pid_docid_map.json", "pid_docid_map.json", lambda m: m.update({"three": m.pop("3")})),
    ("pid_docid_map.json", "pid_docid_map.json", lambda m: list(m)),
    ("docid_metadata_map.json", "docid_metadata_map.json", lambda m: m.update({"doc-1": 7})),
    ("docid_metadata_map.json", "docid_metadata_map.json", lambda m: m.update({"doc-1": {"n": 2**70}})),
    ("centroids.pt", "centroids.pt", lambda c: c.flatten()),
    ("centroids.pt", "centroids.pt", lambda c: c * torch.nan),
    ("centroids.pt", "centroids.pt", lambda c: {"centroids": c}),
    ("centroids.pt", "0.codes.pt", lambda c: c[:5]),
    ("centroids.pt", "centroids.pt", lambda c: c[:0]),
    ("buckets.pt", "buckets.pt", lambda b: (b[0][1:], b[1])),
    ("buckets.pt", "buckets.pt", lambda b: b[0]),
    ("buckets.pt", "buckets.pt", lambda b: (*b, b[0])),
    ("buckets.pt", "buckets.pt", lambda b: [1, 2]),
    ("0.codes.pt", "0.codes.pt", lambda c: c[:-1]),
    ("0.codes.pt", "0.codes.pt", lambda c: c - c.max() - 1),
    ("0.codes.pt", "0.codes.pt", lambda c: c.float()),
    ("0.codes.pt", "0.codes.pt", lambda c: None),
    ("0.residuals.pt", "0.residuals.pt", lambda r: r[:-1]),
    ("0.residuals.pt", "0.residuals.pt", lambda r: r[:, 1:]),
    ("0.residuals.pt", "0.residuals.pt", lambda r: r.int()),
    ("ivf.pid.pt", "ivf.pid.pt", lambda i: (i[0], i[1][1:])),
    ("ivf.pid.pt", "ivf.pid.pt", lambda i: (i[0][:9], i[1])),
    ("ivf.pid.pt", "ivf.pid.pt", lambda i: (i[0] + 1, i[1])),
    ("ivf.pid.pt", "ivf.pid.pt", lambda i: (i[0], -i[1])),
    ("ivf.pid.pt", "ivf.pid.pt", lambda i: i[0]),
    # What takes no room in a file, and all of the memory if it is believed
    ("doclens.0.json", "doclens.0.json", lambda d: [10**30, *d]),
    ("doclens.0.json", "0.codes.pt", lambda d: [2**62, 2**62, 2**62, 2**62, *d]),
    ("metadata.json", "metadata.json", lambda m: m.update(num_chunks=float("inf"))),
    ("metadata.json", "doclens.1.json", lambda m: m.update(num_chunks=10**12)),
    ("0.codes.pt", "0.codes.pt", lambda c: c[:1].expand(10**13)),
    ("0.residuals.pt", "0.residuals.pt", lambda r: r[:1].expand(10**13, -1)),
    ("centroids.pt", "centroids.pt", lambda c: torch.empty(10**10, 32, device="meta")),
    ("centroids.pt", "centroids.pt", lambda c: c.float().to_sparse()),
    ("centroids.pt", "centroids.pt", lambda c: c.to(torch.complex64)),
    ("0.codes.pt", "0.codes.pt", lambda c: c.bool()),
    # Wrong types, and numbers that only overflow show
    ("metadata.json", "metadata.json", lambda m: m.update(num_chunks="1")),
    ("metadata.json", "metadata.json", lambda m: m.update(num_chunks=True)),
    ("metadata.json", "metadata.json", lambda m: m["config"].update(doc_maxlen=-1)),
    ("metadata.json", "metadata.json", lambda m: m["config"].update(checkpoint=["x"])),
    ("doclens.0.json", "doclens.0.json", lambda d: [str(each) for each in d]),
    ("doclens.0.json", "doclens.0.json", lambda d: [each + 0.5 for each in d]),
    ("pid_docid_map.json", "pid_docid_map.json", lambda m: m.update({"3": True})),
    ("docid_metadata_map.json", "docid_metadata_map.json", lambda m: m.update({"doc-1": {"n": float("nan")}})),
    ("centroids.pt", "centroids.pt", lambda c: c.double() * 1e300),
    ("ivf.pid.pt", "ivf.pid.pt", lambda i: (i[0], torch.full_like(i[1].long(), 2**62))),
]


@pytest.mark.parametrize("case", range(len(DISAGREEMENTS)))
def test_files_that_do_not_agree(folder: Path, case: int) -> None:
    name, blamed, how = DISAGREEMENTS[case]
    (change if name.endswith(".json") else resave)(folder / name, how)
    expect_damaged(folder, blamed)


def test_languages_that_do_not_agree(tmp_path: Path) -> None:
    copy = Path(shutil.copytree(RECORDED / "export", tmp_path / "copy"))
    change(copy / "languages.json", lambda content: content[1:])
    expect_damaged(copy, "languages.json")


@pytest.mark.parametrize("kind", ["missing", "file", "empty", "other"])
def test_no_such_folder(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "index"
    if kind == "file":
        path.write_text("{}")
    elif kind != "missing":
        path.mkdir()
        (path / ("x.txt" if kind == "other" else "notes")).write_text("x")
    with pytest.raises(IndexNotFoundError, match="There is no index"):
        PlaidFolder.open(path)


def test_files_of_the_oldest_form_of_torch(folder: Path) -> None:
    for file in folder.glob("*.pt"):
        torch.save(torch.load(file, weights_only=True), file, _use_new_zipfile_serialization=False)
    assert len(PlaidIndex(PlaidFolder.open(folder), "en")) == 9


@pytest.mark.parametrize(
    ("stored", "expected"),
    [
        (
            "/home/x/.cache/huggingface/hub/models--antoinelouis--colbert-xm/snapshots/0a1b2c/",
            "antoinelouis/colbert-xm",
        ),
        ("C:\\cache\\models--a--b-c\\snapshots\\ff", "a/b-c"),
        ("antoinelouis/colbert-xm", "antoinelouis/colbert-xm"),
        ("/nowhere/models--a--b/other", "/nowhere/models--a--b/other"),
        (None, ""),
    ],
)
def test_the_checkpoint_of_another_machines_cache_is_its_hub_id(folder: Path, stored: Any, expected: str) -> None:
    change(folder / "metadata.json", lambda content: content["config"].update(checkpoint=stored))
    assert PlaidFolder.open(folder).checkpoint == expected
