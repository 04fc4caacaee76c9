"""The plugin inside a stand-in for RAGatouille, and what it did inside RAGatouille itself (reference/plugin.json)."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import huggingface_hub
import pytest
from reference.tiny import build_tiny_bert, build_tiny_xmod

import ragatouille_xm
from ragatouille_xm import plugin
from ragatouille_xm.errors import IndexDamagedError, MissingExtraError, RagatouilleXMError

RECORDED = json.loads((Path(__file__).parent / "reference" / "plugin.json").read_text(encoding="utf-8"))["steps"]


class RAGPretrainedModel:
    """RAGatouille's, as far as the plugin can see."""

    calls: list[Any]

    @classmethod
    def from_pretrained(cls, pretrained_model_name_or_path, n_gpu=-1, verbose=1, index_root=None):
        instance = cls()
        instance.calls = [pretrained_model_name_or_path, n_gpu, verbose, index_root]
        return instance

    @classmethod
    def from_index(cls, index_path, n_gpu=-1, verbose=1):
        instance = cls()
        instance.calls = [index_path, n_gpu, verbose]
        return instance


class Derived(RAGPretrainedModel):
    """A user's own."""


METHODS = ("from_pretrained", "from_index")
ORIGINALS = {name: vars(RAGPretrainedModel)[name] for name in METHODS}


@pytest.fixture(scope="module")
def xmod(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_tiny_xmod(tmp_path_factory.mktemp("xmod"))


@pytest.fixture(scope="module")
def bert(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_tiny_bert(tmp_path_factory.mktemp("bert"))


@pytest.fixture
def upstream(monkeypatch: pytest.MonkeyPatch) -> type[RAGPretrainedModel]:
    """Return RAGatouille's class, as a script has it that imported it before the plugin came."""
    module = ModuleType("ragatouille")
    module.RAGPretrainedModel = RAGPretrainedModel  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "ragatouille", module)
    for name in METHODS:
        monkeypatch.setattr(RAGPretrainedModel, name, ORIGINALS[name])
    return RAGPretrainedModel


def is_ours(model: object) -> bool:
    return isinstance(model, ragatouille_xm.RAGPretrainedModel)


def test_checkpoints_with_adapters_are_ours_and_all_others_stay(
    upstream: type[RAGPretrainedModel], xmod: Path, bert: Path
) -> None:
    plugin.install()
    assert is_ours(upstream.from_pretrained(xmod))
    assert is_ours(upstream.from_pretrained(str(xmod)))
    theirs = upstream.from_pretrained(str(bert), 0, verbose=0, index_root="here")
    assert type(theirs) is RAGPretrainedModel
    assert theirs.calls == [str(bert), 0, 0, "here"]
    assert type(Derived.from_pretrained(bert)) is Derived


def test_ragatouilles_parameters_and_ours(upstream: type[RAGPretrainedModel], xmod: Path, tmp_path: Path) -> None:
    plugin.install()
    by_position = upstream.from_pretrained(xmod, 0, 0, str(tmp_path))
    by_name = upstream.from_pretrained(
        pretrained_model_name_or_path=xmod,
        n_gpu=0,
        verbose=0,
        index_root=str(tmp_path),
        language_detector=lambda _: "fr",
    )
    for model in (by_position, by_name):
        assert is_ours(model)
        assert (model.verbose, model.catalog.root) == (0, tmp_path)
    assert by_name.detect_languages("The library opens.")[0].language == "fr"


def test_indexes_of_ours_are_ours(upstream: type[RAGPretrainedModel], xmod: Path, tmp_path: Path) -> None:
    plugin.install()
    path = upstream.from_pretrained(xmod, verbose=0, index_root=str(tmp_path)).index(
        ["The book."], ["a"], index_name="i"
    )
    for opened in (upstream.from_index(path, -1, 0), upstream.from_index(index_path=Path(path), verbose=0)):
        assert is_ours(opened)
        assert opened.search("book", k=1)[0]["document_id"] == "a"
        opened.close()
    assert upstream.from_index(tmp_path / "theirs", verbose=0).calls == [tmp_path / "theirs", -1, 0]
    (Path(path) / "index.db").write_text("{", encoding="utf-8")
    with pytest.raises(IndexDamagedError):
        upstream.from_index(path)


def test_uninstall_puts_back_what_was_there(upstream: type[RAGPretrainedModel], xmod: Path) -> None:
    plugin.uninstall()  # of nothing
    plugin.install()
    plugin.install()
    assert all(vars(upstream)[name] is not ORIGINALS[name] for name in METHODS)
    plugin.uninstall()
    assert all(vars(upstream)[name] is ORIGINALS[name] for name in METHODS)
    assert type(upstream.from_pretrained(xmod)) is RAGPretrainedModel
    plugin.uninstall()
    plugin.install()
    assert is_ours(upstream.from_pretrained(xmod))


def test_a_hub_id_is_told_by_its_config_alone(
    upstream: type[RAGPretrainedModel], xmod: Path, bert: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[str, str]] = []

    def fetch(repo_id: str, filename: str) -> str:
        asked.append((repo_id, filename))
        if repo_id == "some/unknown":
            raise OSError("no connection")
        return str({"some/xmod": xmod, "some/bert": bert}[repo_id] / filename)

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", fetch)
    monkeypatch.setattr("ragatouille_xm.model.checkpoint.locate", lambda name: xmod)
    plugin.install()
    assert is_ours(upstream.from_pretrained("some/xmod"))
    for name in ("some/bert", "some/unknown"):
        assert upstream.from_pretrained(name).calls[0] == name
    assert asked == [(name, "config.json") for name in ("some/xmod", "some/bert", "some/unknown")]


@pytest.mark.parametrize("content", [None, "{", "[]", '{"model_type": "bert"}'])
def test_what_cannot_be_read_is_left_to_ragatouille(
    upstream: type[RAGPretrainedModel], tmp_path: Path, content: str | None
) -> None:
    if content is not None:
        (tmp_path / "config.json").write_text(content, encoding="utf-8")
    plugin.install()
    assert upstream.from_pretrained(tmp_path).calls[0] == tmp_path
    assert upstream.from_pretrained(None).calls[0] is None  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="pretrained_model_name_or_path"):
        upstream.from_pretrained()  # type: ignore[call-arg]


