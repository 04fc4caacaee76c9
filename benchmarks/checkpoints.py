"""Do checkpoints of every format give their owners' vectors, and how fast is one on ModernBERT beside these libraries?

The differences are those between this package and what the owner of each format gave for its own checkpoint, as
recorded in tests/reference. The speed is that of one PyLate folder with random weights of ModernBERT's base size and
a tokeniser of bytes, read by each system in a process of its own: the texts are the bundled sample's, cut off at many
lengths. Each tokenises within the time. Seconds are those of the CPU, since the machine does other
work; systems take turns, and the median of the rounds counts.

    python benchmarks/checkpoints.py [--peer-python PATH ...] [--rounds 3] [--out FILE]
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from importlib.metadata import version
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch

HERE = Path(__file__).parent
REFERENCE = HERE.parent / "tests" / "reference"
OURS = {"ours float32": None, "ours int8": "int8"}
PEERS = {"PyLate": "pylate", "sentence-transformers": "sentence-transformers"}
OWNERS = ("pylate", "sentence-transformers", "FlagEmbedding", "colbert-ai")
LENGTH = 256
COMPARED = 4  # passages whose vectors are compared, the shortest


def parity() -> list[dict[str, Any]]:
    """Return for each recorded checkpoint how far our answers are from its owner's."""
    sys.path[:0] = [str(REFERENCE.parent), str(REFERENCE)]
    from reference.tiny import build_tiny_bert, build_tiny_xlmr, build_tiny_xmod

    recorded = json.loads((REFERENCE / "checkpoints.json").read_text(encoding="utf-8"))
    texts = recorded.pop("queries"), recorded.pop("documents")
    rows = [compare(name, REFERENCE / "checkpoints" / name, *texts, made["made_by"]) for name, made in recorded.items()]
    scores = json.loads((REFERENCE / "scores.json").read_text(encoding="utf-8"))
    builders = {"xmod": build_tiny_xmod, "bert": build_tiny_bert, "xlmr": build_tiny_xlmr}
    for kind, label in (("xmod", "old"), ("xmod", "new"), ("bert", "new"), ("xlmr", "new")):
        marker = {"old": "prefix", "new": "insert"}[label]
        with tempfile.TemporaryDirectory() as folder:
            built = builders[kind](folder, metadata={"marker": marker})
            rows.append(compare_colbert_ai(f"{kind}_scores_{label}", built, scores, scores[label]["made_by"]))
    return rows


def compare(
    name: str, folder: Path, queries: list[str], documents: list[str], made_by: dict[str, str]
) -> dict[str, Any]:
    from ragatouille_xm.encoder import Encoder
    from ragatouille_xm.scoring import maxsim

    golden = np.load(REFERENCE / "checkpoints" / f"{name}.npz")
    encoder = Encoder.from_pretrained(folder, device="cpu")
    language = next(iter(encoder.adapters.languages), "en")
    tokens = {"query": encoder.tokenizer.queries(queries), "doc": encoder.tokenise(documents)}
    equal = all(
        [value for each in made for value in getattr(each, part)] == golden[f"{kind}_{part}"].tolist()
        for kind, made in tokens.items()
        for part in ("ids", "attended", "scored")
    )
    rows = encoder.encode_queries(queries, [language] * len(queries))
    passages = encoder.encode_documents(documents, [language] * len(documents))
    scores = maxsim(rows, passages.vectors, passages.lengths)
    scored = rows.any(2)
    if encoder.checkpoint.format == "BGE-M3":
        scores /= scored.sum(1, keepdim=True)
    differences = rows[scored].numpy() - golden["query_vectors"], passages.vectors.numpy() - golden["doc_vectors"]
    return row(encoder.checkpoint, name, made_by, equal, np.concatenate(differences), scores.numpy() - golden["scores"])


