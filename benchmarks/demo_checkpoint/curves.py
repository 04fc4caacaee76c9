"""The log of the training as a picture."""

from __future__ import annotations

import json
from pathlib import Path


def draw(log: Path, picture: Path) -> None:
    """Draw the losses of both stages, and the validation, from the log."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    entries = [json.loads(line) for line in log.read_text(encoding="utf-8").splitlines()]
    figure, (first, second, third) = pyplot.subplots(1, 3, figsize=(13, 3.6), layout="constrained")
    adapters = [e for e in entries if e["stage"] == "adapters"]
    first.set_prop_cycle(color=pyplot.get_cmap("tab20").colors)
    for language in sorted({e["language"] for e in adapters}):
        rows = [e for e in adapters if e["language"] == language]
        first.plot([e["step"] for e in rows], smooth([e["loss"] for e in rows], 20), label=language, linewidth=1)
    first.set(title="Adapters, raw text", xlabel="step", ylabel="loss")
    first.legend(ncols=7, fontsize=7, loc="upper center", bbox_to_anchor=(0.5, -0.18))
    english = [e for e in entries if e["stage"] == "english"]
    second.plot([e["step"] for e in english], [e["loss"] for e in english], linewidth=0.5, alpha=0.4, color="C0")
    second.plot([e["step"] for e in english], smooth([e["loss"] for e in english]), color="C0")
    second.set(title="Late interaction, English pairs", xlabel="step", ylabel="loss")
    checks = [e for e in entries if e["stage"] == "validation" and e["of"] == "english"]
    before = next(e for e in entries if e["stage"] == "validation" and e["of"] == "untrained")
    for language in checks[0]["languages"]:
        line = third.plot([e["step"] for e in checks], [e["languages"][language]["mrr@10"] for e in checks],
                          marker=".", label=language)  # fmt: skip
        third.axhline(before["languages"][language]["mrr@10"], linestyle=":", linewidth=1, color=line[0].get_color())
    third.set(title="Validation (dotted: untrained)", xlabel="step of the English stage", ylabel="MRR@10, %")
    third.legend(ncols=5, fontsize=7, loc="upper center", bbox_to_anchor=(0.5, -0.18))
    picture.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(picture, dpi=110)
    pyplot.close(figure)


def smooth(values: list[float], window: int = 10) -> list[float]:
    """Return the mean of each value and those before it in the window."""
    parts = [values[max(0, i - window + 1) : i + 1] for i in range(len(values))]
    return [sum(part) / len(part) for part in parts]
