"""Runs systems on datasets and measures their rankings."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tqdm import tqdm

from ..errors import InputError
from .dataset import Dataset
from .measure import PerQuery, check_measures, measure
from .runs import RunFile, fingerprint_of, writing
from .systems.base import System

logger = logging.getLogger(__name__)

DEPTH = 1000


@dataclass(frozen=True)
class Measured:
    """A system's results on a dataset.

    Attributes
    ----------
    dataset : Dataset
    system : str
        Its label.
    values : dict
        By measure and query id.
    run : Path
        The TREC file.
    parameters : dict
        JSON values: all settings of the run.
    """

    dataset: Dataset
    system: str
    values: dict[str, PerQuery]
    run: Path
    parameters: dict[str, Any]


def evaluate(
    datasets: Sequence[Dataset],
    systems: dict[str, System],
    out: str | Path,
    *,
    k: int = DEPTH,
    measures: Sequence[str] | None = None,
    overwrite: bool = False,
    progress: bool = False,
) -> list[Measured]:
    """Run each system on each dataset, unless that was done before, and measure.

    Parameters
    ----------
    datasets : sequence of Dataset
    systems : dict
        By label, which names the files.
    out : str or Path
        Holds ``<dataset>/<label>.trec`` and the indexes.
    k : int
        Documents to find for each query.
    measures : sequence of str, optional
        By default each dataset's own.
    overwrite : bool
        Search again even if a run is finished. Indexes are kept, since each belongs to specific weights.
    progress : bool
        Whether to show progress bars.

    Raises
    ------
    InputError
        If a measure is unknown, two labels or datasets would share a file, or an existing run was made with other
        parameters.
    StorageError
        If nothing can be written below `out`.

    Examples
    --------
    >>> from ragatouille_xm.evaluation.datasets import load_dataset
    >>> from ragatouille_xm.evaluation.systems.registry import make_system
    >>> evaluate([load_dataset("mmarco/fr")], {"bm25": make_system("bm25")}, "runs")  # doctest: +SKIP
    """
    _check_names(datasets, systems)
    for dataset in datasets:
        check_measures(measures or dataset.measures)
    results = []
    with writing(Path(out)):
        for dataset in datasets:
            for label, system in systems.items():
                run = run_system(dataset, label, system, Path(out), k=k, overwrite=overwrite, progress=progress)
                values = measure(run.ranking(), dataset.qrels, list(measures or dataset.measures))
                _write_values(run.path, values)
                results.append(Measured(dataset, label, values, run.path, run.parameters))
    return results


def run_system(
    dataset: Dataset, label: str, system: System, out: Path, *, k: int, overwrite: bool = False, progress: bool = False
) -> RunFile:
    """Return the finished run of a system, resuming it if it was interrupted; parameters as for `evaluate`."""
    folder = out / file_name(_short(dataset))
    run = RunFile(folder / f"{file_name(label)}.trec", parameters_of(dataset, system, k), overwrite=overwrite)
    if run.finished:
        logger.info("%s on %s: already finished", label, dataset.name)
        return run
    first = _first_stage(dataset, system.first_stage, out, k, progress) if system.first_stage else {}
    kept = {**dataset.identity, **system.index_parameters(dataset)}
    searcher = system.prepare(dataset, folder / "indexes" / f"{system.name}-{_digest(kept)}", first)
    try:
        left = dataset.queries[run.done :]
        with tqdm(
            desc=f"{label} on {_short(dataset)}",
            unit="query",
            total=len(dataset.queries),
            initial=run.done,
            disable=None if progress else True,
        ) as bar:
            for start in range(0, len(left), system.query_batch):
                batch = left[start : start + system.query_batch]
                run.append(batch, searcher.search(batch, k))
                bar.update(len(batch))
    finally:
        searcher.close()
    run.finish()
    return run


def _first_stage(dataset: Dataset, stage: System, out: Path, k: int, progress: bool) -> dict[str, list[str]]:
    """Return the ranking to re-rank: the stage's own run, if it was made with the same parameters."""
    parameters = parameters_of(dataset, stage, k)
    own = out / file_name(_short(dataset)) / f"{stage.name}.trec"
    usable = RunFile.made_with(own, parameters) or not own.exists()
    label = stage.name if usable else f"{stage.name}-{_digest(parameters)}"
    return run_system(dataset, label, stage, out, k=k, progress=progress).ranking()


def parameters_of(dataset: Dataset, system: System, k: int) -> dict[str, object]:
    """Return all parameters that a run depends on."""
    return {
        "system": system.name,
        **system.parameters(dataset),
        "k": k,
        "documents": dict(dataset.identity),
        "queries": fingerprint_of(dataset.queries),
    }


def file_name(label: str) -> str:
    """Return a label in a form that suits file names and the last column of a run.

    Examples
    --------
    >>> file_name("mmarco/nl"), file_name("colbert-xm=./my model")
    ('mmarco-nl', 'colbert-xm=.-my-model')
    """
    return re.sub(r"[^\w.=,+-]+", "-", label)


def _short(dataset: Dataset) -> str:
    """Return a dataset's name; for a folder, its last two parts."""
    path = Path(dataset.name)
    return "/".join(path.parts[-2:]) if path.is_absolute() else dataset.name


def _check_names(datasets: Sequence[Dataset], systems: dict[str, System]) -> None:
    for names, what in (([_short(d) for d in datasets], "datasets"), (list(systems), "systems")):
        files = [file_name(name) for name in names]
        twice = next((name for name, file in zip(names, files, strict=True) if files.count(file) > 1), None)
        if twice is not None:
            raise InputError(f"Two {what} are both called {twice!r}. Give each only once.")


def _digest(parameters: object) -> str:
    return hashlib.sha256(json.dumps(parameters, sort_keys=True).encode()).hexdigest()[:10]


def _write_values(run: Path, values: dict[str, PerQuery]) -> None:
    """Write the values of each query next to the run."""
    path = run.with_suffix(".values.json")
    temporary = path.with_suffix(".tmp")
    temporary.write_text(json.dumps(values, ensure_ascii=False) + "\n", encoding="utf-8")
    os.replace(temporary, path)
