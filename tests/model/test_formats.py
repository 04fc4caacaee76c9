"""Checkpoint formats: what is read, and what is refused with one error that names it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from reference.encoders import build_colbert, build_encoder
from reference.tiny import build_tiny_bert

from ragatouille_xm.encoder import Encoder
from ragatouille_xm.errors import CheckpointError
from ragatouille_xm.model.checkpoint import load_checkpoint

FOLDERS = Path(__file__).parents[1] / "reference" / "checkpoints"
FORMATS = {
    "bge-m3": "BGE-M3", "pylate-bert": "PyLate", "pylate-xmod": "PyLate", "st-bert": "sentence-transformers",
    "st-modernbert": "sentence-transformers",
}  # fmt: skip
ST_TRANSFORMER, ST_CONFIG = "sentence_bert_config.json", "config_sentence_transformers.json"


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAGATOUILLE_XM_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def copy(tmp_path: Path) -> Callable[[str], Path]:
    return lambda name: Path(shutil.copytree(FOLDERS / name, tmp_path / name))


def change(path: Path, **changes: Any) -> None:
    content = json.loads(path.read_bytes()) if path.exists() else {}
    path.write_text(json.dumps(content | changes))


@pytest.mark.parametrize(("name", "format"), FORMATS.items())
def test_formats_are_told_by_their_files(name: str, format: str) -> None:
    assert load_checkpoint(FOLDERS / name).format == format


def test_colbert_ais_folder_is_told_by_its_metadata_or_by_its_head(tmp_path: Path) -> None:
    folder = build_tiny_bert(tmp_path)
    assert load_checkpoint(folder).format == "colbert-ai"
    (folder / "artifact.metadata").unlink()
    assert load_checkpoint(folder).format == "colbert-ai"


def test_a_folder_of_no_format_is_told_what_was_looked_for(tmp_path: Path) -> None:
    (tmp_path / "readme.txt").write_text("nothing")
    with pytest.raises(CheckpointError) as caught:
        load_checkpoint(tmp_path)
    for file in ("colbert_linear.pt", "artifact.metadata", "modules.json", "config.json"):
        assert file in str(caught.value)


def test_an_encoder_without_a_head_is_told_what_was_looked_for(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"no tensor 'linear\.weight'.*modules\.json \(PyLate"):
        Encoder.from_pretrained(build_encoder(tmp_path / "plain", "bert"), device="cpu")


def test_training_may_start_from_an_encoder_for_one_vector_a_text(tmp_path: Path) -> None:
    folder = build_encoder(tmp_path / "dense", "bert")
    pooling = MODULE | {"path": "1_Pooling", "type": "sentence_transformers.models.Pooling"}
    (folder / "modules.json").write_text(json.dumps([MODULE, pooling]))
    for content in ({}, {"model_type": "SentenceTransformer"}):
        (folder / ST_CONFIG).write_text(json.dumps(content))
        assert load_checkpoint(folder).format == "colbert-ai"


MODULE = {"idx": 0, "name": "0", "path": "", "type": "sentence_transformers.models.Transformer"}
REFUSED: list[tuple[str, str, dict[str, Any], str]] = [
    ("pylate-bert", ST_CONFIG, {"query_pooling": 2}, "query_pooling='2'"),
    ("pylate-bert", ST_CONFIG, {"similarity_fn_name": "euclidean"}, "similarity_fn_name='euclidean'"),
    ("pylate-bert", ST_CONFIG, {"query_length": "32"}, "query_length='32'"),
    ("pylate-bert", ST_CONFIG, {"query_length": 0}, "query_maxlen=0"),
    ("pylate-bert", ST_CONFIG, {"skiplist_words": [1]}, "skiplist_words=.*list of strings"),
    ("pylate-bert", ST_CONFIG, {"prompts": {"query": 7}}, "the prompt 'query' is '7'"),
    ("pylate-bert", ST_CONFIG, {"model_type": "SparseEncoder"}, 'no head that.*PyLate, where model_type is "ColBERT"'),
    ("pylate-bert", ST_CONFIG, {"query_length": 4000}, "query_maxlen=4000, but the model.* 96 tokens"),
    ("pylate-bert", "1_Dense/config.json", {"activation_function": "torch.nn.modules.activation.Hardtanh"}, "Hardtanh"),
    ("pylate-bert", "1_Dense/config.json", {"activation_function": "evil.Identity"}, "evil.Identity"),
    ("pylate-bert", "1_Dense/config.json", {"gated": True}, "gated='True'"),
    ("pylate-bert", "1_Dense/config.json", {"use_residual": True}, r"no tensor '1_Dense/residual\.weight'"),
    ("pylate-bert", "1_Dense/config.json", {"bias": True}, r"no tensor '1_Dense/linear\.bias'"),
    ("st-bert", ST_TRANSFORMER, {"transformer_task": "text-generation"}, "transformer_task='text-generation'"),
    ("st-bert", ST_TRANSFORMER, {"processing_kwargs": {"text": {}}}, "processing_kwargs="),
    ("st-bert", ST_TRANSFORMER, {"query_expansion": {"strategy": "fixed", "fill": 1}}, "fill='1'"),
    (
        "st-bert",
        ST_TRANSFORMER,
        {"query_expansion": {"strategy": "longest"}},
        "query_expansion strategy='longest' is not",
    ),
    ("st-bert", "3_MultiVectorMask/config.json", {"keep_only_token_ids": [7]}, "keep_only_token_ids="),
    ("st-bert", "1_Dense/config.json", {"module_input_name": "sentence_embedding"}, "module_input_name="),
    ("st-bert", "4_Normalize/config.json", {"module_input_name": "sentence_embedding"}, "module_input_name="),
]


@pytest.mark.parametrize(("name", "file", "changes", "message"), REFUSED)
def test_what_is_not_known_is_named(
    copy: Callable[[str], Path], name: str, file: str, changes: dict[str, Any], message: str
) -> None:
    folder = copy(name)
    change(folder / file, **changes)
    with pytest.raises(CheckpointError, match=message) as caught:
        Encoder.from_pretrained(folder, device="cpu")
    assert str(folder) in str(caught.value) or "no tensor" in str(caught.value)


LISTS: list[tuple[Callable[[list[Any]], Any], str]] = [
    (lambda m: {}, "not a list of modules"),
    (lambda m: [], "not a list of modules"),
    (lambda m: m[:-1], "no module Normalize"),
    (lambda m: m[1:], "Dense cannot be module 0"),
    (lambda m: [m[0], m[3], m[1], m[4]], "Dense cannot be module 2"),
    (lambda m: [*m, MODULE], "Transformer cannot be module 5"),
    (
        lambda m: [*m, MODULE | {"type": "sentence_transformers.models.Pooling"}],
        "'sentence_transformers.models.Pooling'",
    ),
    (lambda m: [*m, MODULE | {"type": "custom_st.Transformer"}], "'custom_st.Transformer' is not known.*never run"),
    (lambda m: [m[0] | {"path": "../elsewhere"}, *m[1:]], "'../elsewhere' is not a folder"),
]


@pytest.mark.parametrize(("how", "message"), LISTS)
def test_modules_that_cannot_be(copy: Callable[[str], Path], how: Callable[[list[Any]], Any], message: str) -> None:
    folder = copy("st-bert")
    path = folder / "modules.json"
    path.write_text(json.dumps(how(json.loads(path.read_bytes()))))
    with pytest.raises(CheckpointError, match=message) as caught:
        load_checkpoint(folder)
    assert str(folder) in str(caught.value)


def test_normalising_may_come_before_the_mask(copy: Callable[[str], Path]) -> None:
    folder = copy("st-bert")
    path = folder / "modules.json"
    *first, mask, normalize = json.loads(path.read_bytes())
    path.write_text(json.dumps([*first, normalize, mask]))
    assert load_checkpoint(folder).settings == load_checkpoint(FOLDERS / "st-bert").settings


def test_a_filled_query_needs_the_module_that_scores_it(copy: Callable[[str], Path]) -> None:
    folder = copy("st-modernbert")
    path = folder / "modules.json"
    path.write_text(json.dumps([m for m in json.loads(path.read_bytes()) if "Mask" not in m["type"]]))
    with pytest.raises(CheckpointError, match="no module MultiVectorMask scores what fills them"):
        load_checkpoint(folder)


def test_a_backbone_in_a_folder_of_its_own(copy: Callable[[str], Path], tmp_path: Path) -> None:
    folder = copy("pylate-bert")
    inner = folder / "0_Transformer"
    inner.mkdir()
    names = ("config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json", ST_TRANSFORMER)
    for name in names:
        (folder / name).rename(inner / name)
    path = folder / "modules.json"
    first, *rest = json.loads(path.read_bytes())
    path.write_text(json.dumps([first | {"path": "0_Transformer"}, *rest]))
    expected, found = (Encoder.from_pretrained(each, device="cpu") for each in (FOLDERS / "pylate-bert", folder))
    assert torch.equal(found.encode_queries(["book"], ["en"]), expected.encode_queries(["book"], ["en"]))


def test_a_pickled_dense_layer(copy: Callable[[str], Path]) -> None:
    from safetensors.torch import load_file

    folder = copy("pylate-bert")
    dense = folder / "1_Dense"
    torch.save(load_file(dense / "model.safetensors"), dense / "pytorch_model.bin")
    (dense / "model.safetensors").unlink()
    expected, found = (Encoder.from_pretrained(each, device="cpu") for each in (FOLDERS / "pylate-bert", folder))
    assert torch.equal(found.encode_queries(["book"], ["en"]), expected.encode_queries(["book"], ["en"]))


def test_pylate_before_it_named_its_model_type(copy: Callable[[str], Path]) -> None:
    folder = copy("pylate-bert")
    content = json.loads((folder / ST_CONFIG).read_bytes())
    del content["model_type"], content["do_query_expansion"]
    (folder / ST_CONFIG).write_text(json.dumps(content | {"similarity_fn_name": "cosine"}))
    before, now = load_checkpoint(folder), load_checkpoint(FOLDERS / "pylate-bert")
    assert before.format == "PyLate"
    assert before.settings == now.settings


def test_texts_are_lower_cased_where_the_checkpoint_says_so(copy: Callable[[str], Path]) -> None:
    folder = copy("pylate-xlmr")
    change(folder / ST_TRANSFORMER, do_lower_case=True)
    encoder = Encoder.from_pretrained(folder, device="cpu")
    lower, upper = encoder.tokenizer.documents(["le livre de l'été", "Le LIVRE de l'ÉTÉ"], 64)
    assert lower == upper
    pieces = encoder.tokenizer.document_pieces("Le LIVRE", 64)
    assert max(end for span in pieces.spans if span for end in span) == len("Le LIVRE")


def test_spans_count_from_the_text_as_it_was_given() -> None:
    text = "  The book is in the garden. "
    for name in ("pylate-bert", "pylate-modernbert", "st-bert", "st-modernbert", "bge-m3"):
        tokenizer = Encoder.from_pretrained(FOLDERS / name, device="cpu").tokenizer
        pieces = tokenizer.document_pieces(text, 50)
        (tokens,) = tokenizer.documents([text], 50)
        assert pieces.scored == tokens.scored, name
        spans = [span for span in pieces.spans if span]
        assert (spans[0][0] <= 2, spans[-1][1] >= 28) == (True, True), name
        words = "".join(text[start:end] for start, end in spans)
        assert words.replace(" ", "") == text.replace(" ", ""), name
        query = tokenizer.query_pieces(text)
        assert len(query.spans) == len(query.scored), name


def test_rows_of_a_query_are_those_of_its_scored_tokens() -> None:
    for name in ("bge-m3", "st-bert"):  # the first vector is dropped in one, words of the skiplist in the other
        encoder = Encoder.from_pretrained(FOLDERS / name, device="cpu")
        texts = ["the book ?", "a garden by the river"]
        rows = encoder.encode_queries(texts, ["en", "en"])
        for text, found in zip(texts, rows, strict=True):
            kept = sum(encoder.tokenizer.query_pieces(text).scored)
            assert found[:kept].any(1).all()
            assert not found[kept:].any()


def test_passages_may_be_as_long_as_the_model_takes() -> None:
    encoder = Encoder.from_pretrained(FOLDERS / "st-bert", device="cpu")  # says nothing of lengths
    assert encoder.checkpoint.settings.doc_maxlen == 96
    assert len(encoder.tokenise(["book " * 600])[0].ids) == 96


def test_hub_snapshots_are_fetched_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import fnmatch

    def snapshot_download(repo_id: str, allow_patterns: list[str]) -> str:
        for path in (source := FOLDERS / repo_id.partition("/")[2]).rglob("*"):
            name = str(path.relative_to(source))
            if path.is_file() and any(fnmatch.fnmatch(name, pattern) for pattern in allow_patterns):
                (tmp_path / repo_id / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(path, tmp_path / repo_id / name)
        return str(tmp_path / repo_id)

    monkeypatch.setattr("huggingface_hub.snapshot_download", snapshot_download)
    for name in FORMATS:
        fetched, local = (Encoder.from_pretrained(each, device="cpu") for each in (f"someone/{name}", FOLDERS / name))
        language = next(iter(local.adapters.languages), "en")
        assert fetched.checkpoint.name == f"someone/{name}"
        assert torch.equal(fetched.encode_queries(["book"], [language]), local.encode_queries(["book"], [language]))


def test_each_text_goes_through_its_own_adapter_in_any_format() -> None:
    for name in ("pylate-xmod", "pylate-colbert-xm", "st-colbert-xm"):
        encoder = Encoder.from_pretrained(FOLDERS / name, device="cpu")
        english, french = encoder.encode_queries(["le livre", "le livre"], ["en", "fr"])
        assert encoder.adapters.languages == ("en", "fr")
        assert (english - french).abs().max() > 1e-3, name


def test_the_marker_is_what_a_checkpoint_was_trained_with(tmp_path: Path) -> None:
    """XLM-R has no marker: colbert-ai made it `<unk>`, PyLate adds a token, sentence-transformers keeps it as text."""
    tiny = build_colbert(tmp_path / "tiny", "xmod")
    ids = {
        name: Encoder.from_pretrained(folder, device="cpu").tokenizer.queries(["book"])[0].ids
        for name, folder in {
            "colbert-ai": tiny,
            "pylate": FOLDERS / "pylate-colbert-xm",
            "st": FOLDERS / "st-colbert-xm",
        }.items()
    }
    unknown, mask = 3, ids["colbert-ai"][-1]
    assert ids["colbert-ai"][1] == unknown
    assert ids["pylate"][1] == mask + 1
    assert unknown not in ids["st"]
    assert len([i for i in ids["st"] if i != mask]) > len([i for i in ids["pylate"] if i != mask])
