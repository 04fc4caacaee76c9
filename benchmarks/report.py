"""`docs/benchmarks.md` and its plots, made from `benchmarks/results`.

    python benchmarks/report.py            # writes the page, and draws the plots whose values have changed
    python benchmarks/report.py --check    # says what is not current, and exits with 1

A section whose result file is missing is left out. The tests check that page and plots are current: a plot, by the hash
of its values that is in its file, since versions of matplotlib draw differently.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
from reporting import (
    checkpoints,
    device,
    encoding,
    hybrid,
    index,
    postgres,
    quality,
    relevance,
    search,
    service,
    start,
    steps,
    storage,
)  # fmt: skip
from reporting.page import Maker, Results, Section
from reporting.plots import digest_in, draw

HERE = Path(__file__).parent
PAGE, IMAGES = HERE.parent / "docs" / "benchmarks.md", HERE.parent / "docs" / "images" / "benchmarks"
MAKERS: tuple[Maker, ...] = (
    search.sections,
    steps.sections,
    storage.sections,
    index.sections,
    postgres.sections,
    encoding.sections,
    checkpoints.sections,
    device.sections,
    start.sections,
    service.sections,
    quality.sections,
    hybrid.sections,
    relevance.sections,
)
INTRODUCTION = """\
# Benchmarks

Each section answers one question: what was asked, what came out, on which machine, and what the numbers do not show.
`python benchmarks/report.py` makes this page from `benchmarks/results`; no number in it is written by hand. A date is
given where the result file records one.

What was not measured at all: the published weights of ColBERT-XM, anything on a GPU, and Qdrant as a server.
`benchmarks/gpu.sh` is ready for the first machine with a GPU; so far it was only tried on a CPU.
"""


def sections(results: Results) -> Iterator[Section]:
    """Yield the sections whose results are there."""
    for maker in MAKERS:
        yield from maker(results)


def page(made: list[Section]) -> str:
    """Return the page."""
    contents = "\n".join(f"- [{each.title}](#{_anchor(each.title)}): {each.question}" for each in made)
    return "\n".join([INTRODUCTION, f"{contents}\n", *(each.markdown() for each in made)])


def _anchor(title: str) -> str:
    return "".join(c for c in title.lower().replace(" ", "-") if c.isalnum() or c in "-_")


def stale(results: Path = HERE / "results", target: Path = PAGE, images: Path = IMAGES) -> list[Path]:
    """Return the files that are not what the results give, plots of nothing among them."""
    made = list(sections(Results(results)))
    current = target.exists() and target.read_text(encoding="utf-8") == page(made)
    plots = {images / f"{each.plot.name}.svg": each.plot for each in made if each.plot is not None}
    wrong = [picture for picture, plot in plots.items() if digest_in(picture) != plot.digest]
    return [*([] if current else [target]), *wrong, *sorted(set(images.glob("*.svg")) - set(plots))]


def write(results: Path = HERE / "results", target: Path = PAGE, images: Path = IMAGES) -> None:
    """Write the page, and draw the plots whose values have changed."""
    made = list(sections(Results(results)))
    target.write_text(page(made), encoding="utf-8")
    for each in made:
        if each.plot is not None and digest_in(images / f"{each.plot.name}.svg") != each.plot.digest:
            draw(each.plot, images / f"{each.plot.name}.svg")


def main() -> None:
    """Write or check."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="write nothing")
    if parser.parse_args().check:
        found = stale()
        for path in found:
            print(f"{path} is not current: run python benchmarks/report.py")
        raise SystemExit(1 if found else 0)
    write()


if __name__ == "__main__":
    main()
