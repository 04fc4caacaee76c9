"""`RAGTrainer`: RAGatouille's interface, from raw data to a model that is loaded and searched."""

from __future__ import annotations

import inspect
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from reference.tiny import build_tiny_xmod

from ragatouille_xm import RAGPretrainedModel, RAGTrainer
from ragatouille_xm.errors import InputError
from ragatouille_xm.training import AdapterConfig, TrainingExample, read_examples

REFERENCE = Path(__file__).parent / "reference"
WORDS = ["river", "train", "bread", "garden", "morning", "winter", "market", "library"]
PAIRS = [(f"the {word} ?", f"a {word} is in the {word} and the {word}") for word in WORDS]
MORE = [f"the {a} of the {b}" for a in WORDS for b in WORDS if a != b]
# The paper's values, and a width that is the checkpoint's own: docs/parity.md
OTHER_DEFAULTS = {"batch_size": 128, "maxsteps": 50_000, "learning_rate": 3e-6, "dim": None}


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> str:
    torch.set_num_threads(1)  # so little work is not worth sharing
    return str(build_tiny_xmod(tmp_path_factory.mktemp("tiny")))


@pytest.fixture
def trainer(checkpoint: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> RAGTrainer:
    monkeypatch.chdir(tmp_path)
    return RAGTrainer("mine", checkpoint, n_usable_gpus=0)


def signatures() -> dict[str, Any]:
    return json.loads((REFERENCE / "ragatouille_signatures.json").read_text(encoding="utf-8"))["RAGTrainer"]


@pytest.mark.parametrize("name", list(signatures()))
def test_every_method_has_ragatouilles_parameters(name: str) -> None:
    ours = inspect.signature(getattr(RAGTrainer, name)).parameters
    theirs = [p for p in signatures()[name]["parameters"] if p[0] != "self"]
    positional = [p.name for p in ours.values() if p.kind is p.POSITIONAL_OR_KEYWORD and p.name != "self"]
    assert positional == [p[0] for p in theirs]
    for parameter, _, *default in theirs:
        mine = ours[parameter].default
        if name == "train" and parameter in OTHER_DEFAULTS:
            assert mine == OTHER_DEFAULTS[parameter]
        else:
            assert ([] if mine is inspect.Parameter.empty else [repr(mine)]) == default


def test_pairs_to_a_model(trainer: RAGTrainer) -> None:
    options = {"all_documents": MORE, "num_new_negatives": 3, "hard_negative_minimum_rank": 2}
    assert trainer.queries is None
    assert trainer.prepare_training_data(PAIRS, **options) == "./data/"
    assert trainer.queries == [query for query, _ in PAIRS]
    data = Path("data")
    texts = {"queries": data / "queries.train.colbert.tsv", "collection": data / "corpus.train.colbert.tsv"}
    found = read_examples(data / "triples.train.colbert.jsonl", **texts)
    assert len(found) == 3 * len(PAIRS)
    assert {(each.query, each.positive) for each in found} == set(PAIRS)
    path = trainer.train(batch_size=4, maxsteps=3, learning_rate=1e-3, nbits=4)
    assert Path(path) == Path(".ragatouille/training/mine/step-000003")
    model = RAGPretrainedModel.from_pretrained(path, verbose=0, device="cpu")
    assert model.rerank("the river ?", ["a river", "bread"], k=2)[0]["rank"] == 1
    assert json.loads((Path(path) / "artifact.metadata").read_text())["nbits"] == 4


def test_one_pass_is_the_most(trainer: RAGTrainer) -> None:
    trainer.prepare_training_data([(q, p, MORE[:2]) for q, p in PAIRS], num_new_negatives=0)
    assert Path(trainer.train(batch_size=8, learning_rate=1e-3)).name == "step-000002"


def test_random_negatives_and_labels(trainer: RAGTrainer) -> None:
    raw = [(*pair, "yes") for pair in PAIRS] + [(PAIRS[0][0], "never", "no")]
    trainer.add_documents(MORE[:5])
    trainer.prepare_training_data(
        raw,
        mine_hard_negatives=False,
        num_new_negatives=2,
        pairs_with_labels=True,
        positive_label="yes",
        negative_label="no",
    )
    first = [each for each in trainer.training_triplets if each.query == PAIRS[0][0]]
    assert len(first) == 3
    assert "never" in {each.negatives[0] for each in first}
    trainer.export_training_data("elsewhere")
    written = [Path(folder, "triples.train.colbert.jsonl").read_bytes() for folder in ("data", "elsewhere")]
    assert written[0] == written[1]


def test_examples_of_ones_own_and_resuming(trainer: RAGTrainer) -> None:
    examples = [TrainingExample(q, p, (MORE[0],)) for q, p in PAIRS]
    options: dict[str, Any] = {"batch_size": 4, "maxsteps": 4, "examples": examples, "output": "run"}
    path = trainer.train(**options)
    assert Path(path) == Path("run/step-000004")
    with pytest.raises(InputError, match="resume=True"):
        trainer.train(**options)
    assert trainer.train(**options, resume=True) == path


def test_a_language_is_added_and_trained_on(trainer: RAGTrainer) -> None:
    path = trainer.add_language("yo", MORE[:4], "with-yo", AdapterConfig(steps=1, batch_size=2))
    assert path == trainer.pretrained_model_name == "with-yo"
    trainer.prepare_training_data([(*pair, MORE[0]) for pair in PAIRS], num_new_negatives=0)
    trained = trainer.train(batch_size=8, maxsteps=1, learning_rate=1e-3)
    assert "yo" in RAGPretrainedModel.from_pretrained(trained, verbose=0, device="cpu").encoder.adapters.languages


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"model_name": "a/b"}, "model_name='a/b' cannot be a folder's name"),
        ({"model_name": None}, "model_name=None cannot be a folder's name"),
        ({"n_usable_gpus": 4}, "n_usable_gpus=4 .* accelerate launch"),
    ],
)
def test_a_trainer_that_cannot_be(checkpoint: str, options: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        RAGTrainer(**({"model_name": "m", "pretrained_model_name": checkpoint} | options))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"raw_data": []}, "raw_data is empty"),
        ({"raw_data": PAIRS, "hard_negative_model_size": "large"}, "hard_negative_model_size='large' has no effect"),
        ({"raw_data": PAIRS, "num_new_negatives": -1}, "num_new_negatives=-1 is not usable"),
        ({"raw_data": PAIRS, "num_new_negatives": 0}, "No query has both"),
        ({"raw_data": PAIRS[:1], "mine_hard_negatives": False}, "No query has both"),
        ({"raw_data": PAIRS, "all_documents": [*MORE, None]}, "all_documents has None: give a list of strings"),
        ({"raw_data": PAIRS, "all_documents": set(MORE)}, "all_documents is a set: give a list of strings"),
    ],
)
def test_data_that_cannot_be_used(trainer: RAGTrainer, options: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        trainer.prepare_training_data(**options)
    assert not Path("data").exists()


def test_passages_may_be_corpus_processors(trainer: RAGTrainer) -> None:
    """As in RAGatouille's third example."""
    chunks = [{"document_id": "x", "content": text} for text in MORE]
    trainer.add_documents(chunks[:2])
    trainer.prepare_training_data(PAIRS, chunks[2:], num_new_negatives=2, mine_hard_negatives=False)
    assert trainer.collection[: len(MORE)] == MORE
    with pytest.raises(InputError, match="all_documents has {'text': 'a'}: give a list of strings"):
        trainer.prepare_training_data(PAIRS, [{"text": "a"}])


def test_one_document_is_one_passage_and_a_blank_one_is_none(trainer: RAGTrainer) -> None:
    trainer.add_documents("the river")  # type: ignore[arg-type]
    trainer.prepare_training_data(PAIRS[:1], ["the bread", " "], mine_hard_negatives=False)
    assert trainer.collection == ["the river", "the bread", PAIRS[0][1]]
    with pytest.raises(InputError, match="documents has 5"):
        trainer.add_documents([5])  # type: ignore[list-item]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"batch_size": 0}, "batch_size=0 is not usable"),
        ({"batch_size": "4"}, "batch_size='4' is not usable"),
        ({"maxsteps": 0}, "maxsteps=0 is not usable"),
        ({"accumsteps": 0}, "accumsteps=0 is not usable"),
        ({"warmup_steps": "later"}, "warmup_steps='later' is not usable"),
        ({"examples": iter([])}, "The training examples are a list_iterator"),
        ({"examples": ["a text"]}, "An example is 'a text'"),
        ({"validation": 5}, "validation=5 is not usable"),
    ],
)
def test_options_are_named_as_they_were_given(trainer: RAGTrainer, options: dict[str, Any], message: str) -> None:
    examples = [TrainingExample(query, answer, (MORE[0],)) for query, answer in PAIRS]
    with pytest.raises(InputError, match=message):
        trainer.train(**({"batch_size": 2, "maxsteps": 1, "examples": examples} | options))


def test_training_that_cannot_be(trainer: RAGTrainer) -> None:
    with pytest.raises(InputError, match="Call prepare_training_data first"):
        trainer.train()
    with pytest.raises(InputError, match="no training data yet"):
        trainer.export_training_data("x")
    trainer.prepare_training_data([(*pair, MORE[0]) for pair in PAIRS], num_new_negatives=0)
    with pytest.raises(InputError, match="8 triplets are fewer than batch_size=128"):
        trainer.train()
    with pytest.raises(InputError, match="use_relu=True"):
        trainer.train(batch_size=4, use_relu=True)
    assert not Path(".ragatouille").exists()