def compare_colbert_ai(name: str, folder: Path, texts: dict[str, Any], made_by: dict[str, str]) -> dict[str, Any]:
    from ragatouille_xm.encoder import Encoder
    from ragatouille_xm.scoring import maxsim

    golden = np.load(REFERENCE / f"{name}.npz")
    queries, documents = (
        texts["queries"][:-1],
        texts["documents"][: len(golden["doc_lengths"])],
    )  # the last is cut there
    encoder = Encoder.from_pretrained(folder, device="cpu")
    rows = encoder.encode_queries(queries, ["en"] * len(queries))
    passages = encoder.encode_documents(documents, ["en"] * len(documents))
    made = zip(encoder.tokenise(documents), golden["doc_ids"].tolist(), strict=True)
    equal = all(each.ids == ids[: len(each.ids)] for each, ids in made)
    equal &= [each.ids for each in encoder.tokenizer.queries(queries)] == golden["query_ids"][:-1].tolist()
    differences = (
        rows.numpy() - golden["query_vectors"][:-1],
        passages.vectors.numpy() - golden["doc_vectors"],
    )
    scores = maxsim(rows, passages.vectors, passages.lengths).numpy() - golden["scores"][:-1]
    flat = np.concatenate([each.reshape(-1, encoder.dim) for each in differences])
    return row(encoder.checkpoint, name, made_by, equal, flat, scores)


def row(checkpoint: Any, name: str, made_by: dict[str, str], equal: bool, vectors: Any, scores: Any) -> dict[str, Any]:
    owner = next(each for each in OWNERS if each in made_by)
    return {
        "format": checkpoint.format, "checkpoint": name, "backbone": checkpoint.model_type,
        "owner": f"{owner} {made_by[owner]}", "ids_and_masks_equal": bool(equal),
        "largest_vector_difference": float(f"{np.abs(vectors).max():.1e}"),
        "largest_score_difference": float(f"{np.abs(scores).max():.1e}"),
    }  # fmt: skip


def write_checkpoint(folder: Path) -> None:
    """Write a checkpoint with random weights of ModernBERT's base size, in PyLate's format."""
    from safetensors.torch import save_file
    from transformers import ModernBertConfig, ModernBertModel

    sys.path[:0] = [str(REFERENCE.parent)]
    from reference.encoders import write_tokenizer

    size = write_tokenizer(folder, "bytes")
    torch.manual_seed(0)
    ids = {"pad_token_id": 1, "bos_token_id": 0, "eos_token_id": 2, "cls_token_id": 0, "sep_token_id": 2}
    ModernBertModel(ModernBertConfig(vocab_size=size, **ids)).save_pretrained(folder)
    (folder / "1_Dense").mkdir()
    save_file({"linear.weight": 0.02 * torch.randn(128, 768)}, folder / "1_Dense" / "model.safetensors")
    dense = {"in_features": 768, "out_features": 128, "bias": False}
    dense["activation_function"] = "torch.nn.modules.linear.Identity"
    settings = {"model_type": "ColBERT", "query_prefix": "<unk>", "document_prefix": "<unk>", "query_length": 32}
    settings |= {"document_length": LENGTH, "skiplist_words": [], "prompts": {}, "similarity_fn_name": "MaxSim"}
    modules = [
        {"idx": 0, "name": "0", "path": "", "type": "sentence_transformers.models.Transformer"},
        {"idx": 1, "name": "1", "path": "1_Dense", "type": "pylate.models.Dense.Dense"},
    ]
    for name, content in (
        ("1_Dense/config.json", dense), ("config_sentence_transformers.json", settings), ("modules.json", modules),
        ("sentence_bert_config.json", {"max_seq_length": LENGTH, "do_lower_case": False}),
    ):  # fmt: skip
        (folder / name).write_text(json.dumps(content), encoding="utf-8")


def write_texts(target: Path, n: int) -> None:
    """Write passages of many lengths."""
    from ragatouille_xm.demo.sample import demo_sample

    texts = [document.text for document in demo_sample()[:n]]
    passages = [text[: 30 + 37 * i % 230] for i, text in enumerate(texts)]
    target.write_text(json.dumps(passages, ensure_ascii=False), encoding="utf-8")


