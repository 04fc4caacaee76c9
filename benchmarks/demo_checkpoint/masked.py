"""What do adapters trained by masked-language modelling do to retrieval with the untrained demo checkpoint?

    python benchmarks/demo_checkpoint/masked.py --cache /tmp/demo-training --languages tr,ja --rates 1e-4,1e-5

Measured as in the training: the sections of the validation pages, by their titles.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from pathlib import Path

from halves import Halves
from text import prepare
from validation import Validation

from ragatouille_xm.encoder import Encoder
from ragatouille_xm.model.checkpoint import load_checkpoint
from ragatouille_xm.training import AdapterConfig, train_language_adapters


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path(__file__).parents[3] / "shared" / "data" / "A")
    parser.add_argument("--cache", type=Path, required=True, help="folder for packages and text")
    parser.add_argument("--languages", default="tr,ja")
    parser.add_argument("--rates", default="1e-4,1e-5")
    parser.add_argument("--steps", type=int, default=60, help="for each language")
    parser.add_argument("--out", type=Path, default=Path(__file__).parents[1] / "results" / "demo_masked.json")
    options = parser.parse_args()
    languages = options.languages.split(",")
    sections = prepare(options.data, options.cache)
    texts = {language: [section.body for section in sections[language]] for language in languages}

    def measure(checkpoint: str | Path) -> dict[str, dict[str, float]]:
        model = Halves(Encoder(load_checkpoint(checkpoint), device="cpu", dtype="float32"))
        return {g: Validation.read(model, options.data, g, options.cache).measure(model) for g in languages}

    report = {"question": str(__doc__).splitlines()[0], "steps": options.steps, "untrained": measure("demo-untrained")}
    for rate in options.rates.split(","):
        config = AdapterConfig(steps=options.steps, batch_size=8, max_length=96, learning_rate=float(rate),
                               precision="bf16")  # fmt: skip
        start = time.process_time()
        with tempfile.TemporaryDirectory() as folder:
            trained = train_language_adapters(
                "demo-untrained", texts, Path(folder) / "out", config, device="cpu", progress=False
            )
            log = [json.loads(line) for line in (trained / "adapter_log.jsonl").read_text().splitlines()]
            seconds = time.process_time() - start
            report[f"rate {rate}"] = {"validation": measure(trained), "losses": log, "cpu_s": round(seconds)}
        print(rate, report[f"rate {rate}"]["validation"], flush=True)
        options.out.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
