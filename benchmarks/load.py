"""How much memory and time does loading ColBERT-XM take, when only the adapters in use are read?

Builds a random checkpoint of the published one's size (12 layers of 768, 81 languages, 853 M parameters, 3.4 GB) and,
each in a process of its own, loads it and encodes one passage in each of 1, 3 and 14 languages: with this package, and
with transformers' XmodModel and its ``lang_ids``.

    python benchmarks/load.py [--folder DIR] [--out benchmarks/results/load.json]
"""

from __future__ import annotations

import argparse
import json
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from machine import cpu

LANGUAGES = ["en_XX", "fr_XX", "zh_CN", "de_DE", "ru_RU", "ja_XX", "ko_KR", "es_XX", "it_IT", "pt_XX", "pl_PL", "tr_TR",
             "vi_VN", "id_ID"]  # fmt: skip
TOKENS = 64


def build(folder: Path, languages: Sequence[str] | None = None, **size: int) -> None:
    """Write a random checkpoint of the published one's size, or another, with adapters for all languages, or these."""
    import torch
    from safetensors.torch import save_file
    from transformers import XmodConfig, XmodModel

    from ragatouille_xm.languages import ADAPTERS

    config = XmodConfig(
        vocab_size=250002, max_position_embeddings=514, type_vocab_size=1, layer_norm_eps=1e-5,
        languages=list(languages or ADAPTERS), default_language="en_XX",
        **size,
    )  # fmt: skip
    model = XmodModel(config, add_pooling_layer=False)
    state = {f"roberta.{name}": value for name, value in model.state_dict().items()}
    state["linear.weight"] = torch.randn(128, config.hidden_size)
    folder.mkdir(parents=True, exist_ok=True)
    save_file(state, folder / "model.safetensors", metadata={"format": "pt"})
    config.architectures = ["HF_ColBERT"]
    config.save_pretrained(folder)
    (folder / "artifact.metadata").write_text(json.dumps({"dim": 128, "attend_to_mask_tokens": True}))


def peak_kib() -> int:
    """Return the peak resident memory of this process alone (Linux; `getrusage` would count the parent's too)."""
    status = Path("/proc/self/status").read_text()
    return int(next(line.split()[1] for line in status.splitlines() if line.startswith("VmHWM")))


def measure(system: str, folder: Path, n: int) -> dict[str, Any]:
    """Load, encode one passage in each of `n` languages, and report; runs in a process of its own."""
    import torch
    import transformers

    transformers.utils.logging.disable_progress_bar()
    torch.set_num_threads(2)
    before = peak_kib()
    ids = torch.randint(5, 250000, (n, TOKENS), generator=torch.Generator().manual_seed(0))
    mask = torch.ones_like(ids)
    start = time.perf_counter()
    if system == "ragatouille_xm":
        from ragatouille_xm.model.checkpoint import load_checkpoint
        from ragatouille_xm.model.colbert import ColBERT

        model = ColBERT.load(load_checkpoint(folder), torch.device("cpu"), torch.float32)
        loaded = time.perf_counter()
        vectors = model(ids, mask, LANGUAGES[:n])
    else:
        config = transformers.XmodConfig.from_pretrained(folder)
        xmod = transformers.XmodModel.from_pretrained(folder, add_pooling_layer=False).eval()
        loaded = time.perf_counter()
        with torch.inference_mode():
            lang_ids = torch.tensor([config.languages.index(name) for name in LANGUAGES[:n]])
            vectors = xmod(input_ids=ids, attention_mask=mask, lang_ids=lang_ids).last_hidden_state
    return {
        "system": system,
        "languages": n,
        "load_s": round(loaded - start, 2),
        "load_and_first_batch_s": round(time.perf_counter() - start, 2),
        "peak_rss_above_imports_mb": round((peak_kib() - before) / 1024),
        "checksum": float(vectors.float().abs().mean()),
    }


def import_seconds() -> dict[str, float]:
    """Return how long a process takes that imports the package, beside one that does nothing; best of five."""

    def best(code: str) -> float:
        times = []
        for _ in range(5):
            start = time.perf_counter()
            subprocess.run([sys.executable, "-c", code], check=True)
            times.append(time.perf_counter() - start)
        return round(min(times), 3)

    return {"python": best("pass"), "import ragatouille_xm": best("import ragatouille_xm")}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, help="keep the checkpoint here, and reuse it")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "load.json")
    parser.add_argument("--one", nargs=2, metavar=("SYSTEM", "N"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        print(json.dumps(measure(options.one[0], options.folder, int(options.one[1]))))
        return
    with tempfile.TemporaryDirectory() as scratch:
        folder = options.folder or Path(scratch) / "base"
        if not (folder / "model.safetensors").exists():
            build(folder)
        rows = []
        for n in (1, 3, 14):
            for system in ("ragatouille_xm", "transformers"):
                command = [sys.executable, __file__, "--folder", str(folder), "--one", system, str(n)]
                subprocess.run(command, check=True, capture_output=True)  # warms the file cache for both alike
                done = subprocess.run(command, check=True, capture_output=True, text=True)
                rows.append(json.loads(done.stdout.splitlines()[-1]))
                print(rows[-1])
    import torch
    import transformers

    report = {
        "question": __doc__.splitlines()[0],
        "machine": {"cpu": cpu(), "python": platform.python_version(),
                    "torch": torch.__version__, "transformers": transformers.__version__, "threads": 2},
        "floor_mb": {"backbone and embeddings, float32": 1059, "one language's adapters": 27},
        "process_s": import_seconds(),
        "rows": rows,
    }  # fmt: skip
    options.out.write_text(json.dumps(report, indent=1) + "\n")


if __name__ == "__main__":
    main()