@pytest.mark.parametrize("call", [plugin.install, plugin.uninstall])
def test_without_ragatouille_one_error_says_what_to_do(monkeypatch: pytest.MonkeyPatch, call: Any) -> None:
    monkeypatch.setitem(sys.modules, "ragatouille", None)
    with pytest.raises(MissingExtraError) as caught:
        call()
    told = str(caught.value)
    assert "from ragatouille_xm import RAGPretrainedModel" in told
    assert 'pip install "ragatouille-xm[ragatouille]"' in told
    assert "langchain<1 and transformers<5" in told
    assert isinstance(caught.value, (RagatouilleXMError, ImportError))


def test_a_ragatouille_that_langchain_breaks_says_why(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "ragatouille.py").write_text("from json.retrievers import anything", encoding="utf-8")
    monkeypatch.delitem(sys.modules, "ragatouille", raising=False)
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(MissingExtraError, match=r"RAGatouille cannot be imported \(No module named 'json.retrievers'"):
        plugin.install()


# inside RAGatouille 0.0.9.post2 (reference/make_plugin.py)


def test_inside_ragatouille_the_classes_were_the_right_ones() -> None:
    classes = {step: seen["class"] if isinstance(seen, dict) else seen for step, seen in RECORDED.items()}
    assert classes == {
        "before install, X-MOD": "ragatouille",
        "installed, X-MOD": "ragatouille_xm",
        "installed, X-MOD by keyword": "ragatouille_xm",
        "installed, BERT": "ragatouille",
        "installed, from_index of ours": "ragatouille_xm",
        "installed, from_index of RAGatouille's": "ragatouille",
        "uninstalled, the methods are the ones before": True,
        "uninstalled, X-MOD": "ragatouille",
        "uninstalled, from_index of RAGatouille's": "ragatouille",
    }


def test_what_ours_found_inside_ragatouille_it_finds_outside(xmod: Path, tmp_path: Path) -> None:
    """transformers 4.57 there, whatever is installed here."""
    from reference.texts import DOCUMENTS

    there = RECORDED["installed, X-MOD"]
    here = ragatouille_xm.RAGPretrainedModel.from_pretrained(xmod, verbose=0, index_root=str(tmp_path), device="cpu")
    here.index(DOCUMENTS[:9], [f"doc-{i}" for i in range(9)], index_name="ours")
    found = here.search(DOCUMENTS[4], k=3)
    assert [result["document_id"] for result in found] == there["document_ids"]
    assert [result["language"] for result in found] == there["languages"]
    assert sorted(found[0]) == sorted([*there["keys"], "query_language"])  # which is newer than the record
    assert set(RECORDED["installed, BERT"]["keys"]) - {"document_metadata"} <= set(there["keys"])
    assert RECORDED["installed, from_index of ours"] == there
