"""Draw the README's figure from ``benchmarks/results/demo_quality.json``.

``python benchmarks/readme_figure.py`` writes ``docs/images/languages.svg``.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "benchmarks" / "results" / "demo_quality.json"
FIGURE = ROOT / "docs" / "images" / "languages.svg"
SYSTEMS = (  # in the results, in the legend, marker, fill, edge
    ("bm25", "BM25", "s", "#c9ced6", "#8a93a0"),
    ("mean-pooled encoder", "the same encoder, mean-pooled", "D", "#f2c48d", "#c98a3c"),
    ("trained, English adapter for all", "late interaction, English adapter for all", "o", "white", "#2459a9"),
    ("trained", "late interaction, the right adapter", "o", "#2459a9", "#2459a9"),
)
GROUPS = (("mixed", "all in\none index"), ("across languages", "across\nlanguages"))


def digest() -> str:
    """Return the SHA-256 of what is drawn; the figure carries it."""
    systems = json.loads(RESULTS.read_text(encoding="utf-8"))["systems"]
    drawn = [_points(systems[name]) for name, *_ in SYSTEMS]
    return hashlib.sha256(json.dumps(drawn).encode()).hexdigest()


def _points(system: dict[str, dict[str, dict[str, float]]]) -> dict[str, float]:
    """Return MRR@10 by label: each language alone, then the mean over all in each other setting that was run."""
    alone = {name: each["mrr@10"] for name, each in system["alone"].items() if name != "mean"}
    return alone | {label: system[group]["mean"]["mrr@10"] for group, label in GROUPS if group in system}


def draw(path: Path) -> None:
    """Draw the figure."""
    import matplotlib as mpl

    mpl.use("agg")
    mpl.rcParams.update({"svg.hashsalt": "ragatouille_xm", "font.size": 9.5})
    from matplotlib import pyplot as plt

    systems = json.loads(RESULTS.read_text(encoding="utf-8"))["systems"]
    labels = list(_points(systems["trained"]))
    n_languages = len(labels) - len(GROUPS)
    places = {
        label: i if i < n_languages else n_languages + 0.6 + 2.2 * (i - n_languages) for i, label in enumerate(labels)
    }
    figure, axes = plt.subplots(figsize=(8.6, 3.2), layout="constrained")
    for name, legend, marker, fill, edge in SYSTEMS:
        points = _points(systems[name])
        axes.scatter(
            [places[label] for label in points],
            list(points.values()),
            s=46 if marker == "o" else 34,
            marker=marker,
            facecolor=fill,
            edgecolor=edge,
            linewidth=1.3,
            label=legend,
            zorder=3,
        )
    axes.set_xticks(list(places.values()), labels)
    axes.set_ylim(0, 80)
    axes.set_ylabel("MRR@10, percent")
    axes.grid(axis="y", color="#e6e8eb")
    axes.axvline(n_languages - 0.2, color="#c9ced6", linewidth=1)
    axes.tick_params(length=0)
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.legend(loc="lower left", ncols=2, frameon=False, fontsize=9)
    figure.savefig(path, metadata={"Date": None, "Description": digest()})


if __name__ == "__main__":
    draw(FIGURE)
