"""Plots of loss and validation over steps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ..extras import import_extra

SERIES = {"loss": "training loss", "validation_loss": "validation loss", "validation": "validation"}


def draw_curves(entries: Sequence[Mapping[str, Any]], path: Path) -> None:
    """Draw the curves of a log.

    Parameters
    ----------
    entries : sequence of mapping
        Lines of ``log.jsonl``.
    path : Path
        A PNG file, replaced if it exists.

    Raises
    ------
    MissingExtraError
        If matplotlib is not installed.
    """
    import_extra("matplotlib", "Drawing the curves of a run", "train")
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 4), layout="constrained")
    losses = figure.subplots()
    losses.set(xlabel="step", ylabel="loss")
    axes = {"loss": losses, "validation_loss": losses}
    measured = [entry for entry in entries if "validation" in entry]
    if measured:  # a measure needs its own scale
        axes["validation"] = losses.twinx()
        axes["validation"].set_ylabel(measured[-1].get("measure", "validation"))
    for i, (name, axis) in enumerate(axes.items()):
        points = [(entry["step"], entry[name]) for entry in entries if name in entry]
        marker = "." if len(points) < 50 else ""
        if points:
            axis.plot(*zip(*points, strict=True), color=f"C{i}", marker=marker, label=SERIES[name])
    figure.legend(loc="outside upper right", ncols=len(axes))
    figure.savefig(path, dpi=120)
