"""The error tree.

::

    RagatouilleXMError
    ├── InputError (ValueError)         a value given by the user is not usable
    │   ├── FilterError                 a metadata filter
    │   ├── LanguageError               a language that no adapter stands for
    │   └── DuplicateDocumentError      a document id that the index already has
    ├── CheckpointError                 a checkpoint is missing, damaged or of an unknown kind
    ├── PassageIndexError               an index …
    │   ├── IndexNotFoundError          … is not where it should be (an InputError too)
    │   ├── IndexDamagedError           … has a missing or unreadable part
    │   ├── IndexFormatError            … is of a newer format, or of another checkpoint
    │   ├── IndexLockedError            … is being written by another process
    │   ├── ReadOnlyIndexError          … is of another program's format, which is searched only
    │   ├── ClusterError                … is in a cluster that does not answer, refuses the key, or fails
    │   └── StorageError                … could not be written (disk full, no permission)
    └── MissingExtraError (ImportError) an optional package is not installed

Every message names the value and the way out.
"""

from __future__ import annotations


class RagatouilleXMError(Exception):
    """Base of every error that this package raises on purpose."""


class InputError(RagatouilleXMError, ValueError):
    """A value given by the user is not usable."""


class FilterError(InputError):
    """A metadata filter cannot be understood."""


class LanguageError(InputError):
    """A language that is not known, or that no adapter stands for."""


class DuplicateDocumentError(InputError):
    """A document id is given twice, or the index already has it."""


class CheckpointError(RagatouilleXMError):
    """A checkpoint is missing, damaged or of an unknown kind."""


class PassageIndexError(RagatouilleXMError):
    """Base of what can go wrong with an index."""


class IndexNotFoundError(PassageIndexError, InputError, FileNotFoundError):
    """There is no index at that place or of that name."""


class IndexDamagedError(PassageIndexError):
    """A part of the index is missing or cannot be read."""


class IndexFormatError(PassageIndexError):
    """The index was written by a newer version, or by another checkpoint."""


class IndexLockedError(PassageIndexError):
    """Another process is writing to the index."""


class ReadOnlyIndexError(PassageIndexError):
    """The index is of another program's format: it can be searched, not changed."""


class ClusterError(PassageIndexError, ConnectionError):
    """The cluster that has the index does not answer, refuses the key, or fails."""


class StorageError(PassageIndexError, OSError):
    """The index could not be written."""


class MissingExtraError(RagatouilleXMError, ImportError):
    """An optional package is not installed."""

    def __init__(self, feature: str, extra: str) -> None:
        super().__init__(f'{feature} needs an optional package. Install it with: pip install "ragatouille-xm[{extra}]"')
