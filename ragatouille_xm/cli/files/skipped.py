"""What is left out of a folder, and why."""

from __future__ import annotations

import logging
from collections import Counter

from ...errors import InputError

logger = logging.getLogger(__name__)

NAMED = 5  # of each kind; all are logged


class BadFileError(InputError):
    """A file that cannot be read as documents: an error for a file given by name, and left out of a folder.

    Parameters
    ----------
    kind : str
        A word or two, by which such files are counted.
    message : str
        A sentence that names the file, says why, and what to do.
    """

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(message)
        self.kind = kind


class Skipped:
    """What was left out.

    Attributes
    ----------
    counts : Counter of str
        By kind.
    named : dict of str to list of str
        A sentence for each of the first of a kind.

    Examples
    --------
    >>> skipped = Skipped()
    >>> skipped.add("hidden", "'notes/.git' is hidden.")
    >>> str(skipped), skipped.named
    ('1 hidden', {'hidden': ["'notes/.git' is hidden."]})
    """

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self.named: dict[str, list[str]] = {}

    def __bool__(self) -> bool:
        return bool(self.counts)

    def __str__(self) -> str:
        return ", ".join(f"{n} {kind}" for kind, n in self.counts.most_common())

    def add(self, kind: str, message: str) -> None:
        """Count something, and remember why it was left out."""
        logger.info("Skipped: %s", message)
        self.counts[kind] += 1
        named = self.named.setdefault(kind, [])
        if len(named) < NAMED:
            named.append(message)