def measure(system: str, folder: str, texts: list[str], vectors: Path) -> dict[str, Any]:
    """Measure one system; runs in a process and an environment of its own."""
    torch.set_num_threads(1)
    queries = ["Where is the document?"]
    if system in OURS:
        from ragatouille_xm.encoder import Encoder

        encoder = Encoder.from_pretrained(folder, device="cpu", quantize=OURS[system])
        names = ("torch", "transformers")

        def encode(some: list[str]) -> list[Any]:
            found = encoder.encode_documents(some, ["en"] * len(some))
            return list(found.vectors.split(found.lengths.tolist()))

        def encode_queries(some: list[str]) -> Any:
            return encoder.encode_queries(some, ["en"] * len(some))
    elif system == "PyLate":
        from pylate import models

        model = models.ColBERT(folder, device="cpu")
        names = ("torch", "transformers", "pylate", "sentence-transformers")

        def encode(some: list[str]) -> list[Any]:
            return list(model.encode(some, is_query=False, show_progress_bar=False))

        def encode_queries(some: list[str]) -> Any:
            return model.encode(some, is_query=True, show_progress_bar=False)
    else:
        from sentence_transformers import MultiVectorEncoder

        other = MultiVectorEncoder(folder, device="cpu")
        names = ("torch", "transformers", "sentence-transformers")

        def encode(some: list[str]) -> list[Any]:
            return list(other.encode_document(some, show_progress_bar=False))

        def encode_queries(some: list[str]) -> Any:
            return other.encode_query(some, show_progress_bar=False)

    found = encode(sorted(texts, key=lambda text: len(text.encode()))[:COMPARED])  # none of which is cut off
    np.save(vectors, np.concatenate([np.asarray(each) for each in found]))
    start, started = time.perf_counter(), time.process_time()
    tokens = sum(len(each) for each in encode(texts))
    cpu, wall = time.process_time() - started, time.perf_counter() - start
    encode_queries(queries)
    started = time.process_time()
    for _ in range(5):
        encode_queries(queries)
    query = (time.process_time() - started) / 5
    return {
        "tokens": tokens, "tokens_per_cpu_s": round(tokens / cpu), "wall_s": round(wall, 1),
        "query_cpu_ms": round(1000 * query, 1), "versions": {name: version(name) for name in names},
    }  # fmt: skip


def child(python: str, system: str, folder: Path, texts: Path, vectors: Path) -> dict[str, Any] | None:
    """Run this script on one measurement; return None if that environment does not have the system."""
    # -P: `kernels.py` beside this script is not the package of that name
    command = [python, "-P", __file__, "--one", system, str(folder), str(texts), str(vectors)]
    done = subprocess.run(command, capture_output=True, text=True, env=os.environ | {"OMP_NUM_THREADS": "1"})
    if done.returncode:
        if "ModuleNotFoundError" in done.stderr or "ImportError" in done.stderr:
            return None
        raise SystemExit(done.stderr)
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def speed(given: argparse.Namespace) -> list[dict[str, Any]]:
    """Return a row for each system: the median over the rounds."""
    with tempfile.TemporaryDirectory() as temporary:
        scratch = Path(temporary)
        (folder := scratch / "modernbert").mkdir()
        write_checkpoint(folder)
        write_texts(texts := scratch / "texts.json", given.texts)
        plan = [(system, sys.executable) for system in OURS]
        plan += [(system, python) for python in given.peer_python for system in PEERS]
        rounds: dict[str, list[dict[str, Any]]] = {}
        for _ in range(given.rounds):
            for system, python in plan:
                if found := child(python, system, folder, texts, scratch / f"{system}.npy"):
                    rounds.setdefault(system, []).append(found)
                    print(system, found, flush=True)
        exact = np.load(scratch / "ours float32.npy")
        rows = []
        for system, found_ in rounds.items():
            difference = np.abs(np.load(scratch / f"{system}.npy") - exact).max()
            values = {key: median(each[key] for each in found_) for key in ("tokens_per_cpu_s", "query_cpu_ms")}
            other = {key: found_[0][key] for key in ("tokens", "versions")}
            rows.append({"system": system, **values, **other, "largest_difference": float(f"{difference:.1e}")})
        return rows


def machine() -> dict[str, Any]:
    from machine import cpu  # not in a process of `-P`, which does not find what is beside this script

    return {"cpu": cpu(), "threads": 1}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--peer-python", action="append", default=[], help="python of an environment with peers")
    parser.add_argument("--texts", type=int, default=40)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--out", type=Path, default=HERE / "results" / "checkpoints.json")
    parser.add_argument("--one", nargs=4, metavar=("SYSTEM", "FOLDER", "TEXTS", "VECTORS"), help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.one:
        system, folder, texts, vectors = given.one
        print(json.dumps(measure(system, folder, json.loads(Path(texts).read_text(encoding="utf-8")), Path(vectors))))
        return
    report: dict[str, Any] = {"machine": machine(), "date": time.strftime("%Y-%m-%d")}
    for name, run in (("parity", parity), ("speed", lambda: speed(given))):
        report[name] = run()
        given.out.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
