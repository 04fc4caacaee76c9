"""Run notebooks on the demo checkpoint, each in an empty folder, and keep what they print: ``make notebooks``."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import nbformat
from jupyter_client.manager import KernelManager
from nbclient import NotebookClient

HERE = Path(__file__).parent


@contextmanager
def kernel() -> Iterator[KernelManager]:
    """Have one kernel for several notebooks, so that libraries are loaded once."""
    started = KernelManager()
    started.start_kernel()
    try:
        yield started
    finally:
        started.shutdown_kernel(now=True)


def execute(path: Path, kernel: KernelManager) -> nbformat.NotebookNode:
    """Return the notebook at `path` with its outputs. It sees neither names nor files of those before it."""
    notebook = nbformat.read(path, as_version=4)
    with tempfile.TemporaryDirectory() as folder:
        afresh = nbformat.v4.new_code_cell(f"import os; os.chdir({folder!r})\n%reset -f")
        notebook.cells.insert(0, afresh)
        NotebookClient(notebook, km=kernel, timeout=300, coalesce_streams=True).execute()
        notebook.cells.remove(afresh)
    for number, cell in enumerate((cell for cell in notebook.cells if cell.cell_type == "code"), start=1):
        cell.metadata, cell.execution_count = {}, number
        cell.outputs = [_kept(output, number) for output in cell.outputs if output.get("name") != "stderr"]
    notebook.metadata = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
    return notebook


def _kept(output: nbformat.NotebookNode, number: int) -> nbformat.NotebookNode:
    """Leave out the plain text of what is shown as HTML or as a picture."""
    if len(output.get("data", ())) > 1:
        output.data.pop("text/plain", None)
    if "execution_count" in output:
        output.execution_count = number
    return output


def main() -> None:
    """Execute the notebooks named on the command line, or all of them, in place."""
    with kernel() as started:
        for path in map(Path, sys.argv[1:] or sorted(HERE.glob("*.ipynb"))):
            nbformat.write(execute(path, started), path)


if __name__ == "__main__":
    main()
