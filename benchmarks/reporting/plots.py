"""Plots as plain values, and their drawing as SVG files that say which values they were drawn from."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

COLORS = ("#0b6e99", "#d9730d", "#6940a5", "#448361", "#b8346f", "#7a7a7a")
LEGEND_CHARACTERS = 13  # in an inch
_DIGEST = re.compile(r"data sha256:([0-9a-f]{64})")


@dataclass(frozen=True)
class Series:
    """Points of one thing that is compared.

    Attributes
    ----------
    label : str
    x : sequence of float or str
        Names, for bars.
    y : sequence of float
    """

    label: str
    x: Sequence[float | str]
    y: Sequence[float]


@dataclass(frozen=True)
class Panel:
    """One pair of axes.

    Attributes
    ----------
    title : str
    series : sequence of Series
    """

    title: str
    series: Sequence[Series]


@dataclass(frozen=True)
class Plot:
    """A picture in ``docs/images/benchmarks/``.

    Attributes
    ----------
    name : str
        Of the file, without its suffix.
    title : str
        What the picture shows, for those who do not see it.
    x, y : str
        What the axes show.
    panels : sequence of Panel
    bars : bool
        Bars over names, side by side, instead of lines with markers.
    log_x, log_y : bool
    """

    name: str
    title: str
    x: str
    y: str
    panels: Sequence[Panel]
    bars: bool = False
    log_x: bool = False
    log_y: bool = False

    @property
    def labels(self) -> list[str]:
        """Return the labels of all series, each once; there are no more than `COLORS`."""
        found = list(dict.fromkeys(series.label for panel in self.panels for series in panel.series))
        if len(found) > len(COLORS):
            raise ValueError(f"{self.name} has {len(found)} series for {len(COLORS)} colors")
        return found

    @property
    def digest(self) -> str:
        """Return the hash of all that is drawn."""
        return hashlib.sha256(json.dumps(asdict(self), sort_keys=True).encode()).hexdigest()


def digest_in(picture: Path) -> str | None:
    """Return the hash of the values that a picture was drawn from; None if there is no such picture."""
    found = _DIGEST.search(picture.read_text(encoding="utf-8")) if picture.exists() else None
    return found[1] if found else None


def draw(plot: Plot, picture: Path) -> None:
    """Draw a plot; the same values give the same file with the same version of matplotlib."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    style = {
        "svg.hashsalt": plot.name,
        "font.size": 9,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.grid": True,
        "grid.color": "#e6e6e6",
        "axes.axisbelow": True,
        "savefig.facecolor": "white",
    }
    n, labels = len(plot.panels), plot.labels
    colors = dict(zip(labels, COLORS, strict=False))
    with pyplot.rc_context(style):
        size = (max(7.6, 3.2 * n), 3.4)  # wider ones are scaled down on a page, and their text with them
        figure, grid = pyplot.subplots(1, n, figsize=size, layout="constrained", squeeze=False, sharey=not plot.bars)
        handles: dict[str, object] = {}
        for axes, panel in zip(grid[0], plot.panels, strict=True):
            (_bars if plot.bars else _lines)(axes, panel, colors)
            _label(axes, plot, panel)
            handles |= dict(zip(*reversed(axes.get_legend_handles_labels()), strict=True))
        grid[0][0].set_ylabel(plot.y)
        if len(labels) > 1:
            columns = max(1, int(size[0] * LEGEND_CHARACTERS / (max(map(len, labels)) + 8)))
            shown = [handles[label] for label in labels]
            figure.legend(shown, labels, loc="outside lower center", ncols=columns, frameon=False)
        picture.parent.mkdir(parents=True, exist_ok=True)
        what = {"Date": None, "Creator": None, "Title": plot.title, "Description": f"data sha256:{plot.digest}"}
        figure.savefig(picture, metadata=what)
        pyplot.close(figure)


def _label(axes: Any, plot: Plot, panel: Panel) -> None:
    axes.set(title=panel.title, xlabel=plot.x)
    if plot.log_x:
        axes.set_xscale("log")
        axes.xaxis.set_major_formatter("{x:,.9g}")
    if plot.log_y:
        axes.set_yscale("log")
        axes.yaxis.set_major_formatter("{x:,.9g}")


def _lines(axes: Any, panel: Panel, colors: dict[str, str]) -> None:
    for series in panel.series:
        color = colors[series.label]
        axes.plot(series.x, series.y, marker="o", markersize=4, linewidth=1.2, label=series.label, color=color)


def _bars(axes: Any, panel: Panel, colors: dict[str, str]) -> None:
    width = 0.8 / len(panel.series)
    for i, series in enumerate(panel.series):
        places = [place + (i - (len(panel.series) - 1) / 2) * width for place in range(len(series.x))]
        axes.bar(places, series.y, width, label=series.label, color=colors[series.label])
    axes.set_xticks(range(len(panel.series[0].x)), panel.series[0].x)
    axes.grid(axis="x", visible=False)
