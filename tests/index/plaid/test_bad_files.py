"""Folders of colbert-ai that are damaged: each works, or fails with one error of ours that names the file."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest
import torch
from damage import HOW, damaged
from hypothesis import given, settings
from hypothesis import strategies as st

from ragatouille_xm.config import SearchConfig
from ragatouille_xm.errors import IndexDamagedError, RagatouilleXMError
from ragatouille_xm.index.plaid.engine import PlaidIndex
from ragatouille_xm.index.plaid.folder import PlaidFolder

from .folders import RECORDED, unit
from .test_folder import change

PLAIN = settings(max_examples=40, derandomize=True, deadline=None)
SEEDS = st.integers(0, 2**31)
JSON = ["metadata.json", "doclens.0.json", "collection.json", "pid_docid_map.json", "docid_metadata_map.json"]
OTHERS = ["centroids.pt", "buckets.pt", "ivf.pid.pt", "0.codes.pt", "0.residuals.pt"]


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return Path(shutil.copytree(RECORDED / "ragatouille", tmp_path_factory.mktemp("plaid") / "copy"))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return Path(shutil.copytree(RECORDED / "ragatouille", tmp_path / "copy"))


def use(folder: Path) -> None:
    """Search a folder and read all that it holds."""
    index = PlaidIndex(PlaidFolder.open(folder), "en")
    for config in (SearchConfig(), SearchConfig(exact=True), SearchConfig(candidates=3, probes=1)):
        hits = index.search(unit(2, 4, index.dim), 3, config=config)
        assert len(index.fetch([pid for pid in hits.pids.flatten().tolist() if pid >= 0])) >= 6
    for passages, vectors in index.scroll(with_vectors=True):
        assert vectors is not None
        assert len(passages) == len(vectors)
        assert vectors.vectors.isfinite().all()


def assert_sound_or_refused(folder: Path) -> None:
    try:
        use(folder)
    except RagatouilleXMError as error:
        assert str(folder) in str(error)  # noqa: PT017


@pytest.mark.parametrize("name", JSON)
@PLAIN
@given(how=st.sampled_from(HOW), seed=SEEDS)
def test_json_with_one_fault(shared: Path, name: str, how: str, seed: int) -> None:
    with damaged(shared / name, how, seed):
        assert_sound_or_refused(shared)


@pytest.mark.parametrize("name", OTHERS)
@PLAIN
@given(seed=SEEDS)
def test_tensors_with_one_fault(shared: Path, name: str, seed: int) -> None:
    with damaged(shared / name, "", seed):
        assert_sound_or_refused(shared)


@pytest.mark.parametrize("name", [*JSON, *OTHERS])
@pytest.mark.timeout(60)
def test_a_pipe_in_the_place_of_a_file(folder: Path, name: str) -> None:
    (folder / name).unlink()
    os.mkfifo(folder / name)
    with pytest.raises(IndexDamagedError, match=name):
        PlaidFolder.open(folder)


@pytest.mark.parametrize("name", ["collection.json", "pid_docid_map.json", "docid_metadata_map.json"])
def test_a_link_that_leads_nowhere_is_no_missing_file(folder: Path, name: str) -> None:
    (folder / name).unlink()
    (folder / name).symlink_to(folder / "gone")
    with pytest.raises(IndexDamagedError, match=name):
        PlaidFolder.open(folder)


def test_a_folder_of_links(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "snapshot").mkdir()
    for file in folder.iterdir():
        (tmp_path / "snapshot" / file.name).symlink_to(file)
    use(tmp_path / "snapshot")


@pytest.mark.parametrize("name", ["a\0b", "n" * 5000, "\ud800", ""])
def test_odd_names_of_a_collection_and_a_checkpoint(folder: Path, name: str) -> None:
    change(folder / "metadata.json", lambda content: content["config"].update(collection=name, checkpoint=name))
    (folder / "collection.json").unlink()
    with pytest.raises(IndexDamagedError, match="has no texts"):
        PlaidFolder.open(folder)


@pytest.mark.parametrize("error", [MemoryError(), torch.OutOfMemoryError("CUDA out of memory."), OSError(12, "ENOMEM")])
@pytest.mark.parametrize("function", ["torch.load", "torch.Tensor.isfinite", "json.loads"])
def test_lack_of_memory_is_not_called_damage(
    folder: Path, monkeypatch: pytest.MonkeyPatch, function: str, error: Exception
) -> None:
    def fail(*args: object, **options: object) -> None:
        raise error

    monkeypatch.setattr(function, fail)
    with pytest.raises(type(error)) as caught:
        PlaidFolder.open(folder)
    assert caught.value is error
