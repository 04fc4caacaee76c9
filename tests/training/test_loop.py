from __future__ import annotations

import json
import os
import random
import runpy
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from reference.tiny import build_tiny_bert, build_tiny_xmod
from safetensors.torch import load_file, save_file

from ragatouille_xm import RAGPretrainedModel
from ragatouille_xm.encoder import Encoder
from ragatouille_xm.errors import InputError, MissingExtraError
from ragatouille_xm.model.checkpoint import load_checkpoint
from ragatouille_xm.training import Shuffled, TrainingConfig, TrainingExample, train
from ragatouille_xm.training.batches import Collator
from ragatouille_xm.training.gradients import Loss, batch_loss, cached_gradient, encode, plain_gradient
from ragatouille_xm.training.module import TrainableColBERT

SMALL = TrainingConfig(batch_size=4, steps=6, learning_rate=1e-3, save_every=3, log_every=1)
TEXTS = ["the library opens, in the garden", "La bibliothèque est au bord.", "図書館は東京にあります。"]


def run(checkpoint: Path, examples: Any, output: Path, config: TrainingConfig = SMALL, **options: Any) -> Path:
    return train(
        checkpoint, examples, output, config, **{"language": "en", "device": "cpu", "progress": False} | options
    )


def tensors(folder: Path) -> dict[str, torch.Tensor]:
    return load_file(folder / "model.safetensors")


def lines(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "log.jsonl").read_text(encoding="utf-8").splitlines()]


@pytest.fixture(scope="module")
def whole(checkpoint: Path, examples: list[TrainingExample], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of a run of six steps."""
    folder = tmp_path_factory.mktemp("whole") / "run"
    assert run(checkpoint, examples, folder) == folder / "step-000006"
    return folder


# what a run leaves


def test_training_changes_the_encoder_and_the_head_and_nothing_frozen(whole: Path, checkpoint: Path) -> None:
    before, after = tensors(checkpoint), tensors(whole / "step-000006")
    assert before.keys() == after.keys()
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    frozen = {name for name in before if ".embeddings." in name or "adapter_modules" in name or "pooler" in name}
    assert changed == before.keys() - frozen


def test_the_checkpoint_loads_and_ranks_what_was_learnt(
    checkpoint: Path, examples: list[TrainingExample], tmp_path: Path
) -> None:
    config = replace(SMALL, steps=40, negatives=2)
    path = run(checkpoint, examples, tmp_path / "run", config)
    passages = [example.positive for example in examples]

    def mean_rank(folder: Path) -> float:
        model = RAGPretrainedModel.from_pretrained(folder, verbose=0, device="cpu")
        ranks = []
        for example in examples:
            found = model.rerank(
                example.query, passages, k=len(passages), language="en", languages=["en"] * len(passages)
            )
            ranks += [result["rank"] for result in found if result["content"] == example.positive]
        return sum(ranks) / len(ranks)

    assert mean_rank(path) < mean_rank(checkpoint) - 0.5


def test_the_log_and_the_curves(whole: Path) -> None:
    log = lines(whole)
    assert [entry["step"] for entry in log] == [1, 2, 3, 4, 5, 6]
    assert [entry["learning_rate"] for entry in log] == [SMALL.learning_rate_at(i) for i in range(6)]
    assert all(entry["tokens_per_second"] > 0 and entry["loss"] > 0 for entry in log)
    assert (whole / "curves.png").read_bytes()[:4] == b"\x89PNG"


def test_the_settings_stay_with_the_checkpoint(whole: Path, checkpoint: Path) -> None:
    metadata = json.loads((whole / "step-000006" / "artifact.metadata").read_text(encoding="utf-8"))
    assert (metadata["doc_maxlen"], metadata["query_maxlen"], metadata["dim"], metadata["nbits"]) == (256, 32, 32, 2)
    mine, theirs = load_checkpoint(whole / "step-000006").settings, load_checkpoint(checkpoint).settings
    assert mine.marker == theirs.marker
    assert mine.attend_to_mask_tokens == theirs.attend_to_mask_tokens


# resuming


class Breaks:
    """Examples that end, as a killed process does, after some."""

    def __init__(self, examples: list[TrainingExample], after: int) -> None:
        self.examples, self.after = examples, after

    def stream(self, start: int = 0) -> Iterator[TrainingExample]:
        for i, example in enumerate(Shuffled(self.examples, SMALL.seed).stream(start)):
            if i == self.after:
                raise KeyboardInterrupt
            yield example


@pytest.mark.parametrize("accumulation", [1, 2])
def test_a_killed_run_goes_on_to_the_same_bits(
    checkpoint: Path, examples: list[TrainingExample], whole: Path, tmp_path: Path, accumulation: int
) -> None:
    config = replace(SMALL, accumulation=accumulation)
    expected = whole if accumulation == 1 else tmp_path / "whole"
    if accumulation == 2:
        run(checkpoint, examples, expected, config)
    with pytest.raises(KeyboardInterrupt):
        run(checkpoint, Breaks(examples, 5 * SMALL.batch_size), tmp_path / "run", config)
    assert [entry["step"] for entry in lines(tmp_path / "run")] == [1, 2, 3, 4, 5]
    with (tmp_path / "run" / "log.jsonl").open("a") as file:
        file.write('{"step": 5, "lo')  # a torn line
    (tmp_path / "run" / "step-000006.tmp").mkdir()  # and half a checkpoint
    path = run(checkpoint, examples, tmp_path / "run", config, resume=True)
    mine, theirs = tensors(path), tensors(expected / "step-000006")
    assert all(torch.equal(mine[name], theirs[name]) for name in theirs)
    assert [entry["loss"] for entry in lines(tmp_path / "run")] == [entry["loss"] for entry in lines(expected)]


def test_a_resumed_run_outlives_what_it_went_on_from(
    checkpoint: Path, examples: list[TrainingExample], tmp_path: Path
) -> None:
    config = replace(SMALL, save_every=1, keep=1)
    with pytest.raises(KeyboardInterrupt):
        run(checkpoint, Breaks(examples, 2 * SMALL.batch_size), tmp_path / "run", config)
    path = run(checkpoint, examples, tmp_path / "run", config, resume=True)
    assert [each.name for each in (tmp_path / "run").glob("step-*")] == [path.name] == ["step-000006"]


TO_BE_KILLED = """
import json, sys
from pathlib import Path
from ragatouille_xm.training import TrainingConfig, TrainingExample, train
checkpoint, output, config, examples = sys.argv[1:]
examples = [TrainingExample(query, positive, tuple(negatives)) for query, positive, negatives in json.loads(examples)]
train(checkpoint, examples, output, TrainingConfig(**json.loads(config)), language="en", device="cpu", progress=False)
"""


@pytest.mark.skipif(os.name == "nt", reason="needs SIGKILL")
def test_a_run_killed_at_any_moment_goes_on_to_the_same_bits(
    checkpoint: Path, examples: list[TrainingExample], tmp_path: Path
) -> None:
    config = replace(SMALL, steps=24, save_every=2)  # so that the moment is often in a save
    given = json.dumps([(each.query, each.positive, each.negatives) for each in examples])
    command = [sys.executable, "-c", TO_BE_KILLED, checkpoint, tmp_path / "run", json.dumps(asdict(config)), given]
    process = subprocess.Popen(list(map(str, command)), env=os.environ | {"OMP_NUM_THREADS": "1"})
    expected = run(checkpoint, examples, tmp_path / "whole", config)
    log = tmp_path / "run" / "log.jsonl"
    while process.poll() is None and not (log.is_file() and log.stat().st_size):
        time.sleep(0.01)
    time.sleep(delay := random.random())
    process.kill()
    assert process.wait() in (-signal.SIGKILL, 0)
    reached = log.read_text(encoding="utf-8").count("\n")
    path = run(checkpoint, examples, tmp_path / "run", config, resume=True)
    mine, theirs = tensors(path), tensors(expected)
    moment = f"killed {delay:.3f} s after the first step, at step {reached}"
    assert all(torch.equal(mine[name], theirs[name]) for name in theirs), moment
    parts = [[(e["step"], e["loss"]) for e in lines(folder)] for folder in (tmp_path / "run", tmp_path / "whole")]
    assert parts[0] == parts[1], moment


def test_a_finished_run_is_returned(checkpoint: Path, examples: list[TrainingExample], whole: Path) -> None:
    before = (whole / "step-000006" / "model.safetensors").stat().st_mtime_ns
    assert run(checkpoint, examples, whole, resume=True) == whole / "step-000006"
    assert (whole / "step-000006" / "model.safetensors").stat().st_mtime_ns == before


def test_another_run_in_the_same_folder_is_refused(
    checkpoint: Path, examples: list[TrainingExample], whole: Path
) -> None:
    with pytest.raises(InputError, match=r"already, up to step-000006\. Give resume=True"):
        run(checkpoint, examples, whole)
    with pytest.raises(InputError, match=r"other settings: learning_rate=0\.5 \(was 0\.001\)"):
        run(checkpoint, examples, whole, replace(SMALL, learning_rate=0.5), resume=True)


# checkpoints that stay, validation


def test_the_best_checkpoint_is_returned_and_kept(
    checkpoint: Path, examples: list[TrainingExample], tmp_path: Path
) -> None:
    values = iter([0.2, 0.9, 0.3, 0.4, 0.5, 0.6])
    seen = []

    def measure(encoder: Encoder) -> float:
        seen.append(encoder.encode_queries(["the book"], ["fr"]).clone())  # a language that training did not need
        return next(values)

    config = replace(SMALL, validate_every=1, save_every=1)
    path = run(checkpoint, examples, tmp_path / "run", config, validation=measure)
    assert path == tmp_path / "run" / "step-000002"
    assert sorted(p.name for p in (tmp_path / "run").glob("step-*")) == ["step-000002", "step-000006"]
    assert not torch.equal(seen[0], seen[1])  # the encoder sees each step
    assert [e["validation"] for e in lines(tmp_path / "run") if "validation" in e] == [0.2, 0.9, 0.3, 0.4, 0.5, 0.6]


def test_validation_examples(checkpoint: Path, examples: list[TrainingExample], tmp_path: Path) -> None:
    config = replace(SMALL, validate_every=2)
    run(checkpoint, examples[:8], tmp_path / "run", config, validation=examples[8:])
    losses = [entry["validation_loss"] for entry in lines(tmp_path / "run") if "validation_loss" in entry]
    assert len(losses) == 3
    with pytest.raises(InputError, match="empty list"):
        run(checkpoint, examples, tmp_path / "other", validation=[])
    assert not (tmp_path / "other").exists()


# gradients


def gradients(
    checkpoint: Path, examples: list[TrainingExample], config: TrainingConfig
) -> tuple[float, dict[str, torch.Tensor]]:
    module = TrainableColBERT(Encoder(load_checkpoint(checkpoint), device="cpu", dtype="float32"))
    batch = Collator(Encoder(load_checkpoint(checkpoint), device="cpu"), config.negatives, config.distillation, None)(
        examples
    )
    loss_of: Loss = lambda queries, passages, batch: batch_loss(queries, passages, batch, config)  # noqa: E731
    if config.chunk_size is None:
        loss = plain_gradient(module, batch, loss_of, torch.Tensor.backward, 1.0)
    else:
        loss = cached_gradient(module, batch, loss_of, config.chunk_size, torch.Tensor.backward, 1.0)
    return loss, {name: value.grad for name, value in module.named_parameters() if value.grad is not None}


@pytest.mark.parametrize("chunk_size", [1, 3, 100])
@pytest.mark.parametrize("other", [{}, {"in_batch": False, "distillation": True, "negatives": 2}])
def test_the_gradient_cache_gives_the_gradient_of_the_whole_batch(
    checkpoint: Path, examples: list[TrainingExample], chunk_size: int, other: dict[str, Any]
) -> None:
    plain = replace(SMALL, **other)
    loss, expected = gradients(checkpoint, examples, plain)
    cached_loss, found = gradients(checkpoint, examples, replace(plain, chunk_size=chunk_size))
    assert cached_loss == pytest.approx(loss, abs=1e-5)
    assert found.keys() == expected.keys()
    for name in expected:
        assert torch.allclose(found[name], expected[name], atol=1e-5), name


def test_training_sees_texts_as_searching_does(checkpoint: Path) -> None:
    encoder = Encoder(load_checkpoint(checkpoint), device="cpu", dtype="float32")
    collate = Collator(encoder, 1, False, None)
    examples = [TrainingExample(text, text, (other,)) for text, other in zip(TEXTS, TEXTS[1:] + TEXTS[:1], strict=True)]
    batch = collate(examples)
    module = TrainableColBERT(encoder)
    plain = Encoder(load_checkpoint(checkpoint), device="cpu", dtype="float32")
    languages = [each.language for each in plain.detect(TEXTS)]
    assert languages == ["en", "fr", "ja"]
    queries = encode(module, batch.queries) * batch.queries.tokens.scoring_mask[:, :, None]
    assert torch.allclose(queries, plain.encode_queries(TEXTS, languages), atol=1e-6)
    passages = encode(module, batch.passages)[::2][batch.passages.tokens.scoring_mask[::2]]
    assert torch.allclose(passages, plain.encode_documents(TEXTS, languages).vectors, atol=1e-6)


def test_a_known_answer_is_no_negative_of_its_query(checkpoint: Path, examples: list[TrainingExample]) -> None:
    encoder = Encoder(load_checkpoint(checkpoint), device="cpu")
    module = TrainableColBERT(encoder)
    twice = [examples[0], replace(examples[0], negatives=("the bread",), scores=None)]
    batch = Collator(encoder, 1, False, "en")(twice)
    assert batch.relevant.tolist() == [[True, False, True, False]] * 2
    config = replace(SMALL, negatives=1)
    with torch.no_grad():
        both = [encode(module, texts) for texts in (batch.queries, batch.passages)]
        with_it = batch_loss(both[0], both[1], batch, config)
        without = batch_loss(both[0], both[1], replace(batch, relevant=torch.zeros(2, 4, dtype=torch.bool)), config)
    assert with_it < without


# other checkpoints


def test_an_encoder_without_a_head_gets_one(checkpoint: Path, examples: list[TrainingExample], tmp_path: Path) -> None:
    base = build_tiny_xmod(tmp_path / "base")
    (base / "artifact.metadata").unlink()
    weights = tensors(base)
    del weights["linear.weight"]
    save_file(weights, base / "model.safetensors")
    path = run(base, examples, tmp_path / "run", replace(SMALL, steps=2, dim=16))
    assert tensors(path)["linear.weight"].shape == (16, tensors(checkpoint)["linear.weight"].shape[1])
    assert load_checkpoint(path).settings.attend_to_mask_tokens
    assert RAGPretrainedModel.from_pretrained(path, verbose=0, device="cpu").encoder.dim == 16
    assert run(base, examples, tmp_path / "run", replace(SMALL, steps=2, dim=16), resume=True) == path


def test_a_checkpoint_without_adapters_is_trained_too(examples: list[TrainingExample], tmp_path: Path) -> None:
    base = build_tiny_bert(tmp_path / "base")
    path = run(base, examples, tmp_path / "run", replace(SMALL, steps=2))
    before, after = tensors(base), tensors(path)
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert any("layer.0" in name for name in changed)
    assert not any("embeddings" in name for name in changed)
    RAGPretrainedModel.from_pretrained(path, verbose=0, device="cpu")


# bad input


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"negatives": 3}, "has 2 negatives, fewer than negatives=3"),
        ({"dim": 64}, r"dim=64 is not the width 32 of the head"),
        ({"doc_maxlen": 4}, "A passage length of 4 tokens"),
    ],
)
def test_settings_that_do_not_fit(
    checkpoint: Path, examples: list[TrainingExample], tmp_path: Path, config: dict[str, Any], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        run(checkpoint, examples, tmp_path / "run", replace(SMALL, **config))
    assert not list((tmp_path / "run").glob("step-*"))


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"batch_size": 0}, "batch_size=0 is not usable"),
        ({"steps": True}, "steps=True is not usable"),
        ({"batch_size": 5, "accumulation": 2}, "batch_size=5 is not a multiple of accumulation=2"),
        ({"warmup": 9, "steps": 3}, "warmup=9 exceeds the 3 steps"),
        ({"learning_rate": 0.0}, "learning_rate=0.0 trains nothing"),
        ({"precision": "int8"}, "precision='int8' is not known"),
        ({"chunk_size": -1}, "chunk_size=-1 is not usable"),
        ({"dim": 0}, "dim=0 is not usable"),
        ({"doc_maxlen": 0}, "doc_maxlen=0 is not usable"),
        ({"doc_maxlen": "long"}, "doc_maxlen='long' is not usable"),
        ({"learning_rate": "fast"}, "learning_rate='fast' trains nothing"),
        ({"max_norm": 0}, "max_norm=0 trains nothing"),
        ({"weight_decay": -0.1}, "weight_decay=-0.1 is not usable"),
        ({"seed": "x"}, "seed='x' is not usable"),
    ],
)
def test_settings_that_are_wrong(config: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        TrainingConfig(**config)


def test_scores_are_needed_for_distillation(checkpoint: Path, examples: list[TrainingExample], tmp_path: Path) -> None:
    without = [replace(example, scores=None) for example in examples]
    with pytest.raises(InputError, match="has no teacher scores, which distillation=True needs"):
        run(checkpoint, without, tmp_path / "run", replace(SMALL, distillation=True))


def test_a_loss_that_is_no_number_ends_the_run(
    checkpoint: Path, examples: list[TrainingExample], tmp_path: Path
) -> None:
    with pytest.raises(InputError, match="training cannot continue"):
        run(checkpoint, examples, tmp_path / "run", replace(SMALL, learning_rate=1e30))


def test_no_data_and_a_file_in_the_way(checkpoint: Path, examples: list[TrainingExample], tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no training examples"):
        run(checkpoint, [], tmp_path / "run")
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="is a file"):
        run(checkpoint, examples, tmp_path / "file")
    with pytest.raises(InputError, match="device='tpu' cannot be used here"):
        run(checkpoint, examples, tmp_path / "run", device="tpu")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("package", ["accelerate", "matplotlib"])
def test_a_missing_package_is_named_before_the_work(
    checkpoint: Path, examples: list[TrainingExample], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, package: str
) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(MissingExtraError, match=r'pip install "ragatouille-xm\[train\]"'):
        run(checkpoint, examples, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_checkpoint_that_cannot_be_written_leaves_nothing(
    checkpoint: Path, examples: list[TrainingExample], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any, **__: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("ragatouille_xm.training.saving.save_file", full)
    with pytest.raises(InputError, match="No space left"):
        run(checkpoint, examples, tmp_path / "run")
    assert not list((tmp_path / "run").glob("step-*"))


# several processes

_IN_PROCESSES = """
import sys
from pathlib import Path
import torch
from ragatouille_xm.training import TrainingConfig, TrainingExample, train
torch.set_num_threads(1)
checkpoint, output = sys.argv[1:]
words = "river train bread garden".split()
examples = [TrainingExample(f"the {w}", f"a {w} is in the {w}", (f"the {w} of bread",)) for w in words]
config = TrainingConfig(batch_size=4, steps=2, learning_rate=1e-3, in_batch=False, chunk_size=3, log_every=1)
train(checkpoint, examples, output, config, language="en", device="cpu", validation=examples, progress=False)
"""


def test_processes_share_a_batch(checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    script = tmp_path / "script.py"
    script.write_text(_IN_PROCESSES, encoding="utf-8")
    monkeypatch.setattr("sys.argv", [str(script), str(checkpoint), str(tmp_path / "one")])
    runpy.run_path(str(script))
    several = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
    command = [*several, str(script), str(checkpoint), str(tmp_path / "two")]
    subprocess.run(command, check=True, capture_output=True, env=os.environ | {"OMP_NUM_THREADS": "1"})
    one, two = (tensors(tmp_path / name / "step-000002") for name in ("one", "two"))
    # A key's bias shifts all of a row's attention alike: its gradient is rounding, which AdamW makes as large as any.
    assert all(torch.allclose(one[name], two[name], atol=1e-5) for name in one if "key.bias" not in name)
    losses = [[entry["loss"] for entry in lines(tmp_path / name) if "loss" in entry] for name in ("one", "two")]
    assert losses[1] == pytest.approx(losses[0], abs=1e-5)
